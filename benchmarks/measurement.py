"""One measurement in a process of its own: prepare a data set, train with headway, or train with the Trainer.

Each variant imports what it needs itself, so that start-up time and memory are its own: the Trainer's process knows
nothing of headway until its training is over and its predictions are scored.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import generation
import psutil
from classifier import classify
from levers import LEVERS, PARTLY, TRAINERS, flops_per_token, peak_flops
from trainer_loop import train_and_score

NEVER = 10**9
"""Steps between two evaluations or checkpoints: more than any run has."""
EVALUATION_BATCH_SIZE = 64
OPTIMIZATION = ("adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "label_smoothing_factor")
"""Options of the recipe that the Trainer has, too, by the same names."""


def run_one(file: Path) -> None:
    """Do the job in a file that train.py wrote, and write what was found to the place it names."""
    job = json.loads(file.read_text(encoding="utf-8"))
    match job["kind"]:
        case "prepare":
            found = prepare(job)
        case "headway":
            found = with_headway(job, {})
        case kind if kind in TRAINERS:
            found = with_trainer(job, **TRAINERS[kind])
        case kind:
            found = with_headway(job, (LEVERS | PARTLY)[kind])
    Path(job["result"]).write_text(json.dumps(found), encoding="utf-8")


@dataclass(slots=True)
class Clock:
    """Notes when the first step begins and the last one ends, the peak of memory until then, and who else computes."""

    started: float
    """When the process was started, in seconds of `time.time`."""
    startup_seconds: float = 0.0
    steps: int = 0
    memory_mb: float = 0.0
    _began: float = 0.0
    _ended: float = 0.0
    _used_at_begin: float = 0.0
    _used_at_end: float = 0.0
    _others_at_begin: float = 0.0
    _others_at_end: float = 0.0

    def begin_step(self) -> None:
        """Note the beginning of a step, its batch in hand."""
        if not self._began:
            self.startup_seconds = time.time() - self.started
            self._others_at_begin = seconds_of_others()
            self._used_at_begin = time.process_time()
            self._began = time.perf_counter()

    def end_step(self) -> None:
        """Note the end of a step, its weights moved."""
        self._ended = time.perf_counter()
        self._used_at_end = time.process_time()
        self.steps += 1
        self.memory_mb = peak_memory_mb()
        self._others_at_end = seconds_of_others()

    def facts(self, num_rows: int, epochs: float) -> dict[str, Any]:
        """Return speed, start-up time and memory."""
        seconds, used = self._ended - self._began, self._used_at_end - self._used_at_begin
        return {
            "epochs": epochs,
            "sequences_per_second": num_rows * epochs / seconds,
            "sequences_per_cpu_second": num_rows * epochs / used,
            "training_seconds": seconds,
            "startup_seconds": self.startup_seconds,
            "steps": self.steps,
            "training_memory_mb": self.memory_mb,
            "memory_mb": peak_memory_mb(),
            # Clock ticks are coarse, so that a short run alone may come out slightly below 0.
            "processors_of_others": max(0.0, (self._others_at_end - self._others_at_begin) / seconds),
        }


def passes(steps: int, num_rows: int, training: dict[str, Any]) -> float:
    """Return how often the training rows were seen: as often as was asked for, or what so many steps come to."""
    if training["max_steps"] < 0:
        return float(training["num_train_epochs"])
    return steps / math.ceil(num_rows / training["per_device_train_batch_size"])


def peak_memory_mb() -> float:
    """Return the most memory this process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, kilobytes on Linux.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def seconds_of_others() -> float:
    """Return the processor time that everything but this process has used since the machine was started."""
    times: dict[str, float] = psutil.cpu_times()._asdict()
    own = os.times()
    # What the host of a virtual machine takes away is time of others, too; guests are part of user.
    busy = sum(times.get(name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))
    return busy - own.user - own.system


# --- the rows, read once for all --------------------------------------------------------------------------------------


