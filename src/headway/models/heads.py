"""Heads other than the model family's own: a plain backbone, its tokens' vectors, and a module on top.

A head of your own is an ``nn.Module`` named by import path. It is constructed as
``Head(hidden_size=..., num_labels=..., **options)``, with the options that stand beside its name in the recipe, and
called with vectors ``(rows, hidden_size)``; it returns logits ``(rows, num_labels)``. A row is a text, or a text with
one of its choices, whose tokens were pooled to one vector; where tokens are labelled, a row is a token. Dropout of
the vectors (``model.dropout``) is already applied. Keep to constructor arguments that JSON can hold: they are saved
with the model, and the head is built from them again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from headway.errors import RecipeError
from headway.importing import Choice, load_class
from headway.models import estimators
from headway.models.estimators import EstimatorHead, is_estimator
from headway.models.pooling import Pooling

KNOWN = {"linear": "headway.models.heads.Linear", "mlp": "headway.models.heads.Mlp"}
"""Short name -> import path of the heads that are trained in steps; `default` is the model family's own, and those of
scikit-learn stand in `headway.models.estimators`."""

POOLED = ("sequence-classification", "multiple-choice")
"""Kinds of model (`headway.models.options.KINDS`) whose head gets one vector for each text."""

OF_TOKENS = ("token-classification", "question-answering")
"""Kinds of model whose head gets one vector for each token."""

_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


class HeadedModel(nn.Module):
    """A plain backbone under a head; ``forward`` takes and returns what the family's own model of this kind does."""

    def __init__(
        self,
        backbone: Any,
        *,
        kind: str,
        choice: Choice,
        pooling: str,
        pooling_layers: int,
        dropout: float,
        num_labels: int,
    ) -> None:
        """Build the head that ``choice`` names over ``backbone``, a transformers model without a head.

        Args:
            backbone: gives the tokens' vectors.
            kind: one of `POOLED` or `OF_TOKENS`.
            choice: the head.
            pooling: how the tokens of a text become one vector; not used where tokens are labelled.
            pooling_layers: the vectors of so many of the last layers stand side by side.
            dropout: of the vectors that the head gets.
            num_labels: logits of a row.
        """
        super().__init__()
        self.kind = kind
        self.choice = choice
        self.pooling_layers = pooling_layers
        self.num_labels = num_labels
        self.backbone = backbone
        self.width = backbone.config.hidden_size * pooling_layers
        self.pooling = Pooling(pooling, hidden_size=self.width)
        self.asked: dict[str, bool] = {}
        """What the backbone is told beside its inputs (`headway.models.unread_tokens`)."""
        self.dropout = nn.Dropout(dropout)
        self.head = _build_head(choice, width=self.width, num_labels=num_labels)

    def forward(self, vectors: Tensor | None = None, **inputs: Tensor) -> dict[str, Tensor]:
        """Return ``logits``, or ``start_logits`` and ``end_logits``, shaped as the family's own model would.

        Args:
            vectors: what `vectors` gave for these inputs, where the backbone is frozen and was asked already.
            inputs: the tokenizer's tensors (batch, tokens), or (batch, choices, tokens).
        """
        if vectors is None:
            shape = inputs["input_ids"].shape[: None if self.kind in OF_TOKENS else -1]
            found = self.vectors(**{name: tensor.flatten(0, -2) for name, tensor in inputs.items()})
            vectors = found.view(*shape, found.shape[-1])
        rows = self.dropout(vectors).flatten(0, -2)
        logits: Tensor = self.head(rows).view(*vectors.shape[:-1], self.num_labels)
        match self.kind:
            case "question-answering":
                starts, ends = logits.unbind(-1)  # (batch, tokens) each
                return {"start_logits": starts, "end_logits": ends}
            case "multiple-choice":
                return {"logits": logits[..., 0]}  # (batch, choices)
            case _:
                return {"logits": logits}

    def vectors(self, **inputs: Tensor) -> Tensor:
        """Return what the head is asked about: (sequences, hidden), or (sequences, tokens, hidden) for tokens."""
        if self.pooling_layers == 1:
            hidden: Tensor = self.backbone(**inputs, **self.asked).last_hidden_state
        else:
            outputs = self.backbone(**inputs, output_hidden_states=True)
            # Of the last layer what the backbone gives out, which some families still normalise.
            layers = [*outputs.hidden_states[-self.pooling_layers : -1], outputs.last_hidden_state]
            hidden = torch.cat(layers, dim=-1)
        if self.kind in OF_TOKENS:
            return hidden
        pooled: Tensor = self.pooling(hidden, inputs.get("attention_mask"))
        return pooled

    def description(self) -> dict[str, Any]:
        """Return what rebuilds this model over its backbone, for a task that says the kind, as plain JSON."""
        return {
            "name": self.choice.name,
            "options": self.choice.options,
            "pooling": self.pooling.how,
            "pooling_layers": self.pooling_layers,
            "dropout": self.dropout.p,
            "num_labels": self.num_labels,
        }

    def top(self) -> dict[str, Tensor]:
        """Return the tensors that stand above the backbone, by name."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("backbone.")}


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


def check_head(choice: Choice) -> None:
    """Complain of a head that is no class there is, before anything is built.

    Raises:
        RecipeError: saying what is wrong with the name.
    """
    if not is_estimator(choice.name):
        load_class(choice.name, known={**estimators.KNOWN, **KNOWN}, option="model.head", base=nn.Module)


def _build_head(choice: Choice, *, width: int, num_labels: int) -> nn.Module:
    if is_estimator(choice.name):
        return EstimatorHead(choice, num_labels=num_labels)
    given = {"hidden_size": width, "num_labels": num_labels}
    return choice.create(nn.Module, known=KNOWN, option="model.head", given=given)


def _initialize(module: nn.Module) -> None:
    # As BERT and its kin begin their heads; torch's default is several times wider and slows the first steps.
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
