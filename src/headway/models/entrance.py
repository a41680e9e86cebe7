"""A body that can be entered above its frozen layers: what these say of a text is computed once, and handed in.

Beside the tokens, a batch may then hold `ACTIVATIONS`, the output of the lowest layers; without it the body computes
everything, to the same result. Installed once on the body of a model, by hooks; heads and tasks know nothing of it, and
nothing of it is saved. The frozen layers run as in prediction either way, for only then are they a fixed function.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from headway.errors import RecipeError
from headway.models.freezing import parts_of, stay_in_prediction
from headway.types import ACTIVATIONS

_STACKS = {
    "bert": "encoder", "roberta": "encoder", "xlm-roberta": "encoder", "camembert": "encoder", "electra": "encoder",
    "distilbert": "transformer",
}  # fmt: skip
"""Family -> the part of the body that runs its layers one after another, and holds them as `layer`."""


def enter_above(body: Any, *, number: int) -> None:
    """Let ``body``, a transformers model without its head, begin above its lowest layers where it gets `ACTIVATIONS`.

    Args:
        body: whose embeddings and lowest layers are frozen.
        number: of these layers.

    Raises:
        RecipeError: models of this family cannot be entered there.
    """
    family = body.config.model_type
    if family not in _STACKS:
        raise RecipeError(
            f"model.cache_frozen: {family} models cannot be entered above a layer. Leave it off, or choose one of "
            f"{', '.join(sorted(_STACKS))}."
        )
    for part in parts_of(body, option="model.cache_frozen", instead="Leave it off")[: number + 1]:
        for module in part:
            module.register_forward_pre_hook(stay_in_prediction)
    stack = _stack_of(body)
    entrance = _Entrance(stack.layer, number)
    # First of all hooks: where padding is left out, the activations are packed like the vectors they replace.
    stack.register_forward_pre_hook(entrance.enter, with_kwargs=True, prepend=True)
    stack.register_forward_hook(entrance.leave, always_call=True)


def body_of(model: nn.Module) -> Any:
    """Return the transformers model without its head that ``model`` is built on."""
    found = next(one for one in model.modules() if isinstance(one, PreTrainedModel))
    return found.base_model


@contextlib.contextmanager
def without_top(body: Any, *, number: int) -> Iterator[None]:
    """Leave ``body`` its lowest ``number`` layers: its last hidden state is then what enters the layer above them."""
    stack = _stack_of(body)
    layers = stack.layer
    stack.layer = layers[:number]
    try:
        yield
    finally:
        stack.layer = layers


class _Entrance:
    """Puts the frozen layers aside for one forward, and back."""

    def __init__(self, layers: nn.ModuleList, number: int) -> None:
        self._layers, self._above = layers, layers[number:]

    def enter(self, stack: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if ACTIVATIONS not in named:
            return None
        named = dict(named)
        activations: Tensor = named.pop(ACTIVATIONS)
        hidden, *others = arguments or (named.pop("hidden_states"),)  # (sequences, tokens, width)
        stack.layer = self._above
        # Tasks and heads may have given all inputs another dimension, or taken one away.
        return (activations.to(hidden.dtype).reshape(hidden.shape), *others), named

    def leave(self, stack: Any, arguments: tuple[Any, ...], outputs: Any) -> None:
        stack.layer = self._layers


def _stack_of(body: Any) -> Any:
    return body.get_submodule(_STACKS[body.config.model_type])