def prepare(job: dict[str, Any]) -> dict[str, Any]:
    """Write the rows of every split as JSON lines, the recipe for headway and the settings for the Trainer."""
    import lightning  # noqa: F401  brings both sides' files into the disk cache, so that who comes first pays nothing
    import numpy as np
    import torch
    from transformers import AutoConfig, AutoTokenizer, Trainer  # noqa: F401

    from headway.data.options import DataOptions
    from headway.models.location import locate
    from headway.preparation import read_tables
    from headway.recipe import Recipe

    folder = Path(job["prepared"])
    recipe = Recipe.load(job["recipe"])
    recipe = recipe.model_copy(update={"data": recipe.data.relative_to(Path(job["data"]))})
    tables = read_tables(recipe)
    # Labels are those of all rows, also where only some are trained on.
    task = recipe.task.resolve(recipe.task.prepare(tables["train"], recipe.data.split_seed))
    for name, table in tables.items():
        most = job["max_train_rows" if name == "train" else "max_evaluation_rows"]
        if most:
            tables[name] = table.select(np.sort(np.random.default_rng(0).permutation(len(table))[:most]))
    files = {name: folder / f"{name}.jsonl" for name in tables}
    for name, table in tables.items():
        files[name].write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    model = job["model"] if job["model"] == "minilm" else str(Path(job["model"]).resolve())
    recipe = Recipe(
        task=task,
        data=DataOptions.model_validate(
            {name: getattr(recipe.data, name) for name in ("max_length", "truncation", "doc_stride", "window_pooling")}
            | ({"max_length": job["max_length"]} if job.get("max_length") else {})
            | {"train": str(files["train"]), "validation": None}
            | {name: str(path) for name, path in files.items()}
        ),
        model=recipe.model.model_copy(update={"model_name_or_path": model}),
        optimization=recipe.optimization,
        # One evaluation, at the end: it chooses the last weights, as the Trainer does without evaluations.
        training=recipe.training.model_copy(
            update={
                "num_train_epochs": job["epochs"],
                "max_steps": job.get("max_steps") or -1,
                "per_device_eval_batch_size": EVALUATION_BATCH_SIZE,
                "eval_steps": NEVER,
                "save_steps": NEVER,
                "baselines": False,
            }
        ),
    )
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    options = task.model_dump(mode="json")
    facts = {
        "rows": {name: len(table) for name, table in tables.items()},
        "fingerprints": {name: table.fingerprint for name, table in tables.items()},
        "task": task.name,
        "problem_type": options.get("problem_type"),
        "labels": options.get("labels", []),
        "epochs": job["epochs"],
        "max_steps": recipe.training.max_steps,
        "batch_size": recipe.training.per_device_train_batch_size,
        "learning_rate": recipe.optimization.learning_rate,
        "warmup_ratio": recipe.optimization.warmup_ratio,
        "weight_decay": recipe.optimization.weight_decay,
        "lr_scheduler_type": recipe.optimization.lr_scheduler_type,
        "max_length": job.get("max_length") or recipe.data.max_length,
        "freeze": recipe.model.freeze,
    }
    path = str(locate(model).folder)
    if task.generates:
        facts |= generation.facts_of(
            task,
            tables,
            AutoTokenizer.from_pretrained(path),
            max_length=recipe.data.max_length,
            batch_size=EVALUATION_BATCH_SIZE,
        )
    else:
        config = AutoConfig.from_pretrained(path)
        per_token = flops_per_token(config, 0)
        facts["flops_per_token"] = [per_token, flops_per_token(config, 1) - per_token]
        facts["peak_flops"] = peak_flops(torch.bfloat16)
    settings = facts | {"model": path, "generates": task.generates}
    settings |= {name: getattr(recipe.optimization, name) for name in OPTIMIZATION}
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    return facts


# --- headway ----------------------------------------------------------------------------------------------------------


