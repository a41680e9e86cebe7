"""Scores of entities and of tags: strict counts that can be summed over any choice of rows, and what went wrong.

An entity counts as right only if its type, its beginning and its end are. `headway.tasks.token_classification` checks
the sums against seqeval (strict mode, IOB2), which scores whole splits of tagged words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway.metrics.classification import divide

Entity = tuple[str, int, int]
"""Type, beginning, and end (behind the last word or character)."""

OUTCOMES = (
    "exactly right",
    "right span, wrong type",
    "overlaps, same type",
    "overlaps, other type",
    "missed",
    "spurious",
)
"""What becomes of an entity; the first five of one in gold, all but `missed` of one that was predicted."""
MISTAKES_SHOWN = 20


@dataclass(frozen=True)
class Counts:
    """What each row adds to the scores."""

    kinds: tuple[str, ...]
    """The types, or plain tags, in the order of the columns."""
    of_kind: NDArray[np.int64]
    """(rows, 3, kinds): right, predicted, in gold."""
    of_words: NDArray[np.int64]
    """(rows, 2): words whose tag is right, words."""


def count(
    gold: Sequence[Sequence[Entity]],
    predicted: Sequence[Sequence[Entity]],
    words: Sequence[tuple[int, int]],
    kinds: Sequence[str],
) -> Counts:
    """Return the counts of each row.

    Args:
        gold: the entities of each row; with plain tags, each word is one.
        predicted: the same, as predicted.
        words: for each row how many words have the right tag, and how many there are.
        kinds: the types to count, in the order of the result; others that occur follow them.
    """
    order = {kind: number for number, kind in enumerate(kinds)}
    for side in (gold, predicted):
        for entities in side:
            for kind, _, _ in entities:
                order.setdefault(kind, len(order))
    table = np.zeros((len(gold), 3, len(order)), dtype=np.int64)
    for row, (true, said) in enumerate(zip(gold, predicted, strict=True)):
        for place, some in enumerate(([*({*true} & {*said})], said, true)):
            for kind, _, _ in some:
                table[row, place, order[kind]] += 1
    return Counts(tuple(order), table, np.array(words, dtype=np.int64).reshape(-1, 2))


def evaluate_entities(counts: Counts) -> Callable[[NDArray[np.int64]], dict[str, float]]:
    """Return a function from chosen rows to their scores.

    - ``f1``, ``precision``, ``recall``: of all entities counted together (micro).
    - ``f1_macro``: plain mean of the types' F1, over types that occur in gold or predicted.
    - ``accuracy``: share of words whose tag is right.

    A quotient without denominator is 0.
    """
    # Floats, for a product of whole numbers is slow; sums below 2^53 are exact.
    table = counts.of_kind.reshape(len(counts.of_kind), -1).astype(np.float64)

    def evaluate(rows: NDArray[np.int64]) -> dict[str, float]:
        weights = np.bincount(rows, minlength=len(table))
        hits, said, true = (weights @ table).reshape(3, -1)
        right, words = weights @ counts.of_words
        present = said + true > 0
        return {
            "f1": _quotient(2 * hits.sum(), said.sum() + true.sum()),
            "precision": _quotient(hits.sum(), said.sum()),
            "recall": _quotient(hits.sum(), true.sum()),
            "f1_macro": float(divide(2 * hits, said + true)[present].mean()) if present.any() else 0.0,
            "accuracy": _quotient(right, words),
        }

    return evaluate


def evaluate_tags(counts: Counts) -> Callable[[NDArray[np.int64]], dict[str, float]]:
    """Return a function from chosen rows to ``accuracy`` and ``f1_macro`` of plain tags; see `evaluate_entities`."""
    evaluate = evaluate_entities(counts)
    return lambda rows: {name: value for name, value in evaluate(rows).items() if name in ("accuracy", "f1_macro")}


def strict_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return the scores of `evaluate_entities` for tags in IOB2, by seqeval in strict mode."""
    from seqeval.metrics.v1 import precision_recall_fscore_support
    from seqeval.scheme import IOB2

    true, said = [list(tags) for tags in gold], [list(tags) for tags in predicted]
    scores: dict[str, float] = {}
    if not any(tag.startswith("B-") for tags in (*true, *said) for tag in tags):
        scores = dict.fromkeys(("f1", "precision", "recall", "f1_macro"), 0.0)
    else:
        precision, recall, f1, _ = precision_recall_fscore_support(
            true, said, average="micro", scheme=IOB2, zero_division=0
        )
        _, _, macro, _ = precision_recall_fscore_support(true, said, average="macro", scheme=IOB2, zero_division=0)
        scores = {"f1": float(f1), "precision": float(precision), "recall": float(recall), "f1_macro": float(macro)}
    right = sum(a == b for one, other in zip(true, said, strict=True) for a, b in zip(one, other, strict=True))
    return scores | {"accuracy": _quotient(right, sum(map(len, true)))}


