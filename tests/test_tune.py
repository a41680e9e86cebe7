from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.test_train import recipe_for

from headway.errors import RecipeError, RunBusyError
from headway.recipe import Recipe
from headway.train import train
from headway.tune import tune


@pytest.fixture
def recipe(reviews_csv: Path, tiny_bert: Path) -> Recipe:
    content = recipe_for(reviews_csv, tiny_bert, data={"test": str(reviews_csv)}, training={"max_steps": 30})
    return Recipe.from_dict(content)


def test_the_best_value_is_found_and_written(recipe: Recipe, tmp_path: Path) -> None:
    over = {"optimization.learning_rate": [1e-9, 5e-3], "training.seeds": [[0, 1]]}
    found = tune(recipe, over, output_dir=tmp_path / "tune")
    assert [one["options"]["optimization.learning_rate"] for one in found["trials"]] == [1e-9, 5e-3]
    assert found["metric"] == "accuracy"
    assert found["best"] == found["trials"][1]
    assert found["trials"][1]["value"] > found["trials"][0]["value"]
    assert found["trials"][1]["value"] == pytest.approx(sum(found["trials"][1]["seeds"].values()) / 2)
    assert json.loads((tmp_path / "tune/tune.json").read_text()) == found
    # The test rows were not looked at, and are back in the recipe that was chosen.
    assert json.loads((tmp_path / "tune/trial-1/metrics.json").read_text())["metrics"].keys() == {"validation"}
    best = Recipe.load(tmp_path / "tune/best.yaml")
    assert best.optimization.learning_rate == 5e-3
    assert best.data.test == recipe.data.test
    assert best.training.seeds == (0, 1)
    assert "test" in train(best, output_dir=tmp_path / "run")["metrics"]


def test_less_is_better_where_the_metric_says_so(recipe: Recipe, tmp_path: Path) -> None:
    by_loss = recipe.changed({"training.metric_for_best_model": "loss"})
    found = tune(by_loss, {"optimization.learning_rate": [1e-9, 5e-3]}, output_dir=tmp_path / "tune")
    assert found["higher_is_better"] is False
    assert found["best"]["options"] == {"optimization.learning_rate": 5e-3}


def test_a_search_is_resumed_and_not_repeated(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = {"optimization.learning_rate": [1e-3, 5e-3]}
    calls = []

    def stopped(given: Recipe, **options: Any) -> Any:
        calls.append(given.optimization.learning_rate)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(given, **options)

    monkeypatch.setattr("headway.tune.train", stopped)
    with pytest.raises(KeyboardInterrupt):
        tune(recipe, over, output_dir=tmp_path / "tune")
    first = (tmp_path / "tune/trial-1/metrics.json").stat().st_mtime_ns
    found = tune(recipe, over, output_dir=tmp_path / "tune", resume=True)
    assert len(found["trials"]) == 2
    assert (tmp_path / "tune/trial-1/metrics.json").stat().st_mtime_ns == first
    with pytest.raises(RunBusyError, match="holds a finished search"):
        tune(recipe, over, output_dir=tmp_path / "tune")


def test_a_rate_that_bursts_the_loss_is_a_trial_that_lost(recipe: Recipe, tmp_path: Path) -> None:
    bursting = recipe.changed({"optimization.max_grad_norm": 0, "optimization.optimizer": "sgd"})
    found = tune(bursting, {"optimization.learning_rate": [1e30, 1e-3]}, output_dir=tmp_path / "tune")
    assert found["trials"][0]["value"] is None
    assert found["best"] == found["trials"][1]


@pytest.mark.parametrize(
    ("over", "changes", "message"),
    [
        ({}, {}, "--over: name an option"),
        ({"optimization.learning_rate": []}, {}, "--over: name an option"),
        ({"optimization.learning_rat": [1.0]}, {}, "there is no such option"),
        ({"optimization.learning_rate": [1e-3, -1.0]}, {}, "greater than 0"),
        ({"optimization.learning_rate": [1e-3]}, {"data.validation": None}, "scored on validation rows"),
    ],
)
def test_mistakes_are_found_before_the_first_trial(
    over: dict[str, Any], changes: dict[str, Any], message: str, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        tune(recipe.changed(changes), over, output_dir=tmp_path / "tune")
    assert not (tmp_path / "tune").exists()
