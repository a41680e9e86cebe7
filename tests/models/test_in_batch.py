"""That the loss is that of sentence-transformers, and what is masked, is tested with the task that learns by it."""

from __future__ import annotations

import torch

from headway.models.in_batch import also_right, in_batch_scores


def ids(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.int64)


def test_positives_come_before_the_negatives_of_all_rows() -> None:
    vectors = torch.eye(5)  # row 0: query, positive, negative; row 1: query, positive
    vectors[3] = vectors[2]  # the second query is the first row's negative
    scores = in_batch_scores(
        vectors, [3, 2], scale=2.0, query=ids(1, 4), positive=ids(2, 5), group=ids(0, 0), negatives=ids(3)
    )
    assert scores.tolist() == [[0, 0, 0], [0, 0, 2]]


def test_scores_are_not_rounded_to_bfloat16() -> None:
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(8, 16), dim=-1)
    given = {"query": ids(1, 2, 3, 4), "positive": ids(5, 6, 7, 8), "group": ids(0, 0, 0, 0), "negatives": ids()}
    plain = in_batch_scores(vectors, [2] * 4, scale=20.0, **given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = in_batch_scores(vectors, [2] * 4, scale=20.0, **given)
    torch.testing.assert_close(again, plain, rtol=0, atol=1e-5)


def test_groups_excuse_each_other_and_0_is_no_group() -> None:
    excused = also_right(query=ids(1, 2, 3, 4), positive=ids(5, 6, 7, 8), group=ids(9, 9, 0, 0), negatives=ids(6, 1))
    assert excused.int().tolist() == [[0, 1, 0, 0, 1, 1], [1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