def per_class(counts: Counts) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and support of each type, for the report."""
    hits, said, true = counts.of_kind.sum(axis=0)
    columns = (divide(hits, said), divide(hits, true), divide(2 * hits, said + true), true)
    return [
        {"label": kind, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for kind, p, r, f, s in zip(counts.kinds, *columns, strict=True)
    ]


def match(gold: Sequence[Entity], predicted: Sequence[Entity]) -> list[tuple[str, Entity | None, Entity | None]]:
    """Return pairs of a gold and a predicted entity, each with one of `OUTCOMES`.

    Each entity has at most one partner: first those that are equal are paired, then those with the same place, then
    those that overlap and have the same type, then all others that overlap; within a round, from left to right.
    """
    pairs: list[tuple[str, Entity | None, Entity | None]] = []
    left = sorted(set(gold), key=lambda one: one[1:])
    right = sorted(set(predicted), key=lambda one: one[1:])
    rounds: list[Callable[[Entity, Entity], bool]] = [
        lambda a, b: a == b,
        lambda a, b: a[1:] == b[1:],
        lambda a, b: a[1] < b[2] and b[1] < a[2] and a[0] == b[0],
        lambda a, b: a[1] < b[2] and b[1] < a[2],
    ]
    for outcome, fits in zip(OUTCOMES, rounds, strict=False):
        unpaired = []
        for one in left:
            partner = next((other for other in right if fits(one, other)), None)
            if partner is None:
                unpaired.append(one)
            else:
                right.remove(partner)
                pairs.append((outcome, one, partner))
        left = unpaired
    return [*pairs, *(("missed", one, None) for one in left), *(("spurious", None, one) for one in right)]


def diagnosis(
    gold: Sequence[Sequence[Entity]],
    predicted: Sequence[Sequence[Entity]],
    text_of: Callable[[int, Entity], str],
) -> list[dict[str, Any]]:
    """Return two tables for the report: what became of the entities, and the commonest mistakes.

    Args:
        gold: the entities of each row.
        predicted: the same, as predicted.
        text_of: the words of an entity of a row, by the row's number.
    """
    outcomes: Counter[str] = Counter()
    mistakes: Counter[tuple[str, str, str, str, str]] = Counter()
    for row, (true, said) in enumerate(zip(gold, predicted, strict=True)):
        for outcome, one, other in match(true, said):
            outcomes[outcome] += 1
            if outcome != OUTCOMES[0]:
                (text, kind), (said_text, said_kind) = (
                    (text_of(row, each), each[0]) if each else ("", "") for each in (one, other)
                )
                mistakes[outcome, text, kind, said_text, said_kind] += 1
    num_gold = sum(number for outcome, number in outcomes.items() if outcome != "spurious")
    num_predicted = sum(number for outcome, number in outcomes.items() if outcome != "missed")
    tables = [
        {
            "title": "What became of the entities",
            "note": f"Each entity has at most one partner. In gold {num_gold:,}, predicted {num_predicted:,}.",
            "columns": ["outcome", "entities", "share of gold"],
            "rows": [
                [outcome, outcomes[outcome], "" if outcome == "spurious" else _percent(outcomes[outcome], num_gold)]
                for outcome in OUTCOMES
            ],
        }
    ]
    if mistakes:
        # Sorted by words, too, so that the same mistakes always stand in the same order.
        most = sorted(mistakes.items(), key=lambda one: (-one[1], one[0]))[:MISTAKES_SHOWN]
        tables.append({
            "title": "Commonest mistakes",
            "note": f"The first {len(most)} of {len(mistakes):,}.",
            "columns": ["outcome", "in gold", "type", "predicted", "type", "times"],
            "rows": [[*mistake, times] for mistake, times in most],
        })  # fmt: skip
    return tables


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _quotient(above: Any, below: Any) -> float:
    return float(above) / float(below) if below else 0.0