def with_headway(job: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Train with `headway.train.train`, with some options of its recipe changed, and score its predictions."""
    import logging

    import torch

    from headway.importing import many_imports

    # As the command does.
    with many_imports():
        from headway.recipe import Recipe
        from headway.train import train
        from headway.training.fit import precision
        from headway.training.module import TrainingModule

    clock = Clock(job["started"])
    _watch_steps(TrainingModule, clock)
    _watch_encoding(clock)
    logging.basicConfig(level=logging.INFO)
    folder, run = Path(job["prepared"]), Path(job["work"]) / "run"
    recipe = Recipe.load(folder / "recipe.yaml", {"training.seeds": [job["seed"]], **options})
    train(recipe, output_dir=run)

    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    tokens = manifest["tokens"]["train"]
    scores = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    num_rows, training = manifest["data"]["train"]["rows"], recipe.training
    found = {
        **clock.facts(num_rows, passes(clock.steps, num_rows, training.model_dump())),
        "train_tokens": tokens["tokens"] - tokens["tokens_lost"],
        "precision": precision(training.bf16),
        "threads": torch.get_num_threads(),
        "metrics": {split: {name: one["value"] for name, one in found.items()} for split, found in scores.items()},
    }
    return found | generation.of_headway(run, recipe) if recipe.task.generates else found


def _watch_steps(module_class: Any, clock: Clock) -> None:
    """Let the clock see the beginning and the end of every step of headway's module."""
    training_step, optimizer_step = module_class.training_step, module_class.optimizer_step

    # With the parameters' names: Lightning reads them.
    def watched_training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        clock.begin_step()
        return training_step(self, batch, batch_idx)

    def watched_optimizer_step(self: Any, *arguments: Any, **keywords: Any) -> None:
        optimizer_step(self, *arguments, **keywords)
        clock.end_step()

    module_class.training_step = watched_training_step
    module_class.optimizer_step = watched_optimizer_step


def _watch_encoding(clock: Clock) -> None:
    """Let the clock begin where a frozen backbone, or its frozen layers, are asked once: that is work of training."""
    from headway import work

    encode_once = work.encode_once

    def watched(*arguments: Any, **keywords: Any) -> Any:
        clock.begin_step()
        return encode_once(*arguments, **keywords)

    work.encode_once = watched


# --- the Trainer ------------------------------------------------------------------------------------------------------


def with_trainer(job: dict[str, Any], *, is_tuned: bool, freeze: int | str | None = None) -> dict[str, Any]:
    """Train as the examples of transformers do and score the predictions.

    Args:
        job: what train.py wrote.
        is_tuned: with bfloat16 and length grouping; otherwise at the defaults.
        freeze: the backbone is left as it is: "all" of it, or the embeddings and so many of the lowest layers.
    """
    import torch

    clock = Clock(job["started"])
    settings = json.loads((Path(job["prepared"]) / "settings.json").read_text(encoding="utf-8"))
    tuned = {"bf16": True, "train_sampling_strategy": "group_by_length"} if is_tuned else {}
    arguments = {
        "output_dir": str(Path(job["work"]) / "run"),
        "seed": job["seed"],
        "num_train_epochs": settings["epochs"],
        "max_steps": settings["max_steps"],
        "per_device_train_batch_size": settings["batch_size"],
        "per_device_eval_batch_size": EVALUATION_BATCH_SIZE,
        "learning_rate": settings["learning_rate"],
        "weight_decay": settings["weight_decay"],
        **{name: settings[name] for name in OPTIMIZATION},
        "lr_scheduler_type": settings["lr_scheduler_type"],
        "warmup_steps": settings["warmup_ratio"],  # below 1 it is a share
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
        **tuned,
    }
    if settings["task"] == "text-classification":
        found = classify(job, settings, clock, arguments, freeze)
    elif settings["generates"]:
        found = generation.with_trainer(job, settings, clock, arguments, is_tuned=is_tuned)
    else:
        found = train_and_score(job, clock, training_arguments=arguments)
    num_rows = found.pop("num_rows")
    return {
        **clock.facts(num_rows, passes(clock.steps, num_rows, arguments)),
        **found,
        "precision": "bf16-mixed" if is_tuned else "32-true",
        "threads": torch.get_num_threads(),
    }
