from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from transformers import BertConfig, BertForSequenceClassification, get_scheduler

from headway.errors import RecipeError
from headway.training.optimization import build_optimizer, build_schedule, parameter_groups, warmup_steps
from headway.training.options import ADAM_FAMILY, OPTIMIZERS, SCHEDULES, OptimizationOptions

PEAK, TOTAL, PER_EPOCH = 0.1, 20, 5


def rates(steps: int = TOTAL, **options: Any) -> list[float]:
    """Return the learning rate of each optimizer step, as the loop advances the schedule."""
    chosen = OptimizationOptions.model_validate({"learning_rate": PEAK, **options})
    optimizer = build_optimizer(nn.Linear(2, 2), chosen)
    schedule = build_schedule(optimizer, chosen, total_steps=TOTAL, steps_per_epoch=PER_EPOCH)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("linear", {}),
        ("cosine", {}),
        ("cosine", {"num_cycles": 1.5}),
        ("cosine_with_restarts", {"num_cycles": 2}),
        ("polynomial", {"power": 2.0}),
        ("constant_with_warmup", {}),
        ("inverse_sqrt", {}),
    ],
)
@pytest.mark.parametrize("warmup", [0, 4])
def test_schedules_are_those_of_transformers(name: str, kwargs: dict[str, Any], warmup: int) -> None:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=PEAK)
    schedule = get_scheduler(name, optimizer, warmup, TOTAL, kwargs or None)
    expected = []
    for _ in range(TOTAL):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    found = rates(lr_scheduler_type=name, lr_scheduler_kwargs=kwargs, warmup_steps=warmup)
    assert found == pytest.approx(expected)
    assert max(found) == pytest.approx(PEAK)


def test_linear_is_the_straight_line_of_the_papers() -> None:
    expected = [PEAK * t / 4 for t in range(4)] + [PEAK * (TOTAL - t) / (TOTAL - 4) for t in range(4, TOTAL)]
    assert rates(warmup_ratio=0.2) == pytest.approx(expected)


def test_cosine_is_half_a_wave() -> None:
    expected = [PEAK * (1 + math.cos(math.pi * t / TOTAL)) / 2 for t in range(TOTAL)]
    assert rates(lr_scheduler_type="cosine") == pytest.approx(expected)


