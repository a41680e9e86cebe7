"""A smaller model out of a larger one: some of its layers, evenly spread from the first to the last.

Shleifer and Rush 2020, "Pre-trained Summarization Distillation", arXiv:2010.13002, who copy such layers into a student
("shrink and fine-tune"); Sanh et al. 2019, "DistilBERT", arXiv:1910.01108, took every second one.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from headway.errors import RecipeError
from headway.models.freezing import parts_of


def keep_layers(model: Any, *, number: int) -> None:
    """Leave ``number`` layers of the body in ``model``, a transformers model, and say so in its configuration.

    Raises:
        RecipeError: it has fewer layers, or the model's family is not known here.
    """
    parts = parts_of(model, option="model.num_hidden_layers", instead="Leave it empty")[1:]
    total = len(parts)
    if number > total:
        raise RecipeError(f"model.num_hidden_layers is {number}, but the model has {total} layers.")
    chosen = [round(place * (total - 1) / max(number - 1, 1)) for place in range(number)]
    layers = [layer for place in chosen for layer in parts[place]]
    body = model.base_model
    (path,) = (name for name, one in body.named_modules() if list(one.children()) == [part[0] for part in parts])
    for place, layer in enumerate(layers):
        for module in layer.modules():
            # Where the layer's keys and values from outside lie (a prefix); a loaded model counts without gaps, too.
            if "layer_idx" in vars(module):
                vars(module)["layer_idx"] = place
    body.set_submodule(path, nn.ModuleList(layers))
    config = model.config
    config.num_hidden_layers = number
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[place] for place in chosen]
