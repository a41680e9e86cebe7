from itertools import pairwise

import numpy as np
import pytest

from headway.metrics import baselines
from headway.metrics.baselines import (
    majority,
    majority_multi_label,
    mean,
    tfidf_logistic_regression,
    tfidf_one_vs_rest,
    tfidf_ridge,
    tfidf_vectors,
)

TRAIN = ["a good film", "good and warm", "what a good cast", "a bad film", "bad and cold", "what a bad cast"]
LABELS = ["bad", "good", "never"]
GOLD = ["good"] * 3 + ["bad"] * 3


def test_majority_gives_the_shares_of_train():
    assert majority(["a", "b", "b", "b"], 2, labels=["a", "b", "c"]).tolist() == [[0.25, 0.75, 0.0]] * 2
    assert majority([], 1, labels=["a", "b"]).tolist() == [[0.0, 0.0]]


def test_majority_of_several_labels_is_the_commonest_set():
    train = [["a", "b"], ["b", "a"], ["c"], [], [], []]
    assert majority_multi_label(train, 2, labels=["a", "b", "c"]).tolist() == [[1.0, 1.0, 0.0]] * 2
    assert majority_multi_label([[]], 1, labels=["a", "b"]).tolist() == [[0.0, 0.0]]


def test_mean_of_train():
    assert mean([1.0, 2.0, 6.0], 2).tolist() == [3.0, 3.0]


def test_logistic_regression_learns_words():
    probabilities = tfidf_logistic_regression(TRAIN, GOLD, ["good", "bad", "unheard"], labels=LABELS, seed=0)
    assert probabilities.shape == (3, 3)
    assert probabilities.sum(axis=1) == pytest.approx([1.0] * 3)
    assert probabilities[0, 1] > 0.7
    assert probabilities[1, 0] > 0.7
    assert probabilities[:, 2].tolist() == [0.0] * 3
    again = tfidf_logistic_regression(TRAIN, GOLD, ["good", "bad", "unheard"], labels=LABELS, seed=0)
    assert np.array_equal(again, probabilities)


def test_columns_follow_the_order_of_the_labels():
    turned = tfidf_logistic_regression(TRAIN, GOLD, ["good"], labels=["good", "bad"], seed=0)
    assert turned[0, 0] > 0.7


@pytest.mark.parametrize(
    ("texts", "gold"), [(["", " ", "..."], ["good", "good", "bad"]), (["good", "film", "cast"], ["good"] * 3)]
)
def test_nothing_to_learn_falls_back_to_majority(texts, gold):
    found = tfidf_logistic_regression(texts, gold, ["good", "x"], labels=LABELS, seed=0)
    assert np.array_equal(found, majority(gold, 2, labels=LABELS))


def test_no_rows_to_answer():
    assert tfidf_logistic_regression(TRAIN, GOLD, [], labels=LABELS, seed=0).shape == (0, 3)
    assert tfidf_one_vs_rest(TRAIN, [["good"], []] * 3, [], labels=LABELS, seed=0).shape == (0, 3)
    assert tfidf_ridge(TRAIN, [1.0] * 6, [], seed=0).shape == (0,)


def test_one_vs_rest_answers_each_label_for_itself():
    gold = [["good", "all"]] * 3 + [["bad", "all"]] * 3
    found = tfidf_one_vs_rest(TRAIN, gold, ["good bad", "good"], labels=["good", "bad", "all", "never"], seed=0)
    assert found[:, 2].tolist() == [1.0, 1.0]
    assert found[:, 3].tolist() == [0.0, 0.0]
    assert found[1, 0] > 0.7 > 0.3 > found[1, 1]


def test_ridge_learns_numbers_and_falls_back_to_the_mean():
    found = tfidf_ridge(TRAIN, [5.0, 5.0, 5.0, 1.0, 1.0, 1.0], ["good", "bad"], seed=0)
    assert found[0] > 4.0 > 2.0 > found[1]
    assert tfidf_ridge(["", "..."], [1.0, 3.0], ["good"], seed=0).tolist() == [2.0]


def test_pairs_are_judged_by_what_they_share():
    words = [f"word{index}" for index in range(40)]
    same = [(f"{a} {b}", f"{b} {a}") for a, b in pairwise(words)]
    other = [(f"{a} {b}", "nothing alike") for a, b in zip(words, words[2:], strict=False)]
    gold = ["yes"] * len(same) + ["no"] * len(other)
    found = tfidf_logistic_regression(
        same + other, gold, [("word3 word9", "word9 word3"), ("word3 word9", "alike")], labels=["no", "yes"], seed=0
    )
    assert found.argmax(axis=1).tolist() == [1, 0]


def test_a_pair_may_lack_its_second_text():
    texts = [("good film", "warm"), "bad film", ("good cast", ""), "bad cast"]
    found = tfidf_logistic_regression(texts, ["yes", "no"] * 2, ["good", "bad"], labels=["no", "yes"], seed=0)
    assert found[0, 1] > 0.5 > found[1, 1]


def test_long_train_is_sampled_by_seed(monkeypatch):
    monkeypatch.setattr(baselines, "MAX_TRAIN_ROWS", 4)
    first = tfidf_logistic_regression(TRAIN, GOLD, ["film"], labels=LABELS, seed=0)
    assert np.array_equal(tfidf_logistic_regression(TRAIN, GOLD, ["film"], labels=LABELS, seed=0), first)
    others = [tfidf_logistic_regression(TRAIN, GOLD, ["film"], labels=LABELS, seed=seed) for seed in range(1, 6)]
    assert any(not np.array_equal(other, first) for other in others)


@pytest.mark.slow
def test_banking77_is_close_to_what_a_linear_model_reaches(shared_data):
    import csv

    rows = {}
    for split in ("train", "test"):
        with (shared_data / "banking77" / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            rows[split] = list(csv.DictReader(file))
    labels = sorted({row["category"] for row in rows["train"]})
    train, test = rows["train"], rows["test"]
    found = tfidf_logistic_regression(
        [row["text"] for row in train],
        [row["category"] for row in train],
        [row["text"] for row in test],
        labels=labels,
        seed=0,
    )
    right = [labels[best] == row["category"] for best, row in zip(found.argmax(axis=1), test, strict=True)]
    assert np.mean(right) > 0.88


def test_products_of_tfidf_vectors_are_cosines():
    left, right = tfidf_vectors(TRAIN, ["a good film", "cold", "unheard"], ["a good film", "warm", "unheard"])
    cosines = (left @ right.T).toarray()
    assert cosines[0, 0] == pytest.approx(1)
    assert cosines[1].tolist() == [0, 0, 0]
    assert cosines[2].tolist() == [0, 0, 0]  # a text without a known word


def test_tfidf_vectors_without_a_word_are_nothing():
    (only,) = tfidf_vectors(["!", ""], ["a", "b"])
    assert only.toarray().tolist() == [[0], [0]]
