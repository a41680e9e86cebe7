"""The stream of training batches: all epochs as one sequence, whose every element is a function of its position.

Lightning sees one long epoch. Its own epochs would put the state of a run into three counters at every boundary, and a
checkpoint written there resumed to a run without its next epoch; a position in one sequence has no boundaries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from headway.data.batching import epoch_batches
from headway.data.token_cache import TokenCache
from headway.tasks.base import Task
from headway.training.options import OptimizationOptions, Sampling, TrainingOptions
from headway.types import Batch

TEMPERATURES = {"proportional": 1.0, "square_root": 2.0}


class TaskBatches:
    """The batches of one task, numbered through all its epochs, for one process of ``world_size``.

    Each number names one batch over all processes; every process takes its share of the rows.
    """

    def __init__(
        self,
        cache: TokenCache,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        *,
        training: TrainingOptions,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._cache, self._task, self._tokenizer = cache, task, tokenizer
        self._training, self._seed = training, seed
        self._rank, self._world_size = rank, world_size
        self.batches_per_epoch = math.ceil(len(cache) / (training.per_device_train_batch_size * world_size))
        self._epoch, self._order = -1, list[np.ndarray]()

    def __getitem__(self, number: int) -> Batch:
        epoch, place = divmod(number, self.batches_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._ordered(epoch)
        numbers = self._order[place]
        # A last batch with fewer rows than processes would leave one without work, and the others waiting for it.
        share = np.resize(numbers, max(len(numbers), self._world_size))[self._rank :: self._world_size]
        features = [
            self._task.refresh(self._cache[number], self._tokenizer, np.random.default_rng([self._seed, epoch, number]))
            for number in share
        ]
        return self._task.collate(features, self._tokenizer)

    def _ordered(self, epoch: int) -> list[np.ndarray]:
        return epoch_batches(
            self._cache.lengths,
            batch_size=self._training.per_device_train_batch_size * self._world_size,
            seed=self._seed,
            epoch=epoch,
            group_by_length=self._training.group_by_length,
            target_lengths=self._cache.target_lengths,
        )


class BatchStream:
    """The batches of a whole run, of one task or of several that take turns.

    `state_dict` and `load_state_dict` are Lightning's protocol for loaders that can be resumed.
    """

    def __init__(
        self,
        tasks: Sequence[TaskBatches],
        *,
        training: TrainingOptions,
        optimization: OptimizationOptions,
        seed: int,
        sampling: Sampling = "proportional",
    ) -> None:
        self._tasks, self._seed = tasks, seed
        self.shares = shares([one.batches_per_epoch for one in tasks], sampling)
        """Batches of each task in one epoch."""
        self.batches_per_epoch = sum(self.shares)
        self.accumulation = optimization.gradient_accumulation_steps
        self.total_batches = (
            training.max_steps * self.accumulation
            if training.max_steps > 0
            else math.ceil(training.num_train_epochs * self.batches_per_epoch)
        )
        self.position = 0

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run; the last one may add up fewer batches."""
        return math.ceil(self.total_batches / self.accumulation)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass over the rows."""
        return math.ceil(self.batches_per_epoch / self.accumulation)

    def epoch_at(self, position: int) -> float:
        """Return the passes over the rows completed after ``position`` batches."""
        return position / self.batches_per_epoch

    def __len__(self) -> int:
        return self.total_batches

    def __iter__(self) -> Iterator[Batch]:
        epoch, turns = -1, np.empty((0, 2), dtype=np.int64)
        for position in range(self.position, self.total_batches):
            if position // self.batches_per_epoch != epoch:
                epoch = position // self.batches_per_epoch
                turns = self._turns(epoch)
            task, number = turns[position % self.batches_per_epoch].tolist()
            # Before the yield: code after the last one would never run.
            self.position = position + 1
            yield replace(self._tasks[task][number], task=task)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches handed out so far."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the batches that were handed out."""
        self.position = state["position"]

    def _turns(self, epoch: int) -> np.ndarray:
        """Return (task, number of its batch) for each place of an epoch; a task goes on where its last turn ended."""
        turns = np.concatenate([
            np.stack([np.full(share, task), epoch * share + np.arange(share)], axis=1)
            for task, share in enumerate(self.shares)
        ])  # fmt: skip
        if len(self._tasks) == 1:
            return turns
        order = np.random.default_rng([self._seed, epoch, len(turns)]).permutation(turns[:, 0])
        # Drawn is only whose turn it is; the batches of each task stay in their own order.
        drawn = np.empty_like(turns)
        for task in range(len(self._tasks)):
            drawn[order == task] = turns[turns[:, 0] == task]
        return drawn


def shares(batches: Sequence[int], sampling: Sampling) -> list[int]:
    """Return how many batches of each task one epoch holds; their sum stays that of all batches.

    With temperature T a task of n batches gets its part in proportion to n ** (1 / T): 1 is proportional, 2 takes the
    square root, and the larger T, the more alike the parts (Raffel et al. 2020, arXiv:1910.10683, section 3.5.2). Every
    task has at least one batch.

    Args:
        batches: of each task, all at least 1.
        sampling: `proportional`, `square_root`, or the temperature, at least 1.
    """
    temperature = sampling if isinstance(sampling, float) else TEMPERATURES[sampling]
    weights = np.asarray(batches, dtype=np.float64) ** (1 / temperature)
    wanted = weights / weights.sum() * sum(batches)
    found = np.maximum(np.floor(wanted + 1e-9), 1).astype(int)
    # The largest remainders get what is left; what was given to the smallest is taken from the largest.
    for number in np.argsort(found - wanted, kind="stable")[: max(sum(batches) - int(found.sum()), 0)]:
        found[number] += 1
    found[int(found.argmax())] -= int(found.sum()) - sum(batches)
    return [int(one) for one in found]
