from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.data.tag_schemes import entities_of
from headway.metrics.spans import (
    Counts,
    count,
    diagnosis,
    evaluate_entities,
    evaluate_tags,
    match,
    per_class,
    strict_scores,
)

TAGS = st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"])


def counted(gold: list[list[str]], said: list[list[str]]) -> Counts:
    words = [(sum(a == b for a, b in zip(*both, strict=True)), len(both[0])) for both in zip(gold, said, strict=True)]
    return count([entities_of(tags) for tags in gold], [entities_of(tags) for tags in said], words, ["X", "Y"])


@settings(deadline=None)
@given(rows=st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=8), min_size=1, max_size=5))
def test_the_sums_are_what_seqeval_says(rows: list[list[tuple[str, str]]]) -> None:
    gold, said = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
    scores = evaluate_entities(counted(gold, said))(np.arange(len(rows)))
    assert scores == pytest.approx(strict_scores(gold, said))


def test_published_example() -> None:
    """The example of seqeval's own page, where strict and default scoring agree: one of two entities is right."""
    gold = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    said = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    scores = strict_scores(gold, said)
    assert (scores["f1"], scores["precision"], scores["recall"]) == (0.5, 0.5, 0.5)
    assert scores["accuracy"] == pytest.approx(0.8)


def test_nothing_to_find_and_nothing_found() -> None:
    assert set(strict_scores([["O", "O"]], [["O", "O"]]).values()) == {0.0, 1.0}
    scores = evaluate_entities(counted([["O", "O"]], [["O", "O"]]))(np.arange(1))
    assert scores == strict_scores([["O", "O"]], [["O", "O"]])


def test_chosen_rows_count_as_often_as_they_are_chosen() -> None:
    gold, said = [["B-X"], ["B-Y"], ["O"]], [["B-X"], ["B-X"], ["B-Y"]]
    chosen = np.array([1, 1, 0])
    expected = strict_scores([gold[n] for n in chosen], [said[n] for n in chosen])
    assert evaluate_entities(counted(gold, said))(chosen) == pytest.approx(expected)


def test_plain_tags_have_accuracy_and_macro_f1() -> None:
    from sklearn.metrics import f1_score

    gold, said = ["NN", "VB", "NN", "DT"], ["NN", "NN", "NN", "DT"]
    sides = [[(tag, n, n + 1) for n, tag in enumerate(side)] for side in (gold, said)]
    scores = evaluate_tags(count([sides[0]], [sides[1]], [(3, 4)], ["DT"]))(np.arange(1))
    assert scores == pytest.approx({"accuracy": 0.75, "f1_macro": f1_score(gold, said, average="macro")})


def test_scores_of_each_type() -> None:
    table = per_class(counted([["B-X", "O", "B-X"]], [["B-X", "B-X", "O"]]))
    assert table == [
        {"label": "X", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
        {"label": "Y", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
    ]


@pytest.mark.parametrize(
    ("gold", "said", "expected"),
    [
        ([("X", 0, 2)], [("X", 0, 2)], ["exactly right"]),
        ([("X", 0, 2)], [("Y", 0, 2)], ["right span, wrong type"]),
        ([("X", 0, 2)], [("X", 1, 3)], ["overlaps, same type"]),
        ([("X", 0, 2)], [("Y", 1, 3)], ["overlaps, other type"]),
        ([("X", 0, 2)], [("X", 2, 3)], ["missed", "spurious"]),
        # One that was predicted serves one in gold only, the one that it fits best.
        ([("Y", 0, 1), ("X", 1, 3)], [("X", 0, 3)], ["overlaps, same type", "missed"]),
        ([("X", 0, 3)], [("X", 0, 1), ("X", 0, 3)], ["exactly right", "spurious"]),
        ([], [], []),
    ],
)
def test_what_became_of_each_entity(
    gold: list[tuple[str, int, int]], said: list[tuple[str, int, int]], expected: list[str]
) -> None:
    assert [outcome for outcome, _, _ in match(gold, said)] == expected


def test_the_tables_of_the_report() -> None:
    words = "Anna met Bo in Oslo".split()  # noqa: SIM905
    gold = [[("PER", 0, 1), ("PER", 2, 3), ("LOC", 4, 5)]] * 2
    said = [[("PER", 0, 1), ("LOC", 2, 3), ("LOC", 3, 5)], [("PER", 0, 1), ("LOC", 2, 3)]]
    first, second = diagnosis(gold, said, lambda _, one: " ".join(words[one[1] : one[2]]))
    assert first["rows"] == [
        ["exactly right", 2, "33.3%"],
        ["right span, wrong type", 2, "33.3%"],
        ["overlaps, same type", 1, "16.7%"],
        ["overlaps, other type", 0, "0.0%"],
        ["missed", 1, "16.7%"],
        ["spurious", 0, ""],
    ]
    assert second["rows"] == [
        ["right span, wrong type", "Bo", "PER", "Bo", "LOC", 2],
        ["missed", "Oslo", "LOC", "", "", 1],
        ["overlaps, same type", "Oslo", "LOC", "in Oslo", "LOC", 1],
    ]
    assert all(len(row) == len(table["columns"]) for table in (first, second) for row in table["rows"])
    (only,) = diagnosis(gold[:1], gold[:1], lambda *_: "")
    assert only["title"] == "What became of the entities"


def test_a_thousand_resamples_take_no_time() -> None:
    rng = np.random.default_rng(0)
    counts = Counts(tuple("abcdefgh"), rng.integers(0, 3, (3000, 3, 8)), rng.integers(0, 9, (3000, 2)))
    evaluate = evaluate_entities(counts)
    begin = time.perf_counter()
    for _ in range(1000):
        evaluate(rng.integers(0, 3000, 3000))
    assert time.perf_counter() - begin < 5
