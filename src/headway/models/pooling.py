"""Pooling: the vectors of a text's tokens become one vector. Padding is never seen."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def pool(hidden: Tensor, mask: Tensor | None, *, how: str) -> Tensor:
    """Return one vector a row, (batch, hidden), from the vectors of its tokens, (batch, tokens, hidden).

    Args:
        hidden: the backbone's last hidden state.
        mask: 1 where there is a token and 0 where there is padding, (batch, tokens); None if nothing is padded.
        how: ``cls`` (the first token), ``mean`` or ``max`` (over the tokens that are not padding).
    """
    return _POOLING[how](hidden, _ones(hidden) if mask is None else mask)


class Pooling(nn.Module):
    """`pool`, or ``attention``: a mean in which a small network weighs each token by its vector.

    The network is that of Yang et al. 2016, "Hierarchical attention networks for document classification", over the
    tokens of a text. It begins as the plain mean.
    """

    def __init__(self, how: str, *, hidden_size: int) -> None:
        super().__init__()
        self.how = how
        self.attention = attention_scorer(hidden_size) if how == "attention" else None

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Return one vector a row, (batch, hidden), from ``hidden`` (batch, tokens, hidden)."""
        if self.attention is None:
            return pool(hidden, mask, how=self.how)
        mask = _ones(hidden) if mask is None else mask
        scores: Tensor = self.attention(hidden)[..., 0].float().masked_fill(mask == 0, -torch.inf)  # (batch, tokens)
        pooled = (scores.softmax(-1)[..., None] * hidden).sum(1)
        return pooled.to(hidden.dtype)


def attention_scorer(hidden_size: int) -> nn.Sequential:
    """Return a network from vectors (..., hidden) to scores (..., 1), equal for all until it is trained."""
    scorer = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.Tanh(), nn.Linear(hidden_size, 1, bias=False))
    for parameter in scorer[-1].parameters():
        nn.init.zeros_(parameter)
    return scorer


def pool_cls(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the vector of the first token."""
    return hidden[:, 0]


def pool_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the tokens that are not padding, summed in float32."""
    weights = mask[..., None].float()  # (batch, tokens, 1)
    return ((hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1)).to(hidden.dtype)


def pool_max(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the maximum in each dimension over the tokens that are not padding."""
    return hidden.masked_fill(mask[..., None] == 0, torch.finfo(hidden.dtype).min).amax(1)


_POOLING = {"cls": pool_cls, "mean": pool_mean, "max": pool_max}


def _ones(hidden: Tensor) -> Tensor:
    return torch.ones(hidden.shape[:2], device=hidden.device)