def test_step_falls_after_each_epoch() -> None:
    expected = [PEAK * 0.5 ** (t // PER_EPOCH) for t in range(TOTAL)]
    assert rates(lr_scheduler_type="step", lr_scheduler_kwargs={"gamma": 0.5}) == pytest.approx(expected)
    expected = [PEAK * 0.1 ** (t // (2 * PER_EPOCH)) for t in range(TOTAL)]
    assert rates(lr_scheduler_type="step", lr_scheduler_kwargs={"step_size": 2}) == pytest.approx(expected)


def test_step_counts_its_epochs_from_the_end_of_the_warmup() -> None:
    found = rates(lr_scheduler_type="step", lr_scheduler_kwargs={"gamma": 0.5}, warmup_steps=4)
    rise = [PEAK * t / 4 for t in range(4)]
    fall = [PEAK * 0.5 ** (t // PER_EPOCH) for t in range(TOTAL - 4)]
    assert found == pytest.approx(rise + fall, abs=1e-8)


def test_one_cycle_is_torchs_and_reaches_its_peak_after_the_warmup() -> None:
    found = rates(lr_scheduler_type="one_cycle", warmup_ratio=0.25)
    assert found.index(max(found)) in (4, 5)
    assert max(found) == pytest.approx(PEAK, rel=0.05)
    assert found[0] == pytest.approx(PEAK / 25)
    assert found[-1] < PEAK / 100
    assert sorted(found[6:], reverse=True) == found[6:]


def test_one_cycle_leaves_the_betas_alone() -> None:
    chosen = OptimizationOptions(lr_scheduler_type="one_cycle", adam_beta1=0.8)
    optimizer = build_optimizer(nn.Linear(2, 2), chosen)
    schedule = build_schedule(optimizer, chosen, total_steps=TOTAL, steps_per_epoch=PER_EPOCH)
    for _ in range(TOTAL):
        optimizer.step()
        schedule.step()
    assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.999)}


def test_constant_stays() -> None:
    assert rates(lr_scheduler_type="constant") == [PEAK] * TOTAL


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [("linear", {"num_cycles": 1}), ("step", {"gama": 0.5}), ("one_cycle", {"power": 2}), ("cosine", {"powr": 2})],
)
def test_an_argument_that_the_schedule_does_not_take(name: str, kwargs: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=rf"lr_scheduler_kwargs do not fit '{name}': .*{next(iter(kwargs))}"):
        rates(lr_scheduler_type=name, lr_scheduler_kwargs=kwargs)


@pytest.mark.parametrize(
    ("given", "expected"), [({}, 0), ({"warmup_ratio": 0.1}, 2), ({"warmup_ratio": 0.1, "warmup_steps": 7}, 7)]
)
def test_warmup_steps_win_over_their_ratio(given: dict[str, Any], expected: int) -> None:
    assert warmup_steps(OptimizationOptions(**given), TOTAL) == expected


def bert(num_layers: int = 1) -> BertForSequenceClassification:
    config = BertConfig(
        vocab_size=10,
        hidden_size=8,
        num_hidden_layers=num_layers,
        num_attention_heads=2,
        intermediate_size=8,
        num_labels=2,
    )
    return BertForSequenceClassification(config)


def test_biases_and_normalisation_are_not_decayed() -> None:
    model = bert()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, plain = parameter_groups(model, OptimizationOptions(weight_decay=0.3))
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    found = {names[id(parameter)] for parameter in plain["params"]}
    assert found == {name for name in names.values() if name.endswith("bias") or "LayerNorm" in name}
    assert len(decayed["params"]) + len(plain["params"]) == len(names)


def test_normalisation_is_known_by_its_class_and_by_its_name() -> None:
    class OwnRmsNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.BatchNorm1d(3), nn.GroupNorm(1, 3), OwnRmsNorm())
    decayed, _ = parameter_groups(model, OptimizationOptions(weight_decay=0.1))
    assert [id(one) for one in decayed["params"]] == [id(model[0].weight)]


def test_frozen_parameters_are_left_out_and_none_at_all_is_an_error() -> None:
    model = nn.Linear(3, 3)
    model.bias.requires_grad = False
    (only,) = parameter_groups(model, OptimizationOptions(weight_decay=0.1))
    assert [id(one) for one in only["params"]] == [id(model.weight)]
    model.weight.requires_grad = False
    with pytest.raises(RecipeError, match=r"model\.freeze leaves no parameter to train"):
        build_optimizer(model, OptimizationOptions())


def assert_the_same_steps(
    ours: tuple[nn.Linear, torch.optim.Optimizer], theirs: tuple[nn.Linear, torch.optim.Optimizer]
) -> None:
    """Take five steps on the same rows with each pair of a layer and its optimizer, and compare where they end."""
    rows = torch.randn(4, 3)
    for _ in range(5):
        for layer, optimizer in (ours, theirs):
            optimizer.zero_grad()
            layer(rows).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours[0].weight, theirs[0].weight)
    torch.testing.assert_close(ours[0].bias, theirs[0].bias)


def test_a_step_is_that_of_adamw() -> None:
    torch.manual_seed(0)
    model, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(model.state_dict())
    options = OptimizationOptions(learning_rate=0.01, weight_decay=0.1, adam_beta1=0.8, adam_epsilon=1e-6)
    optimizer = build_optimizer(model, options)
    reference = torch.optim.AdamW(
        [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}],
        lr=0.01,
        betas=(0.8, 0.999),
        eps=1e-6,
    )
    assert_the_same_steps((model, optimizer), (theirs, reference))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_that_of_torchs_optimizer(name: str) -> None:
    torch.manual_seed(0)
    model, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(model.state_dict())
    adam = {"adam_beta1": 0.8, "adam_epsilon": 0.1} if name in ADAM_FAMILY else {}
    choice = {"name": name, "maximize": True}
    options = OptimizationOptions.model_validate(
        {"optimizer": choice, "learning_rate": 0.01, "weight_decay": 0.1, **adam}
    )
    optimizer = build_optimizer(model, options)
    groups = [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}]
    own = {"betas": (0.8, 0.999), "eps": 0.1} if adam else {}
    reference = getattr(torch.optim, OPTIMIZERS[name].rpartition(".")[2])(groups, lr=0.01, maximize=True, **own)
    assert_the_same_steps((model, optimizer), (theirs, reference))


