"""Losses: one scalar from logits and targets. They stand outside the model, so any loss goes with any head.

Each is an ``nn.Module`` whose constructor takes keywords only. Half-precision logits are computed in float32, for
the logarithms of a softmax lose too much in bfloat16. Where classes are weighted, the mean is torch's: the weighted
sum divided by the sum of the weights of the rows in the batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from headway.errors import RecipeError, did_you_mean
from headway.importing import Choice

KNOWN = {
    "cross_entropy": "headway.models.losses.CrossEntropy",
    "focal": "headway.models.losses.Focal",
    "binary_cross_entropy": "headway.models.losses.BinaryCrossEntropy",
    "bce_on_softmax": "headway.models.losses.BinaryCrossEntropyOnSoftmax",
    "mse": "headway.models.losses.MeanSquaredError",
    "l1": "headway.models.losses.MeanAbsoluteError",
    "huber": "headway.models.losses.Huber",
}
"""Short name -> import path of every loss that comes with headway."""

IGNORED = -100
"""The target of a place that has no truth (padding, word pieces), as everywhere in the field."""


def build_loss(
    choice: Choice, *, class_weights: Tensor | None = None, label_smoothing_factor: float = 0.0
) -> nn.Module:
    """Construct the loss that ``optimization.loss`` names.

    The two keywords are handed over only where they are set, so a loss of your own needs neither: an ``nn.Module``
    with ``forward(logits, targets)`` is enough.

    Raises:
        RecipeError: the loss is unknown, does not take an option, or cannot weigh classes or smooth labels.
    """
    for name in ("class_weights", "label_smoothing_factor"):
        if name in choice.options:
            raise RecipeError(f"optimization.loss: {name!r} is not an option of a loss; set optimization.{name}.")
    given: dict[str, Any] = {}
    if class_weights is not None:
        given["class_weights"] = class_weights
    if label_smoothing_factor:
        given["label_smoothing_factor"] = label_smoothing_factor
    return choice.create(nn.Module, known=KNOWN, option="optimization.loss", given=given)


def class_weights(
    weights: Literal["balanced"] | Mapping[str, float], *, labels: Sequence[str], gold: Iterable[str]
) -> list[float]:
    """Return the weight of each label: the given one (1 if none is), or all / (labels x occurrences of the label).

    The balanced weights are those of King and Zeng 2001, Logistic Regression in Rare Events Data.

    Args:
        weights: what ``optimization.class_weights`` says.
        labels: in the order of the model's outputs.
        gold: every label of the training data; read for `balanced` only.

    Raises:
        RecipeError: a weight is given for an unknown label.
    """
    if weights == "balanced":
        counts = Counter(gold)
        return [counts.total() / (len(labels) * max(counts[label], 1)) for label in labels]
    if wrong := sorted(set(weights) - set(labels)):
        raise RecipeError(
            f"optimization.class_weights: there is no label {wrong[0]!r}.{did_you_mean(wrong[0], labels)}"
        )
    return [float(weights.get(label, 1.0)) for label in labels]


class CrossEntropy(nn.Module):
    """Cross entropy of the softmax against one true class; targets are class numbers, -100 is left out."""

    class_weights: Tensor | None

    def __init__(self, *, class_weights: Tensor | None = None, label_smoothing_factor: float = 0.0) -> None:
        super().__init__()
        _check_smoothing(label_smoothing_factor)
        self.register_buffer("class_weights", _as_float(class_weights), persistent=False)
        self.label_smoothing_factor = label_smoothing_factor

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the rows of ``logits`` (rows, classes) and ``targets`` (rows,)."""
        _check_weights(self.class_weights, logits)
        return functional.cross_entropy(
            logits.float(),
            targets,
            weight=self.class_weights,
            ignore_index=IGNORED,
            label_smoothing=self.label_smoothing_factor,
        )


