"""Freezing: which of the pretrained weights training leaves as they are.

With ``freeze: n`` dropout stays on in the frozen layers: the layers above are then trained on the same noisy inputs as
in ordinary fine-tuning, and n only decides what moves. With ``freeze: all`` the backbone is a fixed function, so it
runs as in prediction, without dropout: the head learns from the very vectors it will be given later, and those may be
computed once and kept.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn

from headway.errors import RecipeError

_LAYERS = {
    "bert": "encoder.layer", "roberta": "encoder.layer", "xlm-roberta": "encoder.layer", "camembert": "encoder.layer",
    "electra": "encoder.layer", "mpnet": "encoder.layer", "deberta": "encoder.layer", "deberta-v2": "encoder.layer",
    "distilbert": "transformer.layer", "modernbert": "layers", "t5": "encoder.block", "mt5": "encoder.block",
}  # fmt: skip
_EMBEDDINGS = ("embeddings", "embeddings_project", "shared", "encoder.embedding_hidden_mapping_in",
               "encoder.rel_embeddings", "encoder.LayerNorm", "encoder.relative_attention_bias")  # fmt: skip
_SHARED = ("albert",)


def freeze(base: Any, *, how: str | int, new_parameters: Collection[str] = ()) -> None:
    """Stop the gradient of the chosen part of ``base``, a model without its head.

    Args:
        base: the pretrained body (``model.base_model`` of a transformers model).
        how: ``none``, ``all``, or the number of layers from the bottom, embeddings included.
        new_parameters: names of parameters of ``base`` that hold fresh random numbers (a pooler that the file
            lacks); these are always trained, for nobody ever did.

    Raises:
        RecipeError: there are fewer layers, or the model's family is not known here.
    """
    if how == "none":
        return
    if how == "all":
        for name, parameter in base.named_parameters():
            parameter.requires_grad_(name in new_parameters)
        base.register_forward_pre_hook(_stay_in_prediction)
        return
    for part in _bottom(base, int(how)):
        part.requires_grad_(False)


def _bottom(base: Any, number: int) -> list[nn.Module]:
    family = base.config.model_type
    modules = dict(base.named_modules())
    embeddings = [modules[name] for name in _EMBEDDINGS if name in modules]
    if family in _SHARED:
        if number:
            raise RecipeError(
                f"model.freeze: the layers of {family} share their weights, so {number} of them cannot be frozen. "
                "Use 0 (the embeddings), all or none."
            )
        return embeddings
    if family not in _LAYERS:
        raise RecipeError(
            f"model.freeze: which layers are the lowest is not known for {family!r} models. Use all or none, or one of "
            f"{', '.join(sorted(_LAYERS))}."
        )
    layers = list(modules[_LAYERS[family]].children())
    if number > len(layers):
        raise RecipeError(
            f"model.freeze is {number}, but the model has {len(layers)} layers. Use 0 to {len(layers)}, or all."
        )
    return [*embeddings, *layers[:number]]


def _stay_in_prediction(module: nn.Module, inputs: Any) -> None:
    """Undo ``train()``, which the loop calls on the whole model, for a body that is not trained."""
    module.eval()
