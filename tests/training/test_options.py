from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from headway.errors import RecipeError
from headway.recipe import Recipe
from headway.training.options import OptimizationOptions, TrainingOptions


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (OptimizationOptions, {"learning_rate": 0}),
        (OptimizationOptions, {"learning_rate": "fast"}),
        (OptimizationOptions, {"warmup_ratio": 1}),
        (OptimizationOptions, {"adam_beta1": 1}),
        (OptimizationOptions, {"gradient_accumulation_steps": 0}),
        (OptimizationOptions, {"lr_scheduler_type": "exponential"}),
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
