"""Resume is exact with other optimizers and schedules, with layers of their own rate, and while layers are unfrozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.rewinding import rewound, saved_steps
from torch import Tensor

from headway.recipe import Recipe
from headway.train import train
from headway.training import checkpoint as checkpoints
from headway.training.module import TrainingModule

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def run(
    reviews_csv: Path,
    backbone: Path,
    folder: Path,
    *,
    optimization: dict[str, Any],
    training: dict[str, Any],
    model: dict[str, Any] | None = None,
    resume: bool = False,
) -> dict[str, Tensor]:
    """Train and return the final weights; 40 rows in 4 batches an epoch."""
    content = {
        "task": "text-classification",
        "data": {"train": str(reviews_csv), "validation": None, "max_length": 16},
        "model": {"model_name_or_path": str(backbone), **(model or {})},
        "optimization": {"learning_rate": 1e-3, **optimization},
        "training": {
            "num_train_epochs": 2,
            "per_device_train_batch_size": 12,
            "save_steps": 1,
            "baselines": False,
            "bf16": False,
            **training,
        },
    }
    train(Recipe.from_dict(content), output_dir=folder, resume=resume)
    return load_file(folder / "model" / "model.safetensors")


def equal(some: dict[str, Tensor], others: dict[str, Tensor]) -> set[str]:
    """Return the names of the tensors that are the same in both, bit for bit."""
    return {name for name, one in some.items() if name in others and torch.equal(one, others[name])}


OWN = {
    "optimizer": {"name": "own_optimizer.Lion", "betas": [0.9, 0.98]},
    "weight_decay": 0.1,
    "lr_scheduler_type": "own_schedule.WarmupStableDecay",
    "lr_scheduler_kwargs": {"decay_ratio": 0.5},
    "warmup_steps": 2,
}
SGD = {
    "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True},
    "learning_rate": 0.05,
    "layerwise_lr_decay": 0.5,
    "lr_scheduler_type": "one_cycle",
}
SETUPS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sgd-with-momentum-and-layers": (SGD, {}),
    "own-optimizer-and-schedule": (OWN, {}),
    "adafactor": ({"optimizer": "adafactor", "learning_rate": 0.01}, {"num_train_epochs": 1}),
    # Three batches a step: the second step begins in one epoch and ends in the next.
    "gradual-unfreezing": (
        {"layerwise_lr_decay": 0.5, "gradient_accumulation_steps": 3, "weight_decay": 0.1},
        {"gradual_unfreezing": True},
    ),
}


@pytest.mark.parametrize("setup", SETUPS)
def test_resume_is_bit_identical(
    setup: str, reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(checkpoints, "KEPT_RESUME_CHECKPOINTS", 1000)
    optimization, training = SETUPS[setup]
    arguments: dict[str, Any] = {"optimization": optimization, "training": training}
    whole = tmp_path / "whole"
    expected = run(reviews_csv, tiny_bert, whole, **arguments)
    assert not equal(expected, load_file(tiny_bert / "model.safetensors")), "nothing was trained"
    steps = saved_steps(whole)
    for step in {steps[0], steps[len(steps) // 2]}:
        resumed = rewound(whole, tmp_path / f"from-{step}", step=step)
        torch.manual_seed(step)  # the state of the process must not matter
        found = run(reviews_csv, tiny_bert, resumed, **arguments, resume=True)
        assert equal(found, expected) == expected.keys(), f"resumed from step {step}"


def test_the_first_epoch_of_gradual_unfreezing_is_that_of_a_frozen_model(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    """Neither weight decay nor the clipped norm sees the layers whose turn has not come."""
    optimization = {"weight_decay": 0.1, "max_grad_norm": 0.01}
    one_epoch = {"optimization": optimization, "training": {"num_train_epochs": 1}}
    frozen = run(reviews_csv, tiny_bert, tmp_path / "frozen", **one_epoch, model={"freeze": 1})
    one_epoch["training"] = {"num_train_epochs": 1, "gradual_unfreezing": True}
    gradual = run(reviews_csv, tiny_bert, tmp_path / "gradual", **one_epoch)
    assert equal(gradual, frozen) == frozen.keys()
    kept = {name.removeprefix("bert.") for name in gradual} & equal(
        load_file(tiny_bert / "model.safetensors"), {name.removeprefix("bert."): one for name, one in gradual.items()}
    )
    assert {name.partition(".")[0] for name in kept} == {"embeddings", "encoder"}
    assert {name.split(".")[2] for name in kept if name.startswith("encoder")} == {"0"}


def test_one_more_layer_moves_with_each_epoch(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, seen = TrainingModule.training_step, []

    def noted(self: TrainingModule, batch: Any, batch_idx: int) -> Tensor:
        moving = {name for name, one in self.models.named_parameters() if one.requires_grad}
        parts = {"embeddings": "embeddings.", "0": "layer.0.", "1": "layer.1.", "head": "classifier."}
        seen.append([part for part, word in parts.items() if any(word in name for name in moving)])
        return step(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", noted)
    run(reviews_csv, tiny_bert, tmp_path, optimization={}, training={"gradual_unfreezing": True})
    assert seen == [["1", "head"]] * 4 + [["embeddings", "0", "1", "head"]] * 4
