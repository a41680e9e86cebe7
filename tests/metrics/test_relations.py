from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from headway.errors import DataError
from headway.metrics.relations import per_relation, relation_of, relations_of, scorer

LABELS = ("A(e1,e2)", "A(e2,e1)", "B(e1,e2)", "B(e2,e1)", "Other")
GOLD = ["A(e1,e2)", "A(e1,e2)", "A(e2,e1)", "B(e1,e2)", "B(e2,e1)", "Other", "Other", "A(e1,e2)"]
SAID = ["A(e1,e2)", "A(e2,e1)", "A(e2,e1)", "B(e1,e2)", "Other", "B(e1,e2)", "Other", "B(e1,e2)"]


def scores(gold: list[str], said: list[str], labels: tuple[str, ...] = LABELS, negative: str | None = "Other") -> dict:
    return scorer(gold, said, labels=labels, negative_label=negative)(np.arange(len(gold)))


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Cause-Effect(e1,e2)", ("Cause-Effect", True)),
        ("Cause-Effect(e2,e1)", ("Cause-Effect", False)),
        ("Other", ("Other", None)),
        ("per:title", ("per:title", None)),
        ("A(e1,e1)", ("A(e1,e1)", None)),
        ("(e1,e2)", ("(e1,e2)", None)),
    ],
)
def test_a_label_and_its_direction(label: str, expected: tuple[str, bool | None]) -> None:
    assert relation_of(label) == expected


def test_the_official_rule_by_hand() -> None:
    """Of A, 4 are true and 3 said, 2 rightly (one is turned round); of B, 2 are true and 3 said, 1 rightly."""
    f1_a = 2 * 2 / (4 + 3)
    f1_b = 2 * 1 / (2 + 3)
    assert scores(GOLD, SAID) == pytest.approx({
        "f1_macro_official": (f1_a + f1_b) / 2,
        "f1_micro": 2 * 3 / (6 + 6),
        "precision_micro": 3 / 6,
        "recall_micro": 3 / 6,
        "accuracy": 4 / 8,
    })  # fmt: skip
    a, b = per_relation(GOLD, SAID, labels=LABELS, negative_label="Other")
    assert a == pytest.approx(
        {"relation": "A", "precision": 2 / 3, "recall": 0.5, "f1": f1_a, "support": 4, "wrong_direction": 1}
    )
    assert (b["precision"], b["recall"], b["f1"], b["wrong_direction"]) == pytest.approx((1 / 3, 0.5, f1_b, 0))


def test_right_answers_only_and_wrong_directions_only() -> None:
    assert set(scores(GOLD, GOLD).values()) == {1.0}
    turned = {"A(e1,e2)": "A(e2,e1)", "A(e2,e1)": "A(e1,e2)", "B(e1,e2)": "B(e2,e1)", "B(e2,e1)": "B(e1,e2)"}
    found = scores(GOLD, [turned.get(label, label) for label in GOLD])
    assert (found["f1_macro_official"], found["f1_micro"], found["accuracy"]) == (0.0, 0.0, 2 / 8)


def test_labels_without_direction_give_what_scikit_learn_gives() -> None:
    labels = ("no_relation", "a", "b", "c")
    rng = np.random.default_rng(0)
    gold, said = ([labels[n] for n in rng.integers(0, 4, 200)] for _ in range(2))
    found = scores(gold, said, labels, "no_relation")
    assert found["f1_macro_official"] == pytest.approx(metrics.f1_score(gold, said, labels=labels[1:], average="macro"))
    assert found["f1_micro"] == pytest.approx(metrics.f1_score(gold, said, labels=labels[1:], average="micro"))
    assert found["precision_micro"] == pytest.approx(
        metrics.precision_score(gold, said, labels=labels[1:], average="micro")
    )


def test_without_a_negative_label_every_label_counts() -> None:
    found = scores(["a", "b", "b"], ["a", "b", "a"], ("a", "b"), None)
    assert found["f1_macro_official"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert found["f1_micro"] == found["accuracy"] == pytest.approx(2 / 3)


def test_nothing_but_the_negative_label_scores_nothing() -> None:
    found = scores(["Other"] * 3, ["Other"] * 3)
    assert (found["f1_macro_official"], found["f1_micro"], found["accuracy"]) == (0.0, 0.0, 1.0)
    assert scorer([], [], labels=LABELS, negative_label="Other")(np.arange(0)) == {}


def test_relations_keep_their_order_and_unknown_labels_are_named() -> None:
    assert relations_of(LABELS, "Other") == ["A", "B"]
    with pytest.raises(DataError, match="'C' is not among the labels"):
        scores(["C"], ["Other"])
