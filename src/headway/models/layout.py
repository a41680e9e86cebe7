"""Where the tokens of a padded batch stand once its padding is left out, and the way back.

`headway.models.packing` sends a batch this way. A packed array has a few surplus rows at its end, so that the numbers
of rows are few: the libraries prepare each new one, for milliseconds. Surplus rows are zeros where they begin, no
result is read from them, and no gradient comes back through them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

WORTH_PACKING = 0.9
"""A batch is packed where so much of it remains, or less: in fuller ones the ways there and back cost what is saved."""

GROUP_SPAN = 64
"""Attention pads sequences to one length where they differ by fewer tokens than this."""

_MULTIPLE = 64
"""Packed arrays have a multiple of so many rows."""


@dataclass(frozen=True, slots=True)
class Places:
    """A padded array beside a packed one, both seen as rows."""

    packed: Tensor
    """(padded rows,) which packed row stands there; where none does, the last one, which is surplus."""
    padded: Tensor
    """(packed rows,) where each packed row stands; of surplus rows, anywhere."""
    num_rows: int
    """Packed rows without the surplus."""

    def pack(self, rows: Tensor) -> Tensor:
        """Return (packed rows, width) from ``rows`` (padded rows, width)."""
        packed: Tensor = _Pack.apply(rows, self)  # type: ignore[no-untyped-call]
        return packed

    def pad(self, rows: Tensor) -> Tensor:
        """Return (padded rows, width) from ``rows`` (packed rows, width); padding holds nothing of meaning."""
        padded: Tensor = _Pad.apply(rows, self)  # type: ignore[no-untyped-call]
        return padded


class _Pack(torch.autograd.Function):
    # What torch would do by itself sums the gradients of equal indices row by row, which is slow. No row but the
    # surplus has two places here, so the way back is a selection, too.
    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Places) -> Tensor:
        ctx.places = places
        packed = rows.index_select(0, places.padded)
        packed[places.num_rows :] = 0
        return packed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.places.pad(gradient), None


class _Pad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Places) -> Tensor:
        ctx.places = places
        return rows.index_select(0, places.packed)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.places.pack(gradient), None


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences of similar length, which attention sees as one padded array."""

    sequences: Tensor
    """(sequences,) their numbers in the batch."""
    longest: int
    is_token: Tensor | None
    """(sequences, longest), False where nothing stands; None if they are equally long."""


class Layout:
    """Sequences without padding: their tokens one after another, then the surplus."""

    def __init__(self, lengths: list[int], *, width: int, device: torch.device) -> None:
        """Lay out a batch of sequences of ``lengths`` tokens, each padded on the right to ``width``."""
        self.lengths = lengths
        self.num_tokens = _rounded(sum(lengths))
        """Rows of the packed array, with the surplus."""
        self._lengths = torch.tensor(lengths, device=device)
        self._starts = self._lengths.cumsum(0) - self._lengths
        everything = torch.arange(len(lengths), device=device)
        self._shape = (len(lengths), width)
        self._places = self._places_of([self._tokens(everything, width)])
        self.groups = [self._group(numbers, device) for numbers in _similar(lengths)]
        self._of_heads: dict[int, Places] = {}

    @classmethod
    def of(cls, mask: Tensor) -> Layout | None:
        """Return the layout of a batch with this ``mask`` (sequences, tokens), 1 from the left and 0 on the right.

        None if packing does not pay, and for any other mask.
        """
        lengths = [int(length) for length in mask.sum(1).tolist()]
        if _rounded(sum(lengths)) > WORTH_PACKING * mask.numel() or min(lengths) == 0:
            return None
        if bool((mask[:, 1:] > mask[:, :-1]).any()):
            return None
        return cls(lengths, width=mask.shape[1], device=mask.device)

    def pack(self, padded: Tensor) -> Tensor:
        """Return (1, packed tokens, ...) from ``padded`` (sequences, longest, ...)."""
        return self._places.pack(padded.flatten(0, 1))[None]

    def pad(self, packed: Tensor) -> Tensor:
        """Return (sequences, longest, ...) from ``packed`` (1, packed tokens, ...)."""
        return self._places.pad(packed[0]).view(*self._shape, *packed.shape[2:])

    def first(self, packed: Tensor) -> Tensor:
        """Return (1, sequences, width), the first token of each, from ``packed`` (1, packed tokens, width)."""
        return packed.index_select(1, self._starts)

    def mask(self) -> Tensor:
        """Return (sequences, longest), True where a token stands once padding is back."""
        return self._is_token(slice(None), self._shape[1])

    def positions(self) -> Tensor:
        """Return the place of each token in its sequence, (1, packed tokens)."""
        return (self._places.padded % self._shape[1])[None]

    def places_of_heads(self, num_heads: int) -> Places:
        """Return where the vectors (packed tokens, heads) stand as (sequences, heads, longest), group after group."""
        if num_heads not in self._of_heads:
            heads = torch.arange(num_heads, device=self._lengths.device)[:, None]
            tokens = [self._tokens(group.sequences, group.longest)[:, None] for group in self.groups]
            self._of_heads[num_heads] = self._places_of([one * num_heads + heads for one in tokens], num_heads)
        return self._of_heads[num_heads]

    def _tokens(self, sequences: Tensor, longest: int) -> Tensor:
        """Return which packed token stands where, (sequences, longest)."""
        tokens = self._starts[sequences, None] + torch.arange(longest, device=sequences.device)
        return tokens.masked_fill(~self._is_token(sequences, longest), self.num_tokens - 1)

    def _is_token(self, sequences: Tensor | slice, longest: int) -> Tensor:
        """Return (sequences, longest), True where a token stands."""
        return torch.arange(longest, device=self._lengths.device) < self._lengths[sequences, None]

    def _places_of(self, parts: list[Tensor], rows_per_token: int = 1) -> Places:
        packed = torch.cat([part.flatten() for part in parts])
        padded = packed.new_zeros(self.num_tokens * rows_per_token)
        padded[packed] = torch.arange(len(packed), device=packed.device)
        return Places(packed, padded, sum(self.lengths) * rows_per_token)

    def _group(self, numbers: list[int], device: torch.device) -> Group:
        longest = self.lengths[numbers[0]]
        sequences = torch.tensor(numbers, device=device)
        if self.lengths[numbers[-1]] == longest:
            return Group(sequences, longest, None)
        return Group(sequences, longest, self._is_token(sequences, longest))


def _rounded(number: int) -> int:
    # One surplus row at least: it stands in the place of padding.
    return (number // _MULTIPLE + 1) * _MULTIPLE


def _similar(lengths: list[int]) -> list[list[int]]:
    """Return the numbers of the sequences in groups of similar length, each from the longest to the shortest."""
    groups: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        if not groups or lengths[groups[-1][0]] - lengths[number] >= GROUP_SPAN:
            groups.append([])
        groups[-1].append(number)
    return groups
