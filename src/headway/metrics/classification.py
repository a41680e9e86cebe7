"""Scores of classified texts, from label names: what a user reads in the report, measured on a whole split.

Called by a task with decoded predictions. All averages over labels run over the labels that occur in gold or among
the predictions: a label of the task that this split neither holds nor provokes says nothing of the model.

scikit-learn is imported where something is scored: it takes half a second, which who predicts or checks need not wait.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway.errors import DataError, did_you_mean

NUM_BINS = 10
"""Bins of the reliability diagram, of equal width."""


def single_label(
    gold: Sequence[str], predicted: Sequence[str], probabilities: NDArray[np.floating] | None, labels: Sequence[str]
) -> dict[str, float]:
    """Score one label for each row.

    - ``accuracy``: share of rows whose label is right.
    - ``f1_macro``: plain mean of the labels' F1, over labels that occur in gold or predicted.
    - ``f1_weighted``: the same mean, weighted with the rows of each label in gold.
    - ``mcc``: Matthews' correlation coefficient (multi-class form), 0 where either side is constant.
    - ``f1``, ``precision``, ``recall``: of the second label, for tasks of two labels only.
    - ``roc_auc``: of the second label's probability for two labels; else the plain mean of one-against-the-rest over
      the labels in gold. Left out without probabilities, and where gold holds one label only.

    A quotient without denominator counts as 0.

    Args:
        gold: the true label of each row.
        predicted: the predicted label of each row.
        probabilities: (rows, labels), in the order of ``labels``; finite.
        labels: all labels of the task, in the task's order.

    Raises:
        DataError: a label is not among ``labels``.
    """
    from sklearn import metrics

    # Integers, not names: scikit-learn sorts and compares them twenty times faster.
    gold_ids, predicted_ids = label_ids(gold, labels), label_ids(predicted, labels)
    if not len(gold_ids):
        return {}
    present = np.union1d(gold_ids, predicted_ids)
    scores = {"accuracy": float(metrics.accuracy_score(gold_ids, predicted_ids))}
    for average in ("macro", "weighted"):
        scores[f"f1_{average}"] = float(
            metrics.f1_score(gold_ids, predicted_ids, labels=present, average=average, zero_division=0)
        )
    scores["mcc"] = float(metrics.matthews_corrcoef(gold_ids, predicted_ids)) if len(present) > 1 else 0.0
    if len(labels) == 2:
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            gold_ids, predicted_ids, labels=[1], average="macro", zero_division=0
        )
        scores |= {"f1": float(f1), "precision": float(precision), "recall": float(recall)}
    if probabilities is not None:
        is_gold, columns = gold_matrix(gold_ids, probabilities)
        scores |= _roc_auc(is_gold, columns)
    return scores


def multi_label(
    gold: Sequence[Collection[str]],
    predicted: Sequence[Collection[str]],
    probabilities: NDArray[np.floating] | None,
    labels: Sequence[str],
) -> dict[str, float]:
    """Score any number of labels for each row.

    - ``f1_micro``: F1 of all (row, label) decisions counted together.
    - ``f1_macro``: plain mean of the labels' F1, over labels that occur in gold or predicted.
    - ``f1_samples``: plain mean of the rows' F1; a row without labels on either side counts as 0, as in scikit-learn.
    - ``subset_accuracy``: share of rows whose set of labels is exactly right.
    - ``roc_auc``: plain mean over the labels that some rows have and others lack; left out where there is none.

    A quotient without denominator counts as 0. Arguments and errors are those of `single_label`, with a collection
    of labels for each row.
    """
    from sklearn import metrics

    is_gold, is_predicted = label_matrix(gold, labels), label_matrix(predicted, labels)
    if not len(is_gold):
        return {}
    present = np.flatnonzero((is_gold | is_predicted).any(axis=0))
    scores = dict.fromkeys(("f1_micro", "f1_macro", "f1_samples"), 0.0)
    if len(present):
        # A column of nothing keeps a task of one label multi-label in scikit-learn's eyes.
        true, said = (np.pad(matrix.astype(np.int8), ((0, 0), (0, 1))) for matrix in (is_gold, is_predicted))
        for average in ("micro", "macro", "samples"):
            value = metrics.f1_score(true, said, labels=present, average=average, zero_division=0)
            scores[f"f1_{average}"] = float(value)
    scores["subset_accuracy"] = float((is_gold == is_predicted).all(axis=1).mean())
    if probabilities is not None:
        scores |= _roc_auc(is_gold, np.asarray(probabilities))
    return scores


def details_single_label(
    gold: Sequence[str], predicted: Sequence[str], probabilities: NDArray[np.floating] | None, labels: Sequence[str]
) -> dict[str, Any]:
    """Return the tables of the report as plain JSON.

    ``per_class`` has every label of the task in its order. ``confusion`` counts rows: gold down, predicted across.
    ``reliability`` compares the probability of the predicted label with how often it is right; left out without
    probabilities.
    """
    from sklearn import metrics

    gold_ids, predicted_ids = label_ids(gold, labels), label_ids(predicted, labels)
    if not len(gold_ids):
        return {}
    every = np.arange(len(labels))
    table = metrics.precision_recall_fscore_support(gold_ids, predicted_ids, labels=every, zero_division=0)
    counts = metrics.confusion_matrix(gold_ids, predicted_ids, labels=every)
    details = {
        "per_class": _per_class(table, labels),
        "confusion": {"labels": list(labels), "counts": counts.tolist()},
    }
    if probabilities is not None:
        confidence = np.asarray(probabilities)[np.arange(len(gold_ids)), predicted_ids]
        details["reliability"] = reliability(confidence, gold_ids == predicted_ids)
    return details


def details_multi_label(
    gold: Sequence[Collection[str]],
    predicted: Sequence[Collection[str]],
    probabilities: NDArray[np.floating] | None,
    labels: Sequence[str],
) -> dict[str, Any]:
    """Return the tables of the report as plain JSON.

    Several labels for a row have no confusion matrix; ``per_class`` adds each label's decisions instead:
    ``true_positives``, ``false_positives``, ``false_negatives``. ``reliability`` takes every (row, label) decision
    and compares the probability of the label with how often the row has it.
    """
    is_gold, is_predicted = label_matrix(gold, labels), label_matrix(predicted, labels)
    if not len(is_gold):
        return {}
    hits = is_gold & is_predicted
    table = _precision_recall_f1(hits.sum(axis=0), is_predicted.sum(axis=0), is_gold.sum(axis=0))
    per_class = _per_class(table, labels)
    for entry, true, false, missed in zip(
        per_class,
        hits.sum(axis=0),
        (is_predicted & ~is_gold).sum(axis=0),
        (is_gold & ~is_predicted).sum(axis=0),
        strict=True,
    ):
        entry |= {"true_positives": int(true), "false_positives": int(false), "false_negatives": int(missed)}
    details: dict[str, Any] = {"per_class": per_class}
    if probabilities is not None:
        details["reliability"] = reliability(np.asarray(probabilities).ravel(), is_gold.ravel())
    return details


def reliability(confidence: NDArray[np.floating], is_right: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the reliability diagram and the expected calibration error (Guo et al. 2017, section 2).

    Bins are ``low < confidence <= high``, ten of equal width; an empty one has ``confidence`` and ``accuracy`` None.
    ``ece`` is the mean distance of the two, weighted with the decisions of each bin.
    """
    edges = np.linspace(0.0, 1.0, NUM_BINS + 1)
    confidence = np.asarray(confidence, dtype=np.float64)
    # Probabilities in float32 may add up to a little over 1.
    number = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, NUM_BINS - 1)
    bins: list[dict[str, Any]] = []
    error = 0.0
    for index, (low, high) in enumerate(pairwise(edges)):
        chosen = number == index
        count = int(chosen.sum())
        entry = {"low": round(float(low), 6), "high": round(float(high), 6), "confidence": None, "accuracy": None}
        if count:
            said, true = float(confidence[chosen].mean()), float(is_right[chosen].mean())
            entry |= {"confidence": said, "accuracy": true}
            error += abs(said - true) * count / len(confidence)
        bins.append(entry | {"count": count})
    return {"bins": bins, "ece": error}


