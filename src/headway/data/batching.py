"""Length-grouped batches and their padding: rows of similar length share a batch, so little is padded.

Stands between the token cache and the loader. The order is a pure function of (seed, epoch): nothing has to be stored
to repeat it, and no other use of random numbers can change it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from headway.types import ACTIVATIONS, Batch, Features

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Rows are sorted within random pools of this many batches: large enough that a batch is nearly even in length, small
# enough that rows of one length do not always meet the same neighbours.
BATCHES_PER_POOL = 50

PARTS_PER_POOL = 7
"""Where a target has a length of its own, a pool sorted by length is cut into so many parts, and each is sorted by the
lengths of its targets: about the root of the number of batches, so that both are about equally uneven. A pool that is
not full stays as it is."""

TOKENS_PER_ROW = 32
"""A batch for prediction holds the tokens of so many rows of this length."""


def epoch_batches(
    lengths: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    group_by_length: bool,
    target_lengths: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Return the batches of one epoch as arrays of row numbers; every row occurs exactly once.

    Args:
        lengths: (rows,) number of tokens.
        batch_size: rows per batch; the last batch of the epoch may hold fewer.
        seed: of the run.
        epoch: counted from 0.
        group_by_length: sort by length within random pools; the batches are then shuffled again.
        target_lengths: (rows,) of targets that have a length of their own, by which parts of a pool are sorted again.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    if not group_by_length:
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    pool_size = batch_size * BATCHES_PER_POOL
    pools = [order[start : start + pool_size] for start in range(0, len(order), pool_size)]
    pools = [_sorted_by(lengths, pool) for pool in pools]
    if target_lengths is not None:
        part_size = math.ceil(BATCHES_PER_POOL / PARTS_PER_POOL) * batch_size
        # Of few rows each part would be most of them, and their order hardly random: less is learnt then.
        full, rest = [pool for pool in pools if len(pool) == pool_size], [p for p in pools if len(p) < pool_size]
        parts = [pool[start : start + part_size] for pool in full for start in range(0, pool_size, part_size)]
        pools = [_sorted_by(target_lengths, part) for part in parts] + rest
    ordered = np.concatenate(pools or [order])
    batches = [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
    return [batches[number] for number in rng.permutation(len(batches))]


def _sorted_by(lengths: np.ndarray, rows: np.ndarray) -> np.ndarray:
    # Stable, so that rows of equal length keep their random order.
    sorted_rows: np.ndarray = rows[np.argsort(-lengths[rows], kind="stable")]
    return sorted_rows


def sorted_batches(lengths: Sequence[int], *, batch_size: int, factor: int = 1) -> list[list[int]]:
    """Return batches of row numbers from the longest row to the shortest, for prediction.

    A batch holds as many tokens, padding counted, as ``batch_size`` rows of `TOKENS_PER_ROW` do: more rows of shorter
    ones and fewer of longer ones, one at least. So it is large enough to keep a processor busy, and small enough that
    what passes between two layers stays in its caches. ``factor`` multiplies it, where a batch of more rows pays.
    """
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        size = max(1, factor * batch_size * TOKENS_PER_ROW // max(1, lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def pad(features: Sequence[Features], tokenizer: PreTrainedTokenizerBase) -> dict[str, torch.Tensor]:
    """Return the inputs as tensors of shape (sequences, longest), padded on the right.

    Features of one piece give one sequence each; of several, one for each piece, in their order, so that the tensors
    have ``sum(batch.sizes)`` rows. Ids are filled with the tokenizer's padding, masks with 0. Where the pieces are
    windows of one text, the inputs also tell the model how many each row has: ``num_windows`` (features,).

    Features that hold the vectors of a frozen backbone give ``vectors`` instead: (sequences, width), or (sequences,
    longest, width) where each token has one. Those that hold activations give them, too: (sequences, longest, width).
    """
    tensors = _token_tensors(features, tokenizer) if features[0].vectors is None else {"vectors": _vectors(features)}
    if "num_windows" in features[0].extra:
        tensors["num_windows"] = torch.tensor([one.extra["num_windows"] for one in features])
    return tensors


def _token_tensors(features: Sequence[Features], tokenizer: PreTrainedTokenizerBase) -> dict[str, torch.Tensor]:
    sizes = [size for one in features for size in (one.pieces or (one.length,))]
    tensors = {}
    for name in features[0].inputs:
        values = torch.tensor([value for one in features for value in one.inputs[name]], dtype=torch.long)
        tensors[name] = torch.nn.utils.rnn.pad_sequence(
            list(torch.split(values, sizes)), batch_first=True, padding_value=_fill_value(name, tokenizer)
        )
    if features[0].activations is not None:
        numbers = torch.from_numpy(np.concatenate([one.activations for one in features]))
        vectors = numbers.view(torch.bfloat16) if numbers.dtype == torch.int16 else numbers
        tensors[ACTIVATIONS] = torch.nn.utils.rnn.pad_sequence(list(torch.split(vectors, sizes)), batch_first=True)
    return tensors


def _vectors(features: Sequence[Features]) -> torch.Tensor:
    parts = [torch.from_numpy(np.array(one.vectors)) for one in features]
    if parts[0].dim() == 2:
        return torch.cat(parts)
    return torch.nn.utils.rnn.pad_sequence([part[0] for part in parts], batch_first=True)


def collate(features: Sequence[Features], tokenizer: PreTrainedTokenizerBase) -> Batch:
    """Return the features as one padded batch whose targets are the numbers of each feature, (features, ...).

    Where a feature has no targets (a row that is only predicted), the batch has none.
    """
    targets = {}
    if all(one.targets for one in features):
        targets = {name: torch.tensor([one.targets[name] for one in features]) for name in features[0].targets}
    return Batch(pad(features, tokenizer), targets, tuple(features))


def _fill_value(name: str, tokenizer: PreTrainedTokenizerBase) -> int:
    if name.endswith("input_ids"):
        return int(tokenizer.pad_token_id)
    return int(tokenizer.pad_token_type_id) if name.endswith("type_ids") else 0
