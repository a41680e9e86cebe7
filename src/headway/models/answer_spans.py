"""The best spans of a text by the scores of their first and last token. Used by question answering."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def best_spans(
    start_logits: Tensor, end_logits: Tensor, is_context: Tensor, *, max_answer_length: int, n_best: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ``n_best`` spans of each row with the highest sum of start and end logit, best first.

    All spans are compared, not only those of the best starts and the best ends.

    Args:
        start_logits: (batch, tokens).
        end_logits: (batch, tokens).
        is_context: (batch, tokens), True where an answer may stand.
        max_answer_length: most tokens of a span.
        n_best: number of spans.

    Returns:
        Three tensors (batch, spans): score, first and last token. Where a row has fewer spans, the score is -inf.
    """
    tokens = start_logits.shape[1]
    width = min(max_answer_length, tokens)
    starts = start_logits.masked_fill(~is_context, -torch.inf)
    ends = functional.pad(end_logits.masked_fill(~is_context, -torch.inf), (0, width - 1), value=-torch.inf)
    # scores[b, i, d] is that of the span from token i to token i + d.
    scores = starts[:, :, None] + ends.unfold(1, width, 1)  # (batch, tokens, width)
    best = scores.flatten(1).topk(min(n_best, tokens * width))
    first = best.indices // width
    return best.values, first, first + best.indices % width
