from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.test_train import recipe_for
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from headway.predictor import Predictor
from headway.recipe import Recipe
from headway.run_dir import RunDir
from headway.tasks.text_classification import TextClassification
from headway.train import train


def test_a_run_holds_everything(finished_run: Path) -> None:
    assert {path.name for path in finished_run.iterdir() if not path.name.startswith(".")} == {
        "recipe.yaml", "manifest.json", "fingerprint.json", "checks.json", "before.json", "checkpoints", "tensorboard",
        "history.csv", "metrics.json", "predictions", "model",
    }  # fmt: skip
    run = RunDir.open(finished_run)
    metrics, manifest = run.read_metrics(), run.read_manifest()
    assert metrics["main_metric"] == "accuracy"
    assert metrics["metrics"].keys() == {"validation", "test"}
    assert metrics["metrics"]["test"]["accuracy"]["value"] > 0.9
    assert metrics["metrics"]["test"].keys() == metrics["baselines"]["majority"]["test"].keys()
    assert metrics["baselines"].keys() == {"untrained", "majority", "tfidf_logistic_regression"}
    assert metrics["baselines"]["majority"]["test"]["accuracy"]["value"] == 0.5
    assert metrics["loss"]["test"] < 0.5
    assert metrics["collapsed"] is False
    assert {name: one["rows"] for name, one in manifest["data"].items()} == {"train": 32, "validation": 8, "test": 40}
    assert manifest["tokens"]["train"]["rows_truncated"] == 0
    assert manifest["seed"] == 0
    assert manifest["created"].endswith("+00:00")


def test_predictions_have_their_place_and_match_the_metrics(finished_run: Path, reviews_csv: Path) -> None:
    lines = (finished_run / "predictions" / "test.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert [one["row"] for one in found] == list(range(40))
    assert found[3]["where"] == f"{reviews_csv}, line 5"
    accuracy = sum(one["value"] == one["gold"] for one in found) / 40
    metrics = json.loads((finished_run / "metrics.json").read_text())
    assert accuracy == metrics["metrics"]["test"]["accuracy"]["value"]


# --- the model folder in other tools ----------------------------------------------------------------------------------

TASKS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "one label": ({}, ["red", "green", "blue"]),
    "several labels": ({}, [["x"], ["x", "y"], []]),
    "number": ({"problem_type": "regression"}, [0.0, 1.5, 3.0]),
}


