"""Scores of generated text: ROUGE, BLEU and chrF as the libraries give them that papers quote, and what was said.

Called with the decoded predictions of a whole split (step 13 of the walk). Each row is counted once, by
`rouge_rows`, `count_overlap` and `diagnosis_scorer`; the scores of any choice of rows, and so every bootstrap
resample, are then sums. The libraries are imported where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headway.segmentation import lines_of, words_of

Floats = NDArray[np.float64]
Scorer = Callable[[NDArray[np.int64]], dict[str, float]]
"""From the numbers of the chosen rows (some of them more than once) to their scores; of no rows there are none."""

BleuTokenizer = Literal["13a", "intl", "zh", "char", "none"]
"""sacrebleu's tokenizers that need neither another package nor a download: `13a` for most languages that put blanks
between words, `intl` where signs beyond ASCII matter, `zh` for Chinese, `char` for Japanese, Thai and others without
blanks, `none` for text whose tokens stand apart already."""

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
ENGLISH = ("en", "eng", "english")
COPIED_WORDS, REPEATED_WORDS = 4, 3
"""How many words in a row count as copied from the source, and as said again."""


def joined(*scorers: Scorer) -> Scorer:
    """Return one function from chosen rows to what all of these give."""
    return lambda chosen: {name: value for one in scorers for name, value in one(chosen).items()}


# --- ROUGE: means over the rows ---------------------------------------------------------------------------------------


def rouge_rows(
    predicted: Sequence[str], references: Sequence[Sequence[str]], *, language: str = "en"
) -> dict[str, Floats]:
    """Return the ROUGE F1 of each row by rouge-score (Lin 2004), from 0 to 1: metric -> (rows,).

    Of several references the one with the highest F1 counts, for each metric by itself. ``rougeLsum`` compares
    sentence with sentence; a line break ends one, too, and in scripts whose full stops
    `headway.segmentation.sentences_of` does not know, a line break alone. Figures of papers are a hundred times ours.

    Args:
        predicted: one text for each row.
        references: the true texts of each row, at least one.
        language: its code (``en``, ``de_DE``). English is cut and stemmed as in the original script of ROUGE; other
            languages are cut into the words of any script (`headway.segmentation.words_of`), without stemming.

    Raises:
        ValueError: a row has no reference.
    """
    from rouge_score.rouge_scorer import RougeScorer

    _check(references)
    library = RougeScorer(list(ROUGE), tokenizer=_RougeTokenizer(language))
    rows = [
        library.score_multi(["\n".join(lines_of(one)) for one in true], "\n".join(lines_of(said)))
        for said, true in zip(predicted, references, strict=True)
    ]
    return {name: np.array([row[name].fmeasure for row in rows], dtype=np.float64) for name in ROUGE}


def rouge_scorer(rows: Mapping[str, Floats]) -> Scorer:
    """Return a function from chosen rows to the means of their scores (from `rouge_rows`)."""
    return lambda chosen: {name: float(scores[chosen].mean()) for name, scores in rows.items()} if len(chosen) else {}


class _RougeTokenizer:
    """What rouge-score asks for the words of a text. Words recur and stemming is slow, so each is done once."""

    def __init__(self, language: str) -> None:
        from rouge_score.tokenizers import DefaultTokenizer

        # rouge-score's own tokenizer drops every character but a-z and 0-9: "für" becomes "f r", and of a Russian
        # summary nothing is left. Its Porter stemmer knows English endings only.
        is_english = language.lower().replace("_", "-").partition("-")[0] in ENGLISH
        cut: Callable[[str], list[str]] = DefaultTokenizer(use_stemmer=True).tokenize if is_english else words_of
        self._words_of = lru_cache(maxsize=100_000)(cut)

    def tokenize(self, text: str) -> list[str]:
        # No word of either kind reaches over a blank.
        return [word for part in text.split() for word in self._words_of(part)]


# --- BLEU and chrF: from sums over the rows ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Overlap:
    """What each row adds to BLEU and chrF. Their scores of several rows are no means, but follow from the sums."""

    bleu: NDArray[np.int64]
    """(rows, 10): words predicted, words of the reference nearest in length, n-grams found in a reference and
    n-grams predicted, for n from 1 to 4."""
    chrf: NDArray[np.int64]
    """(rows, 18): for each number of characters from 1 to 6 the n-grams predicted, of the best reference, and of
    both."""


def count_overlap(
    predicted: Sequence[str], references: Sequence[Sequence[str]], *, tokenizer: BleuTokenizer = "13a"
) -> Overlap:
    """Return sacrebleu's counts of each row.

    Args:
        predicted: one text for each row, as a person would read it.
        references: the true texts of each row, at least one; not all rows need have equally many.
        tokenizer: what cuts the words that BLEU counts; chrF knows no words.

    Raises:
        ValueError: a row has no reference.
    """
    _check(references)
    streams = _streams(references)
    # The public methods score a whole split or one row. These are what sacrebleu's own significance tests resample.
    bleu, chrf = (
        np.array(metric._extract_corpus_statistics(list(predicted), streams), dtype=np.int64)
        for metric in _metrics(tokenizer).values()
    )
    return Overlap(bleu, chrf)


def overlap_scorer(overlap: Overlap) -> Scorer:
    """Return a function from chosen rows to ``bleu`` (Papineni et al. 2002) and ``chrf`` (Popović 2015), 0 to 100."""
    metrics = _metrics()
    # Floats, for a product of whole numbers is slow; sums below 2^53 are exact.
    counts = {"bleu": overlap.bleu.astype(np.float64), "chrf": overlap.chrf.astype(np.float64)}

    def score(chosen: NDArray[np.int64]) -> dict[str, float]:
        if not len(chosen):
            return {}
        weights = np.bincount(chosen, minlength=len(overlap.bleu)).astype(np.float64)
        sums = {name: (weights @ table).astype(np.int64).tolist() for name, table in counts.items()}
        return {name: float(metric._compute_score_from_stats(sums[name]).score) for name, metric in metrics.items()}

    return score


def sentence_bleu(overlap: Overlap) -> Floats:
    """Return the BLEU of each row alone, (rows,), 0 to 100, to set rows beside one another, never to be averaged.

    As sacrebleu recommends for single sentences, only those n are counted for which the prediction is long enough.
    """
    from sacrebleu.metrics import BLEU

    metric = BLEU(effective_order=True)
    return np.array([metric._compute_score_from_stats(row).score for row in overlap.bleu.tolist()], dtype=np.float64)


def signatures(references: Sequence[Sequence[str]], *, tokenizer: BleuTokenizer = "13a") -> dict[str, str]:
    """Return what sacrebleu writes beside ``bleu`` and ``chrf`` so that others can measure the same (Post 2018)."""
    _check(references)
    # Of the data the number of references alone stands in a signature.
    one_of_each = list({len(true): true for true in references}.values())
    found = {}
    for name, metric in _metrics(tokenizer).items():
        metric.corpus_score([""] * len(one_of_each), _streams(one_of_each))
        found[name] = str(metric.get_signature())
    return found


def _metrics(tokenizer: BleuTokenizer = "13a") -> dict[str, Any]:
    from sacrebleu.metrics import BLEU, CHRF

    # Without ``force`` every evaluation would log that the data look tokenized, where a hundred rows end in " .".
    return {"bleu": BLEU(tokenize=tokenizer, force=True), "chrf": CHRF()}


def _streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """Return the references as sacrebleu reads them: the first of each row, the second, ...; None where it has none."""
    most = max(map(len, references), default=1)
    return [[true[number] if number < len(true) else None for true in references] for number in range(most)]


# --- what was said ----------------------------------------------------------------------------------------------------


def diagnosis_scorer(
    predicted: Sequence[str], references: Sequence[Sequence[str]], *, sources: Sequence[str] | None = None
) -> Scorer:
    """Return a function from chosen rows to what their predictions look like, beside the references.

    - ``predicted_words``, ``reference_words``: mean number of words (`headway.segmentation.words_of`).
    - ``length_ratio``: the first over the second.
    - ``empty_rate``: share of predictions that are blank.
    - ``repetition_rate``: of three words in a row, the share that the same prediction has said before.
    - ``copy_rate``, with sources: of four words in a row, the share that stands in the row's source.

    Shares of words in a row are taken over all rows together, so long predictions weigh more. A share of nothing is 0.

    Args:
        predicted: one text for each row.
        references: the true texts of each row, at least one; their lengths are averaged.
        sources: what each prediction was made from.

    Raises:
        ValueError: a row has no reference.
    """
    _check(references)
    words = [words_of(text) for text in predicted]
    copied = [(0, 0)] * len(words) if sources is None else [
        _copied(said, words_of(source)) for said, source in zip(words, sources, strict=True)
    ]  # fmt: skip
    table = np.array(
        [
            (len(said), np.mean([len(words_of(one)) for one in true]), not text.strip(), *_repeated(said), *four)
            for text, said, true, four in zip(predicted, words, references, copied, strict=True)
        ],
        dtype=np.float64,
    )

    def score(chosen: NDArray[np.int64]) -> dict[str, float]:
        if not len(chosen):
            return {}
        said, true, empty, again, threes, found, fours = table[chosen].sum(axis=0)
        scores = {
            "predicted_words": float(said / len(chosen)),
            "reference_words": float(true / len(chosen)),
            "length_ratio": _share(said, true),
            "empty_rate": float(empty / len(chosen)),
            "repetition_rate": _share(again, threes),
        }
        return scores if sources is None else {**scores, "copy_rate": _share(found, fours)}

    return score


def distinct(predicted: Sequence[str]) -> dict[str, float]:
    """Return ``distinct_1`` and ``distinct_2``: different words, and pairs of words in a row, over all words said.

    So defined by Li et al. 2016 (arXiv:1510.03055): both are divided by the number of words. They fall as
    a split grows, so only splits of one size compare, and a bootstrap, which repeats rows, cannot tell their spread.
    """
    rows = [words_of(text) for text in predicted]
    total = sum(map(len, rows))
    return {f"distinct_{n}": _share(len({gram for words in rows for gram in _grams(words, n)}), total) for n in (1, 2)}


def _copied(said: list[str], source: list[str]) -> tuple[int, int]:
    """Return how many of the words in a row stand in the source, and how many there are."""
    known, grams = set(_grams(source, COPIED_WORDS)), _grams(said, COPIED_WORDS)
    return sum(gram in known for gram in grams), len(grams)


def _repeated(said: list[str]) -> tuple[int, int]:
    """Return how many of the words in a row were said before, and how many there are."""
    grams = _grams(said, REPEATED_WORDS)
    return len(grams) - len(set(grams)), len(grams)


def _grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(n)), strict=False))


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _check(references: Iterable[Sequence[str]]) -> None:
    """Check that every row has a reference.

    Raises:
        ValueError: one has none.
    """
    for number, true in enumerate(references):
        if not true:
            raise ValueError(f"Row {number} (counted from 0) has no reference to be compared with; give it one.")
