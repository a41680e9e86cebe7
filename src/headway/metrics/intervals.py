"""How far a score can be trusted: bootstrap intervals over the rows of a split, and the spread over seeds.

Stands after the metrics: `headway.evaluate` hands it a function that scores any choice of rows. The functions at the
end make such a function fast, so that 1,000 resamples of 10,000 rows take seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headway.metrics.classification import divide, gold_matrix, label_ids, label_matrix

Rows = NDArray[np.int64]
Evaluate = Callable[[Rows], dict[str, float]]
"""From the numbers of the chosen rows (some of them more than once) to every metric."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A score with the range in which it plausibly lies."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return the three numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


def bootstrap(
    evaluate: Evaluate, n: int, *, num_resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Return every metric of ``n`` rows with its percentile interval.

    Rows are drawn with replacement and scored anew; the interval holds the middle ``confidence`` of those scores
    (Efron and Tibshirani 1993, chapter 13). It says what another sample of rows would change, not another training
    run. The value is that of the rows themselves; for metrics that resampling lowers on average (macro F1 of rare
    labels) it may lie near the upper end or beyond. A metric undefined in a resample skips that resample.

    Args:
        evaluate: scores the rows with the given numbers; must not depend on their order.
        n: number of rows.
        num_resamples: how many times rows are drawn.
        confidence: share of the resampled scores within the interval.
        seed: fixes the rows drawn.
    """
    if n < 1:
        return {}
    point = evaluate(np.arange(n))
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in point}
    for _ in range(num_resamples):
        scores = evaluate(generator.integers(0, n, size=n))
        for name, values in drawn.items():
            if name in scores:
                values.append(scores[name])
    outside = (1 - confidence) / 2
    intervals = {}
    for name, value in point.items():
        low, high = np.quantile(drawn[name] or [value], [outside, 1 - outside])
        intervals[name] = Interval(value=value, low=float(low), high=float(high))
    return intervals


def across_seeds(values: Sequence[float], *, confidence: float = 0.95) -> dict[str, float]:
    """Return mean, sample deviation and Student's t interval of the mean of one metric over training runs.

    The deviation divides by n - 1. The interval is mean ± t(n - 1) · deviation / √n (Student 1908), so with two or
    three seeds it is wide, as it should be. With a single run the deviation is 0 and the interval empty.

    Raises:
        ValueError: there are no values.
    """
    from scipy import stats

    if not values:
        raise ValueError("across_seeds needs at least one value, found none.")
    mean, n = float(np.mean(values)), len(values)
    deviation = float(np.std(values, ddof=1)) if n > 1 else 0.0
    reach = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * deviation / n**0.5 if n > 1 else 0.0
    return {"value": mean, "deviation": deviation, "low": mean - reach, "high": mean + reach}


def single_label_evaluate(
    gold: Sequence[str], predicted: Sequence[str], probabilities: NDArray[np.floating] | None, labels: Sequence[str]
) -> Evaluate:
    """Return a function that gives what `headway.metrics.classification.single_label` gives for the chosen rows.

    All but ROC-AUC follow from the confusion matrix, which is counted in one pass.
    """
    gold_ids, predicted_ids = label_ids(gold, labels), label_ids(predicted, labels)
    size = len(labels)
    cells = gold_ids * size + predicted_ids
    area = None if probabilities is None or not len(cells) else _area_by_weights(*gold_matrix(gold_ids, probabilities))

    def evaluate(rows: Rows) -> dict[str, float]:
        if not len(rows):
            return {}
        counts = np.bincount(cells[rows], minlength=size * size).reshape(size, size)
        scores = _from_confusion(counts)
        if area is not None:
            scores |= area(np.bincount(rows, minlength=len(cells)))
        return scores

    return evaluate


def multi_label_evaluate(
    gold: Sequence[Collection[str]],
    predicted: Sequence[Collection[str]],
    probabilities: NDArray[np.floating] | None,
    labels: Sequence[str],
) -> Evaluate:
    """Return a function that gives what `headway.metrics.classification.multi_label` gives for the chosen rows."""
    is_gold, is_predicted = label_matrix(gold, labels), label_matrix(predicted, labels)
    exact = (is_gold == is_predicted).all(axis=1).astype(np.float64)
    by_row = divide(2 * (is_gold & is_predicted).sum(axis=1), is_predicted.sum(axis=1) + is_gold.sum(axis=1))
    hits, said, true = (matrix.astype(np.float64) for matrix in (is_gold & is_predicted, is_predicted, is_gold))
    area = None if probabilities is None or not len(exact) else _area_by_weights(is_gold, np.asarray(probabilities))

    def evaluate(rows: Rows) -> dict[str, float]:
        if not len(rows):
            return {}
        weights = np.bincount(rows, minlength=len(exact))
        hit, say, be = weights @ hits, weights @ said, weights @ true
        present = (say + be) > 0
        scores = {
            "f1_micro": float(2 * hit.sum() / (say + be).sum()) if present.any() else 0.0,
            "f1_macro": float(divide(2 * hit, say + be)[present].mean()) if present.any() else 0.0,
            "f1_samples": float(weights @ by_row / len(rows)),
            "subset_accuracy": float(weights @ exact / len(rows)),
        }
        return scores | area(weights) if area is not None else scores

    return evaluate


def _from_confusion(counts: NDArray[np.int64]) -> dict[str, float]:
    """Return the metrics of a confusion matrix, gold down and predicted across."""
    total, hits, said, true = int(counts.sum()), counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)
    f1, present = divide(2 * hits, said + true), (said + true) > 0
    scores = {
        "accuracy": float(hits.sum() / total),
        "f1_macro": float(f1[present].mean()),
        "f1_weighted": float(f1 @ true / total),
    }
    # Gorodkin 2004: covariance of truth and prediction over both deviations; Python integers cannot overflow.
    both = int(hits.sum()) * total - int(said @ true)
    spread_said, spread_true = total**2 - int(said @ said), total**2 - int(true @ true)
    scores["mcc"] = both / (spread_said * spread_true) ** 0.5 if spread_said and spread_true else 0.0
    if len(counts) == 2:
        scores |= {
            "f1": float(f1[1]),
            "precision": float(hits[1] / said[1]) if said[1] else 0.0,
            "recall": float(hits[1] / true[1]) if true[1] else 0.0,
        }
    return scores


def _area_by_weights(
    is_gold: NDArray[np.bool_], scores: NDArray[np.floating]
) -> Callable[[NDArray[np.int64]], dict[str, float]]:
    """Return a function from the weight of each row to the mean ROC-AUC over the columns of ``scores``.

    The area is Mann and Whitney's U over positives times negatives, ties counting half (Hanley and McNeil 1982).
    A resample only changes weights, never the order of scores, so each column is sorted once for all resamples.
    """
    order = np.argsort(scores, axis=0).T  # (columns, rows)
    # For each positive: where rows of the same score begin and end in its column's order.
    columns, rows = np.nonzero(is_gold.T)
    width = len(scores) + 1
    begin, end = np.empty(len(rows), dtype=np.int64), np.empty(len(rows), dtype=np.int64)
    for column in range(scores.shape[1]):
        held = columns == column
        ascending, own = scores[order[column], column], scores[rows[held], column]
        begin[held] = column * width + np.searchsorted(ascending, own, side="left")
        end[held] = column * width + np.searchsorted(ascending, own, side="right")
    below = np.zeros((scores.shape[1], width), dtype=np.int64)

    def evaluate(weights: NDArray[np.int64]) -> dict[str, float]:
        np.cumsum(weights[order], axis=1, out=below[:, 1:])
        flat, held = below.ravel(), weights[rows]
        # Twice the rank sum: rows below count 2, rows of equal score 1, in whole numbers.
        ranks = np.bincount(columns, weights=held * (flat[begin] + flat[end]), minlength=len(below))
        positives = np.bincount(columns, weights=held, minlength=len(below))
        negatives = weights.sum() - positives
        # Positives against positives add up to the square of their number, whatever the order.
        pairs = 2 * positives * negatives
        defined = pairs > 0
        if not defined.any():
            return {}
        return {"roc_auc": float(((ranks - positives**2)[defined] / pairs[defined]).mean())}

    return evaluate
