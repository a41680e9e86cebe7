from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from headway.errors import MemoryExceededError, RecipeError, RunError
from headway.recipe import Recipe
from headway.tasks.text_classification import TextClassification
from headway.train import train
from headway.training.fit import OWNED, check_trainer_arguments, precision


def recipe_for(reviews_csv: Path, tiny_bert: Path, **sections: Any) -> Recipe:
    training = {"max_steps": 4, "per_device_train_batch_size": 8, "baselines": False, "bf16": False}
    return Recipe.from_dict({
        "task": "text-classification",
        "data": {"train": str(reviews_csv), "validation": 0.2, "max_length": 16, **sections.pop("data", {})},
        "model": {"model_name_or_path": str(tiny_bert)},
        "training": {**training, **sections.pop("training", {})},
        **sections,
    })  # fmt: skip


@pytest.mark.parametrize("name", OWNED)
def test_what_an_option_of_the_recipe_decides_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"trainer\.{name}: this is decided by "):
        check_trainer_arguments({"accelerator": "cpu", name: 1})


def test_every_option_that_is_pointed_to_exists() -> None:
    from headway.recipe import option_names

    known = {*option_names(), "output_dir", "model", "training"}
    for advice in OWNED.values():
        if not advice.startswith("nothing"):
            assert set(advice.split(" and ")) <= known, advice


def test_they_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path / "absent.csv", tmp_path / "absent", trainer={"max_epochs": 3})
    with pytest.raises(RecipeError, match=r"trainer\.max_epochs: this is decided by training\.num_train_epochs"):
        train(recipe, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"acelerator": "cpu"}, "acelerator"),
        ({"accelerator": "abacus"}, "abacus"),
        ({"precision": "17-true"}, "17-true"),
    ],
)
def test_what_lightning_does_not_take_is_a_mistake_in_the_recipe(
    trainer: dict[str, Any], message: str, reviews_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=rf"(?s)trainer: lightning\.Trainer does not take these.*{message}"):
        train(recipe_for(reviews_csv, tiny_bert, trainer=trainer), output_dir=tmp_path / "run")


def test_arguments_of_the_trainer_are_handed_through(reviews_csv: Path, tiny_bert: Path, tmp_path: Path) -> None:
    recipe = recipe_for(reviews_csv, tiny_bert, trainer={"accelerator": "cpu", "devices": 1, "detect_anomaly": False})
    assert train(recipe, output_dir=tmp_path / "run")["last_step"] == 4


def test_dropout_is_on_in_training_and_off_in_evaluation(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, set[bool]]] = []
    forward = TextClassification.forward

    def watch(self: Any, model: Any, batch: Any) -> Any:
        seen.append((torch.is_grad_enabled(), {module.training for module in model.modules()}))
        return forward(self, model, batch)

    monkeypatch.setattr(TextClassification, "forward", watch)
    train(recipe_for(reviews_csv, tiny_bert, training={"eval_steps": 2}), output_dir=tmp_path / "run")
    assert [modes for has_gradient, modes in seen if has_gradient] == [{True}] * 4
    assert {str(modes) for has_gradient, modes in seen if not has_gradient} == {str({False})}


def test_a_misspelt_metric_is_named_before_training(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("it was trained")

    monkeypatch.setattr("headway.training.module.TrainingModule.training_step", never)
    recipe = recipe_for(reviews_csv, tiny_bert, training={"metric_for_best_model": "acuracy"})
    with pytest.raises(RecipeError, match=r"there is no metric 'acuracy'\. Did you mean 'accuracy'\?"):
        train(recipe, output_dir=tmp_path / "run")


@pytest.mark.parametrize(("metric", "best"), [("mae", 2), ("spearman", 3), (None, 3)])
def test_the_best_weights_are_those_of_the_chosen_metric_in_its_own_direction(
    metric: str | None, best: int, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("text,label\n" + "".join(f"film {n},{n}\n" for n in range(20)))
    found = [{"mae": 3.0, "spearman": 0.1}, {"mae": 1.0, "spearman": 0.2}, {"mae": 2.0, "spearman": 0.9}]
    # The first call asks whether a metric that the recipe names exists.
    scripted = iter(found if metric is None else [found[0], *found])
    monkeypatch.setattr(TextClassification, "evaluate", lambda *_: next(scripted))
    recipe = recipe_for(
        path,
        tiny_bert,
        task={"type": "text-classification", "problem_type": "regression"},
        training={"max_steps": 3, "eval_steps": 1, "metric_for_best_model": metric},
    )
    assert train(recipe, output_dir=tmp_path / "run")["best_step"] == best


def test_early_stopping_ends_the_run(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TextClassification, "evaluate", lambda *_: {"accuracy": 0.5})
    recipe = recipe_for(
        reviews_csv, tiny_bert, training={"max_steps": 50, "eval_steps": 2, "early_stopping_patience": 2}
    )
    metrics = train(recipe, output_dir=tmp_path / "run")
    assert (metrics["last_step"], metrics["stopped_early"]) == (6, True)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_memory_that_does_not_suffice_is_one_clear_message(
    error: Exception, reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(*_: Any) -> None:
        raise error

    monkeypatch.setattr(TextClassification, "loss", spoil)
    with pytest.raises(MemoryExceededError, match=r"Out of memory at optimizer step 0.*per_device_train_batch_size"):
        train(recipe_for(reviews_csv, tiny_bert, data={"validation": None}), output_dir=tmp_path / "run")


def test_an_error_of_our_own_is_not_dressed_up(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(*_: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(TextClassification, "loss", spoil)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train(recipe_for(reviews_csv, tiny_bert, data={"validation": None}), output_dir=tmp_path / "run")


def test_a_disk_without_room_for_two_checkpoints_is_refused(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(RunError, match=r"0 MB free, and two checkpoints of this model need \d+ MB"):
        train(recipe_for(reviews_csv, tiny_bert), output_dir=tmp_path / "run")


def test_precision_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for has_bf16, expected in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has_bf16=has_bf16: has_bf16)
        assert precision("auto") == expected
        assert precision(False) == "32-true"
    with pytest.raises(RecipeError, match="has no bfloat16 instructions"):
        precision(True)


def test_a_log_that_cannot_be_written_changes_no_weight(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = recipe_for(reviews_csv, tiny_bert, training={"logging_steps": 1})
    train(recipe, output_dir=tmp_path / "whole")
    faulty = tmp_path / "faulty"
    # The run begins, and its log is blocked before the first step.
    faulty.mkdir()
    (faulty / "fingerprint.json").write_text((tmp_path / "whole" / "fingerprint.json").read_text())
    (faulty / "history.csv").mkdir()
    (faulty / "tensorboard").write_text("")
    with caplog.at_level(logging.WARNING):
        train(recipe, output_dir=faulty, resume=True)
    assert caplog.text.count("Cannot write the log") == 1
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (tmp_path / "whole", faulty)]
    assert weights[0] == weights[1]