class Focal(nn.Module):
    """Cross entropy that counts a row less, the surer the model already is of it: ``(1 - p)^gamma * -log p``.

    For data where a few hard rows drown among many easy ones. ``gamma=0`` is cross entropy. Source: Lin et al. 2017,
    Focal Loss for Dense Object Detection, arXiv:1708.02002.
    """

    class_weights: Tensor | None

    def __init__(
        self, *, class_weights: Tensor | None = None, label_smoothing_factor: float = 0.0, gamma: float = 2.0
    ) -> None:
        super().__init__()
        _refuse("focal", label_smoothing_factor=label_smoothing_factor)
        if gamma < 0:
            raise RecipeError(f"optimization.loss: the gamma of 'focal' must be 0 or more, found {gamma}.")
        self.register_buffer("class_weights", _as_float(class_weights), persistent=False)
        self.gamma = float(gamma)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the rows of ``logits`` (rows, classes) and ``targets`` (rows,)."""
        _check_weights(self.class_weights, logits)
        has_gold = targets != IGNORED
        gold = targets.masked_fill(~has_gold, 0)  # (rows,)
        log_p = logits.float().log_softmax(dim=-1).gather(-1, gold[..., None])[..., 0]  # (rows,)
        # At p = 1 the power has an endless slope for gamma < 1, and 0 * inf would be NaN; the floor stops it.
        miss = (-torch.expm1(log_p)).clamp(min=1e-12)
        per_row = miss.pow(self.gamma) * -log_p
        weights = has_gold.float() if self.class_weights is None else self.class_weights[gold] * has_gold
        return (per_row * weights).sum() / weights.sum()


class BinaryCrossEntropy(nn.Module):
    """One yes-or-no question for each label (multi-label); targets are 0 or 1, shaped as the logits.

    ``class_weights`` (or the option ``pos_weight``) multiply the loss of a label where it is present, which lifts
    the recall of rare labels. Smoothing moves the targets from 0 and 1 towards one half.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        class_weights: Tensor | None = None,
        label_smoothing_factor: float = 0.0,
        pos_weight: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        _check_smoothing(label_smoothing_factor)
        if class_weights is not None and pos_weight is not None:
            raise RecipeError(
                "optimization.loss: 'binary_cross_entropy' has both class weights and 'pos_weight', which mean the "
                "same for it. Leave one out."
            )
        weights = class_weights if pos_weight is None else torch.tensor([float(weight) for weight in pos_weight])
        self.register_buffer("class_weights", _as_float(weights), persistent=False)
        self.label_smoothing_factor = label_smoothing_factor

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over all entries of ``logits`` and ``targets`` (rows, labels)."""
        _check_weights(self.class_weights, logits)
        factor = self.label_smoothing_factor
        return functional.binary_cross_entropy_with_logits(
            logits.float(), targets.float() * (1 - factor) + factor / 2, pos_weight=self.class_weights
        )


class BinaryCrossEntropyOnSoftmax(nn.Module):
    """Binary cross entropy between the softmax and the one-hot truth, as many BERT tutorials have it.

    For comparison with their numbers; `cross_entropy` is the better default. Targets are class numbers.
    """

    def __init__(self, *, class_weights: Tensor | None = None, label_smoothing_factor: float = 0.0) -> None:
        super().__init__()
        _refuse("bce_on_softmax", class_weights=class_weights, label_smoothing_factor=label_smoothing_factor)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over all entries of ``logits`` (rows, classes), with ``targets`` (rows,)."""
        has_gold = targets != IGNORED
        logits, targets = logits[has_gold].float(), targets[has_gold]
        log_p = logits.log_softmax(dim=-1)  # (rows, classes)
        # The floor keeps log(1 - p) and its gradient finite where a softmax has saturated.
        log_not_p = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny).log()
        one_hot = functional.one_hot(targets, logits.shape[-1]).bool()
        return -torch.where(one_hot, log_p, log_not_p).mean()


class MeanSquaredError(nn.Module):
    """Mean squared difference between one number a row and the truth (regression)."""

    def __init__(self, *, class_weights: Tensor | None = None, label_smoothing_factor: float = 0.0) -> None:
        super().__init__()
        _refuse("mse", class_weights=class_weights, label_smoothing_factor=label_smoothing_factor)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over ``logits`` (rows,) or (rows, 1) and ``targets`` (rows,)."""
        return functional.mse_loss(*_numbers(logits, targets))


class MeanAbsoluteError(nn.Module):
    """Mean absolute difference between one number a row and the truth; outliers weigh less than in `mse`."""

    def __init__(self, *, class_weights: Tensor | None = None, label_smoothing_factor: float = 0.0) -> None:
        super().__init__()
        _refuse("l1", class_weights=class_weights, label_smoothing_factor=label_smoothing_factor)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over ``logits`` (rows,) or (rows, 1) and ``targets`` (rows,)."""
        return functional.l1_loss(*_numbers(logits, targets))


class Huber(nn.Module):
    """Squared for differences below ``delta``, straight above it: `mse` with outliers tamed."""

    def __init__(
        self, *, class_weights: Tensor | None = None, label_smoothing_factor: float = 0.0, delta: float = 1.0
    ) -> None:
        super().__init__()
        _refuse("huber", class_weights=class_weights, label_smoothing_factor=label_smoothing_factor)
        if delta <= 0:
            raise RecipeError(f"optimization.loss: the delta of 'huber' must be above 0, found {delta}.")
        self.delta = float(delta)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over ``logits`` (rows,) or (rows, 1) and ``targets`` (rows,)."""
        return functional.huber_loss(*_numbers(logits, targets), delta=self.delta)


def _numbers(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in float32 and in one shape; torch would spread (rows, 1) against (rows,) to (rows, rows)."""
    if logits.dim() == targets.dim() + 1 and logits.shape[-1] == 1:
        logits = logits[..., 0]
    if logits.shape != targets.shape:
        raise ValueError(f"expected one number a row, found logits {tuple(logits.shape)} for {tuple(targets.shape)}")
    return logits.float(), targets.float()


def _as_float(weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.detach().float()


def _check_weights(weights: Tensor | None, logits: Tensor) -> None:
    if weights is not None and weights.numel() != logits.shape[-1]:
        raise RecipeError(
            f"optimization.loss: there are {weights.numel()} class weights for {logits.shape[-1]} labels. "
            "Give one weight a label, in the order of the labels."
        )


def _check_smoothing(factor: float) -> None:
    if not 0 <= factor < 1:
        raise RecipeError(f"optimization.label_smoothing_factor must be from 0 to below 1, found {factor}.")


def _refuse(name: str, *, class_weights: Tensor | None = None, label_smoothing_factor: float = 0.0) -> None:
    """Complain of a set option that this loss has no meaning for, rather than leave it out silently."""
    if class_weights is not None:
        raise RecipeError(f"optimization.class_weights: the loss {name!r} cannot weigh classes. Leave it empty.")
    if label_smoothing_factor:
        raise RecipeError(f"optimization.label_smoothing_factor: the loss {name!r} cannot smooth labels. Set it to 0.")
