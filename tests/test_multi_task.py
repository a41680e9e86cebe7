"""Several tasks over one backbone: each keeps a run of its own, and all learn together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from headway.cli.runs import find_runs
from headway.cli.train import train as train_command
from headway.errors import DataError, RecipeError
from headway.models.backbone import load_backbone
from headway.plan import describe, plan
from headway.predictor import Predictor
from headway.preparation import check_recipe
from headway.recipe import Recipe
from headway.run_dir import RunDir
from headway.train import train
from headway.training import checkpoint as checkpoints


@pytest.fixture(scope="module")
def words_conll(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 sentences of tagged words."""
    sentences = [
        f"the\tO\n{('film', 'book', 'train')[n % 3]}\tB-THING\nwas\tO\n{'very' if n % 2 else 'quite'}\tO\n"
        for n in range(24)
    ]
    path = tmp_path_factory.mktemp("words") / "words.conll"
    path.write_text("\n".join(sentences), encoding="utf-8")
    return path


@pytest.fixture
def content(reviews_csv: Path, words_conll: Path, tiny_bert: Path) -> dict[str, Any]:
    return {
        "task": "text-classification",
        "data": {"train": str(reviews_csv), "validation": 0.2, "max_length": 16},
        "model": {"model_name_or_path": str(tiny_bert)},
        "optimization": {"learning_rate": 5e-3},
        "training": {"num_train_epochs": 2, "per_device_train_batch_size": 8, "bf16": False, "baselines": False},
        "multi_task": {
            "tasks": {
                "things": {"task": "token-classification", "data": {"train": str(words_conll), "validation": 0.25}}
            }
        },
    }


def body(model: Path) -> dict[str, torch.Tensor]:
    """Return the pretrained part of a saved model that both tasks have."""
    weights = load_file(model / "model.safetensors")
    return {name: one for name, one in weights.items() if name.startswith("bert.") and ".pooler." not in name}


def test_each_task_is_a_run_of_its_own_over_one_body(content: dict[str, Any], tiny_bert: Path, tmp_path: Path) -> None:
    scores = train(Recipe.from_dict(content), output_dir=tmp_path / "both")
    assert scores["main_metric"] == "accuracy"
    assert scores["tasks"]["things"]["main_metric"] == "f1"
    run = RunDir(tmp_path / "both")
    things = run.task("things")
    assert run.tasks == ["things"]
    tuned, beside = body(run.model), body(things.model)
    assert tuned.keys() == beside.keys()
    assert all(torch.equal(tuned[name], beside[name]) for name in tuned)
    pretrained = load_file(tiny_bert / "model.safetensors")
    name = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(tuned[f"bert.{name}"], pretrained.get(name, pretrained.get(f"bert.{name}")))
    AutoModelForSequenceClassification.from_pretrained(run.model)
    tagger = AutoModelForTokenClassification.from_pretrained(things.model)
    assert set(tagger.config.id2label.values()) == {"O", "B-THING", "I-THING"}
    # What predicts and what is listed know nothing of several tasks.
    assert Predictor.load(run.path).predict("a lovely film").value in ("good", "bad")
    assert Predictor.load(things.path).task.name == "token-classification"
    assert [Path(one["path"]) for one in find_runs(tmp_path)] == [run.path]
    assert RunDir.open(things.path).read_manifest()["data"]["train"]["rows"] == 20
    history = run.history.read_text()
    assert "validation,things.f1," in history
    assert "validation,mean_of_tasks," in history
    # The recipe that was kept is whole: labels of all tasks in it, and readable.
    kept = Recipe.load(run.recipe)
    assert kept.parts()["things"].task.model_dump()["labels"] == ("O", "B-THING", "I-THING")


def test_both_tasks_learn(content: dict[str, Any], tmp_path: Path) -> None:
    content["training"]["num_train_epochs"] = 12
    scores = train(Recipe.from_dict(content), output_dir=tmp_path / "both")
    assert scores["metrics"]["validation"]["accuracy"]["value"] > 0.85
    assert scores["tasks"]["things"]["metrics"]["validation"]["f1"]["value"] > 0.85


@pytest.mark.parametrize(("adapter", "part"), [("lora", "lora_"), ("ia3", "ia3_"), ("prefix", "prompt_embeddings")])
def test_an_adapter_is_shared_and_merged_once(content: dict[str, Any], adapter: str, part: str, tmp_path: Path) -> None:
    content["model"]["adapter"] = adapter
    content["multi_task"]["tasks"]["things"]["data"]["max_length"] = 16  # with room for a prefix
    train(Recipe.from_dict(content), output_dir=tmp_path / "both")
    run = RunDir(tmp_path / "both")
    tuned, beside = body(run.model), body(run.task("things").model)
    assert all(torch.equal(tuned[name], beside[name]) for name in tuned)
    adapters = [
        {name: one for name, one in load_file(folder / "adapter_model.safetensors").items() if part in name}
        for folder in (run.adapter, run.task("things").adapter)
    ]
    assert adapters[0]
    assert all(torch.equal(adapters[0][name], adapters[1][name]) for name in adapters[0])


