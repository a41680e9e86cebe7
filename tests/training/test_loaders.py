from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from headway.data.token_cache import TokenCache, open_or_build, record_batches
from headway.tasks.text_classification import TextClassification
from headway.training.loaders import BatchStream, TaskBatches, shares
from headway.training.options import OptimizationOptions, TrainingOptions
from headway.types import Features

NUM_ROWS = 22


class Masking(TextClassification):
    """Replaces one token by another in each epoch, as masked-language-model pre-training does."""

    def refresh(self, features: Features, tokenizer: Any, rng: np.random.Generator) -> Features:
        drawn = rng.integers(100)
        return dataclasses.replace(features, inputs={**features.inputs, "drawn_ids": [int(drawn)] * features.length})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> TokenCache:
    rows = [
        Features({"input_ids": [2, *[9] * (n % 7), 3]}, {"labels": n % 2}, {"tokens_lost": 0}, row=n)
        for n in range(NUM_ROWS)
    ]
    return open_or_build("rows", "k", record_batches(rows), folder=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def stream_of(cache: TokenCache, tokenizer: Any, *, accumulation: int = 1, **options: Any) -> BatchStream:
    arguments = {name: options.pop(name) for name in ("rank", "world_size") if name in options}
    training = TrainingOptions.model_validate({"num_train_epochs": 2, "per_device_train_batch_size": 4, **options})
    task = Masking(labels=("a", "b"))
    return BatchStream(
        [TaskBatches(cache, task, tokenizer, training=training, seed=3, **arguments)],
        training=training,
        optimization=OptimizationOptions(gradient_accumulation_steps=accumulation),
        seed=3,
    )


def seen(stream: BatchStream) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [
        (tuple(one.row for one in batch.features), tuple(batch.inputs["drawn_ids"][:, 0].tolist())) for batch in stream
    ]


@pytest.mark.parametrize("grouped", [False, True])
def test_each_epoch_holds_each_row_once_and_the_epochs_differ(cache: TokenCache, tokenizer: Any, grouped: bool) -> None:
    stream = stream_of(cache, tokenizer, group_by_length=grouped)
    batches = seen(stream)
    assert len(batches) == len(stream) == stream.total_batches == 12
    epochs = [[row for rows, _ in batches[start : start + 6] for row in rows] for start in (0, 6)]
    assert [sorted(rows) for rows in epochs] == [list(range(NUM_ROWS))] * 2
    assert epochs[0] != epochs[1]


def test_refreshed_rows_differ_between_epochs_and_not_between_readings(cache: TokenCache, tokenizer: Any) -> None:
    batches = seen(stream_of(cache, tokenizer))
    assert seen(stream_of(cache, tokenizer)) == batches
    drawn = [{row: one for rows, ids in batches[s : s + 6] for row, one in zip(rows, ids, strict=True)} for s in (0, 6)]
    assert sum(drawn[0][row] != drawn[1][row] for row in range(NUM_ROWS)) > NUM_ROWS / 2


@pytest.mark.parametrize("batch_size", [1, 3, 22])
def test_what_is_drawn_for_a_row_does_not_depend_on_the_batch_size(
    cache: TokenCache, tokenizer: Any, batch_size: int
) -> None:
    def first_epoch(size: int) -> dict[int, int]:
        stream = stream_of(cache, tokenizer, num_train_epochs=1, per_device_train_batch_size=size)
        return {row: one for rows, ids in seen(stream) for row, one in zip(rows, ids, strict=True)}

    assert first_epoch(batch_size) == first_epoch(4)


@pytest.mark.parametrize("position", range(13))
def test_it_goes_on_from_any_position(cache: TokenCache, tokenizer: Any, position: int) -> None:
    whole = seen(stream_of(cache, tokenizer))
    first = stream_of(cache, tokenizer)
    iterator = iter(first)
    handed_out = [next(iterator) for _ in range(position)]
    rest = stream_of(cache, tokenizer)
    rest.load_state_dict(first.state_dict())
    assert first.state_dict() == {"position": position}
    assert [tuple(f.row for f in b.features) for b in handed_out] == [rows for rows, _ in whole[:position]]
    assert seen(rest) == whole[position:]


@pytest.mark.parametrize(
    ("options", "batches", "steps", "steps_per_epoch"),
    [
        ({}, 12, 12, 6),
        ({"accumulation": 4}, 12, 3, 2),
        ({"accumulation": 5}, 12, 3, 2),
        ({"num_train_epochs": 0.4}, 3, 3, 6),
        ({"num_train_epochs": 1.5, "accumulation": 2}, 9, 5, 3),
        ({"max_steps": 5}, 5, 5, 6),
        ({"max_steps": 5, "accumulation": 3}, 15, 5, 2),
        ({"per_device_train_batch_size": 100}, 2, 2, 1),
    ],
)
def test_batches_and_steps_are_counted(
    cache: TokenCache, tokenizer: Any, options: dict[str, Any], batches: int, steps: int, steps_per_epoch: int
) -> None:
    stream = stream_of(cache, tokenizer, **options)
    assert (stream.total_batches, stream.total_steps, stream.steps_per_epoch) == (batches, steps, steps_per_epoch)
    assert len(list(stream)) == batches
    assert stream.epoch_at(stream.batches_per_epoch) == 1.0


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_processes_share_each_batch(cache: TokenCache, tokenizer: Any, world_size: int) -> None:
    streams = [
        seen(stream_of(cache, tokenizer, rank=rank, world_size=world_size, num_train_epochs=1))
        for rank in range(world_size)
    ]
    assert len({len(batches) for batches in streams}) == 1
    counts = Counter(row for batches in streams for rows, _ in batches for row in rows)
    assert set(counts) == set(range(NUM_ROWS))
    assert all(rows for batches in streams for rows, _ in batches)
    # A row comes twice only where the last batch has fewer rows than processes.
    assert sum(counts.values()) - NUM_ROWS < world_size


# --- several tasks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batches", "sampling", "expected"),
    [
        ([6], "square_root", [6]),
        ([90, 10], "proportional", [90, 10]),
        # 9 : 3 : 1, of 91 + 9 + 1 batches.
        ([81, 9, 1], "square_root", [63, 21, 7]),
        ([81, 9, 1], 1.0, [81, 9, 1]),
        ([81, 9, 1], 1e9, [31, 30, 30]),
        # Each task has a turn, though a thousandth of one would be its part.
        ([1000, 1], "proportional", [1000, 1]),
        ([3, 1, 1], 2.0, [2, 2, 1]),
    ],
)
def test_the_tasks_share_an_epoch(batches: list[int], sampling: Any, expected: list[int]) -> None:
    assert shares(batches, sampling) == expected


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=6), st.floats(1, 100))
def test_shares_add_up_and_leave_no_task_out(batches: list[int], temperature: float) -> None:
    found = shares(batches, temperature)
    assert sum(found) == sum(batches)
    assert min(found) >= 1
    ordered = [share for _, share in sorted(zip(batches, found, strict=True))]
    assert all(less <= more + 1 for less, more in itertools.pairwise(ordered))


