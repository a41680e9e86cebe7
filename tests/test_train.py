from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from headway.errors import DataError, RecipeError, RunBusyError
from headway.predictor import Predictor
from headway.recipe import Recipe
from headway.run_dir import RunDir
from headway.train import train


def recipe_for(reviews_csv: Path, tiny_bert: Path, **sections: Any) -> dict[str, Any]:
    return {
        "task": "text-classification",
        "data": {"train": str(reviews_csv), "validation": 0.2, "max_length": 16, **sections.pop("data", {})},
        "model": {"model_name_or_path": str(tiny_bert)},
        "optimization": {"learning_rate": 5e-3},
        "training": {"max_steps": 6, "per_device_train_batch_size": 8, "bf16": False, **sections.pop("training", {})},
        **sections,
    }


def test_its_recipe_is_complete_and_repeats_it(finished_run: Path, tmp_path: Path) -> None:
    content = yaml.safe_load((finished_run / "recipe.yaml").read_text())
    assert content["task"]["labels"] == ["bad", "good"]
    assert content["training"]["seeds"] == [0]
    recipe = Recipe.load(finished_run / "recipe.yaml", {"training.max_steps": 2, "training.baselines": False})
    metrics = train(recipe, output_dir=tmp_path / "again")
    assert metrics["baselines"] == {}
    assert metrics["last_step"] == 2


@pytest.fixture(scope="module")
def group(reviews_csv: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "group"
    recipe = recipe_for(reviews_csv, tiny_bert, training={"seeds": [3, 1, 2], "max_steps": 5})
    train(Recipe.from_dict(recipe), output_dir=folder)
    return folder


def test_several_seeds_give_mean_deviation_and_interval(group: Path) -> None:
    metrics = json.loads((group / "metrics.json").read_text())
    run = RunDir(group)
    assert run.seeds == [1, 2, 3]
    each = {seed: run.seed(seed).read_metrics() for seed in run.seeds}
    losses = {one["loss"]["validation"] for one in each.values()}
    assert len(losses) == 3
    values = [each[seed]["metrics"]["validation"]["roc_auc"]["value"] for seed in (1, 2, 3)]
    mean = sum(values) / 3
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 2)
    reach = 4.302653 * deviation / math.sqrt(3)  # Student's t with 2 degrees of freedom
    assert metrics["metrics"]["validation"]["roc_auc"] == pytest.approx(
        {"value": mean, "deviation": deviation, "low": mean - reach, "high": mean + reach}, abs=1e-6
    )
    assert metrics["seeds"].keys() == {"1", "2", "3"}
    assert metrics["collapsed"] == [seed for seed in (3, 1, 2) if each[seed]["collapsed"]]


def test_the_seed_with_the_best_validation_score_is_selected(group: Path) -> None:
    metrics = json.loads((group / "metrics.json").read_text())
    scores = {int(seed): one["validation"]["accuracy"] for seed, one in metrics["seeds"].items()}
    assert scores[metrics["selected_seed"]] == max(scores.values())
    assert RunDir.open(group).path == RunDir(group).seed(metrics["selected_seed"]).path
    assert Predictor.load(group).predict("good").value in ("bad", "good")


