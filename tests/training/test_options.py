from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from headway.errors import RecipeError
from headway.recipe import Recipe
from headway.training.options import OPTIMIZERS, SCHEDULES, OptimizationOptions, TrainingOptions


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (OptimizationOptions, {"learning_rate": 0}),
        (OptimizationOptions, {"learning_rate": "fast"}),
        (OptimizationOptions, {"warmup_ratio": 1}),
        (OptimizationOptions, {"adam_beta1": 1}),
        (OptimizationOptions, {"gradient_accumulation_steps": 0}),
        (OptimizationOptions, {"lr_scheduler_type": "exponential"}),
        (OptimizationOptions, {"lr_scheduler_kwargs": {"gamma": None}}),
        (OptimizationOptions, {"layerwise_lr_decay": 0}),
        (OptimizationOptions, {"layerwise_lr_decay": 1.1}),
        (OptimizationOptions, {"optimizer": 3}),
        (OptimizationOptions, {"label_smoothing_factor": -0.1}),
        (OptimizationOptions, {"class_weights": "equal"}),
        (OptimizationOptions, {"class_weights": {"good": "heavy"}}),
        (OptimizationOptions, {"max_grad_norm": -1}),
        (TrainingOptions, {"num_train_epochs": 0}),
        (TrainingOptions, {"max_steps": -2}),
        (TrainingOptions, {"per_device_train_batch_size": 0}),
        (TrainingOptions, {"eval_steps": 0}),
        (TrainingOptions, {"seeds": []}),
        (TrainingOptions, {"seeds": [0, 1, 0]}),
        (TrainingOptions, {"bf16": "half"}),
        (TrainingOptions, {"early_stopping_patience": 0}),
        (TrainingOptions, {"num_epochs": 3}),
    ],
)
def test_a_value_that_makes_no_sense(kind: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        kind.model_validate(wrong)
    assert next(iter(wrong)) in str(refused.value)


@pytest.mark.parametrize("warmup", [{"warmup_ratio": 0.1}, {"warmup_steps": 5}])
@pytest.mark.parametrize("schedule", ["constant", "reduce_lr_on_plateau"])
def test_a_warmup_that_would_do_nothing_is_refused(schedule: str, warmup: dict[str, Any]) -> None:
    section = {"lr_scheduler_type": schedule, **warmup}
    with pytest.raises(RecipeError, match=rf"optimization: {next(iter(warmup))} does nothing with .* {schedule!r}"):
        Recipe.from_dict({"task": "text-classification", "data": {"train": "a.csv"}, "optimization": section})
    assert OptimizationOptions(lr_scheduler_type="constant_with_warmup", **warmup)
    assert OptimizationOptions(lr_scheduler_type=schedule)


def refusal(**sections: Any) -> str:
    with pytest.raises(RecipeError) as refused:
        Recipe.from_dict({"task": "text-classification", "data": {"train": "a.csv"}, **sections})
    return str(refused.value)


def test_a_misspelt_schedule_is_answered_with_the_right_one() -> None:
    message = refusal(optimization={"lr_scheduler_type": "one_cycel"})
    assert "optimization.lr_scheduler_type: there is no such schedule. Did you mean 'one_cycle'?" in message
    assert "(found 'one_cycel')" in message


@pytest.mark.parametrize(
    ("optimizer", "option"), [("sgd", {"adam_beta1": 0.8}), ("torch.optim.AdamW", {"adam_epsilon": 1e-6})]
)
def test_options_of_the_adam_family_are_refused_elsewhere(optimizer: str, option: dict[str, float]) -> None:
    message = refusal(optimization={"optimizer": optimizer, **option})
    assert f"optimization: {next(iter(option))} is not for the optimizer {optimizer!r}; leave it out" in message
    assert OptimizationOptions.model_validate({"optimizer": "nadam", **option})
    default = OptimizationOptions().model_dump()[next(iter(option))]
    assert OptimizationOptions.model_validate({"optimizer": optimizer, next(iter(option)): default})


@pytest.mark.parametrize(
    ("optimizer", "place"),
    [
        ({"name": "sgd", "lr": 0.1}, "learning_rate"),
        ({"name": "rmsprop", "weight_decay": 0.1}, "weight_decay"),
        ({"name": "adam", "betas": [0.8, 0.9]}, "adam_beta1 and optimization.adam_beta2"),
        ({"name": "adamw", "eps": 1e-6}, "adam_epsilon"),
    ],
)
def test_what_has_an_option_of_its_own_is_not_set_beside_the_name(optimizer: dict[str, Any], place: str) -> None:
    assert f"does not take {list(optimizer)[1]!r}; set optimization.{place}" in refusal(
        optimization={"optimizer": optimizer}
    )


@pytest.mark.parametrize("freeze", [0, 1, "all"])
def test_layers_are_either_frozen_or_unfrozen_one_by_one(freeze: int | str) -> None:
    message = refusal(model={"freeze": freeze}, training={"gradual_unfreezing": True})
    assert "training.gradual_unfreezing trains all layers in the end; set model.freeze: none" in message


def test_the_page_on_optimizers_names_them_all() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "optimizer.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|", page, re.MULTILINE)
    assert dict(named) == OPTIMIZERS
    assert all(f"`{name}`" in page for name in SCHEDULES)


def test_editors_are_offered_the_names_of_the_schedules() -> None:
    schema = OptimizationOptions.model_json_schema()["properties"]["lr_scheduler_type"]
    assert schema["anyOf"][0]["enum"] == list(SCHEDULES)
    assert schema["description"].startswith("Shape of the learning rate")


@pytest.mark.parametrize("kind", [OptimizationOptions, TrainingOptions])
def test_every_option_is_documented_and_has_a_default(kind: Any) -> None:
    for name, field in kind.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name
    assert kind.model_validate(kind().model_dump(mode="json")) == kind()


@pytest.mark.parametrize(
    "section",
    [
        {"training": {"metric_for_best_model": "accuracy"}},
        {"training": {"early_stopping_patience": 2}},
        {"optimization": {"lr_scheduler_type": "reduce_lr_on_plateau"}},
    ],
)
def test_what_chooses_by_validation_rows_needs_them(section: dict[str, Any]) -> None:
    content = {"task": "text-classification", "data": {"train": "a.csv", "validation": None}, **section}
    with pytest.raises(Exception, match=rf"{next(iter(next(iter(section.values()))))} needs validation rows"):
        Recipe.from_dict(content)
    content["data"] = {"train": "a.csv", "validation": 0.2}
    assert Recipe.from_dict(content)
