import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headway.metrics.regression import details_regression, regression

GOLD = [1.0, 2.0, 3.0, 4.0]
PREDICTED = [1.0, 3.0, 2.0, 6.0]


def test_by_hand():
    scores = regression(GOLD, PREDICTED)
    # Deviations: gold -1.5 -0.5 0.5 1.5, predicted -2 0 -1 3.
    assert scores["pearson"] == pytest.approx((3 + 0 - 0.5 + 4.5) / np.sqrt(5 * 14))
    # One neighbouring swap of four ranks: 1 - 6 * 2 / (4 * 15).
    assert scores["spearman"] == pytest.approx(0.8)
    assert scores["mse"] == pytest.approx((0 + 1 + 1 + 4) / 4)
    assert scores["mae"] == pytest.approx((0 + 1 + 1 + 2) / 4)
    assert scores["r2"] == pytest.approx(1 - 6 / 5)


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]), ([1e9, 1e9, 1e9 + 1e-6], [1.0, 2.0, 3.0]), ([5.0], [4.0])],
)
def test_constant_gold_scores_nothing(gold, predicted):
    scores = regression(gold, predicted)
    assert (scores["pearson"], scores["spearman"], scores["r2"]) == (0.0, 0.0, 0.0)
    assert scores["mae"] > 0


def test_constant_prediction_correlates_with_nothing():
    scores = regression(GOLD, [2.5] * 4)
    assert (scores["pearson"], scores["spearman"]) == (0.0, 0.0)
    assert scores["r2"] == pytest.approx(0.0)


def test_no_rows():
    assert regression([], []) == {}
    assert details_regression([], []) == {}


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=1, max_size=30))
@example([(0.0, 0.0), (8e-162, 1.0)])
def test_finite_and_independent_of_order(pairs):
    forward = regression([gold for gold, _ in pairs], [said for _, said in pairs])
    assert all(np.isfinite(value) for value in forward.values())
    backward = regression([gold for gold, _ in reversed(pairs)], [said for _, said in reversed(pairs)])
    assert backward == pytest.approx(forward, rel=1e-6, abs=1e-6)


def test_details_keep_all_of_few_points_and_a_thousand_of_many():
    details = details_regression(GOLD, PREDICTED)
    assert details["scatter"] == [[1.0, 1.0], [2.0, 3.0], [3.0, 2.0], [4.0, 6.0]]
    assert details["residual_quantiles"]["0"] == -1.0
    assert details["residual_quantiles"]["50"] == 0.5
    assert details["residual_quantiles"]["100"] == 2.0
    many = details_regression(np.arange(5000.0), np.arange(5000.0))["scatter"]
    assert len(many) == 1000
    assert (many[0], many[-1]) == ([0.0, 0.0], [4999.0, 4999.0])
    assert {5.0} <= set(np.diff([gold for gold, _ in many])) <= {5.0, 6.0}
