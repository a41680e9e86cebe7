"""The stream of training batches: all epochs as one sequence, whose every element is a function of its position.

Lightning sees one long epoch. Its own epochs would put the state of a run into three counters at every boundary, and a
checkpoint written there resumed to a run without its next epoch; a position in one sequence has no boundaries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from headway.data.batching import epoch_batches
from headway.data.token_cache import TokenCache
from headway.tasks.base import Task
from headway.training.options import OptimizationOptions, TrainingOptions
from headway.types import Batch


class BatchStream:
    """The batches of a whole run, for one process of ``world_size``.

    Each position names one batch over all processes; every process takes its share of the rows. `state_dict` and
    `load_state_dict` are Lightning's protocol for loaders that can be resumed.
    """

    def __init__(
        self,
        cache: TokenCache,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        *,
        training: TrainingOptions,
        optimization: OptimizationOptions,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._cache, self._task, self._tokenizer = cache, task, tokenizer
        self._training, self._seed = training, seed
        self._rank, self._world_size = rank, world_size
        self.batches_per_epoch = math.ceil(len(cache) / (training.per_device_train_batch_size * world_size))
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
        epoch, batches = -1, []
        for position in range(self.position, self.total_batches):
            if position // self.batches_per_epoch != epoch:
                epoch = position // self.batches_per_epoch
                batches = self._epoch(epoch)
            # Before the yield: code after the last one would never run.
            self.position = position + 1
            yield self._batch(batches[position % self.batches_per_epoch], epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches handed out so far."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the batches that were handed out."""
        self.position = state["position"]

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        return epoch_batches(
            self._cache.lengths,
            batch_size=self._training.per_device_train_batch_size * self._world_size,
            seed=self._seed,
            epoch=epoch,
            group_by_length=self._training.group_by_length,
        )

    def _batch(self, numbers: np.ndarray, epoch: int) -> Batch:
        # A last batch with fewer rows than processes would leave one without work, and the others waiting for it.
        share = np.resize(numbers, max(len(numbers), self._world_size))[self._rank :: self._world_size]
        features = [
            self._task.refresh(self._cache[number], self._tokenizer, np.random.default_rng([self._seed, epoch, number]))
            for number in share
        ]
        return self._task.collate(features, self._tokenizer)
