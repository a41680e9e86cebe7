from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from headway.data.batching import epoch_batches, pad, sorted_batches
from headway.types import Batch, Features


def lengths_of(num_rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 120, num_rows)


def padding(batches: list[np.ndarray], lengths: np.ndarray) -> int:
    return sum(int(lengths[batch].max() * len(batch) - lengths[batch].sum()) for batch in batches)


@given(
    num_rows=some.integers(0, 300),
    batch_size=some.integers(1, 40),
    seed=some.integers(0, 2**31),
    epoch=some.integers(0, 5),
    group=some.booleans(),
    has_targets=some.booleans(),
)
def test_every_row_comes_once_in_full_batches(
    num_rows: int, batch_size: int, seed: int, epoch: int, group: bool, has_targets: bool
) -> None:
    batches = epoch_batches(
        lengths_of(num_rows),
        batch_size=batch_size,
        seed=seed,
        epoch=epoch,
        group_by_length=group,
        target_lengths=lengths_of(num_rows, 1) if has_targets else None,
    )
    assert sorted(number for batch in batches for number in batch) == list(range(num_rows))
    sizes = sorted(map(len, batches), reverse=True)
    assert sizes == [batch_size] * (num_rows // batch_size) + ([num_rows % batch_size] if num_rows % batch_size else [])


@pytest.mark.parametrize("group", [False, True])
def test_order_depends_on_seed_and_epoch_alone(group: bool) -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        np.random.seed(seed + 7)  # the state of the process must not matter
        batches = epoch_batches(lengths_of(200), batch_size=8, seed=seed, epoch=epoch, group_by_length=group)
        return [batch.tolist() for batch in batches]

    assert order(0, 0) == order(0, 0)
    assert len({str(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6


def test_grouping_by_length_pads_far_less_and_does_not_sort_the_batches() -> None:
    lengths = lengths_of(4000)
    arguments = {"batch_size": 32, "seed": 0, "epoch": 0}
    grouped = epoch_batches(lengths, group_by_length=True, **arguments)
    mixed = epoch_batches(lengths, group_by_length=False, **arguments)
    assert padding(grouped, lengths) < padding(mixed, lengths) / 10
    longest = [int(lengths[batch].max()) for batch in grouped]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


def test_targets_of_other_lengths_are_grouped_too() -> None:
    lengths = lengths_of(4000)
    targets = np.maximum(2, lengths + np.random.default_rng(1).integers(-30, 30, 4000))
    arguments: dict[str, Any] = {"batch_size": 32, "seed": 0, "epoch": 0, "group_by_length": True}
    by_length, by_both = (epoch_batches(lengths, **arguments, target_lengths=one) for one in (None, targets))
    assert padding(by_both, targets) < padding(by_length, targets) / 3
    assert padding(by_both, targets) + padding(by_both, lengths) < 0.6 * padding(by_length, targets)
    # Of few rows, whose order would hardly be random then, the targets are not looked at.
    few = [epoch_batches(lengths[:1500], **arguments, target_lengths=one) for one in (None, targets[:1500])]
    assert [one.tolist() for one in few[0]] == [one.tolist() for one in few[1]]
    # Tags are as many as the words they stand over: nothing changes.
    of_tags = epoch_batches(lengths, **arguments, target_lengths=lengths)
    assert [one.tolist() for one in of_tags] == [one.tolist() for one in by_length]


def test_rows_of_one_length_meet_other_neighbours_in_each_epoch() -> None:
    lengths = np.full(64, 10)
    first, second = (
        {frozenset(batch.tolist()) for batch in epoch_batches(
            lengths, batch_size=8, seed=0, epoch=epoch, group_by_length=True
        )} for epoch in (0, 1)
    )  # fmt: skip
    assert not first & second


def test_batches_for_prediction_go_from_the_longest_row_to_the_shortest() -> None:
    lengths = [3, 9, 5, 9, 1]
    (batch,) = sorted_batches(lengths, batch_size=2)
    assert batch == [1, 3, 2, 0, 4]
    assert sorted_batches([], batch_size=2) == []


def test_batches_for_prediction_hold_as_many_tokens_as_rows_of_32_do() -> None:
    lengths = [16, 200, 64, 16, 0, 16, 33, 64, 16, 32]
    batches = sorted_batches(lengths, batch_size=4)
    assert batches == [[1], [2, 7], [6, 9, 0], [3, 5, 8, 4]]
    assert all(len(some) * lengths[some[0]] <= 128 for some in batches[1:])


def test_a_factor_makes_batches_of_prediction_so_much_larger() -> None:
    lengths = [64] * 20
    assert [len(some) for some in sorted_batches(lengths, batch_size=4)] == [2] * 10
    assert [len(some) for some in sorted_batches(lengths, batch_size=4, factor=4)] == [8, 8, 4]
    assert sorted_batches(lengths, batch_size=2, factor=4) == sorted_batches(lengths, batch_size=8)


class Padding:
    """The two numbers that padding asks a tokenizer for."""

    pad_token_id = 9
    pad_token_type_id = 3


def test_padding_is_on_the_right_and_each_input_has_its_own_filler() -> None:
    features = [
        Features({"input_ids": [5, 6, 7], "token_type_ids": [0, 0, 1], "attention_mask": [1, 1, 1]}),
        Features({"input_ids": [8], "token_type_ids": [0], "attention_mask": [1]}),
    ]
    padded = pad(features, Padding())
    assert torch.equal(padded["input_ids"], torch.tensor([[5, 6, 7], [8, 9, 9]]))
    assert torch.equal(padded["token_type_ids"], torch.tensor([[0, 0, 1], [0, 3, 3]]))
    assert torch.equal(padded["attention_mask"], torch.tensor([[1, 1, 1], [1, 0, 0]]))
    assert padded["input_ids"].dtype == torch.long


def test_each_piece_of_features_is_a_sequence_of_its_own() -> None:
    features = [Features({"input_ids": [1, 2, 3, 4, 5]}, pieces=(2, 3)), Features({"input_ids": [6]})]
    assert torch.equal(pad(features, Padding())["input_ids"], torch.tensor([[1, 2, 9], [3, 4, 5], [6, 9, 9]]))
    assert Batch({}, {}, tuple(features)).sizes == [2, 1]


def test_windows_are_rows_of_their_own_and_counted_for_the_model() -> None:
    one = Features({"input_ids": [2, 9, 3]}, {}, {"num_windows": 1}, pieces=(3,))
    two = Features({"input_ids": [2, 9, 9, 3, 2, 8, 3]}, {}, {"num_windows": 2}, pieces=(4, 3))
    batch = pad([one, two], Padding())
    assert batch["input_ids"].tolist() == [[2, 9, 3, 9], [2, 9, 9, 3], [2, 8, 3, 9]]
    assert batch["num_windows"].tolist() == [1, 2]
