"""Scores of relations between two entities, whose labels may say which way they run: ``Cause-Effect(e2,e1)``.

Called by relation extraction with decoded predictions. The rule is that of SemEval-2010 task 8 (Hendrickx et al. 2010,
section 5, and its scorer, "(9+1)-way evaluation with directionality taken into account").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway.metrics.classification import divide, label_ids

_DIRECTED = re.compile(r"(?P<relation>.+)\((?P<first>e1|e2),(?P<second>e1|e2)\)")


def relation_of(label: str) -> tuple[str, bool | None]:
    """Return a label's relation, and whether it runs from the first entity to the second (None: it does not say)."""
    match = _DIRECTED.fullmatch(label)
    if match is None or match["first"] == match["second"]:
        return label, None
    return match["relation"], match["first"] == "e1"


def relations_of(labels: Sequence[str], negative_label: str | None) -> list[str]:
    """Return the relations, without direction and without the negative label, in the order of the labels."""
    return list(dict.fromkeys(relation_of(label)[0] for label in labels if label != negative_label))


def scorer(
    gold: Sequence[str], predicted: Sequence[str], *, labels: Sequence[str], negative_label: str | None
) -> Callable[[NDArray[np.int64]], dict[str, float]]:
    """Return a function from row numbers to the scores of these rows.

    - ``f1_macro_official``: plain mean of the relations' F1, without the negative label. A relation with the wrong
      direction is wrong: it counts among the predicted and among the true ones, but not among the hits. The mean runs
      over relations that occur in gold or among the predictions.
    - ``f1_micro``, ``precision_micro``, ``recall_micro``: over all rows together, without the negative label, as for
      TACRED (Zhang et al. 2017); direction counts as above.
    - ``accuracy``: share of rows whose label, direction included, is right; the negative label counts.

    A quotient without denominator counts as 0.

    Args:
        gold: the true label of each row.
        predicted: the predicted label of each row.
        labels: all labels of the task.
        negative_label: the label that says that there is no relation; None if there is none.

    Raises:
        DataError: a label is not among ``labels``.
    """
    gold_ids, predicted_ids = label_ids(gold, labels), label_ids(predicted, labels)
    relations = relations_of(labels, negative_label)
    # The negative label gets a number behind all relations, which the counts then leave out.
    relation_ids = np.array(
        [len(relations) if label == negative_label else relations.index(relation_of(label)[0]) for label in labels],
        dtype=np.int64,
    )

    def score(chosen: NDArray[np.int64]) -> dict[str, float]:
        if not len(chosen):
            return {}
        hits, said, true = _counts(gold_ids[chosen], predicted_ids[chosen], relation_ids, len(relations))
        f1 = divide(2 * hits, said + true)
        present = said + true > 0
        precision, recall, micro = (
            float(divide(np.array([above]), np.array([below]))[0])
            for above, below in (
                (hits.sum(), said.sum()),
                (hits.sum(), true.sum()),
                (2 * hits.sum(), said.sum() + true.sum()),
            )
        )
        return {
            "f1_macro_official": float(f1[present].mean()) if present.any() else 0.0,
            "f1_micro": micro,
            "precision_micro": precision,
            "recall_micro": recall,
            "accuracy": float((gold_ids[chosen] == predicted_ids[chosen]).mean()),
        }

    return score


def per_relation(
    gold: Sequence[str], predicted: Sequence[str], *, labels: Sequence[str], negative_label: str | None
) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and rows of each relation by the rule of `scorer`, and its wrong directions."""
    relations = relations_of(labels, negative_label)
    sides = [[(relation_of(one)[0], one) for one in side] for side in (gold, predicted)]
    entries = []
    for relation in relations:
        true, said = ([name == relation for name, _ in side] for side in sides)
        both = [a and b for a, b in zip(true, said, strict=True)]
        hits = sum(a == b for a, b, is_both in zip(gold, predicted, both, strict=True) if is_both)
        entries.append({
            "relation": relation,
            "precision": hits / sum(said) if any(said) else 0.0,
            "recall": hits / sum(true) if any(true) else 0.0,
            "f1": 2 * hits / (sum(said) + sum(true)) if any(said) or any(true) else 0.0,
            "support": sum(true),
            "wrong_direction": sum(both) - hits,
        })  # fmt: skip
    return entries


def _counts(
    gold_ids: NDArray[np.int64], predicted_ids: NDArray[np.int64], relation_ids: NDArray[np.int64], num_relations: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return how often each relation (relations,) was found rightly, was predicted, and is true."""
    sides = (gold_ids[gold_ids == predicted_ids], predicted_ids, gold_ids)
    hits, said, true = (np.bincount(relation_ids[ids], minlength=num_relations + 1)[:num_relations] for ids in sides)
    return hits, said, true
