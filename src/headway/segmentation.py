"""Where the sentences and words of a text begin. Data, metrics and verbs all ask it; it knows no task.

Sentences are found by syntok (MIT, pure Python, no downloads). Of four libraries tried on the Meditations (241,387
characters) it took 0.2 s in 506 paragraphs and as much in one; pysbd took 1.0 s and 27 s, and cut at "e.g.";
sentence-splitter found the same sentences under a licence (LGPL) of more duties; blingfire is compiled. syntok knows
the full stops of Western scripts only. It is imported where it is used.
"""

from __future__ import annotations

import unicodedata

import regex

UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
"""A character of a script that puts no blanks between words; as part of a pattern under ``regex.V1``."""

# Marks belong to their letter: Python's own \w has none of them, and would cut Hindi words at every vowel sign.
_WORD = regex.compile(rf"{UNSPACED}\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--{UNSPACED}]+", regex.V1)


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text in their order; together they hold every character but the blanks between."""
    import syntok.segmenter

    starts = [sentence[0].offset for paragraph in syntok.segmenter.analyze(text) for sentence in paragraph if sentence]
    bounds = zip([0, *starts[1:]], [*starts[1:], len(text)], strict=True)
    return [sentence for first, last in bounds if (sentence := text[first:last].strip())]


def lines_of(text: str) -> list[str]:
    """Return the sentences of a text of which every line break is a boundary, too (headlines, turns, highlights)."""
    return [sentence for line in text.splitlines() for sentence in sentences_of(line)]


def words_of(text: str) -> list[str]:
    """Return the runs of letters and digits of any script, so that different spellings of a letter are equal.

    Case does not count, and neither do compatibility forms (NFKC). Where a script puts no blanks between words, each
    character is a word.
    """
    found: list[str] = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return found
