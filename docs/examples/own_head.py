"""A head of your own: each label is a direction, and a text gets the label whose direction it lies nearest to."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Cosine(nn.Module):
    """Logits are cosines between the text and one learnt vector for each label, sharpened by ``scale``."""

    def __init__(self, *, hidden_size: int, num_labels: int, scale: float = 10.0) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(num_labels, hidden_size))
        self.scale = scale

    def forward(self, pooled: Tensor) -> Tensor:
        """Return logits (batch, labels) for the pooled texts (batch, hidden)."""
        return self.scale * functional.linear(
            functional.normalize(pooled, dim=-1), functional.normalize(self.directions, dim=-1)
        )
