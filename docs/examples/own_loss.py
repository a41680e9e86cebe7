"""A loss of your own, for labels that are partly wrong."""

from torch import Tensor, nn


class GeneralizedCrossEntropy(nn.Module):
    """``(1 - p^q) / q`` of the gold label's probability p: cross entropy near q = 0, and at q = 1 the plain error.

    A row whose label is wrong keeps a small p and pulls less than it does in cross entropy.
    Source: Zhang and Sabuncu 2018, arXiv:1805.07836.
    """

    def __init__(self, *, q: float = 0.7) -> None:
        super().__init__()
        if not 0 < q <= 1:
            raise ValueError(f"q must lie above 0 and not above 1, found {q}")
        self.q = q

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the rows of ``logits`` (rows, labels) and ``targets`` (rows,)."""
        probabilities = logits.float().softmax(dim=-1).gather(-1, targets[:, None])  # (rows, 1)
        return ((1 - probabilities**self.q) / self.q).mean()
