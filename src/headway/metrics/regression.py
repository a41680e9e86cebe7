"""Scores of predicted numbers: correlation with gold, and distance from it. Called by a task on a whole split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_POINTS = 1000
"""Most points of the scatter diagram that a report carries."""

QUANTILES = (0, 5, 25, 50, 75, 95, 100)


def regression(gold: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """Score one number for each row.

    - ``pearson``, ``spearman``: linear and rank correlation; 0 where either side is constant.
    - ``mse``, ``mae``: mean squared and mean absolute distance; lower is better.
    - ``r2``: share of gold's variance that is explained; 0 where gold is constant, negative below the mean's own.
    """
    # As in `headway.metrics.classification`.
    from scipy import stats
    from sklearn import metrics

    true, said = np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if not len(true):
        return {}
    scores = {"pearson": 0.0, "spearman": 0.0}
    if not _is_constant(true) and not _is_constant(said):
        scores["pearson"] = float(stats.pearsonr(true, said).statistic)
        scores["spearman"] = float(stats.spearmanr(true, said).statistic)
    scores["mse"] = float(metrics.mean_squared_error(true, said))
    scores["mae"] = float(metrics.mean_absolute_error(true, said))
    with np.errstate(over="ignore"):
        # Of gold values that nearly are one, the quotient may be more than a number can hold.
        scores["r2"] = 0.0 if _is_constant(true) else max(float(metrics.r2_score(true, said)), np.finfo(np.float64).min)
    return scores


def details_regression(gold: Sequence[float], predicted: Sequence[float]) -> dict[str, Any]:
    """Return the diagrams of the report as plain JSON.

    ``scatter`` holds ``[gold, predicted]`` of at most 1,000 rows, evenly chosen by row number; ``residual_quantiles``
    those of predicted minus gold over all rows, by percent.
    """
    true, said = np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if not len(true):
        return {}
    rows = np.linspace(0, len(true) - 1, min(NUM_POINTS, len(true))).round().astype(np.int64)
    residuals = np.quantile(said - true, np.array(QUANTILES) / 100)
    return {
        "scatter": np.column_stack([true[rows], said[rows]]).tolist(),
        "residual_quantiles": {str(q): float(value) for q, value in zip(QUANTILES, residuals, strict=True)},
    }


def _is_constant(values: NDArray[np.float64]) -> bool:
    """Whether the values differ by no more than rounding, so that their correlation is noise."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())
