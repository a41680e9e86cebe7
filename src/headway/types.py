"""The nouns that travel through headway, in the order they are made: Row, Features, Batch, Outputs, Prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import Tensor

Row = dict[str, Any]
"""One record; keys are the task's column names, whatever the file called them."""

Outputs = Mapping[str, Any]
"""What the model returned, by name (``logits``, ...); a transformers ``ModelOutput`` is one."""

Criterion = Callable[[Any, Any], Any]
"""A loss: (logits, targets) -> scalar tensor."""


class Options(BaseModel):
    """A group of options of the recipe: typed, frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a task reads from a row."""

    name: str
    kind: Literal["text", "label"]
    required: bool
    """Whether every row must hold it; a gold column is required for training and evaluation only."""
    description: str

    @property
    def is_gold(self) -> bool:
        """Whether the column holds the truth, absent from the rows that are only predicted."""
        return self.kind == "label"


@dataclass(frozen=True, slots=True)
class Features:
    """One model input as plain numbers. One row may give several (windows)."""

    inputs: dict[str, list[int]]
    targets: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    """What stays on the CPU: offsets, word ids, tokens lost to truncation (``tokens_lost``)."""
    row: int = -1
    """Number of the row in its table, counted from 0."""

    @property
    def length(self) -> int:
        """Number of tokens of the longest input, which decides how much is padded."""
        return max((len(ids) for name, ids in self.inputs.items() if name.endswith("input_ids")), default=0)


@dataclass(frozen=True, slots=True)
class Batch:
    """Features as tensors; ``inputs`` go to the model, ``targets`` to the loss only."""

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    features: tuple[Features, ...]

    def to(self, device: Any) -> Batch:
        """Return the batch with its tensors on ``device``."""
        return Batch(
            {name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()},
            {name: tensor.to(device, non_blocking=True) for name, tensor in self.targets.items()},
            self.features,
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """Plain JSON for a person: the value, how sure the model is, and what else it considered."""

    value: Any
    score: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)
