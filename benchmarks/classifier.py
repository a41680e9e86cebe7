"""A classifier trained as the examples of transformers do, with the Trainer, scored by headway's own scorer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainer_loop import watch_steps


def classify(
    job: dict[str, Any],
    settings: dict[str, Any],
    clock: Any,
    arguments: dict[str, Any],
    freeze: int | str | None = None,
) -> dict[str, Any]:
    """Train a classifier as transformers' run_classification.py does; return metrics, tokens and rows."""
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    folder = Path(job["prepared"])
    set_seed(job["seed"])
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    labels, problem_type = settings["labels"], settings["problem_type"]
    model = AutoModelForSequenceClassification.from_pretrained(
        settings["model"], num_labels=len(labels) or 1, problem_type=problem_type
    )
    if freeze is not None:
        body = model.base_model
        for part in [body] if freeze == "all" else [body.embeddings, *body.encoder.layer[:freeze]]:
            part.requires_grad_(False)
    max_length = min(settings["max_length"], tokenizer.model_max_length)

    def tokenize(rows: dict[str, list[Any]]) -> Any:
        texts = [rows["text"]] + ([rows["text_pair"]] if "text_pair" in rows else [])
        return tokenizer(*texts, truncation=True, max_length=max_length)

    def load(split: str) -> Any:
        rows = _rows(folder, split)
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        columns["label"] = _targets(columns["label"], labels=labels, problem_type=problem_type)
        texts = [name for name in columns if name != "label"]
        return Dataset.from_dict(columns).map(tokenize, batched=True, remove_columns=texts)

    train_rows = load("train")
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=train_rows,
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        callbacks=[watch_steps(clock)],
    )
    trainer.train()

    # Length grouping would also shuffle the rows of `predict`.
    trainer.args.train_sampling_strategy = "random"
    logits = {}
    for split in settings["rows"]:
        if split != "train":
            output = trainer.predict(load(split))
            targets = _targets([row["label"] for row in _rows(folder, split)], labels=labels, problem_type=problem_type)
            if not np.allclose(output.label_ids, np.asarray(targets)):
                raise RuntimeError(f"{split}: the Trainer gave its predictions back in another order than the rows.")
            logits[split] = output.predictions
    facts = {"num_rows": len(train_rows), "train_tokens": sum(map(len, train_rows["input_ids"]))}

    # From here on headway: its scorer, for all variants.
    from headway.recipe import Recipe
    from headway.types import Batch

    task = Recipe.load(folder / "recipe.yaml").task
    metrics = {}
    for split, values in logits.items():
        rows = _rows(folder, split)
        outputs = {"logits": torch.from_numpy(values).reshape(len(rows), -1)}
        metrics[split] = task.evaluate(task.decode(outputs, Batch({}, {}, ()), rows, tokenizer), rows)
    return facts | {"metrics": metrics}


def _rows(folder: Path, split: str) -> list[dict[str, Any]]:
    with (folder / f"{split}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _targets(values: list[Any], *, labels: list[str], problem_type: str) -> list[Any]:
    """Return label ids, rows of zeros and ones, or numbers, as transformers' losses take them."""
    match problem_type:
        case "regression":
            return [float(value) for value in values]
        case "multi_label_classification":
            return [[float(label in value) for label in labels] for value in values]
        case _:
            return [labels.index(value) for value in values]
