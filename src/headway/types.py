"""The nouns that travel through headway, in the order they are made: Row, Features, Batch, Outputs, Prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Row = dict[str, Any]
"""One record; keys are the task's column names, whatever the file called them."""

Outputs = Mapping[str, Any]
"""What the model returned, by name (``logits``, ...); a transformers ``ModelOutput`` is one."""

ACTIVATIONS = "activations"
"""Among a batch's inputs: what the frozen layers say of its tokens, (sequences, longest, width)."""

Criterion = Callable[[Any, Any], Any]
"""A loss: (logits, targets) -> scalar tensor."""


class Options(BaseModel):
    """A group of options of the recipe: typed, frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a task reads from a row."""

    name: str
    kind: Literal["text", "passage", "texts", "tokens", "span", "label", "tags", "references", "structure", "value"]
    """What its cells hold. Input: a ``text``; a ``passage``, that is a text or a list of texts (sentences, turns) which
    become the lines of one; a list of ``texts``; a list of ``tokens`` (a text is split at blanks); a ``span`` of
    characters (start, and the end behind the last one, both counted from 0).
    Gold: a ``label``, a list of labels, or a number; a list of ``tags``, one for each token; ``references``, a list of
    texts each of which would be a right answer (one text is a list of one); a ``structure`` of plain values (lists and
    mappings), or a ``value`` that may also be a plain text; the task itself takes them apart."""
    required: bool
    """Whether every row must hold it; a gold column is required for training and evaluation only."""
    description: str
    unless: str | None = None
    """Another column of the task that may stand in its place."""

    @property
    def is_gold(self) -> bool:
        """Whether the column holds the truth, absent from the rows that are only predicted."""
        return self.kind in ("label", "tags", "references", "structure", "value")


@dataclass(frozen=True, slots=True)
class Features:
    """One model input as plain numbers. One row may give several (windows)."""

    inputs: dict[str, list[int]]
    targets: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    """What stays on the CPU: offsets, word ids, tokens lost to truncation (``tokens_lost``)."""
    pieces: tuple[int, ...] = ()
    """Tokens of each sequence, where the inputs are several sequences one after another that the model reads apart
    (choices, windows of one text, a query and its answers); empty: they are one sequence."""
    row: int = -1
    """Number of the row in its table, counted from 0."""
    vectors: NDArray[np.float32] | None = field(default=None, compare=False)
    """What a frozen backbone says of the inputs, where it is known already: a vector for each sequence (pieces,
    width), or for each token of the one sequence (1, tokens, width). The model then gets it instead of the inputs."""
    activations: NDArray[Any] | None = field(default=None, compare=False)
    """What the frozen layers of a backbone say of the inputs, where it is known already: (tokens, width), float32, or
    bfloat16 as int16 of the same bits. The model gets it beside the inputs."""

    @classmethod
    def of_pieces(
        cls, pieces: Sequence[Mapping[str, list[int]]], targets: dict[str, Any], extra: dict[str, Any]
    ) -> Self:
        """Return the inputs of one or more sequences, one after another."""
        inputs = {name: [value for piece in pieces for value in piece[name]] for name in pieces[0]}
        return cls(inputs, targets, extra, tuple(len(piece["input_ids"]) for piece in pieces))

    @property
    def num_pieces(self) -> int:
        """Number of sequences."""
        return len(self.pieces) or 1

    @property
    def length(self) -> int:
        """Number of tokens, of all pieces together."""
        return max((len(ids) for name, ids in self.inputs.items() if name.endswith("input_ids")), default=0)


@dataclass(frozen=True, slots=True)
class Batch:
    """Features as tensors; ``inputs`` go to the model, ``targets`` to the loss only."""

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    features: tuple[Features, ...]
    task: int = 0
    """Which of the run's tasks it is for, where several are learnt together."""

    @property
    def sizes(self) -> list[int]:
        """Number of sequences (rows of each input tensor) that belong to each of the features."""
        return [one.num_pieces for one in self.features]

    def to(self, device: Any) -> Batch:
        """Return the batch with its tensors on ``device``."""
        return Batch(
            {name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()},
            {name: tensor.to(device, non_blocking=True) for name, tensor in self.targets.items()},
            self.features,
            self.task,
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """Plain JSON for a person: the value, how sure the model is, and what else it considered."""

    value: Any
    score: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)
