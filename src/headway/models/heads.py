"""Heads other than the model family's own: a plain backbone, its tokens pooled to one vector, and a module on top.

A head of your own is an ``nn.Module`` named by import path. It is constructed as
``Head(hidden_size=..., num_labels=..., **options)``, with the options that stand beside its name in the recipe, and
called with the pooled vectors ``(batch, hidden_size)``; it returns logits ``(batch, num_labels)``. Dropout of the
pooled vectors (``model.dropout``) is already applied. Keep to constructor arguments that JSON can hold: they are
saved with the model, and the head is built from them again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from headway.errors import RecipeError
from headway.importing import Choice

KNOWN = {"linear": "headway.models.heads.Linear", "mlp": "headway.models.heads.Mlp"}
"""Short name -> import path of every head that comes with headway; `default` is the model family's own."""

_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


class HeadedModel(nn.Module):
    """A plain backbone under a head. ``forward`` takes the tokenizer's tensors and returns ``{"logits": ...}``."""

    def __init__(self, backbone: Any, *, choice: Choice, pooling: str, dropout: float, num_labels: int) -> None:
        """Build the head that ``choice`` names over ``backbone``, a transformers model without a head."""
        super().__init__()
        self.choice = choice
        self.pooling = pooling
        self.num_labels = num_labels
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        given = {"hidden_size": backbone.config.hidden_size, "num_labels": num_labels}
        self.head = choice.create(nn.Module, known=KNOWN, option="model.head", given=given)

    def forward(self, **inputs: Any) -> dict[str, Tensor]:
        """Return the logits (batch, labels)."""
        hidden = self.backbone(**inputs).last_hidden_state  # (batch, tokens, hidden)
        mask = inputs.get("attention_mask")
        return {"logits": self.head(self.dropout(pool(hidden, mask, how=self.pooling)))}

    def description(self) -> dict[str, Any]:
        """Return what rebuilds this model over its backbone, as plain JSON."""
        return {
            "name": self.choice.name,
            "options": self.choice.options,
            "pooling": self.pooling,
            "dropout": self.dropout.p,
            "num_labels": self.num_labels,
        }


class Linear(nn.Linear):
    """One linear layer."""

    def __init__(self, *, hidden_size: int, num_labels: int) -> None:
        super().__init__(hidden_size, num_labels)
        _initialize(self)


class Mlp(nn.Sequential):
    """``num_layers`` hidden layers of width ``layer_size``, each with activation and dropout, then a linear one."""

    def __init__(
        self,
        *,
        hidden_size: int,
        num_labels: int,
        num_layers: int = 1,
        layer_size: int | None = None,
        activation: str = "gelu",
        dropout: float = 0.1,
    ) -> None:
        if activation not in _ACTIVATIONS:
            raise RecipeError(f"model.head: activation {activation!r} is not one of {', '.join(_ACTIVATIONS)}.")
        if num_layers < 1:
            raise RecipeError(f"model.head: num_layers must be 1 or more, found {num_layers}; use 'linear' for none.")
        width = hidden_size if layer_size is None else layer_size
        layers: list[nn.Module] = []
        for number in range(num_layers):
            linear = nn.Linear(hidden_size if number == 0 else width, width)
            layers += [linear, _ACTIVATIONS[activation](), nn.Dropout(dropout)]
        super().__init__(*layers, nn.Linear(width, num_labels))
        self.apply(_initialize)


def pool(hidden: Tensor, mask: Tensor | None, *, how: str) -> Tensor:
    """Return one vector a row, (batch, hidden), from the vectors of its tokens, (batch, tokens, hidden).

    Args:
        hidden: the backbone's last hidden state.
        mask: 1 where there is a token and 0 where there is padding, (batch, tokens); None if nothing is padded.
        how: ``cls`` (the first token), ``mean`` or ``max`` (over the tokens that are not padding).
    """
    return _POOLING[how](hidden, torch.ones(hidden.shape[:2], device=hidden.device) if mask is None else mask)


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


def _initialize(module: nn.Module) -> None:
    # As BERT and its kin begin their heads; torch's default is several times wider and slows the first steps.
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
