"""Mistakes in optimizer and schedule show before anything is trained, each as one clear message."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from headway.errors import RecipeError
from headway.models import freezing
from headway.recipe import Recipe
from headway.train import train
from headway.training.options import OPTIMIZERS, SCHEDULES, OptimizationOptions, TrainingOptions
from headway.training.trial import check_layers, check_optimization

STREAM: Any = SimpleNamespace(total_steps=20, steps_per_epoch=5)


def check(**options: Any) -> None:
    check_optimization(OptimizationOptions.model_validate(options), STREAM)


@pytest.fixture(autouse=True)
def mine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own module, `mine`."""
    module = ModuleType("mine")
    vars(module).update({one.__name__: one for one in (Descent, Alone, Shy, Secretive, Halving, Impatient, Forgetful)})
    monkeypatch.setitem(sys.modules, "mine", module)


class Descent(torch.optim.Optimizer):
    """Gradient descent as it stands in textbooks, without weight decay."""

    def __init__(self, params: Any, lr: float, power: float = 1.0) -> None:
        super().__init__(params, {"lr": lr, "power": power})

    def step(self, closure: Any = None) -> Any:
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.data -= group["lr"] * weight.grad ** group["power"]
        return loss


class Alone(Descent):
    """Leaves it to others to compute the gradient."""

    def step(self, closure: Any = None) -> Any:
        return super().step()


class Shy(Descent):
    """Expects every weight to have a gradient."""

    def step(self, closure: Any = None) -> Any:
        if closure is not None:
            closure()
        return [weight - weight.grad for group in self.param_groups for weight in group["params"]]


class Secretive(Descent):
    """Keeps what a checkpoint cannot hold."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "memory": SimpleNamespace()}


class Halving(LambdaLR):
    def __init__(self, optimizer: Any, every: int = 2) -> None:
        super().__init__(optimizer, lambda step: 0.5 ** (step // every))


class Impatient(LambdaLR):
    """Ends in the middle of the run."""

    def __init__(self, optimizer: Any, total_steps: int) -> None:
        super().__init__(optimizer, lambda step: ([1.0] * (total_steps // 2))[step])


class Forgetful(LRScheduler):
    """Keeps what a checkpoint cannot hold."""

    def __init__(self, optimizer: Any) -> None:
        self.log = open  # a function
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]


@pytest.mark.parametrize("name", [*OPTIMIZERS, *OPTIMIZERS.values(), "mine.Descent"])
def test_every_known_optimizer_passes(name: str) -> None:
    check(optimizer=name)


@pytest.mark.parametrize("name", [*SCHEDULES, "mine.Halving", "torch.optim.lr_scheduler.OneCycleLR"])
def test_every_known_schedule_passes(name: str) -> None:
    check(lr_scheduler_type=name, lr_scheduler_kwargs={"max_lr": 1e-3} if name.endswith("OneCycleLR") else {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "sdg"}, r"optimization\.optimizer: 'sdg' is not known\. Did you mean 'sgd'\?"),
        ({"optimizer": "mine.Decent"}, r"optimization\.optimizer: module 'mine' has no class 'Decent'\. Did you mean"),
        ({"optimizer": "mine.Halving"}, r"optimizer: 'mine\.Halving' must be a subclass of torch\.optim\.optimizer\."),
        ({"optimizer": {"name": "sgd", "momentun": 0.9}}, r"'sgd' does not take 'momentun'\. Did you mean 'momentum'"),
        ({"optimizer": {"name": "sgd", "nesterov": True}}, r"'sgd' cannot be constructed: Nesterov momentum requires"),
        ({"optimizer": {"name": "adamw", "foreach": True}}, r"trial of 'adamw' failed with RuntimeError: .*`foreach`"),
        ({"optimizer": {"name": "mine.Descent", "power": "a"}}, r"trial of 'mine\.Descent' failed with TypeError"),
        ({"optimizer": "mine.Descent", "weight_decay": 0.1}, r"weight_decay: the optimizer 'mine\.Descent' has none"),
        ({"optimizer": "mine.Alone"}, r"'mine\.Alone' never calls .* step\(closure\) must call closure"),
        ({"optimizer": "mine.Shy"}, r"optimization\.optimizer: a trial of 'mine\.Shy' failed with TypeError"),
        ({"optimizer": "mine.Secretive"}, r"a trial of 'mine\.Secretive' failed with UnpicklingError"),
        ({"lr_scheduler_type": "mine.Halfing"}, r"optimization\.lr_scheduler_type: module 'mine' has no class"),
        ({"lr_scheduler_type": "mine.Descent"}, r"'mine\.Descent' must be a subclass of torch\.optim\.lr_scheduler\."),
        ({"lr_scheduler_type": "mine.Halving", "lr_scheduler_kwargs": {"evry": 2}}, r"does not take 'evry'\. Did you"),
        ({"lr_scheduler_type": "mine.Halving", "lr_scheduler_kwargs": {"every": 0}}, r"failed with ZeroDivisionError"),
        ({"lr_scheduler_type": "mine.Halving", "warmup_ratio": 0.1}, r"'mine\.Halving' does not take 'warmup_steps'"),
        ({"lr_scheduler_type": "mine.Impatient"}, r"a trial of 'mine\.Impatient' failed with IndexError"),
        ({"lr_scheduler_type": "mine.Forgetful"}, r"a trial of 'mine\.Forgetful' failed with UnpicklingError"),
        (
            {"lr_scheduler_type": "torch.optim.lr_scheduler.ReduceLROnPlateau"},
            r"needs the scores\. Use reduce_lr_on_plateau",
        ),
        ({"lr_scheduler_type": "step", "lr_scheduler_kwargs": {"gamma": "half"}}, r"a trial of 'step' failed with"),
    ],
)
def test_a_mistake_is_one_clear_message(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check(**options)


def test_a_model_without_known_layers_is_refused() -> None:
    model, training = nn.Linear(2, 2), TrainingOptions(gradual_unfreezing=True)
    check_layers(model, OptimizationOptions(), TrainingOptions())
    with pytest.raises(RecipeError, match=r"training\.gradual_unfreezing: .* not built on one of transformers\. Set"):
        check_layers(model, OptimizationOptions(), training)
    with pytest.raises(RecipeError, match=r"optimization\.layerwise_lr_decay: .* Leave it empty"):
        check_layers(model, OptimizationOptions(layerwise_lr_decay=0.9), TrainingOptions())


@pytest.mark.parametrize(
    "section",
    [
        {"optimization": {"optimizer": "mine.Alone"}},
        {"optimization": {"optimizer": {"name": "adamw", "foreach": True}}},
        {"optimization": {"lr_scheduler_type": "mine.Impatient"}},
        {"optimization": {"layerwise_lr_decay": 0.9}},
        {"training": {"gradual_unfreezing": True}},
    ],
)
def test_nothing_is_written_for_a_recipe_that_is_refused(
    section: dict[str, Any], reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it were of a family whose layers are not known.
    monkeypatch.delitem(freezing._LAYERS, "bert")
    content = {"task": "text-classification", "data": {"train": str(reviews_csv)}, **section}
    recipe = Recipe.from_dict({**content, "model": {"model_name_or_path": str(tiny_bert)}})
    with pytest.raises(RecipeError, match=r"mine\.|'adamw' failed|not known for 'bert' models"):
        train(recipe, output_dir=tmp_path / "run")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
