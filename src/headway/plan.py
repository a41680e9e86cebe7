"""What a training would cost, measured on a few steps of it: batches, tokens, memory and time. Nothing is trained.

Beside `train` in the walk: the same rows, model and batches, but a model that is thrown away. Only the token cache
stays on the disk, where the training finds it.
"""

from __future__ import annotations

import io
import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from headway.data.batching import epoch_batches, sorted_batches
from headway.data.token_cache import TokenCache
from headway.models.backbone import Backbone, load_backbone
from headway.models.entrance import body_of
from headway.preparation import (
    Prepared,
    build_criterion,
    build_model,
    build_stream,
    prepare,
    read_tables,
    token_statistics,
)
from headway.recipe import Recipe
from headway.training.estimators import estimator_of
from headway.training.fit import check_trainer_arguments, device_of, precision
from headway.training.frozen import frozen_part
from headway.training.optimization import build_optimizer
from headway.training.trial import check_optimization
from headway.types import ACTIVATIONS, Batch

TIMED_STEPS = 5
SECONDS_BETWEEN_LOOKS = 0.002


def plan(recipe: Recipe) -> dict[str, Any]:
    """Return rows, steps and tokens as they are, and memory and time as `estimated` from a few measured steps.

    Counts are of one seed; the estimated time is that of all seeds. It covers training and scoring, not the start of
    the program, simple baselines, intervals and the writing of checkpoints, which takes what the disk takes. Of a
    contrastive stage only the pairs are counted. Of several tasks that are learnt together, each is planned as if it
    were alone; those beside the recipe's own stand under ``tasks``.

    Raises:
        HeadwayError: what would stop the training before its first step stops the plan in the same way.
    """
    check_trainer_arguments(recipe.trainer)
    backbone = load_backbone(recipe.model)
    own, *beside = [(name, _plan_one(one, backbone)) for name, one in recipe.parts().items()]
    return {**own[1], **({"tasks": dict(beside)} if beside else {})}


def _plan_one(recipe: Recipe, backbone: Backbone) -> dict[str, Any]:
    prepared = prepare(recipe, read_tables(recipe), backbone.tokenizer)
    # The caller's random numbers are none of ours.
    with torch.random.fork_rng():
        model = build_model(recipe, prepared, backbone)
        measured = _Measured(recipe, prepared, model, backbone.tokenizer)
        stream = measured.stream
        seconds = measured.seconds()
    statistics = {
        name: token_statistics(features, len(prepared.tables[name]), prepared.limits.max_length)
        for name, features in prepared.features.items()
    }
    num_seeds = len(recipe.training.seeds)
    parameters = list(model.parameters())
    return {
        "rows": {name: one["rows"] for name, one in statistics.items()},
        "tokens": {name: one["tokens"] for name, one in statistics.items()},
        "tokens_lost": {name: one["tokens_lost"] for name, one in statistics.items()},
        "tokens_lost_share": {
            name: round(one["tokens_lost"] / max(one["tokens"], 1), 4) for name, one in statistics.items()
        },
        "rows_truncated": {name: one["rows_truncated"] for name, one in statistics.items()},
        "windows": {name: one["windows"] for name, one in statistics.items() if "windows" in one},
        "length_quantiles": {name: one["length_quantiles"] for name, one in statistics.items()},
        "max_length": statistics["train"]["max_length"],
        "epochs": round(stream.epoch_at(stream.total_batches), 3),
        "seeds": num_seeds,
        "batches": stream.total_batches,
        "optimizer_steps": stream.total_steps,
        "evaluations": measured.num_evaluations,
        "contrastive_pairs": _contrastive_pairs(recipe, statistics["train"]["rows"]),
        "training_tokens_with_padding": measured.padded_tokens,
        "parameters": sum(one.numel() for one in parameters),
        "trainable_parameters": sum(one.numel() for one in parameters if one.requires_grad),
        "device": str(measured.device),
        "precision": measured.precision,
        "checkpoint_gb": round(measured.checkpoint_bytes / 1e9, 2),
        "estimated_peak_memory_gb": {name: round(value / 1e9, 2) for name, value in measured.peak_memory.items()},
        "estimated_seconds": {
            **{name: round(value * num_seeds, 1) for name, value in seconds.items()},
            "total": round(sum(seconds.values()) * num_seeds, 1),
        },
        "estimated_from": f"{measured.num_timed} timed steps on this machine",
    }


