"""The Trainer's loop under one of headway's tasks: same features, same weights, same loss, same scorer, another loop.

Where the examples of transformers have a script of their own for a task (classification), classifier.py runs the
Trainer as that script does. Here the Trainer is given what headway has made of the rows, and a model that computes as
those of transformers do: with padding, torch's dropout, and a masked language model's logits at all positions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

PLAIN = {"model.packing": False, "model.fast_dropout": False, "model.sorted_weights": False}
"""The options that give a model as transformers computes it."""


def train_and_score(job: dict[str, Any], clock: Any, *, training_arguments: dict[str, Any]) -> dict[str, Any]:
    """Train a task with `transformers.Trainer` and return its metrics by split, tokens and rows.

    Args:
        job: what train.py wrote.
        clock: notes the steps.
        training_arguments: of the Trainer.
    """
    import numpy as np
    import torch
    from transformers import Trainer, TrainingArguments, set_seed

    from headway.inference import Inference
    from headway.models.backbone import load_backbone
    from headway.preparation import build_criterion, prepare, read_tables, token_statistics
    from headway.recipe import Recipe

    recipe = Recipe.load(Path(job["prepared"]) / "recipe.yaml", PLAIN)
    backbone = load_backbone(recipe.model)
    prepared = prepare(recipe, read_tables(recipe), backbone.tokenizer)
    task, criterion = prepared.task, build_criterion(recipe, prepared)
    set_seed(job["seed"])
    model = task.build_model(backbone)
    features = prepared.features["train"]

    class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        """The features as the Trainer's sampler wants them: with ``input_ids``, by which it groups by length."""

        def __len__(self) -> int:
            return len(features)

        def __getitem__(self, number: int) -> dict[str, Any]:
            one = features[number]
            return {"input_ids": one.inputs["input_ids"], "features": one, "number": number}

    draws = 0

    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        nonlocal draws
        draws += 1
        seen = [
            task.refresh(
                one["features"], backbone.tokenizer, np.random.default_rng([job["seed"], draws, one["number"]])
            )
            for one in items
        ]
        return {"batch": task.collate(seen, backbone.tokenizer)}

    class TaskTrainer(Trainer):  # type: ignore[misc]
        """The Trainer with the loss of a headway task."""

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            batch = inputs["batch"]
            outputs = whole_logits(model, batch) if task.name == "pretraining" else task.forward(model, batch)
            loss = task.loss(outputs, batch, criterion)
            return (loss, {}) if return_outputs else loss

    trainer = TaskTrainer(
        model=model,
        args=TrainingArguments(remove_unused_columns=False, **training_arguments),
        train_dataset=Rows(),
        data_collator=collate,
        processing_class=backbone.tokenizer,
        callbacks=[watch_steps(clock)],
    )
    trainer.train()
    trained = trainer.model.float().eval()
    inference = Inference(
        task, trained, backbone.tokenizer, prepared.limits, training_arguments["per_device_eval_batch_size"]
    )
    metrics = {}
    for split, table in prepared.tables.items():
        if split != "train":
            rows = list(table)
            metrics[split] = task.evaluate(inference.predict(prepared.features[split], rows), rows)
    num_rows = len(prepared.tables["train"])
    tokens = token_statistics(features, num_rows, prepared.limits.max_length)
    return {"metrics": metrics, "train_tokens": tokens["tokens"] - tokens["tokens_lost"], "num_rows": num_rows}


def whole_logits(model: Any, batch: Any) -> dict[str, Any]:
    """Return what `Pretraining.forward` does from logits at all positions, which is how transformers computes them."""
    import torch

    outputs = model(**batch.inputs)
    number_and_position = [(n, p) for n, one in enumerate(batch.features) for p in one.extra.get("positions", [])]
    rows, columns = torch.tensor(number_and_position, dtype=torch.long).reshape(-1, 2).unbind(1)
    if "seq_relationship_logits" not in outputs:
        return {"logits": outputs["logits"][rows, columns]}
    logits = outputs["prediction_logits"][rows, columns]
    return {"logits": logits, "next_sentence": outputs["seq_relationship_logits"]}


def watch_steps(clock: Any) -> Any:
    """Return a callback of the Trainer that lets the clock see the beginning and the end of every step."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *arguments: Any, **keywords: Any) -> None:
            clock.begin_step()

        def on_step_end(self, *arguments: Any, **keywords: Any) -> None:
            clock.end_step()

    return Watch()
