"""Runs whose head is an estimator of scikit-learn, from the recipe to the prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headway.errors import RecipeError
from headway.models.options import ModelOptions
from headway.predictor import Predictor
from headway.recipe import Recipe
from headway.report import write_pages
from headway.train import train
from headway.training.estimators import check_estimator
from headway.training.options import OptimizationOptions


def content(train_file: Path, tiny_bert: Path, head: Any = "svm", **sections: Any) -> dict[str, Any]:
    return {
        "task": "text-classification",
        "data": {"train": str(train_file), "test": str(train_file), "validation": 0.2, "max_length": 16},
        "model": {"model_name_or_path": str(tiny_bert), "freeze": "all", "head": head, "pooling": "mean"},
        "training": {"bf16": False, **sections.pop("training", {})},
        **sections,
    }


@pytest.mark.parametrize("head", ["svm", "logistic_regression", {"name": "sklearn.svm.SVC", "C": 1000.0}])
def test_a_run_with_an_estimator(head: Any, reviews_csv: Path, tiny_bert: Path, tmp_path: Path) -> None:
    recipe = Recipe.from_dict(content(reviews_csv, tiny_bert, head, training={"seeds": [0, 1]}))
    metrics = train(recipe, output_dir=tmp_path / "run")
    assert metrics["metrics"]["test"]["accuracy"]["value"] > 0.8
    assert train(recipe, output_dir=tmp_path / "run", resume=True) == metrics
    model = tmp_path / "run/seed-0/model"
    assert (model / "head.skops").is_file()
    assert not (model / "head.safetensors").exists()
    texts = [line.partition(",")[0] for line in reviews_csv.read_text().splitlines()[1:]]
    expected = [json.loads(one) for one in (tmp_path / "run/seed-0/predictions/test.jsonl").read_text().splitlines()]
    predictor = Predictor.load(tmp_path / "run/seed-0")
    for one, other in zip(predictor.stream({"text": text} for text in texts), expected, strict=True):
        assert one.value == other["value"]
        assert one.score == pytest.approx(other["score"], abs=1e-5)
    assert write_pages(tmp_path / "run").is_file()


def test_the_words_of_a_sentence(tiny_bert: Path, tmp_path: Path) -> None:
    path = tmp_path / "tags.conll"
    path.write_text("".join(f"{word} {tag}\n\n" for word, tag in [("film", "B-X"), ("good", "O")] * 10))
    recipe = content(path, tiny_bert)
    recipe["data"]["validation"] = str(path)
    del recipe["model"]["pooling"]
    metrics = train(Recipe.from_dict({**recipe, "task": "token-classification"}), output_dir=tmp_path / "run")
    assert metrics["metrics"]["test"]["f1"]["value"] == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.freeze": "none"}, r"model\.head: 'svm' is fitted by scikit-learn.*Set model\.freeze: all"),
        ({"model.pooling": "attention"}, "nothing trains the weights of attention"),
        ({"data.truncation": "window"}, "reads no windows"),
        ({"optimization.class_weights": "balanced"}, "class_weight: balanced"),
        ({"optimization.loss": "focal"}, r"optimization\.loss: 'svm' is fitted"),
        ({"model.head": {"name": "svm", "penalty": "l3"}}, "cannot be fitted: The 'penalty' parameter"),
    ],
)
def test_what_an_estimator_cannot_heed_is_refused(
    changes: dict[str, Any], message: str, reviews_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps(content(reviews_csv, tiny_bert)))
    with pytest.raises(RecipeError, match=message):
        train(Recipe.load(tmp_path / "recipe.yaml", changes), output_dir=tmp_path / "run")


def test_a_kind_of_model_whose_rows_have_no_label_each_is_refused() -> None:
    options = ModelOptions(freeze="all", head="svm")
    with pytest.raises(RecipeError, match="labels single rows of vectors, which does not suit multiple-choice"):
        check_estimator(options, OptimizationOptions(), kind="multiple-choice", truncation="head")