def layer_rates(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, set[float]]:
    """Return the learning rates of each part of a BERT."""
    rates = {id(one): group["lr"] for group in optimizer.param_groups for one in group["params"]}
    found: dict[str, set[float]] = {}
    for name, parameter in model.named_parameters():
        part = name.split("layer.")[1][0] if "layer." in name else name.removeprefix("bert.").partition(".")[0]
        found.setdefault(part, set()).add(rates.pop(id(parameter)))
    assert not rates
    return found


def test_each_layer_learns_slower_than_the_one_above_it() -> None:
    model = bert(num_layers=3)
    options = OptimizationOptions(learning_rate=PEAK, layerwise_lr_decay=0.5, weight_decay=0.3)
    optimizer = build_optimizer(model, options)
    full, half = {PEAK}, {PEAK / 2}
    expected = {"classifier": full, "pooler": full, "2": full, "1": half, "0": {PEAK / 4}, "embeddings": {PEAK / 8}}
    assert layer_rates(optimizer, model) == expected
    # The first group is the one whose rate is logged.
    assert optimizer.param_groups[0]["lr"] == PEAK
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0] * 4


def test_without_decay_between_layers_all_learn_at_one_rate() -> None:
    for decay in (None, 1.0):
        optimizer = build_optimizer(bert(3), OptimizationOptions(layerwise_lr_decay=decay))
        assert {group["lr"] for group in optimizer.param_groups} == {5e-5}
    assert len(build_optimizer(bert(3), OptimizationOptions()).param_groups) == 2


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_keeps_the_layers_apart(name: str) -> None:
    warmup = 0 if name in ("constant", "reduce_lr_on_plateau") else 3
    options = OptimizationOptions(
        learning_rate=PEAK, layerwise_lr_decay=0.5, lr_scheduler_type=name, warmup_steps=warmup
    )
    optimizer = build_optimizer(bert(num_layers=2), options)
    schedule = build_schedule(optimizer, options, total_steps=TOTAL, steps_per_epoch=PER_EPOCH)
    seen = []
    for _ in range(TOTAL):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([share * rates[0] for share in (1, 1, 0.5, 0.5, 0.25, 0.25)], rel=1e-6)
        seen.append(rates[0])
        optimizer.step()
        schedule.step(1.0) if isinstance(schedule, ReduceLROnPlateau) else schedule.step()
    assert max(seen) == pytest.approx(PEAK, rel=0.02)
    assert (len(set(seen)) > 1) == (name != "constant")


def test_a_schedule_of_ones_own_gets_the_numbers_that_it_names() -> None:
    kwargs = {"max_lr": PEAK, "anneal_strategy": "linear", "pct_start": 0.5, "final_div_factor": 1.0}
    found = rates(lr_scheduler_type="torch.optim.lr_scheduler.OneCycleLR", lr_scheduler_kwargs=kwargs)
    # Torch's schedule of 20 steps rises over its first half, in equal steps.
    assert found[:10] == pytest.approx([PEAK / 25 + (PEAK - PEAK / 25) * t / 9 for t in range(10)])
    milestones = rates(
        lr_scheduler_type="torch.optim.lr_scheduler.MultiStepLR", lr_scheduler_kwargs={"milestones": [2, 5]}
    )
    assert milestones == pytest.approx([PEAK] * 2 + [PEAK / 10] * 3 + [PEAK / 100] * 15)
