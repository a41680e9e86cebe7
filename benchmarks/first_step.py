"""From the command line to the first training step, caches warm: `headway train` beside a short script of the Trainer.

speed.py starts this in a fresh process for each measurement. What is prepared first are 1,000 rows of sst2, and every
variant has run once before, so that both find what they keep between two runs.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from measurement import peak_memory_mb, prepare


def main(file: Path) -> None:
    """Do the job in ``file``: prepare, or begin a training by one of the variants."""
    job = json.loads(file.read_text(encoding="utf-8"))
    match job["kind"]:
        case "prepare":
            Path(job["result"]).write_text(json.dumps(prepare(job)), encoding="utf-8")
        case "headway":
            with_headway(job)
        case _:
            with_trainer(job)


def arrived(job: dict[str, Any]) -> NoReturn:
    """Write what it took to come here, and end the process: the first step would begin now."""
    times = os.times()
    found = {
        "cpu_seconds": times.user + times.system,
        "seconds": time.time() - job["started"],
        "memory_mb": peak_memory_mb(),
    }
    Path(job["result"]).write_text(json.dumps(found), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)


def with_headway(job: dict[str, Any]) -> None:
    """Call the command line as `headway train` does."""
    from headway.cli.app import main as headway
    from headway.importing import many_imports

    with many_imports():
        from headway.training.module import TrainingModule

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        arrived(job)

    TrainingModule.training_step = training_step  # type: ignore[method-assign]
    headway(["train", str(Path(job["prepared"]) / "recipe.yaml"), "--output_dir", str(Path(job["work"]) / "run")])


def with_trainer(job: dict[str, Any]) -> None:
    """Do what a short script does: read, tokenise, load, train."""
    from datasets import load_dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *arguments: Any, **keywords: Any) -> None:
            arrived(job)

    folder = Path(job["prepared"])
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    model = AutoModelForSequenceClassification.from_pretrained(settings["model"], num_labels=len(settings["labels"]))

    def encode(rows: dict[str, list[Any]]) -> dict[str, Any]:
        encoded = tokenizer(rows["text"], truncation=True, max_length=settings["max_length"])
        return {**encoded, "label": [settings["labels"].index(str(label)) for label in rows["label"]]}

    rows = load_dataset("json", data_files=str(folder / "train.jsonl"), split="train")
    rows = rows.map(encode, batched=True, remove_columns=["text"])
    Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(Path(job["work"]) / "run"), report_to="none", disable_tqdm=True),
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        callbacks=[Watch()],
    ).train()


if __name__ == "__main__":
    # Called by train.run_process: first_step.py --one FILE.
    main(Path(sys.argv[2]))
