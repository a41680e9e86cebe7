"""Embeddings of the words that no training text holds are left out of training, for nothing would move them.

Their gradient is zero, but every step fills it with zeros, takes its norm and hands it to the optimizer: for half of a
vocabulary and more, on a table that is half of a small model. Without weight decay, and under an optimizer that leaves
weights without gradient where they are, the result is the same to the last bits of the gradient's norm.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from headway.models.generation import encoder_of


class UsedRows(nn.Module):
    """An embedding some rows of which are trained; the others are looked up where nothing is learnt."""

    used: Tensor
    places: Tensor
    weight: Tensor

    def __init__(self, embedding: nn.Embedding, used: np.ndarray) -> None:
        """Train the rows ``used`` (rows,) of ``embedding``, whose weights follow only when they are asked for."""
        super().__init__()
        padding = [] if embedding.padding_idx is None else [embedding.padding_idx]
        used = np.union1d(used, padding).astype(np.int64)
        numbers = torch.from_numpy(used)
        # No other row has a place: a lookup that learns fails there.
        places = torch.full((embedding.num_embeddings,), len(used)).index_copy(0, numbers, torch.arange(len(used)))
        weight = embedding.weight.detach()
        self.rows = nn.Parameter(weight[numbers])
        self.padding_place = None if embedding.padding_idx is None else int(places[embedding.padding_idx])
        # Made anew from the pretrained weights by a run that is resumed: none of a checkpoint's.
        for name, tensor in (("used", numbers), ("places", places), ("weight", weight)):
            self.register_buffer(name, tensor, persistent=False)
        self._is_behind = True
        self.register_load_state_dict_post_hook(lambda module, _: module._fall_behind())  # type: ignore[no-untyped-call]

    def forward(self, input: Tensor) -> Tensor:
        """Return the embeddings (..., width) of the words ``input`` (...)."""
        if torch.is_grad_enabled():
            self._fall_behind()
            return functional.embedding(self.places[input], self.rows, self.padding_place)
        self.update()
        return functional.embedding(input, self.weight)

    def update(self) -> None:
        """Write the trained rows into the whole table, if they were trained or loaded since."""
        if self._is_behind:
            with torch.no_grad():
                self.weight.index_copy_(0, self.used, self.rows.detach())
            self._is_behind = False

    def _fall_behind(self) -> None:
        # The version that torch counts would not tell: fused optimizers do not raise it.
        self._is_behind = True


@contextlib.contextmanager
def only_used_rows(models: Sequence[nn.Module], used: np.ndarray) -> Iterator[None]:
    """Within the context, train of the word embeddings of ``models`` only the rows ``used``, if that is the same.

    Models whose embeddings are frozen, or tied to an output layer, stay as they are.

    Args:
        models: of one backbone, whose embeddings are one table.
        used: (rows,) numbers of the words that occur in training, ascending.
    """
    found: list[Any] = [[one for one in model.modules() if isinstance(one, PreTrainedModel)] for model in models]
    bodies = [encoder_of(some[0]) for some in found if some]
    embeddings = [one.get_input_embeddings() for one in bodies]
    if not embeddings or not all(_may_leave_out(one, models, len(embeddings)) for one in embeddings):
        yield
        return
    shared = UsedRows(embeddings[0], used)
    for body in bodies:
        body.set_input_embeddings(shared)
    try:
        yield
    finally:
        shared.update()
        for body, embedding in zip(bodies, embeddings, strict=True):
            body.set_input_embeddings(embedding)
            # The same memory, unless the model went to another device.
            embedding.weight.data = shared.weight


def _may_leave_out(embedding: Any, models: Sequence[nn.Module], number: int) -> bool:
    """Return whether a plain ``embedding`` is trained, and nothing but ``number`` such modules has its weights."""
    if type(embedding) is not nn.Embedding or not embedding.weight.requires_grad:
        return False
    if embedding.max_norm is not None or embedding.scale_grad_by_freq or embedding.sparse:
        return False
    modules = {id(module): module for model in models for module in model.modules()}.values()
    holders = [one for one in modules if any(own is embedding.weight for own in one.parameters(recurse=False))]
    return len(holders) == number
