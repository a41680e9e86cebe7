"""Several models on one pretrained body: what the tasks of a run have in common is one set of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from headway.errors import RecipeError
from headway.models.generation import encoder_of


def share_body(models: Sequence[nn.Module]) -> None:
    """Let all models use the weights of the first one's pretrained body, in place; heads stay their own.

    They stay models of their own, each of which can be saved alone (hard parameter sharing: Caruana 1997, "Multitask
    Learning"; over a transformer: Liu et al. 2019, arXiv:1901.11504). Where only some of them write texts, the encoder
    is shared.

    Args:
        models: of one backbone, each with a transformers model in it.

    Raises:
        RecipeError: one of them is not built on a model of transformers.
    """
    held: dict[str, nn.Parameter] = {}
    carriers: list[Any] = []
    for model in models:
        found = next((one for one in model.modules() if isinstance(one, PreTrainedModel)), None)
        if found is None:
            raise RecipeError("multi_task: the model of one task is not built on one of transformers. Train it alone.")
        carriers.append(found)
    all_write = all(one.config.is_encoder_decoder for one in carriers)
    for found in carriers:
        body = found.base_model if all_write else encoder_of(found)
        for name, parameter in list(body.named_parameters(remove_duplicate=False)):
            place, _, short = name.rpartition(".")
            # A part that only some of the bodies have (a pooler) is shared among these.
            body.get_submodule(place).register_parameter(short, held.setdefault(name, parameter))
        # An output layer that is tied to the embeddings follows them.
        found.tie_weights()
