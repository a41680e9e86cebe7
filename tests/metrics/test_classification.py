import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from headway.errors import DataError
from headway.metrics.classification import (
    details_multi_label,
    details_single_label,
    multi_label,
    reliability,
    single_label,
)

LABELS = ["no", "yes"]
# 3 rows of "yes" found, 1 missed, 2 wrongly claimed, 4 of "no" found.
GOLD = ["yes"] * 4 + ["no"] * 6
PREDICTED = ["yes", "yes", "yes", "no", "yes", "yes", "no", "no", "no", "no"]


def test_binary_by_hand():
    scores = single_label(GOLD, PREDICTED, None, LABELS)
    yes, no = 2 * 3 / (4 + 5), 2 * 4 / (6 + 5)
    assert scores == pytest.approx(
        {
            "accuracy": 7 / 10,
            "f1": yes,
            "precision": 3 / 5,
            "recall": 3 / 4,
            "f1_macro": (yes + no) / 2,
            "f1_weighted": 0.4 * yes + 0.6 * no,
            # (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN))
            "mcc": (3 * 4 - 2 * 1) / math.sqrt(5 * 4 * 6 * 5),
        }
    )


def test_positive_class_is_the_second_label():
    turned = single_label(GOLD, PREDICTED, None, ["yes", "no"])
    assert turned["recall"] == pytest.approx(4 / 6)
    assert turned["accuracy"] == pytest.approx(7 / 10)


def test_roc_auc_counts_pairs_in_the_right_order():
    yes = np.array([0.9, 0.4, 0.4, 0.1])
    probabilities = np.column_stack([1 - yes, yes])
    gold = ["yes", "yes", "no", "no"]
    # Of 4 (yes, no) pairs 3 are in order, and one is a tie that counts half.
    assert single_label(gold, ["yes", "no", "no", "no"], probabilities, LABELS)["roc_auc"] == pytest.approx(3.5 / 4)


def test_macro_f1_averages_over_labels_that_occur():
    scores = single_label(["a", "b"], ["a", "b"], None, ["a", "b", "never"])
    assert scores["f1_macro"] == 1.0
    # "c" is never gold but was predicted: it counts, with an F1 of 0.
    assert single_label(["a", "b"], ["a", "c"], None, ["a", "b", "c"])["f1_macro"] == pytest.approx(1 / 3)


def test_undefined_is_left_out_and_never_nan():
    probabilities = np.full((3, 3), 1 / 3)
    scores = single_label(["a"] * 3, ["a"] * 3, probabilities, ["a", "b", "c"])
    assert scores == {"accuracy": 1.0, "f1_macro": 1.0, "f1_weighted": 1.0, "mcc": 0.0}
    assert single_label([], [], None, LABELS) == {}
    assert multi_label([], [], None, LABELS) == {}
    assert details_single_label([], [], None, LABELS) == {}
    assert details_multi_label([], [], None, LABELS) == {}


def test_unknown_label_is_named_with_its_row():
    with pytest.raises(DataError, match=r"Row 1, .*'yess' is not among .*Did you mean 'yes'"):
        single_label(["no", "yess"], ["no", "no"], None, LABELS)
    with pytest.raises(DataError, match=r"Row 0, .*'maybe'"):
        multi_label([["maybe"]], [[]], None, LABELS)


@st.composite
def single(draw):
    size = draw(st.integers(2, 5))
    labels = [f"label {index}" for index in range(size)]
    rows = draw(st.integers(1, 25))
    names = st.lists(st.sampled_from(labels), min_size=rows, max_size=rows)
    # Few values, so that ties occur.
    tenths = draw(st.lists(st.lists(st.integers(0, 9), min_size=size, max_size=size), min_size=rows, max_size=rows))
    return draw(names), draw(names), np.array(tenths) / 10, labels


@settings(max_examples=60, deadline=None)
@given(single())
def test_equals_scikit_learn_on_names(case):
    gold, predicted, probabilities, labels = case
    scores = single_label(gold, predicted, probabilities, labels)
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(gold, predicted))
    # Without labels= scikit-learn averages over those in gold or predicted.
    for average in ("macro", "weighted"):
        expected = metrics.f1_score(gold, predicted, average=average, zero_division=0)
        assert scores[f"f1_{average}"] == pytest.approx(expected)
    assert scores["mcc"] == pytest.approx(
        metrics.matthews_corrcoef(gold, predicted) if len({*gold, *predicted}) > 1 else 0
    )
    if len(labels) == 2 and len(set(gold)) == 2:
        expected = metrics.roc_auc_score([name == labels[1] for name in gold], probabilities[:, 1])
        assert scores["roc_auc"] == pytest.approx(expected)
    elif len(set(gold)) == len(labels):
        sums = probabilities + 1e-9
        normal = sums / sums.sum(axis=1, keepdims=True)
        again = single_label(gold, predicted, normal, labels)
        expected = metrics.roc_auc_score(gold, normal, multi_class="ovr", average="macro", labels=labels)
        assert again["roc_auc"] == pytest.approx(expected)
    elif len(set(gold)) == 1:
        assert "roc_auc" not in scores


