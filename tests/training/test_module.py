from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from headway.data.table import Table
from headway.data.token_cache import open_or_build, record_batches
from headway.errors import ModelError, NonFiniteError
from headway.models.backbone import load_backbone
from headway.models.losses import CrossEntropy
from headway.models.options import ModelOptions
from headway.tasks.base import Limits
from headway.tasks.text_classification import TextClassification
from headway.tokenising import encode_table
from headway.training.loaders import BatchStream, TaskBatches
from headway.training.module import Learner, TrainingModule, seed_from
from headway.training.options import OptimizationOptions, TrainingOptions


@pytest.fixture
def module(tiny_bert: Path, tmp_path: Path) -> TrainingModule:
    return build(tiny_bert, tmp_path)


def build(
    tiny_bert: Path, tmp_path: Path, criterion: nn.Module | None = None, *, freeze: str = "none", **options: Any
) -> TrainingModule:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert), freeze=freeze))
    table = Table.from_rows([{"text": f"film {n}", "label": "ab"[n % 2]} for n in range(8)])
    task = TextClassification().resolve(table)
    features = open_or_build(
        "x", "k", record_batches(encode_table(table, task, backbone.tokenizer, Limits())), folder=tmp_path / "tokens"
    )
    optimization = OptimizationOptions.model_validate(options)
    training = TrainingOptions(per_device_train_batch_size=4)
    batches = TaskBatches(features, task, backbone.tokenizer, training=training, seed=0)
    stream = BatchStream([batches], training=training, optimization=optimization, seed=0)
    model = task.build_model(backbone).train()
    learner = Learner(task, model, criterion or CrossEntropy())
    return TrainingModule([learner], stream=stream, optimization=optimization, seed=0)


def test_dropout_is_a_function_of_seed_and_position(module: TrainingModule) -> None:
    batch = next(iter(module.stream))

    def loss(position: int, seed: int = 0) -> float:
        module.stream.position, module.seed = position, seed
        torch.rand(random.randrange(1, 9))  # the state of the process must not matter
        module.on_train_batch_start(batch, 0)
        return float(module.training_step(batch, 0).detach())

    assert loss(3) == loss(3)
    assert len({loss(3), loss(4), loss(3, seed=1)}) == 3


def test_seeds_that_are_neighbours_share_nothing() -> None:
    drawn = []
    for numbers in [(0, 0), (0, 1), (1, 0), (0, 0)]:
        seed_from(*numbers)
        drawn.append((torch.rand(1).item(), float(np.random.rand()), random.random()))
    assert drawn[0] == drawn[3]
    assert len({one for three in drawn[:3] for one in three}) == 9


class Spoiled(nn.Module):
    """Gives a loss, or a gradient, that is no number."""

    def __init__(self, value: float, *, in_gradient: bool) -> None:
        super().__init__()
        self.value, self.in_gradient = value, in_gradient

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        loss = logits.mean()
        if not self.in_gradient:
            return loss * self.value
        loss.register_hook(lambda gradient: gradient * self.value)
        return loss


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_stops_with_its_rows(value: float, tiny_bert: Path, tmp_path: Path) -> None:
    module = build(tiny_bert, tmp_path, Spoiled(value, in_gradient=False))
    batch = next(iter(module.stream))
    rows = ", ".join(str(one.row) for one in batch.features)
    with pytest.raises(NonFiniteError, match=rf"optimizer step 0 \(training rows {rows}") as stopped:
        module.training_step(batch, 0)
    assert stopped.value.exit_code == 6


@pytest.mark.parametrize("norm", [0.0, 1.0])
def test_a_gradient_that_is_no_number_stops_before_it_reaches_the_weights(
    norm: float, tiny_bert: Path, tmp_path: Path
) -> None:
    module = build(tiny_bert, tmp_path, Spoiled(float("nan"), in_gradient=True), max_grad_norm=norm)
    optimizer = module.configure_optimizers()["optimizer"]
    before = {name: one.clone() for name, one in module.models.state_dict().items()}
    module.training_step(next(iter(module.stream)), 0).backward()
    with pytest.raises(NonFiniteError, match=r"The gradient became nan.*No weight was changed"):
        module.configure_gradient_clipping(optimizer)
    assert all(torch.equal(before[name], one) for name, one in module.models.state_dict().items())


@pytest.mark.parametrize(("norm", "expected"), [(0.001, 0.001), (0.0, None), (1e6, None)])
def test_gradients_are_clipped_to_the_norm_of_the_recipe(
    norm: float, expected: float | None, tiny_bert: Path, tmp_path: Path
) -> None:
    module = build(tiny_bert, tmp_path, max_grad_norm=norm)
    optimizer = module.configure_optimizers()["optimizer"]
    module.training_step(next(iter(module.stream)), 0).backward()

    def length() -> float:
        return float(torch.stack([one.grad.norm() for one in module.parameters() if one.grad is not None]).norm())

    before = length()
    module.configure_gradient_clipping(optimizer)
    assert length() == pytest.approx(before if expected is None else expected, rel=1e-3)


def test_a_batch_moves_with_its_tensors(module: TrainingModule) -> None:
    moved = module.transfer_batch_to_device(next(iter(module.stream)), torch.device("meta"), 0)
    assert {one.device.type for one in (*moved.inputs.values(), *moved.targets.values())} == {"meta"}


# --- what a checkpoint holds ------------------------------------------------------------------------------------------


@pytest.fixture
def partly(tiny_bert: Path, tmp_path: Path) -> TrainingModule:
    return build(tiny_bert, tmp_path, freeze="all")


def test_frozen_weights_are_no_part_of_it(partly: TrainingModule, module: TrainingModule) -> None:
    trained = {name for name, one in partly.named_parameters() if one.requires_grad}
    held = partly.state_dict()
    assert trained
    assert {name for name, _ in partly.named_parameters() if name in held} == trained
    assert {name for name, _ in module.named_parameters()} <= module.state_dict().keys()


def test_what_is_thawed_later_is_a_part_of_it(module: TrainingModule) -> None:
    weight = next(module.parameters()).requires_grad_(False)
    assert any(one.data_ptr() == weight.data_ptr() for one in module.state_dict().values() if torch.is_tensor(one))


def test_it_is_taken_over_beside_the_same_frozen_weights(
    partly: TrainingModule, tiny_bert: Path, tmp_path: Path
) -> None:
    other = build(tiny_bert, tmp_path, freeze="all")
    with torch.no_grad():
        for one in partly.parameters():
            if one.requires_grad:
                one.normal_()
    other.load_state_dict(torch.load(_saved(partly, tmp_path), weights_only=True))
    assert all(torch.equal(*pair) for pair in zip(partly.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_weights_of_another_model_are_refused(change: str, partly: TrainingModule) -> None:
    state = partly.state_dict()
    if change == "missing":
        state.pop(next(name for name, one in partly.named_parameters() if one.requires_grad))
    else:
        state["models.0.more"] = torch.ones(1)
    with pytest.raises(ModelError, match="of another model"):
        partly.load_state_dict(state)


def _saved(module: TrainingModule, folder: Path) -> Path:
    path = folder / "state.pt"
    torch.save(module.state_dict(), path)
    return path
