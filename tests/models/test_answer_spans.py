from __future__ import annotations

import itertools

import pytest
import torch

from headway.models.answer_spans import best_spans


@pytest.mark.parametrize(("max_answer_length", "n_best"), [(1, 3), (4, 5), (100, 20), (100, 500)])
def test_the_spans_are_the_best_of_all(max_answer_length: int, n_best: int) -> None:
    generator = torch.Generator().manual_seed(0)
    start, end = (torch.randn(3, 12, generator=generator) for _ in range(2))
    is_context = torch.zeros(3, 12, dtype=torch.bool)
    is_context[0, 4:11] = is_context[1, 5:6] = True  # and none in the last row
    scores, firsts, lasts = best_spans(start, end, is_context, max_answer_length=max_answer_length, n_best=n_best)
    for row in range(3):
        places = [place for place in range(12) if is_context[row, place]]
        pairs = [
            (float(start[row, i] + end[row, j]), i, j)
            for i, j in itertools.product(places, places)
            if i <= j < i + max_answer_length
        ]
        expected = sorted(pairs, reverse=True)[:n_best]
        found = list(zip(scores[row].tolist(), firsts[row].tolist(), lasts[row].tolist(), strict=True))
        assert found[: len(expected)] == expected
        assert all(score == -float("inf") for score, _, _ in found[len(expected) :])