def label_ids(names: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    """Return the place of each name in ``labels``.

    Raises:
        DataError: a name is not among them.
    """
    places = {label: index for index, label in enumerate(labels)}
    try:
        return np.fromiter((places[name] for name in names), dtype=np.int64, count=len(names))
    except KeyError:
        row, name = next((row, name) for row, name in enumerate(names) if name not in places)
        raise _unknown(name, row, labels) from None


def label_matrix(names: Sequence[Collection[str]], labels: Sequence[str]) -> NDArray[np.bool_]:
    """Return (rows, labels), true where the row has the label.

    Raises:
        DataError: a name is not among the labels.
    """
    places = {label: index for index, label in enumerate(labels)}
    matrix = np.zeros((len(names), len(labels)), dtype=np.bool_)
    for row, held in enumerate(names):
        for name in held:
            if name not in places:
                raise _unknown(name, row, labels)
            matrix[row, places[name]] = True
    return matrix


def gold_matrix(
    gold_ids: NDArray[np.int64], probabilities: NDArray[np.floating]
) -> tuple[NDArray[np.bool_], NDArray[np.floating]]:
    """Return what ROC-AUC compares: (rows, labels) of truth and of scores, one column only for two labels."""
    probabilities = np.asarray(probabilities)
    is_gold = np.arange(probabilities.shape[1]) == gold_ids[:, None]
    # Of two labels the second is the positive one; the first would give the same number again.
    return (is_gold[:, 1:], probabilities[:, 1:]) if probabilities.shape[1] == 2 else (is_gold, probabilities)


def divide(above: NDArray[Any], below: NDArray[Any]) -> NDArray[np.float64]:
    """Return the quotients, 0 where there is no denominator."""
    quotient = np.zeros(len(above))
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient


def _roc_auc(is_gold: NDArray[np.bool_], scores: NDArray[np.floating]) -> dict[str, float]:
    """Return the mean area over the columns that have both kinds of rows, or nothing."""
    from sklearn import metrics

    both = np.flatnonzero(is_gold.any(axis=0) & ~is_gold.all(axis=0))
    if not len(both):
        return {}
    areas = [metrics.roc_auc_score(is_gold[:, column], scores[:, column]) for column in both]
    return {"roc_auc": float(np.mean(areas))}


def _precision_recall_f1(hits: NDArray[Any], said: NDArray[Any], true: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Return precision, recall, F1 and support of each label from its counts; 0 where there is no denominator."""
    return divide(hits, said), divide(hits, true), divide(2 * hits, said + true), true


def _per_class(table: tuple[NDArray[Any], ...], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return one entry for each label from the columns precision, recall, F1 and support."""
    return [
        {"label": label, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for label, p, r, f, s in zip(labels, *table, strict=True)
    ]


def _unknown(name: str, row: int, labels: Sequence[str]) -> DataError:
    return DataError(
        f"Row {row}, counted from 0: {name!r} is not among the labels of this task ({', '.join(map(repr, labels))})."
        f"{did_you_mean(str(name), labels)} Correct the row, or train with a table that has this label."
    )
