"""What a token costs as the rows grow: reading and tokenising, finding them in the cache, and steps of training.

speed.py starts this in a fresh process for each number of rows. The rows are those of sst2, over and over, each time
under another number, so that no two are equal.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

from measurement import peak_memory_mb

STEPS = 60
"""Of training, of which the first ten are left out: they meet each shape for the first time."""
WARM_UP = 10
SAMPLE = 5_000
"""Rows that the tokenizer alone is timed on."""


def main(file: Path) -> None:
    """Do the job in ``file`` and write what was found."""
    job = json.loads(file.read_text(encoding="utf-8"))
    Path(job["result"]).write_text(json.dumps(measure(job)), encoding="utf-8")


def write_rows(source: Path, target: Path, number: int) -> None:
    """Write so many rows as JSON lines, from a table of text and label."""
    lines = [line.rsplit("\t", 1) for line in source.read_text(encoding="utf-8").splitlines()]
    with target.open("w", encoding="utf-8") as file:
        for count, (text, label) in enumerate(itertools.islice(itertools.cycle(lines), number)):
            file.write(json.dumps({"text": f"{count} {text}", "label": label}) + "\n")


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Return seconds and tokens of each part."""
    from headway.importing import many_imports

    with many_imports():
        from headway.models.backbone import load_backbone
        from headway.preparation import prepare, read_tables
        from headway.recipe import Recipe
        from headway.train import train
        from headway.training.module import TrainingModule

    work = Path(job["work"])
    rows = work / "rows.jsonl"
    write_rows(Path(job["data"]) / "sst2/train.tsv", rows, job["rows"])
    recipe = Recipe.from_dict({
        "task": "text-classification",
        "data": {"train": str(rows), "validation": None, "max_length": 128},
        "model": {"model_name_or_path": job["model"]},
        "training": {"max_steps": STEPS, "baselines": False},
    })  # fmt: skip
    tokenizer = load_backbone(recipe.model).tokenizer
    texts = [json.loads(line)["text"] for line in itertools.islice(rows.open(encoding="utf-8"), SAMPLE)]
    # Another one: settings of its last call are part of a tokenizer, and so of the name of what is cached.
    other = load_backbone(recipe.model).tokenizer
    started = time.perf_counter()
    alone = sum(len(other(text, truncation=True, max_length=128)["input_ids"]) for text in texts)
    one_by_one = time.perf_counter()
    other(texts, truncation=True, max_length=128)
    together = time.perf_counter()
    found: dict[str, Any] = {
        "tokenizer_alone": (one_by_one - started) / alone,
        "tokenizer_together": (together - one_by_one) / alone,
    }
    for name in ("tokenising", "from_the_cache"):
        started = time.perf_counter()
        tables = read_tables(recipe)
        read = time.perf_counter()
        features = prepare(recipe, tables, tokenizer).features["train"]
        tokens = int(features.lengths.sum())
        found["reading"] = (read - started) / tokens
        found[name] = (time.perf_counter() - read) / tokens

    times: list[tuple[float, int]] = []
    step, optimize = TrainingModule.training_step, TrainingModule.optimizer_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        times.append((time.perf_counter(), int(batch.inputs["attention_mask"].sum())))
        return step(self, batch, batch_idx)

    def optimizer_step(self: Any, *arguments: Any, **keywords: Any) -> None:
        optimize(self, *arguments, **keywords)
        began, size = times.pop()
        times.append((time.perf_counter() - began, size))

    TrainingModule.training_step = training_step  # type: ignore[method-assign]
    TrainingModule.optimizer_step = optimizer_step  # type: ignore[method-assign]
    train(recipe, output_dir=work / "run")
    counted = times[WARM_UP:]
    found["training"] = sum(seconds for seconds, _ in counted) / sum(size for _, size in counted)
    return found | {"rows": job["rows"], "tokens": tokens, "memory_mb": peak_memory_mb()}


if __name__ == "__main__":
    # Called by train.run_process: growth.py --one FILE.
    main(Path(sys.argv[2]))