@settings(max_examples=30, deadline=None)
@given(single(), st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(case, random):
    gold, predicted, probabilities, labels = case
    order = list(range(len(gold)))
    random.shuffle(order)
    mixed = single_label([gold[i] for i in order], [predicted[i] for i in order], probabilities[order], labels)
    assert mixed == pytest.approx(single_label(gold, predicted, probabilities, labels))


def test_multi_label_by_hand():
    gold = [["a", "b"], ["a"], [], ["c"]]
    predicted = [["a"], ["a", "b"], [], ["a"]]
    scores = multi_label(gold, predicted, None, ["a", "b", "c", "never"])
    # a: 2 hits, 1 false. b: 1 missed, 1 false. c: 1 missed.
    assert scores == pytest.approx(
        {
            "f1_micro": 2 * 2 / (4 + 4),
            "f1_macro": (2 * 2 / (3 + 2) + 0 + 0) / 3,
            "f1_samples": (2 / 3 + 2 / 3 + 0 + 0) / 4,
            "subset_accuracy": 1 / 4,
        }
    )


def test_multi_label_equals_scikit_learn_on_indicators():
    generator = np.random.default_rng(3)
    labels = list("abcde")
    truth, said = generator.random((40, 5)) < 0.3, generator.random((40, 5)) < 0.3
    probabilities = generator.random((40, 5)).round(1)
    names = [[[labels[k] for k in np.flatnonzero(row)] for row in matrix] for matrix in (truth, said)]
    scores = multi_label(*names, probabilities, labels)
    for average in ("micro", "macro", "samples"):
        assert scores[f"f1_{average}"] == pytest.approx(metrics.f1_score(truth, said, average=average, zero_division=0))
    assert scores["subset_accuracy"] == pytest.approx(metrics.accuracy_score(truth, said))
    assert scores["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, probabilities, average="macro"))


def test_multi_label_with_one_label_and_with_no_label_at_all():
    scores = multi_label([["a"], [], ["a"]], [["a"], ["a"], []], np.array([[0.9], [0.8], [0.1]]), ["a"])
    assert scores == pytest.approx(
        {"f1_micro": 0.5, "f1_macro": 0.5, "f1_samples": 1 / 3, "subset_accuracy": 1 / 3, "roc_auc": 0.5}
    )
    assert multi_label([[], []], [[], []], None, ["a", "b"]) == {
        "f1_micro": 0.0,
        "f1_macro": 0.0,
        "f1_samples": 0.0,
        "subset_accuracy": 1.0,
    }


def test_details_have_every_label_in_task_order():
    details = details_single_label(GOLD, PREDICTED, None, [*LABELS, "never"])
    assert details["confusion"] == {"labels": ["no", "yes", "never"], "counts": [[4, 2, 0], [1, 3, 0], [0, 0, 0]]}
    assert details["per_class"][1] == pytest.approx(
        {"label": "yes", "precision": 3 / 5, "recall": 3 / 4, "f1": 2 / 3, "support": 4}
    )
    assert details["per_class"][2] == {"label": "never", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert "reliability" not in details


def test_details_of_several_labels_count_decisions():
    probabilities = np.array([[0.9, 0.2], [0.9, 0.7]])
    details = details_multi_label([["a", "b"], []], [["a"], ["a", "b"]], probabilities, ["a", "b"])
    assert details["per_class"] == [
        {"label": "a", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
        | {"true_positives": 1, "false_positives": 1, "false_negatives": 0},
        {"label": "b", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
        | {"true_positives": 0, "false_positives": 1, "false_negatives": 1},
    ]
    assert "confusion" not in details
    # Four decisions: 0.9 is right once of two, 0.2 is wrong to be so low, 0.7 wrong to be so high.
    assert details["reliability"]["ece"] == pytest.approx((2 * 0.4 + 0.8 + 0.7) / 4)


def test_reliability_by_hand():
    diagram = reliability(np.array([0.05, 0.72, 0.78, 1.0, 0.9]), np.array([True, False, True, True, True]))
    assert [entry["count"] for entry in diagram["bins"]] == [1, 0, 0, 0, 0, 0, 0, 2, 1, 1]
    assert diagram["bins"][7] == pytest.approx(
        {"low": 0.7, "high": 0.8, "confidence": 0.75, "accuracy": 0.5, "count": 2}
    )
    assert diagram["bins"][1]["confidence"] is None
    assert diagram["ece"] == pytest.approx((0.95 + 2 * 0.25 + 0.1 + 0.0) / 5)


def test_reliability_takes_the_probability_of_the_predicted_label():
    probabilities = np.array([[0.25, 0.75], [0.75, 0.25]], dtype=np.float32)
    diagram = details_single_label(["no", "no"], ["yes", "no"], probabilities, LABELS)["reliability"]
    assert diagram["bins"][7] == {"low": 0.7, "high": 0.8, "confidence": 0.75, "accuracy": 0.5, "count": 2}
