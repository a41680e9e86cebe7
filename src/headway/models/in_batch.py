"""In-batch negatives: the answers of the other rows of a batch are the wrong answers to learn from.

Henderson et al. 2017, Efficient Natural Language Response Suggestion for Smart Reply, arXiv:1705.00652; called
multiple negatives ranking in sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def in_batch_scores(
    vectors: Tensor, sizes: Sequence[int], *, scale: float, query: Tensor, positive: Tensor, group: Tensor,
    negatives: Tensor,
) -> Tensor:  # fmt: skip
    """Return the scores of each query against all answers of the batch, (batch, answers); column i is right for row i.

    Answers are the positives of all rows, then the negatives of all rows. An answer that is not wrong for a row, though
    it is not its own, scores minus infinity.

    Args:
        vectors: of all texts, row by row: query, positive, negatives; (texts, hidden), each of length 1.
        sizes: number of texts of each row.
        scale: what cosines are multiplied by.
        query: identity of the query's text, (batch,).
        positive: identity of the positive's text, (batch,).
        group: identity of the group, (batch,); 0 for none.
        negatives: identities of the negatives of all rows, (negatives,).
    """
    counts = torch.tensor(sizes, device=vectors.device)
    firsts = counts.cumsum(0) - counts  # (batch,): where the texts of each row begin
    is_negative = torch.ones(len(vectors), dtype=torch.bool, device=vectors.device)
    is_negative[firsts] = is_negative[firsts + 1] = False
    answers = torch.cat([vectors[firsts + 1], vectors[is_negative]])  # (answers, hidden)
    # The cosines of near texts differ by less than bfloat16 can say.
    with torch.autocast(vectors.device.type, enabled=False):
        scores = scale * vectors[firsts].float() @ answers.float().T  # (batch, answers)
        return scores.masked_fill(
            also_right(query=query, positive=positive, group=group, negatives=negatives), -torch.inf
        )


def also_right(*, query: Tensor, positive: Tensor, group: Tensor, negatives: Tensor) -> Tensor:
    """Return which answers, (batch, answers), must not count as wrong for a row, its own aside.

    They are a positive of the same query or group, wherever its text stands, and the text of the query itself. For the
    arguments see `in_batch_scores`.
    """
    answers = torch.cat([positive, negatives])
    is_of = (answers[None] == positive[:, None]).float()  # (batch, answers)
    is_like = (query[:, None] == query[None]) | ((group[:, None] == group[None]) & (group[:, None] != 0))
    excused: Tensor = ((is_like.float() @ is_of) > 0) | (answers[None] == query[:, None])
    excused[:, : len(positive)].fill_diagonal_(False)
    return excused
