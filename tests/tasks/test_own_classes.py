"""A task, a head, a loss and a metric of the user's own: the files that the docs show, used as a user uses them."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from headway.compare import compare
from headway.errors import ModelError, RecipeError
from headway.evaluate import evaluate
from headway.models.backbone import load_backbone
from headway.plan import plan
from headway.predictor import Predictor
from headway.preparation import check_recipe
from headway.recipe import Recipe
from headway.report.pages import predict_command, write_report
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
    for name in ("own_task", "own_head", "own_loss", "own_metric"):
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
    with pytest.raises(ModelError, match=r"own_head\.Cosine.*--allow_user_code"):
        Predictor.load("run")
    assert predict_command(Path("run")).endswith(" --allow_user_code")
    predictor = Predictor.load("run", allow_user_code=True)
    lines = (elsewhere / "run" / "predictions" / "validation.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        found = predictor.predict(line["input"])
        assert found.value == line["value"]
        assert found.detail["probabilities"] == pytest.approx(line["detail"]["probabilities"], abs=1e-5)


def test_a_head_whose_file_moved_is_named(tiny_bert: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_recipe(elsewhere, tiny_bert, model={"head": "own_head.Cosine", "pooling": "mean"})
    train(Recipe.load(recipe, {"training.max_steps": 1, "training.baselines": False}), output_dir="run")
    before = Predictor.load("run", allow_user_code=True).predict("lovely")
    del sys.modules["own_head"]
    (elsewhere / "own_head.py").rename(elsewhere / "moved.py")
    # Other tests leave folders behind in which there is such a file, too.
    monkeypatch.setattr(sys, "path", [one for one in sys.path if not (Path(one) / "own_head.py").exists()])
    with pytest.raises(RecipeError, match=r"cannot import 'own_head\.Cosine': there is no module 'own_head'"):
        Predictor.load("run", allow_user_code=True)
    (elsewhere / "moved.py").rename(elsewhere / "own_head.py")
    assert Predictor.load("run", allow_user_code=True).predict("lovely") == before


def test_code_of_a_folder_is_never_run_unasked(tiny_bert: Path, elsewhere: Path) -> None:
    recipe = write_recipe(elsewhere, tiny_bert, task={"type": "own_task.Stars"})
    train(Recipe.load(recipe, {"training.max_steps": 1, "training.baselines": False}), output_dir="run")
    del sys.modules["own_task"]
    (elsewhere / "own_task.py").write_text("raise AssertionError('this code was run')")
    for load in (Predictor.load, lambda run: evaluate(run, "stars.csv")):
        with pytest.raises(ModelError, match=r"needs the task 'own_task\.Stars'.*--allow_user_code"):
            load("run")


# --- a metric ---------------------------------------------------------------------------------------------------------

COST = {"name": "own_metric.Cost", "alarm": "1", "missed": 3}


def write_metric_recipe(folder: Path, tiny_bert: Path, *metrics: Any, **training: Any) -> Path:
    recipe = write_recipe(folder, tiny_bert, task={"type": "text-classification", "metrics": list(metrics)})
    content = yaml.safe_load(recipe.read_text())
    content["training"] |= training
    recipe.write_text(yaml.safe_dump(content))
    return recipe


def validation_history(run: Path) -> dict[str, dict[int, float]]:
    """Return metric -> step -> value, as measured while it trained."""
    found: dict[str, dict[int, float]] = {}
    for line in csv.DictReader((run / "history.csv").read_text(encoding="utf-8").splitlines()):
        if line["split"] == "validation":
            found.setdefault(line["name"], {})[int(line["step"])] = float(line["value"])
    return found


def cost_of(run: Path) -> float:
    """Return what the example says, counted from the predictions that the run keeps."""
    lines = (run / "predictions" / "validation.jsonl").read_text().splitlines()
    pairs = [(one["value"], one["gold"]) for one in map(json.loads, lines)]
    return sum((said != gold) * (3 if gold == "1" else 1) for said, gold in pairs) / len(pairs)


def test_a_metric_of_ones_own_goes_wherever_the_others_do(tiny_bert: Path, elsewhere: Path) -> None:
    settings = {"seeds": [0, 1], "metric_for_best_model": "cost", "eval_steps": 2}
    recipe = write_metric_recipe(elsewhere, tiny_bert, COST, **settings)
    group = train(Recipe.load(recipe), output_dir="run")
    costs = []
    for seed in (0, 1):
        run = elsewhere / "run" / f"seed-{seed}"
        metrics = json.loads((run / "metrics.json").read_text())
        found = metrics["metrics"]["validation"]["cost"]
        assert found["value"] == pytest.approx(cost_of(run))
        assert found["low"] < found["value"] < found["high"]
        assert metrics["baselines"]["majority"]["validation"]["cost"]["value"] > 0
        history = validation_history(run)
        best = min(history["cost"], key=lambda step: (history["cost"][step], history["loss"][step]))
        assert metrics["best_step"] == best
        assert history["cost"][best] == pytest.approx(found["value"])
        costs.append(found["value"])
    assert group["metrics"]["validation"]["cost"]["value"] == pytest.approx(sum(costs) / 2)
    assert compare(["run", "run"])["comparisons"][0]["splits"]["validation"]["cost"]["pairs"] == 2
    result = evaluate("run/seed-0", "stars.csv", allow_user_code=True)
    assert result["metrics"]["data"].keys() == group["metrics"]["validation"].keys()
    write_report(elsewhere / "run")
    assert ">cost<" in (elsewhere / "run" / "report.html").read_text().lower()


@pytest.mark.parametrize(("lower_is_better", "best"), [(True, 2), (False, 6)])
def test_it_chooses_the_best_weights(lower_is_better: bool, best: int, tiny_bert: Path, elsewhere: Path) -> None:
    (elsewhere / "own_count.py").write_text(
        "from headway.metrics.own import Metric\n"
        "calls = []\n"
        "class Calls(Metric):\n"
        f"    lower_is_better = {lower_is_better}\n"
        "    def __call__(self, predictions, rows):\n"
        "        calls.append(rows)\n"
        "        return len(calls)\n"
    )
    settings = {"metric_for_best_model": "calls", "eval_steps": 2, "max_steps": 6, "baselines": False}
    recipe = write_metric_recipe(elsewhere, tiny_bert, "own_count.Calls", **settings)
    assert train(Recipe.load(recipe), output_dir="run")["best_step"] == best


def test_a_metric_is_imported_only_to_measure_and_if_allowed(
    tiny_bert: Path, elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Under a name of its own: another test's folder may hold the example, and be searched first.
    shutil.copy("own_metric.py", "own_price.py")
    metric = COST | {"name": "own_price.Cost"}
    train(
        Recipe.load(write_metric_recipe(elsewhere, tiny_bert, metric, max_steps=1, baselines=False)), output_dir="run"
    )
    del sys.modules["own_price"]
    Path("own_price.py").write_text("raise AssertionError('this code was run')")
    caplog.clear()
    for is_allowed in (False, True):
        assert Predictor.load("run", allow_user_code=is_allowed).predict("good book").value in "12345"
    assert not caplog.records
    result = evaluate("run", "stars.csv")
    assert "accuracy" in result["metrics"]["data"]
    assert "cost" not in result["metrics"]["data"]
    assert "left out: own_price.Cost. If you trust that code, allow it with --allow_user_code" in caplog.text
    with pytest.raises(RecipeError, match=r"task\.metrics: importing 'own_price' failed with AssertionError"):
        evaluate("run", "stars.csv", allow_user_code=True)


@pytest.mark.parametrize(
    ("metric", "training", "message"),
    [
        ("own_metric.Cots", {}, "task.metrics: module 'own_metric' has no class 'Cots'. Did you mean 'Cost'?"),
        ("own_metric.Cost", {}, "task.metrics: 'own_metric.Cost' cannot be constructed"),
        ("own_failing.Fails", {}, "task.metrics: 'fails' failed with KeyError: 'price'"),
        (COST, {"metric_for_best_model": "costs"}, "there is no metric 'costs'. Did you mean 'cost'?"),
    ],
)
def test_a_bad_metric_is_refused_before_anything_is_written(
    metric: Any, training: dict[str, Any], message: str, tiny_bert: Path, elsewhere: Path
) -> None:
    (elsewhere / "own_failing.py").write_text(
        "from headway.metrics.own import Metric\n"
        "class Fails(Metric):\n"
        "    def __call__(self, predictions, rows):\n"
        "        return sum(row['price'] for row in rows)\n"
    )
    recipe = Recipe.load(write_metric_recipe(elsewhere, tiny_bert, metric, baselines=False, **training))
    with pytest.raises(RecipeError) as refused:
        train(recipe, output_dir="run")
    assert message in str(refused.value)
    assert not (elsewhere / "run" / "recipe.yaml").exists()


def test_the_checks_before_a_training_find_a_bad_metric(tiny_bert: Path, elsewhere: Path) -> None:
    recipe = Recipe.load(write_metric_recipe(elsewhere, tiny_bert, "own_metric.Cots"))
    for look in (plan, lambda one: check_recipe(one, load_backbone(one.model).tokenizer)):
        with pytest.raises(RecipeError, match="module 'own_metric' has no class 'Cots'"):
            look(recipe)


# --- mistakes ---------------------------------------------------------------------------------------------------------


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