def test_each_seed_is_a_run_of_its_own(group: Path, reviews_csv: Path, tiny_bert: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(group / "seed-2" / "recipe.yaml")
    assert recipe.training.seeds == (2,)
    train(recipe, output_dir=tmp_path / "alone")
    weights = [
        (folder / "model" / "model.safetensors").read_bytes() for folder in (group / "seed-2", tmp_path / "alone")
    ]
    assert weights[0] == weights[1]


def test_without_validation_rows_no_seed_is_chosen_by_the_test(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(
        reviews_csv,
        tiny_bert,
        data={"validation": None, "test": str(reviews_csv)},
        training={"seeds": [5, 0], "max_steps": 2, "baselines": False},
    )
    metrics = train(Recipe.from_dict(recipe), output_dir=tmp_path / "run")
    assert metrics["selected_seed"] == 5
    assert metrics["metrics"].keys() == {"test"}


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_data_with_problems_are_not_trained_on(reviews_csv: Path, tiny_bert: Path, tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text("text,label\ngood film,good\nodd film,odd\n")
    recipe = recipe_for(reviews_csv, tiny_bert, data={"test": str(path)})
    with pytest.raises(DataError, match=r"test\.csv, line 3: column 'label' holds 'odd'"):
        train(Recipe.from_dict(recipe), output_dir=tmp_path / "a")
    path.write_text("text,label\n ,good\n ,bad\n")
    with pytest.raises(DataError, match=r"(?s)The data cannot be trained on:.*which is all of them"):
        train(Recipe.from_dict(recipe), output_dir=tmp_path / "b")
    # What was refused leaves nothing behind, so the mended recipe starts without a flag.
    path.write_text("text,label\ngood film,good\n")
    recipe["training"] |= {"max_steps": 1, "baselines": False}
    train(Recipe.from_dict(recipe), output_dir=tmp_path / "b")
    assert json.loads((tmp_path / "b" / "checks.json").read_text())["problems"] == []


def test_oddities_of_the_data_are_said_once(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = recipe_for(
        reviews_csv, tiny_bert, data={"test": str(reviews_csv)}, training={"max_steps": 1, "baselines": False}
    )
    train(Recipe.from_dict(recipe), output_dir=tmp_path / "run")
    assert caplog.text.count("The data checks have remarks") == 1


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_holds_something_else_is_left_alone(
    resume: bool, reviews_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(RunBusyError, match="is not empty and holds no run"):
        train(Recipe.from_dict(recipe_for(reviews_csv, tiny_bert)), output_dir=tmp_path, resume=resume)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir() if path.name != ".lock"] == [
        ("README.md", "mine")
    ]


def test_what_a_killed_run_left_half_written_is_swept(reviews_csv: Path, tiny_bert: Path, tmp_path: Path) -> None:
    orphans = [tmp_path / ".fingerprint.json.1.part", tmp_path / "predictions" / ".test.jsonl.1.part"]
    recipe = recipe_for(reviews_csv, tiny_bert, training={"max_steps": 1, "baselines": False})
    orphans[0].write_text("{")
    train(Recipe.from_dict(recipe), output_dir=tmp_path, resume=True)
    orphans[0].write_text("{")
    orphans[1].write_text("{")
    (tmp_path / "metrics.json").unlink()
    train(Recipe.from_dict(recipe), output_dir=tmp_path, resume=True)
    assert not any(path.exists() for path in orphans)


def test_overwrite_replaces_a_run(reviews_csv: Path, tiny_bert: Path, tmp_path: Path) -> None:
    recipe = recipe_for(reviews_csv, tiny_bert, training={"max_steps": 1, "baselines": False})
    train(Recipe.from_dict(recipe), output_dir=tmp_path)
    with pytest.raises(RunBusyError, match="holds a finished run"):
        train(Recipe.from_dict(recipe), output_dir=tmp_path)
    recipe["training"]["max_steps"] = 2
    assert train(Recipe.from_dict(recipe), output_dir=tmp_path, overwrite=True)["last_step"] == 2


def test_the_run_directory_follows_from_the_recipe_and_the_task(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = recipe_for(reviews_csv, tiny_bert, training={"max_steps": 1, "baselines": False})
    train(Recipe.from_dict(recipe))
    assert Path("runs/text-classification/metrics.json").exists()
    train(Recipe.from_dict({**recipe, "output_dir": "named"}))
    assert (tmp_path / "named" / "metrics.json").exists()
    assert os.environ["HEADWAY_CACHE"]


def test_the_recipe_that_a_run_keeps_resumes_it_and_a_changed_one_does_not(finished_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    recipe = Recipe.load(folder / "recipe.yaml")
    assert train(recipe, output_dir=folder, resume=True) == RunDir(folder).read_metrics()
    changed = Recipe.load(folder / "recipe.yaml", {"optimization.weight_decay": 0.5})
    with pytest.raises(RecipeError, match=r"recipe\.optimization\.weight_decay: 0\.0 -> 0\.5"):
        train(changed, output_dir=folder, resume=True)


def test_a_mistake_found_before_the_first_step_costs_no_earlier_run(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(reviews_csv, tiny_bert, training={"max_steps": 1, "baselines": False})
    train(Recipe.from_dict(recipe), output_dir=tmp_path / "run")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    recipe["optimization"]["loss"] = "focl"
    with pytest.raises(RecipeError, match="Did you mean 'focal'"):
        train(Recipe.from_dict(recipe), output_dir=tmp_path / "run", overwrite=True)
    assert before == {
        path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"
    }