@pytest.mark.parametrize("kind", TASKS)
def test_the_model_folder_gives_the_same_in_transformers(kind: str, tiny_bert: Path, tmp_path: Path) -> None:
    options, labels = TASKS[kind]
    rows = [{"text": f"{'film ' * (n % 5)} {n}", "label": labels[n % 3]} for n in range(30)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    task = {"type": "text-classification", **options}
    recipe = recipe_for(path, tiny_bert, task=task, training={"baselines": False})
    train(Recipe.from_dict(recipe), output_dir=tmp_path / "run")
    folder, predictor = tmp_path / "run" / "model", Predictor.load(tmp_path / "run")
    texts = ["film film 3", "a red film", ""]
    ours = list(predictor.stream(texts))

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    names = [model.config.id2label[number] for number in range(model.config.num_labels)]
    if kind == "number":
        assert [one.value for one in ours] == pytest.approx(logits[:, 0].tolist(), abs=1e-5)
        return
    shares = torch.softmax(logits, -1) if kind == "one label" else torch.sigmoid(logits)
    theirs = pipeline("text-classification", model=str(folder), top_k=None)(texts)
    for own, row, listed in zip(ours, shares.tolist(), theirs, strict=True):
        assert own.detail["probabilities"] == pytest.approx(dict(zip(names, row, strict=True)), abs=1e-5)
        assert own.detail["probabilities"] == pytest.approx({one["label"]: one["score"] for one in listed}, abs=1e-5)


def test_the_simple_methods_are_scored_once_for_all_seeds(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    baselines = TextClassification.baselines

    def counted(self: TextClassification, train: Any, rows: Any, seed: int) -> Any:
        calls.append(len(rows))
        return baselines(self, train, rows, seed)

    monkeypatch.setattr(TextClassification, "baselines", counted)
    recipe = recipe_for(reviews_csv, tiny_bert, training={"seeds": [0, 1], "max_steps": 1})
    train(Recipe.from_dict(recipe), output_dir=tmp_path / "run")
    assert calls == [8]
    found = [RunDir(tmp_path / "run").seed(seed).read_metrics()["baselines"] for seed in (0, 1)]
    assert found[0]["majority"] == found[1]["majority"]
    assert found[0]["untrained"] != found[1]["untrained"]


def test_a_collapsed_run_is_flagged(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = recipe_for(reviews_csv, tiny_bert, training={"max_steps": 1, "baselines": False})
    recipe["optimization"] = {"learning_rate": 1e-9}
    metrics = train(Recipe.from_dict(recipe), output_dir=tmp_path / "run")
    assert metrics["collapsed"] is True
    assert "The model collapsed: it gives every row the same answer." in caplog.text


def test_class_weights_and_named_losses_reach_the_loss(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    loss = TextClassification.loss

    def watch(self: Any, outputs: Any, batch: Any, criterion: Any) -> Any:
        seen.append(criterion)
        return loss(self, outputs, batch, criterion)

    monkeypatch.setattr(TextClassification, "loss", watch)
    recipe = recipe_for(reviews_csv, tiny_bert, training={"max_steps": 1, "baselines": False})
    recipe["optimization"] |= {"class_weights": {"good": 3.0}, "loss": {"name": "focal", "gamma": 1.0}}
    train(Recipe.from_dict(recipe), output_dir=tmp_path / "run")
    assert seen[0].class_weights.tolist() == [1.0, 3.0]
    assert seen[0].gamma == 1.0


def test_an_adapter_is_kept_apart_and_merged(reviews_csv: Path, tiny_bert: Path, tmp_path: Path) -> None:
    recipe = recipe_for(reviews_csv, tiny_bert, training={"max_steps": 20, "baselines": False})
    recipe["model"] |= {"adapter": {"name": "lora", "r": 4}}
    metrics = train(Recipe.from_dict(recipe), output_dir=tmp_path / "run")
    run = RunDir.open(tmp_path / "run")
    assert {path.name for path in run.adapter.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    model = run.read_manifest()["model"]
    assert model["trainable_parameters"] < model["parameters"] / 5
    # What was trained is in the model, and the model says what the run says.
    plain = AutoModelForSequenceClassification.from_pretrained(run.model)
    untouched = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    for name, moved in (("query", True), ("key", False)):
        weights = [getattr(one.bert.encoder.layer[0].attention.self, name).weight for one in (plain, untouched)]
        assert torch.equal(*weights) != moved
    line = json.loads(run.predictions("validation").read_text().splitlines()[0])
    found = Predictor.load(run.path).predict(line["input"]["text"])
    assert found.score == pytest.approx(line["score"], abs=1e-5)
    assert metrics["last_step"] == 20


def test_only_some_rows_are_scored_before_and_during_training_and_all_after(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[list[str]] = []
    measure = TextClassification.measure

    def counted(self: TextClassification, predictions: Any, rows: Any) -> Any:
        scored.append([row["text"] for row in rows])
        return measure(self, predictions, rows)

    monkeypatch.setattr(TextClassification, "measure", counted)
    most = {"max_steps": 4, "eval_steps": 2, "max_eval_samples": 5}
    metrics = train(Recipe.from_dict(recipe_for(reviews_csv, tiny_bert, training=most)), output_dir=tmp_path / "some")
    during = [rows for rows in scored if len(rows) == 5]
    assert len(during) == 2
    assert during[0] == during[1]
    lines = (tmp_path / "some" / "predictions" / "validation.jsonl").read_text().splitlines()
    assert len(lines) == 8
    assert set(during[0]) < {json.loads(line)["input"]["text"] for line in lines}
    untrained = metrics["baselines"]["untrained"]["validation"]["accuracy"]["value"]
    assert (5 * untrained).is_integer()

    scored.clear()
    most |= {"max_eval_samples": 9, "baselines": False}
    train(Recipe.from_dict(recipe_for(reviews_csv, tiny_bert, training=most)), output_dir=tmp_path / "all")
    assert [len(rows) for rows in scored[:2]] == [8, 8]
