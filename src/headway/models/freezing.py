"""Freezing: which of the pretrained weights training leaves as they are; and which layers a model has, bottom to top.

With ``freeze: n`` dropout stays on in the frozen layers: the layers above are then trained on the same noisy inputs as
in ordinary fine-tuning, and n only decides what moves. With ``freeze: all`` the backbone is a fixed function, so it
runs as in prediction, without dropout: the head learns from the very vectors it will be given later, and those may be
computed once and kept. `headway.models.entrance` does the same with some layers frozen, where the recipe asks for it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn
from transformers import PreTrainedModel

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
        base.register_forward_pre_hook(stay_in_prediction)
        return
    for part in _bottom(base, int(how)):
        part.requires_grad_(False)


def parts_of(model: nn.Module, *, option: str, instead: str) -> list[list[nn.Module]]:
    """Return the parts of the pretrained body of ``model`` from the bottom up: the embeddings, then each layer.

    What stands above the layers (a pooler, a last normalisation, a decoder, a head) is in no part.

    Args:
        model: a transformers model, or any module around one (a head, windows).
        option: the recipe key that asks for layers, for the message (``model.freeze``).
        instead: what to do where they cannot be told apart, for the message.

    Raises:
        RecipeError: the model's family is not known here, or its layers are one.
    """
    found = next((one for one in model.modules() if isinstance(one, PreTrainedModel)), None)
    if found is None:
        raise RecipeError(f"{option}: the model of this task is not built on one of transformers. {instead}.")
    body: Any = found.base_model
    family = body.config.model_type
    if family in _SHARED:
        raise RecipeError(
            f"{option}: the layers of {family} share their weights, so they cannot be treated one by one. {instead}."
        )
    if family not in _LAYERS:
        raise RecipeError(
            f"{option}: which layers are the lowest is not known for {family!r} models. {instead}, or choose one of "
            f"{', '.join(sorted(_LAYERS))}."
        )
    layers = body.get_submodule(_LAYERS[family]).children()
    return [_embeddings(body), *([layer] for layer in layers)]


def _embeddings(body: Any) -> list[nn.Module]:
    modules = dict(body.named_modules())
    return [modules[name] for name in _EMBEDDINGS if name in modules]


def _bottom(base: Any, number: int) -> list[nn.Module]:
    is_shared = base.config.model_type in _SHARED
    if is_shared and not number:
        return _embeddings(base)
    instead = "Use 0 (the embeddings), all or none" if is_shared else "Use all or none"
    parts = parts_of(base, option="model.freeze", instead=instead)
    num_layers = len(parts) - 1
    if number > num_layers:
        raise RecipeError(
            f"model.freeze is {number}, but the model has {num_layers} layers. Use 0 to {num_layers}, or all."
        )
    return [module for part in parts[: number + 1] for module in part]


def stay_in_prediction(module: nn.Module, inputs: Any) -> None:
    """Undo ``train()``, which the loop calls on the whole model, for a body that is not trained."""
    module.eval()
