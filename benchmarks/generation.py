"""What measurements of tasks that write texts have beside those of other tasks: generation timed, losses, baselines."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from seq2seq_trainer import train_and_generate
from trainer_loop import watch_steps

SPLIT = "test"
"""The split that texts are written for: it takes long, and no choice is made by the other one."""
LOGGING_STEPS = 10
"""Optimizer steps between two points of a loss curve: headway's default."""


def facts_of(task: Any, tables: dict[str, Any], tokenizer: Any, *, max_length: int, batch_size: int) -> dict[str, Any]:
    """Return what the Trainer must be told of a task, and what the simple methods score.

    Args:
        task: of the recipe.
        tables: of all splits, as measured.
        tokenizer: of the model.
        max_length: of a source.
        batch_size: of the recipe's evaluation; headway's own batches follow from it and from the lengths.
    """
    from headway.data.batching import sorted_batches

    rows = list(tables[SPLIT])
    encoded = tokenizer([row["source"] for row in rows], truncation=True, max_length=max_length)["input_ids"]
    batches = sorted_batches([len(ids) for ids in encoded], batch_size=batch_size, factor=task.batch_factor)
    predictions = task.baselines(list(tables["train"]), rows, seed=0)
    return {
        "max_target_length": task.max_target_length,
        "generation": task.generation.arguments(),
        "generation_batch_size": math.ceil(len(rows) / len(batches)),
        "baselines": {name: {SPLIT: task.evaluate(some, rows)} for name, some in predictions.items()},
    }


def of_headway(run: Path, recipe: Any) -> dict[str, Any]:
    """Return what there is to say of a finished run: tokens of its targets, its losses, generation, metrics."""
    from headway.models.precision import has_bfloat16
    from headway.predictor import Predictor

    generation = []
    for precision in ("float32", "bfloat16"):
        predictor = Predictor.load(run, bf16=precision == "bfloat16")
        rows = list(predictor.read(recipe.data.test, need_gold=True))
        sources = [{name: row[name] for name in row if name != predictor.task.target_column} for row in rows]
        timed = Stopwatch()
        with timed.run():
            predictions = list(predictor.stream(sources))
        texts = [one.value for one in predictions]
        metrics = predictor.task.evaluate(predictions, rows)
        generation.append({"precision": precision, **timed.facts(texts, predictor.tokenizer), "metrics": metrics})
        if not has_bfloat16(next(predictor.inference.model.parameters()).device):
            break
    train = predictor.read(recipe.data.train, need_gold=True)
    start = predictor.inference.model.config.decoder_start_token_id
    labels = (one.targets["labels"] for one in predictor.inference.encode(train))
    with (run / "history.csv").open(encoding="utf-8", newline="") as file:
        losses = [
            [int(line["step"]), float(line["value"])]
            for line in csv.DictReader(file)
            if (line["split"], line["name"]) == ("train", "loss")
        ]
    return {
        "target_tokens": sum(len(ids) - (ids[0] == start) for ids in labels),
        "losses": losses,
        "generation": generation,
        "metrics": {SPLIT: generation[0]["metrics"]},
    }


def with_trainer(
    job: dict[str, Any], settings: dict[str, Any], clock: Any, arguments: dict[str, Any], *, is_tuned: bool
) -> dict[str, Any]:
    """Train and write with the plain script, and score its texts with headway's scorer.

    Args:
        job: what train.py wrote.
        settings: what `measurement.prepare` wrote.
        clock: notes the steps.
        arguments: of `TrainingArguments`.
        is_tuned: with batches as large as those that headway generates; otherwise of the Trainer's default size.
    """
    folder = Path(job["prepared"])
    arguments = arguments | {"logging_steps": LOGGING_STEPS}
    del arguments["per_device_eval_batch_size"]
    if is_tuned:
        arguments["per_device_eval_batch_size"] = settings["generation_batch_size"]
    timed = Stopwatch()
    found = train_and_generate(settings, arguments, folder=folder, callbacks=[watch_steps(clock)], stopwatch=timed.run)

    # From here on headway: its scorer, for all variants.
    from transformers import AutoTokenizer

    from headway.recipe import Recipe
    from headway.tasks.generation import written

    texts = found.pop("texts")
    rows = [json.loads(line) for line in (folder / f"{SPLIT}.jsonl").read_text(encoding="utf-8").splitlines()]
    metrics = Recipe.load(folder / "recipe.yaml").task.evaluate([written(text) for text in texts], rows)
    one = {
        "precision": "bfloat16" if is_tuned else "float32",
        **timed.facts(texts, AutoTokenizer.from_pretrained(settings["model"])),
        "metrics": metrics,
    }
    return {**found, "num_rows": settings["rows"]["train"], "generation": [one], "metrics": {SPLIT: metrics}}


class Stopwatch:
    """Times the writing of texts: by the clock on the wall, and by the processor time of this process."""

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = self.others = 0.0

    @contextlib.contextmanager
    def run(self) -> Iterator[None]:
        """Time what happens within."""
        from measurement import seconds_of_others

        others, used, started = seconds_of_others(), time.process_time(), time.perf_counter()
        yield
        self.seconds, self.cpu_seconds = time.perf_counter() - started, time.process_time() - used
        self.others = max(0.0, seconds_of_others() - others)

    def facts(self, texts: Sequence[str], tokenizer: Callable[..., Any]) -> dict[str, Any]:
        """Return speed, and how many tokens were written, by which it must be judged."""
        return {
            "sequences_per_second": len(texts) / self.seconds,
            "sequences_per_cpu_second": len(texts) / self.cpu_seconds,
            "seconds": self.seconds,
            "processors_of_others": self.others / self.seconds,
            "tokens": sum(map(len, tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"])),
        }
