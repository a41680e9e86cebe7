from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.metrics.ranking import BLOCK, cosines, count_ranks, from_ranks, normalized, right_answers


def test_metrics_by_hand() -> None:
    assert from_ranks([1, 2, 6, 11]) == {
        "recall_at_1": 0.25,
        "recall_at_5": 0.5,
        "recall_at_10": 0.75,
        "mrr_at_10": pytest.approx((1 + 1 / 2 + 1 / 6) / 4),
    }
    assert from_ranks([]) == {}


def test_ranks_by_hand() -> None:
    scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.4, 0.4, 0.4], [0.9, 0.5, 0.1]])
    right, ignored = [[0], [2], [1, 2], [1], [1]], [[], [], [], [], [0]]
    ranks, best = count_ranks(lambda part: scores[part], right, ignored)
    assert ranks.tolist() == [1, 3, 2, 3, 1]  # a tie stands before the right one; what is ignored does not
    assert best.tolist() == [0, 0, 0, 0, 1]
    assert scores[4, 0] == 0.9


@given(st.integers(1, 2 * BLOCK + 3), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_ranks_equal_a_plain_count_whatever_the_block(num_queries: int, num_candidates: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, size=(num_queries, num_candidates)).astype(float)
    right = [[int(rng.integers(num_candidates))] for _ in range(num_queries)]
    ranks, best = count_ranks(lambda part: scores[part], right, [[]] * num_queries)
    for row in range(num_queries):
        own = right[row][0]
        before = [j for j in range(num_candidates) if j != own and scores[row, j] >= scores[row, own]]
        assert ranks[row] == 1 + len(before)
        assert scores[row, best[row]] == scores[row].max()


def test_right_answers() -> None:
    texts, right, ignored = right_answers(["a", "b", "a", "x"], ["x", "y", "z", "a"], [None, "g", None, "g"])
    assert texts == ["x", "y", "z", "a"]
    assert right == [[0, 2], [1, 3], [0, 2], [3, 1]]
    assert ignored == [[3], [], [3], [0]]


def test_a_query_that_is_its_own_answer_takes_part() -> None:
    assert right_answers(["a"], ["a"], [None]) == (["a"], [[0]], [[]])


def test_cosines_and_lengths() -> None:
    left, right = np.array([[3.0, 0.0], [1.0, 1.0], [0.0, 0.0]]), np.array([[2.0, 0.0], [1.0, -1.0], [1.0, 1.0]])
    assert cosines(left, right).tolist() == pytest.approx([1, 0, 0])
    assert normalized(left).tolist() == [[1, 0], pytest.approx([0.5**0.5] * 2), [0, 0]]
    assert normalized(left).dtype == np.float32
