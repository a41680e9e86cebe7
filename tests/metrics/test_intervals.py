import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.metrics.classification import multi_label, single_label
from headway.metrics.intervals import (
    Interval,
    across_seeds,
    bootstrap,
    multi_label_evaluate,
    single_label_evaluate,
)


def test_interval_of_a_mean_matches_theory():
    values = np.random.default_rng(0).normal(5.0, 2.0, size=400)
    interval = bootstrap(lambda rows: {"mean": float(values[rows].mean())}, 400, seed=1)["mean"]
    reach = 1.96 * values.std() / 20
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - reach, abs=0.15 * reach)
    assert interval.high == pytest.approx(values.mean() + reach, abs=0.15 * reach)


def test_same_seed_same_interval():
    def evaluate(rows):
        return {"share": float((rows < 30).mean())}

    first = bootstrap(evaluate, 100, seed=4)
    assert bootstrap(evaluate, 100, seed=4) == first
    assert bootstrap(evaluate, 100, seed=5) != first


def test_wider_confidence_is_wider():
    def evaluate(rows):
        return {"share": float((rows < 30).mean())}

    narrow, wide = (bootstrap(evaluate, 100, confidence=share)["share"] for share in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_metric_undefined_in_a_resample_skips_it():
    def evaluate(rows):
        return {"sometimes": 1.0} if 0 in rows else {}

    assert bootstrap(evaluate, 3, num_resamples=50) == {"sometimes": Interval(1.0, 1.0, 1.0)}


def test_one_row_and_no_rows():
    assert bootstrap(lambda rows: {"accuracy": 1.0}, 1) == {"accuracy": Interval(1.0, 1.0, 1.0)}
    assert bootstrap(lambda rows: {"accuracy": 1.0}, 0) == {}


def test_interval_as_json():
    assert Interval(0.5, 0.4, 0.6).to_json() == {"value": 0.5, "low": 0.4, "high": 0.6}


def test_across_seeds_by_hand():
    spread = across_seeds([1.0, 2.0, 3.0])
    # Student's t with 2 degrees of freedom leaves 2.5 % above 4.303.
    reach = 4.3027 * 1.0 / np.sqrt(3)
    assert spread == pytest.approx({"value": 2.0, "deviation": 1.0, "low": 2 - reach, "high": 2 + reach}, abs=1e-4)


def test_across_one_seed_has_no_spread():
    assert across_seeds([0.8]) == {"value": 0.8, "deviation": 0.0, "low": 0.8, "high": 0.8}
    with pytest.raises(ValueError, match="at least one"):
        across_seeds([])


@st.composite
def split(draw):
    size, rows = draw(st.integers(2, 5)), draw(st.integers(1, 20))
    labels = [f"label {index}" for index in range(size)]
    tenths = st.lists(st.lists(st.integers(0, 9), min_size=size, max_size=size), min_size=rows, max_size=rows)
    chosen = draw(st.lists(st.integers(0, rows - 1), min_size=rows, max_size=rows))
    return labels, rows, np.array(draw(tenths)) / 10, np.array(chosen)


@settings(max_examples=80, deadline=None)
@given(split(), st.data())
def test_fast_single_label_equals_the_metrics_themselves(case, data):
    labels, n, probabilities, rows = case
    names = st.lists(st.sampled_from(labels), min_size=n, max_size=n)
    gold, predicted = data.draw(names), data.draw(names)
    evaluate = single_label_evaluate(gold, predicted, probabilities, labels)
    point = bootstrap(evaluate, n, num_resamples=3)
    direct = single_label(gold, predicted, probabilities, labels)
    assert {name: interval.value for name, interval in point.items()} == pytest.approx(direct, abs=1e-12)
    drawn = single_label([gold[i] for i in rows], [predicted[i] for i in rows], probabilities[rows], labels)
    assert evaluate(rows) == pytest.approx(drawn, abs=1e-12)
    assert evaluate(rows[::-1]) == evaluate(rows)


@settings(max_examples=80, deadline=None)
@given(split(), st.data())
def test_fast_multi_label_equals_the_metrics_themselves(case, data):
    labels, n, probabilities, rows = case
    names = st.lists(st.lists(st.sampled_from(labels), unique=True), min_size=n, max_size=n)
    gold, predicted = data.draw(names), data.draw(names)
    evaluate = multi_label_evaluate(gold, predicted, probabilities, labels)
    point = bootstrap(evaluate, n, num_resamples=3)
    direct = multi_label(gold, predicted, probabilities, labels)
    assert {name: interval.value for name, interval in point.items()} == pytest.approx(direct, abs=1e-12)
    drawn = multi_label([gold[i] for i in rows], [predicted[i] for i in rows], probabilities[rows], labels)
    assert evaluate(rows) == pytest.approx(drawn, abs=1e-12)


def test_fast_paths_without_probabilities_and_without_rows():
    evaluate = single_label_evaluate(["a", "b"], ["a", "a"], None, ["a", "b"])
    assert "roc_auc" not in evaluate(np.arange(2))
    assert evaluate(np.arange(0)) == {}
    assert multi_label_evaluate([["a"]], [[]], None, ["a", "b"])(np.arange(0)) == {}
    assert single_label_evaluate([], [], np.zeros((0, 2)), ["a", "b"])(np.arange(0)) == {}
