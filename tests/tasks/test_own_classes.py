"""A task, a head and a loss of the user's own: the files that the docs show, used as a user would use them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from headway.errors import ModelError, RecipeError
from headway.evaluate import evaluate
from headway.predictor import Predictor
from headway.recipe import Recipe
from headway.train import train

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the user's with copies of the examples, where headway is started."""
    for path in EXAMPLES.glob("own_*.py"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def write_recipe(folder: Path, tiny_bert: Path, **sections: Any) -> Path:
    words = ["awful", "poor", "fine", "good", "great"]
    rows = [f"a {words[n % 5]} book {n},{n % 5 + 1}" for n in range(40)]
    (folder / "stars.csv").write_text("\n".join(["text,label", *rows]))
    content = {
        "task": {"type": "text-classification"},
        "data": {"train": "stars.csv", "validation": 0.25, "max_length": 32},
        "model": {"model_name_or_path": str(tiny_bert), "dropout": 0.0, **sections.pop("model", {})},
        "optimization": {"learning_rate": 3e-3, "warmup_ratio": 0.1, **sections.pop("optimization", {})},
        "training": {"num_train_epochs": 2, "per_device_train_batch_size": 8, "bf16": False},
        **sections,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_examples_are_short_and_stand_alone() -> None:
    for name in ("own_task", "own_head", "own_loss"):
        assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 60


def test_a_task_of_ones_own(tiny_bert: Path, elsewhere: Path) -> None:
    recipe = write_recipe(elsewhere, tiny_bert, task={"type": "own_task.Stars"})
    metrics = train(Recipe.load(recipe), output_dir="run")
    assert (metrics["main_metric"], metrics["higher_is_better"]) == ("mean_error", False)
    lines = (elsewhere / "run" / "predictions" / "validation.jsonl").read_text().splitlines()
    errors = [abs(one["value"] - int(one["gold"])) for one in map(json.loads, lines)]
    assert metrics["metrics"]["validation"]["mean_error"]["value"] == pytest.approx(sum(errors) / 10)
    assert metrics["baselines"].keys() == {"untrained"}
    # In another process only the current folder would be known.
    del sys.modules["own_task"]
    sys.path.remove(str(elsewhere))
    predictor = Predictor.load("run", allow_user_code=True)
    assert 1 <= predictor.predict("good book").value <= 5
    result = evaluate("run", str(elsewhere / "stars.csv"), allow_user_code=True)
    assert result["rows"] == 40


def test_its_bad_rows_are_named_as_any_others(tiny_bert: Path, elsewhere: Path) -> None:
    recipe = write_recipe(elsewhere, tiny_bert, task={"type": "own_task.Stars", "num_stars": 4})
    with pytest.raises(Exception, match=r"stars\.csv, line \d+: column 'label' holds '5', expected 1 to 4 stars"):
        train(Recipe.load(recipe), output_dir="run")


def test_its_options_are_checked_as_any_others(tiny_bert: Path, elsewhere: Path) -> None:
    recipe = write_recipe(elsewhere, tiny_bert, task={"type": "own_task.Stars", "stars": 4})
    with pytest.raises(RecipeError, match=r"task\.stars: there is no such option"):
        Recipe.load(recipe)
    recipe = write_recipe(
        elsewhere, tiny_bert, task={"type": "own_task.Stars"}, optimization={"class_weights": "balanced"}
    )
    with pytest.raises(RecipeError, match="stars has no classes to weigh"):
        train(Recipe.load(recipe), output_dir="run")


def test_a_head_and_a_loss_of_ones_own(tiny_bert: Path, elsewhere: Path) -> None:
    recipe = write_recipe(
        elsewhere,
        tiny_bert,
        model={"head": {"name": "own_head.Cosine", "scale": 5.0}, "pooling": "mean"},
        optimization={"loss": {"name": "own_loss.GeneralizedCrossEntropy", "q": 0.5}},
    )
    metrics = train(Recipe.load(recipe), output_dir="run")
    assert metrics["metrics"]["validation"]["accuracy"]["value"] >= 0
    assert 0 < metrics["loss"]["validation"] < 2  # (1 - p^q) / q never exceeds 1 / q
    with pytest.raises(ModelError, match=r"own_head\.Cosine"):
        Predictor.load("run")
    predictor = Predictor.load("run", allow_user_code=True)
    lines = (elsewhere / "run" / "predictions" / "validation.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        found = predictor.predict(line["input"])
        assert found.value == line["value"]
        assert found.detail["probabilities"] == pytest.approx(line["detail"]["probabilities"], abs=1e-5)


def test_code_of_a_folder_is_never_run_unasked(tiny_bert: Path, elsewhere: Path) -> None:
    recipe = write_recipe(elsewhere, tiny_bert, task={"type": "own_task.Stars"})
    train(Recipe.load(recipe, {"training.max_steps": 1, "training.baselines": False}), output_dir="run")
    del sys.modules["own_task"]
    (elsewhere / "own_task.py").write_text("raise AssertionError('this code was run')")
    for load in (Predictor.load, lambda run: evaluate(run, "stars.csv")):
        with pytest.raises(ModelError, match=r"needs the task 'own_task\.Stars'.*--allow_user_code"):
            load("run")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"task": {"type": "own_missing.Stars"}}, "task.type: cannot import 'own_missing.Stars': there is no module"),
        (
            {"task": {"type": "own_task.Star"}},
            "task.type: module 'own_task' has no class 'Star'. Did you mean 'Stars'?",
        ),
        (
            {"task": {"type": "own_head.Cosine"}},
            "task.type: 'own_head.Cosine' must be a subclass of headway.tasks.base",
        ),
        ({"model": {"head": "own_task.Stars"}}, "model.head: 'own_task.Stars' must be a subclass of torch.nn"),
        ({"model": {"head": "own_haed.Cosine"}}, "model.head: cannot import 'own_haed.Cosine': there is no module"),
        (
            {"model": {"head": {"name": "own_head.Cosine", "scal": 1}}},
            "'own_head.Cosine' does not take 'scal'. Did you",
        ),
        ({"optimization": {"loss": "own_task.Stars"}}, "optimization.loss: 'own_task.Stars' must be a subclass of"),
        (
            {"optimization": {"loss": {"name": "own_loss.GeneralizedCrossEntropy", "q": 2}}},
            "cannot be constructed: q must lie above 0 and not above 1, found 2.",
        ),
        (
            {"optimization": {"loss": "own_loss.GeneralizedCrossEntropy", "label_smoothing_factor": 0.1}},
            "'own_loss.GeneralizedCrossEntropy' does not take 'label_smoothing_factor'",
        ),
    ],
)
def test_what_cannot_be_used_is_named(sections: dict[str, Any], message: str, tiny_bert: Path, elsewhere: Path) -> None:
    with pytest.raises(RecipeError) as refused:
        train(Recipe.load(write_recipe(elsewhere, tiny_bert, **sections)), output_dir="run")
    assert message in str(refused.value)
