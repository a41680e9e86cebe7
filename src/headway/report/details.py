"""The tables of the report that are worked out from a run: confusions, mistakes, tokens lost.

Predictions are read once and in order; only the mistakes that will be shown are held.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headway.report.wording import cut, number

MATRIX_LIMIT = 20
"""The most labels for which a confusion matrix is still readable."""
MISTAKES_SHOWN = 20
PAIRS_SHOWN = 20
TEXT_SHOWN = 600
"""Characters of a text that a list of mistakes shows; the number left off stands beside it."""
LABEL_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the confusion matrix."""

    count: int
    share: float
    """Share of the rows with this gold label, which also is the cell's colour."""
    is_correct: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """A gold label that was taken for another."""

    gold: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class Confusion:
    """Which label was taken for which: a matrix if it is readable, else the commonest pairs."""

    labels: list[str]
    matrix: list[list[Cell]]
    pairs: list[Pair]
    num_pairs: int
    """How many pairs there are in all, shown or not."""

    @property
    def has_matrix(self) -> bool:
        """Return whether the matrix is small enough to be read."""
        return len(self.labels) <= MATRIX_LIMIT


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row on which the model was wrong, with how sure it was."""

    row: int
    where: str
    texts: list[tuple[str, str, int]]
    """(column, text as shown, characters left off)."""
    gold: list[str]
    predicted: list[str]
    weight: float
    """What mistakes are ordered by: the probability of the wrong answer, or the size of the error."""
    gold_probability: float | None = None


@dataclass(frozen=True)
class Mistakes:
    """The mistakes that the model was surest of."""

    kind: Literal["label", "labels", "number"]
    shown: list[Mistake]
    num_wrong: int
    num_rows: int


def build_confusion(details: Mapping[str, Any]) -> Confusion | None:
    """Return the confusion matrix of ``details``, or None where the task has none."""
    found = details.get("confusion")
    if not isinstance(found, Mapping) or not found.get("labels"):
        return None
    labels = [str(label) for label in found["labels"]]
    counts: list[list[int]] = found["counts"]
    totals = [sum(row) for row in counts]
    matrix = [
        [Cell(count, count / total if total else 0.0, i == j) for j, count in enumerate(row)]
        for i, (row, total) in enumerate(zip(counts, totals, strict=True))
    ]
    pairs = [
        Pair(labels[i], labels[j], cell.count, cell.share)
        for i, row in enumerate(matrix)
        for j, cell in enumerate(row)
        if i != j and cell.count
    ]
    pairs.sort(key=lambda pair: (-pair.count, -pair.share, pair.gold, pair.predicted))
    return Confusion(labels, matrix, pairs[:PAIRS_SHOWN], len(pairs))


def find_mistakes(predictions: Iterable[Mapping[str, Any]], *, limit: int = MISTAKES_SHOWN) -> Mistakes | None:
    """Return the surest mistakes of a split, in one pass; None if no row has both an answer and a gold value."""
    kind: Literal["label", "labels", "number"] = "label"
    num_rows = num_wrong = 0
    kept: list[tuple[float, int, int, Mapping[str, Any]]] = []
    for order, prediction in enumerate(predictions):
        gold, value = prediction.get("gold"), prediction.get("value")
        if gold is None or value is None:
            continue
        kind = _kind(value)
        if _has_parts(value) or _has_parts(gold) or (value == gold == [] and not _probabilities(prediction)):
            continue  # The task's own tables show where such an answer was wrong.
        num_rows += 1
        weight = _weigh(prediction, kind)
        if weight is None:
            continue
        num_wrong += 1
        # The order breaks ties, so that the same predictions always show the same rows.
        entry = (weight, -order, order, prediction)
        if len(kept) < limit:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)
    if not num_rows:
        return None
    shown = [_mistake(one, kind, weight) for weight, _, _, one in sorted(kept, key=lambda e: e[:2], reverse=True)]
    return Mistakes(kind, shown, num_wrong, num_rows)


def _has_parts(value: Any) -> bool:
    """Whether an answer is made of spans or other structures, which are not right or wrong as one."""
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict | list) for one in value))


def _kind(value: Any) -> Literal["label", "labels", "number"]:
    if isinstance(value, list):
        return "labels"
    return "number" if isinstance(value, float) else "label"


def _weigh(prediction: Mapping[str, Any], kind: str) -> float | None:
    """Return how wrong the model was, or None where it was right."""
    gold, value = prediction["gold"], prediction["value"]
    if kind == "number":
        error = _distance(value, gold)
        return error if error > 0 or math.isnan(error) else None
    probabilities = _probabilities(prediction)
    if kind == "labels":
        wrong = {str(label) for label in value} ^ set(_names(gold))
        given = {str(label) for label in value}
        sure = [
            probabilities.get(label, 0.0) if label in given else 1 - probabilities.get(label, 1.0) for label in wrong
        ]
        return max(sure) if sure else None
    if _names(gold) == [str(value)]:
        return None
    score = prediction.get("score")
    return float(score) if isinstance(score, int | float) else probabilities.get(str(value), 0.0)


def _mistake(prediction: Mapping[str, Any], kind: str, weight: float) -> Mistake:
    inputs = prediction.get("input")
    columns = inputs.items() if isinstance(inputs, Mapping) else [("text", inputs)]
    row = prediction.get("row")
    gold, value = prediction["gold"], prediction["value"]
    return Mistake(
        row=row if isinstance(row, int) else -1,
        where=str(prediction.get("where") or (f"row {row}" if row is not None else "")),
        texts=[(str(name), *cut(str(text), TEXT_SHOWN)) for name, text in columns if text is not None],
        gold=[_short(name) for name in _names(gold)],
        predicted=[number(value)] if kind == "number" else [_short(name) for name in _names(value)],
        weight=weight,
        gold_probability=_probabilities(prediction).get(_names(gold)[0]) if kind == "label" and gold != [] else None,
    )


def _distance(value: Any, gold: Any) -> float:
    try:
        return abs(float(value) - float(gold))
    except (TypeError, ValueError):
        return 0.0  # A gold value that is no number has no distance; the checks of the data name such rows.


def _names(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else [str(value)]


def _short(label: str) -> str:
    text, hidden = cut(label, LABEL_SHOWN)
    return f"{text}… ({hidden} characters more)" if hidden else text


def _probabilities(prediction: Mapping[str, Any]) -> Mapping[str, float]:
    detail = prediction.get("detail")
    found = detail.get("probabilities") if isinstance(detail, Mapping) else None
    return found if isinstance(found, Mapping) else {}
