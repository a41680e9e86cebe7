"""Top layers begun anew: what they learnt last serves pretraining's own objective, and few rows unlearn it slowly.

Zhang et al. 2021, "Revisiting Few-sample BERT Fine-tuning", arXiv:2006.05987, who found fine-tuning on few rows better
and less at the mercy of the seed with one to six layers, and the pooler, drawn anew.
"""

from __future__ import annotations

from typing import Any

from headway.errors import RecipeError
from headway.models.freezing import parts_of


def reinitialize(model: Any, *, number: int) -> None:
    """Draw the weights of the ``number`` top layers anew, and those of a pooler, as before pretraining.

    Args:
        model: a transformers model; torch's global generator decides what is drawn.
        number: of layers.

    Raises:
        RecipeError: there are fewer layers, or the model's family is not known here.
    """
    if not number:
        return
    layers = parts_of(model, option="model.reinit_layers", instead="Set it to 0")[1:]
    if number > len(layers):
        raise RecipeError(f"model.reinit_layers is {number}, but the model has {len(layers)} layers.")
    pooler = getattr(model.base_model, "pooler", None)
    chosen = [*(module for layer in layers[-number:] for module in layer), *([] if pooler is None else [pooler])]
    for one in chosen:
        for parameter in one.parameters():
            # transformers leaves alone what it has loaded.
            parameter._is_hf_initialized = False
        for module in one.modules():
            module._is_hf_initialized = False
            model._init_weights(module)