def test_resume_from_every_step_is_bit_identical(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "KEPT_RESUME_CHECKPOINTS", 1000)
    content["training"] |= {"save_steps": 1, "num_train_epochs": 1}
    content["multi_task"]["sampling"] = "square_root"
    recipe, whole = Recipe.from_dict(content), tmp_path / "whole"
    train(recipe, output_dir=whole)
    steps = sorted(int(path.stem.partition("-")[2]) for path in (whole / "checkpoints").glob("resume-*.ckpt"))
    assert len(steps) >= 5
    for step in steps[:-1:2]:
        resumed = tmp_path / f"from-{step}"
        shutil.copytree(whole, resumed)
        for name in ("metrics.json", "manifest.json", "tasks/things/metrics.json"):
            (resumed / name).unlink()
        for name in ("model", "tasks/things/model"):
            shutil.rmtree(resumed / name)
        for path in (resumed / "checkpoints").iterdir():
            if int(path.stem.partition("-")[2]) > step:
                path.unlink()
        torch.manual_seed(step)  # the state of the process must not matter
        train(recipe, output_dir=resumed, resume=True)
        for place in ("model", "tasks/things/model"):
            expected = (whole / place / "model.safetensors").read_bytes()
            assert (resumed / place / "model.safetensors").read_bytes() == expected, f"resumed from step {step}"


def test_several_seeds_make_a_group_of_each_task(
    content: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content["training"] |= {"seeds": [0, 1], "num_train_epochs": 1}
    path = tmp_path / "both.yaml"
    path.write_text(Recipe.from_dict(content).to_yaml())
    train_command(str(path), output_dir=str(tmp_path / "both"), json_=True)
    scores = json.loads(capsys.readouterr().out)
    assert scores["seeds"].keys() == scores["tasks"]["things"]["seeds"].keys() == {"0", "1"}
    things = RunDir(tmp_path / "both").task("things")
    assert things.seeds == [0, 1]
    assert things.report.exists()
    assert RunDir.open(things.path).model.is_dir()


def test_the_metric_of_any_task_may_choose(content: dict[str, Any], tmp_path: Path) -> None:
    content["training"] |= {"num_train_epochs": 1, "metric_for_best_model": "things.f1"}
    train(Recipe.from_dict(content), output_dir=tmp_path / "both")
    content["training"]["metric_for_best_model"] = "thing.f1"
    with pytest.raises(RecipeError, match=r"no metric 'thing\.f1'.*Did you mean 'things\.f1'"):
        train(Recipe.from_dict(content), output_dir=tmp_path / "misspelt")


def test_a_head_and_a_loss_may_differ(content: dict[str, Any], tmp_path: Path) -> None:
    content["multi_task"]["tasks"]["things"] |= {
        "model": {"head": {"name": "mlp", "layer_size": 16}},
        "optimization": {"loss": "focal"},
    }
    content["training"]["num_train_epochs"] = 1
    train(Recipe.from_dict(content), output_dir=tmp_path / "both")
    run = RunDir(tmp_path / "both")
    assert (run.task("things").model / "head.safetensors").exists()
    assert not (run.model / "head.safetensors").exists()


# --- before training --------------------------------------------------------------------------------------------------


def test_plan_and_check_see_all_tasks(content: dict[str, Any]) -> None:
    recipe = Recipe.from_dict(content)
    planned = plan(recipe)
    assert planned["rows"] == {"train": 32, "validation": 8}
    assert planned["tasks"]["things"]["rows"] == {"train": 20, "validation": 4}
    assert "things" in describe(planned)
    rows, report = check_recipe(recipe, load_backbone(recipe.model).tokenizer)
    assert rows == {"train": 32, "validation": 8, "things/train": 20, "things/validation": 4}
    assert report.tokens.keys() == rows.keys()
    assert any(one.split.startswith("things/") for one in report.warnings)


def test_rows_that_a_task_cannot_take_name_it(content: dict[str, Any], reviews_csv: Path, tmp_path: Path) -> None:
    content["multi_task"]["tasks"]["things"]["data"] = {"train": str(reviews_csv)}
    with pytest.raises(DataError, match=r"reviews\.csv"):
        train(Recipe.from_dict(content), output_dir=tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_head_that_is_fitted_at_once_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    content["model"] |= {"head": "svm", "freeze": "all"}
    with pytest.raises(RecipeError, match="fitted in one go, which several tasks cannot be"):
        train(Recipe.from_dict(content), output_dir=tmp_path / "both")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": {}}, r"multi_task\.tasks"),
        ({"sampling": 0.5}, r"multi_task\.sampling"),
        ({"tasks": {"Two Words": {}}}, r"multi_task\.tasks.*Two Words"),
        ({"tasks": {"x": {"task": "text-classification"}}}, r"multi_task\.tasks\.x: data: is missing"),
        ({"tasks": {"x": {"task": "text-classificaton", "data": {"train": "a"}}}}, r"tasks\.x: .*text-classification"),
        (
            {"tasks": {"x": {"training": {"num_train_epochs": 1}}}},
            r"tasks\.x\.training\.num_train_epochs: all tasks share it",
        ),
        (
            {"tasks": {"x": {"model": {"freeze": "all"}}}},
            r"tasks\.x\.model\.freeze: all tasks share it.* model\.head, model\.pooling",
        ),
        ({"tasks": {"x": {"model": {"reinit_layers": 1}}}}, r"tasks\.x\.model\.reinit_layers: all tasks share it"),
        ({"tasks": {"x": {"model": "linear"}}}, r"tasks\.x\.model holds 'linear' and not options"),
        (
            {"tasks": {"x": {"task": "text-classification", "data": {"train": "a", "max_len": 3}}}},
            r"tasks\.x: data\.max_len: there is no such option\. Here it is called data\.max_length",
        ),
    ],
)
def test_mistakes_are_named_with_their_task(content: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    content["multi_task"] |= changes
    with pytest.raises(RecipeError, match=message):
        Recipe.from_dict(content)