def two_tasks(cache: TokenCache, tokenizer: Any, *, sampling: Any = "proportional", epochs: float = 3) -> BatchStream:
    small = TrainingOptions(num_train_epochs=epochs, per_device_train_batch_size=4)
    large = TrainingOptions(per_device_train_batch_size=2)
    task = Masking(labels=("a", "b"))
    tasks = [TaskBatches(cache, task, tokenizer, training=one, seed=3) for one in (small, large)]
    return BatchStream(tasks, training=small, optimization=OptimizationOptions(), seed=3, sampling=sampling)


def turns(stream: BatchStream) -> list[tuple[int, tuple[int, ...]]]:
    return [(batch.task, tuple(one.row for one in batch.features)) for batch in stream]


def test_in_proportion_each_epoch_holds_each_row_of_each_task_once(cache: TokenCache, tokenizer: Any) -> None:
    stream = two_tasks(cache, tokenizer)
    assert stream.shares == [6, 11]
    batches = turns(stream)
    epochs = [batches[start : start + 17] for start in (0, 17, 34)]
    for epoch in epochs:
        for task in (0, 1):
            assert sorted(row for one, rows in epoch for row in rows if one == task) == list(range(NUM_ROWS))
    orders = [[task for task, _ in epoch] for epoch in epochs]
    assert orders[0] != orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


def test_a_task_that_has_fewer_turns_goes_on_where_it_stopped(cache: TokenCache, tokenizer: Any) -> None:
    stream = two_tasks(cache, tokenizer, sampling=1e9, epochs=11)
    assert stream.shares == [8, 9]
    batches = turns(stream)
    seen_of_second = [row for task, rows in batches for row in rows if task == 1]
    # 99 batches of it are 9 whole epochs of its own.
    assert [sorted(seen_of_second[start : start + 22]) for start in range(0, 198, 22)] == [list(range(NUM_ROWS))] * 9


@pytest.mark.parametrize("position", [0, 1, 16, 17, 18, 40])
def test_several_tasks_go_on_from_any_position(cache: TokenCache, tokenizer: Any, position: int) -> None:
    whole = turns(two_tasks(cache, tokenizer, sampling="square_root"))
    rest = two_tasks(cache, tokenizer, sampling="square_root")
    rest.load_state_dict({"position": position})
    assert turns(rest) == whole[position:]
