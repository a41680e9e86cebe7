"""Length-grouped batches and their padding: rows of similar length share a batch, so little is padded.

Stands between the token cache and the loader. The order is a pure function of (seed, epoch): nothing has to be stored
to repeat it, and no other use of random numbers can change it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from headway.types import Features

# Rows are sorted within random pools of this many batches: large enough that a batch is nearly even in length, small
# enough that rows of one length do not always meet the same neighbours.
BATCHES_PER_POOL = 50


def epoch_batches(
    lengths: np.ndarray, *, batch_size: int, seed: int, epoch: int, group_by_length: bool
) -> list[np.ndarray]:
    """Return the batches of one epoch as arrays of row numbers; every row occurs exactly once.

    Args:
        lengths: (rows,) number of tokens.
        batch_size: rows per batch; the last batch of the epoch may hold fewer.
        seed: of the run.
        epoch: counted from 0.
        group_by_length: sort by length within random pools; the batches are then shuffled again.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    if not group_by_length:
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    pool_size = batch_size * BATCHES_PER_POOL
    pools = [order[start : start + pool_size] for start in range(0, len(order), pool_size)]
    # Stable, so that rows of equal length keep their random order.
    ordered = np.concatenate([pool[np.argsort(-lengths[pool], kind="stable")] for pool in pools] or [order])
    batches = [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
    return [batches[number] for number in rng.permutation(len(batches))]


def sorted_batches(lengths: Sequence[int], *, batch_size: int) -> list[list[int]]:
    """Return batches of row numbers from the longest row to the shortest, for prediction."""
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def pad(rows: Sequence[Mapping[str, Sequence[int]]], fill: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Return integer lists of unequal length as tensors of shape (rows, longest), padded on the right.

    Args:
        rows: one mapping name -> list for each feature, all with the same names.
        fill: name -> value that stands for "nothing here".
    """
    tensors = {}
    for name in rows[0]:
        longest = max(len(row[name]) for row in rows)
        tensor = torch.full((len(rows), longest), fill[name], dtype=torch.long)
        for number, row in enumerate(rows):
            tensor[number, : len(row[name])] = torch.tensor(row[name], dtype=torch.long)
        tensors[name] = tensor
    return tensors


def fill_values(features: Sequence[Features], *, pad_token_id: int, pad_token_type_id: int) -> dict[str, int]:
    """Return what `pad` fills each input with: the tokenizer's padding for ids, 0 for masks."""
    return {
        name: pad_token_id if name.endswith("input_ids") else pad_token_type_id if name.endswith("type_ids") else 0
        for name in features[0].inputs
    }