def describe(planned: dict[str, Any]) -> str:
    """Return a plan in words, for a person."""
    splits = planned["rows"]
    seconds, memory = planned["estimated_seconds"], planned["estimated_peak_memory_gb"]
    lines = [("rows", ", ".join(f"{name} {count:,}" for name, count in splits.items()))]
    lines += [
        (
            f"tokens, {name}",
            f"{planned['tokens'][name]:,}; {planned['tokens_lost'][name]:,} ({planned['tokens_lost_share'][name]:.2%}) "
            f"lost to truncation at {planned['max_length']}, in {planned['rows_truncated'][name]:,} rows"
            + (f"; {planned['windows'][name]:,} windows" if name in planned["windows"] else ""),
        )
        for name in splits
    ]
    steps = f"{planned['optimizer_steps']:,} of the optimizer in {planned['batches']:,} batches"
    lines += [
        ("steps", f"{steps} ({planned['epochs']:g} epochs), {planned['evaluations']:,} evaluations"),
        *(
            [("contrastive stage", f"{planned['contrastive_pairs']:,} pairs before, which all else here leaves out")]
            if planned["contrastive_pairs"]
            else []
        ),
        ("seeds", str(planned["seeds"])),
        ("parameters", f"{planned['parameters']:,}, of which {planned['trainable_parameters']:,} are trained"),
        ("computed on", f"{planned['device']}, {planned['precision']}"),
        ("disk", f"{planned['checkpoint_gb']:.2f} GB a checkpoint"),
        ("estimated peak memory", ", ".join(f"{value:.2f} GB ({name})" for name, value in memory.items())),
        (
            "estimated time",
            f"{_duration(seconds['total'])} (training {_duration(seconds['training'])}, scoring "
            f"{_duration(seconds['scoring'])}; without start-up, baselines and saving), "
            f"from {planned['estimated_from']}",
        ),
    ]
    width = max(len(name) for name, _ in lines)
    text = "\n".join(f"{name:{width}}  {value}" for name, value in lines)
    beside = [f"\n\n{name}\n{describe(one)}" for name, one in planned.get("tasks", {}).items()]
    return text + "".join(beside) + ("\n\nEach task as if it were alone; their times add up." if beside else "")


def _contrastive_pairs(recipe: Recipe, num_rows: int) -> int:
    """Return how many pairs the stage before the training reads, each as often as it is read."""
    options = recipe.training.contrastive
    return 0 if options is None else round(num_rows * options.pairs_per_row * options.num_train_epochs)


