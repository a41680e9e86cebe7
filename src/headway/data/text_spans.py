"""Spans of characters in raw text, and the words that carry their tags.

Words are cut by a regular expression with Unicode properties, and not by a library's tokenizer: it gives exact offsets
into the raw text, knows no language, and needs no model. Languages that put no blanks between words (Chinese, Japanese,
Thai, Lao, Khmer, Burmese) are cut into single characters, as BERT does with Chinese.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import regex

from headway.data.tag_schemes import Entity
from headway.errors import DataError
from headway.segmentation import UNSPACED

WordSplit = Literal["whole", "parts"]

_UNSPACED = rf"{UNSPACED}\p{{M}}*"
_RUN = rf"[[\w]--{UNSPACED}]+"
_ENDING = r"['’](?i:s|d|m|re|ve|ll|t)\b"
_PATTERNS = {
    "parts": regex.compile(rf"{_UNSPACED}|{_RUN}|\S", regex.V1),
    # Abbreviations keep their points (U.S.), and one sign joins two runs (U.N, 2-1, German-born, O'Brien, AT&T, 10:30),
    # save the apostrophe before an English ending ('s, 'll), which is a word of its own.
    "whole": regex.compile(
        rf"{_UNSPACED}|(?:\p{{L}}\.){{2,}}(?!\w)|{_RUN}(?:(?!{_ENDING})(?:[-.'’&@/+–]|(?<=\d)[,:](?=\d)){_RUN})*"
        rf"|{_ENDING}|\S",
        regex.V1,
    ),
}


class Span(NamedTuple):
    """Characters from ``start`` to behind the last one at ``end``, counted from 0, and what they are."""

    start: int
    end: int
    label: str


def words_of(text: str, split: WordSplit) -> list[tuple[int, int]]:
    """Return start and end of each word; all characters but blanks lie in exactly one.

    Args:
        text: raw text.
        split: `whole` keeps what points, hyphens and apostrophes join (``U.S.``, ``German-born``); `parts` cuts at
            every sign.
    """
    return [match.span() for match in _PATTERNS[split].finditer(text)]


def read_spans(text: str, given: Any, *, overlaps: Literal["refuse", "longest"]) -> list[Span]:
    """Return the spans of a row in their order, checked against the text.

    Args:
        text: what the offsets count in.
        given: for each span a mapping of ``start``, ``end``, ``label`` and perhaps ``text``, or a list of the three.
        overlaps: `refuse`; or `longest`, where of spans that share characters the longest counts, and of equally long
            ones the first.

    Raises:
        DataError: a span is not written so, lies outside the text, does not hold the text it names, or overlaps.
    """
    if not isinstance(given, list):
        raise DataError(f"column 'spans' holds {given!r:.80}, expected a list of spans.")
    spans = sorted((_read(text, one, number) for number, one in enumerate(given, 1)), key=lambda one: (one[0], -one[1]))
    if overlaps == "refuse":
        for one, other in pairwise(spans):
            if other.start < one.end:
                raise DataError(
                    f"{_show(text, one)} and {_show(text, other)} overlap, and a word has one tag. Leave one of them "
                    "out, or set task.overlaps: longest."
                )
        return spans
    kept: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.start - one.end, one.start)):
        if all(span.end <= one.start or one.end <= span.start for one in kept):
            kept.append(span)
    return sorted(kept)


def _read(text: str, given: Any, number: int) -> Span:
    match given:
        case [start, end, label]:
            said = None
        case Mapping():
            start, end, label, said = (given.get(name) for name in ("start", "end", "label", "text"))
        case _:
            start = end = label = said = None
    is_place = all(isinstance(one, int) and not isinstance(one, bool) for one in (start, end))
    if not is_place or not isinstance(label, str) or not label.strip():
        raise DataError(
            f"span {number} is {given!r:.80}; expected start and end, two whole numbers, and a label, as in "
            '{"start": 4, "end": 9, "label": "person"}.'
        )
    if not 0 <= start < end <= len(text):
        raise DataError(
            f"span {number} ({label}) goes from {start} to {end}, and the text has {len(text)} characters. Offsets "
            "count characters from 0, and the end lies behind the last one."
        )
    if said is not None and said != text[start:end]:
        raise DataError(
            f"span {number} ({label}, {start} to {end}) says {said!r:.60}, but there the text holds "
            f"{text[start:end]!r:.60}. Offsets count characters, not bytes; mend them, or leave the span's text out."
        )
    return Span(start, end, label)


def entities_on_words(spans: Sequence[Span], words: Sequence[tuple[int, int]]) -> tuple[list[Entity], int]:
    """Return the spans in words, and how many spans no choice of whole words gives exactly.

    A span takes every word that it touches; one touched by two spans belongs to the first. A span without a word of
    its own (it holds blanks only, or is a part of a word that another one took) is none.

    Args:
        spans: in their order, without overlap.
        words: from `words_of`.
    """
    entities: list[Entity] = []
    inexact = 0
    word = 0
    for span in spans:
        while word < len(words) and words[word][1] <= span.start:
            word += 1
        begin = word
        while word < len(words) and words[word][0] < span.end:
            word += 1
        if word > begin:
            entities.append((span.label, begin, word))
        inexact += word == begin or (words[begin][0], words[word - 1][1]) != (span.start, span.end)
    return entities, inexact


def _show(text: str, span: Span) -> str:
    return f"{text[span.start : span.end]!r:.40} ({span.label}, {span.start} to {span.end})"
