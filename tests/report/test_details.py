from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headway.report.details import MATRIX_LIMIT, build_confusion, find_mistakes


def one(row: int, gold: Any, value: Any, score: float | None, **probabilities: float) -> dict[str, Any]:
    return {
        "row": row,
        "where": f"a.csv, line {row + 2}",
        "input": {"text": f"text {row}"},
        "gold": gold,
        "value": value,
        "score": score,
        "detail": {"probabilities": probabilities},
    }


def test_surest_mistakes_come_first() -> None:
    found = find_mistakes(
        [
            one(0, "a", "b", 0.6, a=0.4, b=0.6),
            one(1, "a", "a", 0.99, a=0.99, b=0.01),
            one(2, "b", "a", 0.9, a=0.9, b=0.1),
            one(3, "b", "a", 0.7, a=0.7, b=0.3),
            one(4, None, "a", 1.0, a=1.0),
        ],
        limit=2,
    )
    assert found is not None
    assert (found.kind, found.num_wrong, found.num_rows) == ("label", 3, 4)
    assert [mistake.row for mistake in found.shown] == [2, 3]
    assert found.shown[0].gold_probability == 0.1
    assert found.shown[0].where == "a.csv, line 4"
    assert found.shown[0].texts == [("text", "text 2", 0)]


def test_ties_keep_the_order_of_the_rows() -> None:
    found = find_mistakes([one(row, "a", "b", 0.8) for row in range(30)], limit=3)
    assert found is not None
    assert [mistake.row for mistake in found.shown] == [0, 1, 2]


def test_gold_of_another_type_is_the_same_label() -> None:
    found = find_mistakes([one(0, 1, "1", 0.8), one(1, ["x"], "x", 0.8), one(2, True, "True", 0.9)])
    assert found is not None
    assert found.num_wrong == 0


def test_wrong_decision_on_any_label_counts() -> None:
    found = find_mistakes(
        [
            one(0, ["a"], ["a"], None, a=0.9, b=0.1),
            one(1, ["a", "b"], ["a"], None, a=0.9, b=0.02),
            one(2, [], ["b"], None, a=0.1, b=0.7),
            one(3, "a", [], None, a=0.4, b=0.1),
        ]
    )
    assert found is not None
    assert found.kind == "labels"
    assert [(mistake.row, round(mistake.weight, 2)) for mistake in found.shown] == [(1, 0.98), (2, 0.7), (3, 0.6)]
    assert found.shown[1].gold == []
    assert found.shown[2].gold == ["a"]


def test_numbers_are_ordered_by_their_distance() -> None:
    found = find_mistakes([one(0, "2.5", 2.0, None), one(1, 4.0, 1.0, None), one(2, 1, 1.0, None)])
    assert found is not None
    assert found.kind == "number"
    assert [(mistake.row, mistake.weight, mistake.predicted) for mistake in found.shown] == [
        (1, 3.0, ["1.000"]),
        (0, 0.5, ["2.000"]),
    ]


def test_split_without_gold_has_no_mistakes() -> None:
    assert find_mistakes([one(0, None, "a", 0.5)]) is None
    assert find_mistakes([]) is None


def test_only_what_is_shown_is_held() -> None:
    alive = 0

    class Counted(dict[str, Any]):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    most = 0

    def stream() -> Iterator[dict[str, Any]]:
        nonlocal alive, most
        for row in range(1000):
            alive += 1
            most = max(most, alive)
            yield Counted(one(row, "a", "b", row / 1000))

    found = find_mistakes(stream(), limit=20)
    assert found is not None
    assert found.num_wrong == 1000
    assert most < 30


def test_confusion_is_a_matrix_of_shares_and_pairs() -> None:
    found = build_confusion({"confusion": {"labels": ["a", "b", "c"], "counts": [[8, 2, 0], [0, 5, 5], [0, 0, 0]]}})
    assert found is not None
    assert found.has_matrix
    assert found.matrix[0][1].share == 0.2
    assert found.matrix[2][2].share == 0.0
    assert found.matrix[1][1].is_correct
    assert [(pair.gold, pair.predicted, pair.count) for pair in found.pairs] == [("b", "c", 5), ("a", "b", 2)]


def test_more_labels_than_a_matrix_can_show() -> None:
    size = MATRIX_LIMIT + 1
    counts = [[1] * size for _ in range(size)]
    found = build_confusion({"confusion": {"labels": [str(i) for i in range(size)], "counts": counts}})
    assert found is not None
    assert not found.has_matrix
    assert len(found.pairs) == 20
    assert found.num_pairs == size * (size - 1)


def test_task_without_confusion() -> None:
    assert build_confusion({}) is None