class _Measured:
    """Times single steps of the training that a recipe describes, and looks at the memory meanwhile."""

    def __init__(self, recipe: Recipe, prepared: Prepared, model: nn.Module, tokenizer: Any) -> None:
        self.precision = precision(recipe.training.bf16, recipe.trainer)
        self.device = device_of(recipe.trainer)
        self._recipe, self._prepared = recipe, prepared
        self._task, self._tokenizer = prepared.task, tokenizer
        # Dropout takes its time, too.
        self._model = model.to(self.device).train()
        self._criterion = build_criterion(recipe, prepared).to(self.device)
        self._encodes_once = recipe.model.asks_once and frozen_part(model) is not None
        self._enters_above = recipe.model.cache_frozen
        fits_at_once = estimator_of(model) is not None
        self._optimizer = None if fits_at_once else build_optimizer(model, recipe.optimization)
        alone = recipe.model_copy(update={"multi_task": None})
        self.stream = build_stream(alone, [prepared], tokenizer, seed=recipe.training.seeds[0])
        check_optimization(recipe.optimization, self.stream)
        self._costs = self._batch_costs()
        self.padded_tokens = int(sum(self._costs[epoch][number].tokens for epoch, number in self._positions()))
        self.peak_memory: dict[str, float] = {}
        self.checkpoint_bytes = 0
        self.num_timed = 0

    @property
    def num_evaluations(self) -> int:
        """How often the validation rows are scored while it trains."""
        if "validation" not in self._prepared.tables:
            return 0
        return math.ceil(self.stream.total_steps / (self._recipe.training.eval_steps or self.stream.steps_per_epoch))

    def seconds(self) -> dict[str, float]:
        """Return the time of the training steps, and of all scoring, of one seed."""
        with _PeakMemory(self.device) as peak:
            if self._encodes_once or self._optimizer is None:
                # What is done to the vectors then takes next to nothing beside this.
                splits = self._prepared.features
                options = self._recipe.training
                # All seeds share one frozen backbone, unless each tunes its own before.
                sharing = len(options.seeds) if options.contrastive is None else 1
                training = sum(map(self._reading_seconds, splits)) / sharing
                scoring = 0.0
                self.checkpoint_bytes = 0 if self._optimizer is None else self._checkpoint_bytes()
            else:
                training = self._training_seconds()
                scoring = self._scoring_seconds()
                if self._enters_above:
                    self._enters_above = False
                    # At most: what encodes stops where the frozen layers end. All seeds share it.
                    once = sum(map(self._reading_seconds, self._prepared.features))
                    training += once / len(self._recipe.training.seeds)
        self.peak_memory = peak.bytes
        return {"training": training, "scoring": scoring}

    def _training_seconds(self) -> float:
        batches = sorted(itertools.chain.from_iterable(self._costs), key=lambda one: one.tokens)
        typical, longest = batches[len(batches) // 2], batches[-1]
        # The longest comes first: it fills the memory, and warms up what the others use.
        slow = self._timed(longest, self._forward_and_backward)
        usual = self._timed(typical, self._forward_and_backward)
        update = self._timed(typical, self._update)
        self.checkpoint_bytes = self._checkpoint_bytes()
        cost = _line((typical.tokens, usual), (longest.tokens, slow))
        steps = sum(cost(self._costs[epoch][number].tokens) for epoch, number in self._positions())
        return steps + update * self.stream.total_steps

    def _scoring_seconds(self) -> float:
        training = self._recipe.training
        total = 0.0
        for name in self._prepared.features:
            if name != "train":
                # Every split is scored at the end, and before the training for the comparison.
                partly = training.baselines + (self.num_evaluations if name == "validation" else 0)
                rows = len(self._prepared.tables[name])
                share = min(rows, training.max_eval_samples or rows) / max(rows, 1)
                total += (1 + partly * share) * self._reading_seconds(name)
        return total

    def _reading_seconds(self, split: str) -> float:
        """Return the time in which the model, as it predicts, reads all rows of a split once."""
        features = self._prepared.features[split]
        if not len(features):
            return 0.0
        size = self._recipe.training.per_device_eval_batch_size
        groups = sorted_batches(features.lengths.tolist(), batch_size=size, factor=self._prepared.task.batch_factor)
        batches = [_Cost.of(features, group) for group in groups]
        typical = batches[len(batches) // 2]
        self._model.eval()
        slow = self._timed(batches[0], self._infer)
        usual = self._timed(typical, self._infer)
        # Batches hold about equally many tokens; what one costs grows with the length of its rows.
        points = ((usual, typical), (slow, batches[0]))
        cost = _line(*((one.longest, seconds / one.tokens) for seconds, one in points))
        return sum(cost(one.longest) * one.tokens for one in batches)

    def _timed(self, cost: _Cost, step: Callable[[Batch], Any]) -> float:
        """Return the median seconds of a step, after one that warms up."""
        taken = []
        for number in range(1 + TIMED_STEPS):
            started = time.perf_counter()
            step(self._batch(cost))
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            if number:
                taken.append(time.perf_counter() - started)
        self.num_timed += len(taken)
        return float(np.median(taken))

    def _batch(self, cost: _Cost) -> Batch:
        features = [
            self._task.refresh(cost.source[int(number)], self._tokenizer, np.random.default_rng([0, 0, int(number)]))
            for number in cost.numbers
        ]
        batch = self._task.collate(features, self._tokenizer).to(self.device)
        if not self._enters_above:
            return batch
        shape = (*batch.inputs["input_ids"].shape, body_of(self._model).config.hidden_size)
        return replace(batch, inputs={**batch.inputs, ACTIVATIONS: torch.zeros(shape, device=self.device)})

    def _forward_and_backward(self, batch: Batch) -> None:
        assert self._optimizer is not None
        self._optimizer.zero_grad()
        with self._autocast():
            loss: Tensor = self._task.loss(self._task.forward(self._model, batch), batch, self._criterion)
        loss.backward()  # type: ignore[no-untyped-call]

    def _update(self, batch: Batch) -> None:
        assert self._optimizer is not None
        parameters = [one for group in self._optimizer.param_groups for one in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self._recipe.optimization.max_grad_norm or torch.inf)
        self._optimizer.step()

    def _checkpoint_bytes(self) -> int:
        """Return the size of a checkpoint, which is put together in memory before it goes to the disk."""
        assert self._optimizer is not None
        buffer = io.BytesIO()
        torch.save({"state_dict": self._model.state_dict(), "optimizer": self._optimizer.state_dict()}, buffer)
        return buffer.getbuffer().nbytes

    def _infer(self, batch: Batch) -> None:
        with torch.inference_mode():
            self._task.infer(self._model, batch)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision.startswith("bf16"))

    def _batch_costs(self) -> list[list[_Cost]]:
        """Return what each batch of each epoch costs; only the first few epochs are drawn, the others are like them."""
        training, features = self._recipe.training, self._prepared.features["train"]
        epochs = math.ceil(self.stream.total_batches / self.stream.batches_per_epoch)
        drawn = [
            epoch_batches(
                features.lengths,
                batch_size=training.per_device_train_batch_size,
                seed=training.seeds[0],
                epoch=epoch,
                group_by_length=training.group_by_length,
            )
            for epoch in range(min(epochs, 3))
        ]
        return [[_Cost.of(features, numbers) for numbers in batches] for batches in drawn]

    def _positions(self) -> list[tuple[int, int]]:
        """Return (drawn epoch, batch) for each position of the stream."""
        per_epoch = self.stream.batches_per_epoch
        return [
            (position // per_epoch % len(self._costs), position % per_epoch)
            for position in range(self.stream.total_batches)
        ]


@dataclass(frozen=True, slots=True)
class _Cost:
    """A batch that was drawn but not made: its features, and its tokens with padding."""

    source: TokenCache
    numbers: Sequence[int]
    tokens: int
    longest: int
    """Tokens of its longest sequence."""

    @classmethod
    def of(cls, source: TokenCache, numbers: Any) -> _Cost:
        chosen = np.asarray(numbers)
        longest = int(source.longest_piece[chosen].max())
        return cls(source, numbers, int(source.num_pieces[chosen].sum()) * longest, longest)


def _line(first: tuple[float, float], second: tuple[float, float]) -> Callable[[float], float]:
    """Return the straight line through two measured points (tokens, seconds), never below half of the smaller one."""
    (tokens, seconds), (more_tokens, more_seconds) = first, second
    if more_tokens <= tokens or more_seconds <= seconds:
        return lambda _: seconds
    slope = (more_seconds - seconds) / (more_tokens - tokens)
    return lambda at: max(seconds + slope * (at - tokens), seconds / 2)


class _PeakMemory:
    """The most memory that is held while the block runs: of the process, and of the GPU where there is one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._process = psutil.Process()
        self._is_done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self.bytes: dict[str, float] = {}

    def __enter__(self) -> _PeakMemory:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self.bytes = {"process": float(self._process.memory_info().rss)}
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_done.set()
        self._watcher.join()
        if self._device.type == "cuda":
            self.bytes["gpu"] = float(torch.cuda.max_memory_allocated())

    def _watch(self) -> None:
        while not self._is_done.wait(SECONDS_BETWEEN_LOOKS):
            self.bytes["process"] = max(self.bytes["process"], float(self._process.memory_info().rss))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
