"""One command tunes the backbone over pairs, then the model over it: from the training rows alone, and resumable."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.test_train import recipe_for

from headway.errors import DataError, RecipeError, StoppedError
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.plan import describe, plan
from headway.predictor import Predictor
from headway.preparation import check_recipe, read_tables
from headway.recipe import Recipe
from headway.run_dir import RunDir
from headway.tasks.sentence_embeddings import SentenceEmbeddings
from headway.tasks.text_classification import TextClassification
from headway.train import train

FROZEN = {"head": "logistic_regression", "pooling": "mean", "freeze": "all"}
ATTENTION = "encoder.layer.1.attention.self.query.weight"


def few(reviews_csv: Path, tiny_bert: Path, **sections: Any) -> Recipe:
    contrastive = {"pairs_per_row": 2, "per_device_train_batch_size": 16, "learning_rate": 1e-3}
    training = {"baselines": False, "max_steps": 3, "contrastive": contrastive, **sections.pop("training", {})}
    model = {"model_name_or_path": str(tiny_bert), **sections.pop("model", FROZEN)}
    return Recipe.from_dict({**recipe_for(reviews_csv, tiny_bert, training=training, **sections), "model": model})


def tokenizer_of(folder: Path) -> Any:
    return load_backbone(ModelOptions(model_name_or_path=str(folder))).tokenizer


def weights(run: Path) -> dict[str, Any]:
    return {name: tensor for path in sorted((run / "model").glob("*.safetensors"))
            for name, tensor in load_file(path).items()}  # fmt: skip


def same(left: Path, right: Path) -> bool:
    ours, theirs = weights(left), weights(right)
    assert ours.keys() == theirs.keys()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.fixture(scope="module")
def recipe(reviews_csv: Path, tiny_bert: Path) -> Recipe:
    return few(
        reviews_csv, tiny_bert, data={"max_train_rows_per_label": 8}, training={"seeds": [0, 1], "save_steps": 1}
    )


@pytest.fixture(scope="module")
def group(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds, each over a frozen backbone of its own."""
    folder = tmp_path_factory.mktemp("runs") / "few"
    train(recipe, output_dir=folder)
    return folder


def test_the_pairs_come_from_the_training_rows_alone(group: Path, recipe: Recipe) -> None:
    tables = read_tables(recipe)
    label_of = dict(zip(tables["train"].column("text"), tables["train"].column("label"), strict=True))
    assert len(label_of) == 16
    assert not label_of.keys() & set(tables["validation"].column("text"))
    both = []
    for seed in (0, 1):
        lines = (group / f"seed-{seed}/contrastive/pairs.jsonl").read_text().splitlines()
        pairs = [json.loads(line) for line in lines]
        assert sorted(one["query"] for one in pairs) == sorted([*label_of, *label_of])
        for one in pairs:
            assert label_of[one["positive"]] == label_of[one["query"]] == one["group"]
        both.append(lines)
    assert both[0] != both[1]


def test_each_seed_goes_on_with_the_backbone_that_it_tuned(group: Path, tiny_bert: Path) -> None:
    began = load_file(tiny_bert / "model.safetensors")[ATTENTION]
    runs = [RunDir(group).seed(seed) for seed in (0, 1)]
    tuned = [weights(run.path / "contrastive")[ATTENTION] for run in runs]
    for run, one in zip(runs, tuned, strict=True):
        assert torch.equal(weights(run.path)[ATTENTION], one)
        assert not torch.equal(one, began)
        stage = RunDir.open(run.path / "contrastive")
        assert run.read_manifest()["model"] == {
            **run.read_manifest()["model"],
            "name": str(tiny_bert),
            "origin": f"the folder {tiny_bert}, tuned contrastively first",
            "trainable_parameters": 0,
        }
        assert run.read_manifest()["model"]["sha256"] != stage.read_manifest()["model"]["sha256"]
        assert stage.read_metrics()["last_step"] == 2
    assert not torch.equal(*tuned)
    # What the run says of a row, the saved model says of its text: tokens and vectors are those of the tuned backbone.
    line = json.loads(runs[1].predictions("validation").read_text().splitlines()[0])
    found = Predictor.load(runs[1].path).predict(line["input"]["text"])
    assert found.score == pytest.approx(line["score"], abs=1e-5)


def test_tokenizer_and_configuration_are_those_of_the_untuned_backbone(
    group: Path, tiny_bert: Path, reviews_csv: Path, tmp_path: Path
) -> None:
    plain = few(reviews_csv, tiny_bert, training={"contrastive": None})
    train(plain, output_dir=tmp_path / "plain")
    configs = [json.loads((run / "model/config.json").read_text()) for run in (group / "seed-0", tmp_path / "plain")]
    assert configs[0] == configs[1]
    tokenizers = [tokenizer_of(folder).backend_tokenizer.to_str() for folder in (tiny_bert, group / "seed-0/model")]
    assert tokenizers[0] == tokenizers[1]


def test_the_vectors_are_those_of_the_seeds_own_backbone(group: Path, recipe: Recipe, tmp_path: Path) -> None:
    train(recipe.changed({"model.encode_once": False, "training.seeds": [1]}), output_dir=tmp_path / "anew")
    lines = [
        (run / "predictions/validation.jsonl").read_text().splitlines() for run in (group / "seed-1", tmp_path / "anew")
    ]
    for once, anew in zip(*(map(json.loads, some) for some in lines), strict=True):
        assert once["score"] == pytest.approx(anew["score"], abs=1e-4)


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ({}, {}),
        ({"freeze": 1, "reinit_layers": 1}, {}),
        ({"head": "linear", "pooling": "attention", "num_hidden_layers": 1}, {}),
        ({"head": "mlp", "pooling": "max", "freeze": "all", "pooling_layers": 2}, {}),
        ({"head": "linear", "pooling": "mean"}, {"truncation": "window", "max_length": 8}),
        ({**FROZEN, "head": "svm", "pooling": "cls"}, {"truncation": "tail", "max_length": 8}),
    ],
)  # fmt: skip
def test_every_head_and_pooling(
    model: dict[str, Any], data: dict[str, Any], reviews_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    train(few(reviews_csv, tiny_bert, model=model, data=data), output_dir=tmp_path / "run")
    stage = Recipe.load(tmp_path / "run/contrastive/recipe.yaml")
    asked = model.get("pooling", "cls")
    assert stage.model.pooling == ("mean" if asked == "attention" else asked)
    line = json.loads((tmp_path / "run/predictions/validation.jsonl").read_text().splitlines()[0])
    found = Predictor.load(tmp_path / "run").predict(line["input"]["text"])
    assert found.score == pytest.approx(line["score"], abs=1e-4)


def test_layers_are_frozen_in_both_stages_and_drawn_anew_before_the_first(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    model, still = {"freeze": 1, "reinit_layers": 1}, {"learning_rate": 1e-12}
    train(few(reviews_csv, tiny_bert, model=model, optimization=still), output_dir=tmp_path / "run")
    began, ended = load_file(tiny_bert / "model.safetensors"), weights(tmp_path / "run")
    lowest = ATTENTION.replace("layer.1", "layer.0")
    assert torch.equal(ended[f"bert.{lowest}"], began[lowest])
    tuned = weights(tmp_path / "run/contrastive")[ATTENTION]
    assert not torch.equal(tuned, began[ATTENTION])
    torch.testing.assert_close(ended[f"bert.{ATTENTION}"], tuned)


# --- interruptions ----------------------------------------------------------------------------------------------------


def stop_at(step: int, task: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the task ask its process to stop in its nth step."""
    loss, calls = task.loss, []

    def interrupted(self: Any, *arguments: Any) -> Any:
        calls.append(0)
        if len(calls) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, *arguments)

    monkeypatch.setattr(task, "loss", interrupted)


def test_stopped_in_the_first_stage_it_goes_on_there(group: Path, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_at(1, SentenceEmbeddings, patch)
        with pytest.raises(StoppedError, match=rf"saved at step 1.*--output_dir {tmp_path}/run --resume") as stopped:
            train(recipe, output_dir=tmp_path / "run")
    assert stopped.value.exit_code == 75
    assert not (tmp_path / "run/seed-0/contrastive/metrics.json").exists()
    calls = []
    loss = SentenceEmbeddings.loss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SentenceEmbeddings, "loss", lambda *given: (calls.append(0), loss(*given))[1])
        train(recipe, output_dir=tmp_path / "run", resume=True)
    assert len(calls) == 3  # the second step of the first seed, both of the second
    for seed in (0, 1):
        assert same(tmp_path / f"run/seed-{seed}/contrastive", group / f"seed-{seed}/contrastive")
        assert same(tmp_path / f"run/seed-{seed}", group / f"seed-{seed}")


def test_stopped_in_the_second_stage_the_first_is_not_repeated(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    recipe = few(reviews_csv, tiny_bert, model={}, training={"save_steps": 1})
    train(recipe, output_dir=tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        stop_at(2, TextClassification, patch)
        with pytest.raises(StoppedError, match="saved at step 2"):
            train(recipe, output_dir=tmp_path / "run")
    files = [tmp_path / "run/contrastive" / name for name in ("manifest.json", "history.csv", "pairs.jsonl")]
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in files]
    train(recipe, output_dir=tmp_path / "run", resume=True)
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in files] == before
    assert same(tmp_path / "run", tmp_path / "whole")


def test_an_earlier_run_is_replaced_with_its_stage(reviews_csv: Path, tiny_bert: Path, tmp_path: Path) -> None:
    recipe = few(reviews_csv, tiny_bert)
    train(recipe, output_dir=tmp_path / "run")
    first = weights(tmp_path / "run/contrastive")[ATTENTION]
    changed = recipe.changed({"training.contrastive.learning_rate": 5e-3})
    with pytest.raises(RecipeError, match=r"contrastive\.learning_rate: 0\.001 -> 0\.005"):
        train(changed, output_dir=tmp_path / "run", resume=True)
    train(changed, output_dir=tmp_path / "run", overwrite=True)
    assert not torch.equal(weights(tmp_path / "run/contrastive")[ATTENTION], first)
    train(recipe.changed({"training.contrastive": None}), output_dir=tmp_path / "run", overwrite=True)
    assert not (tmp_path / "run/contrastive").exists()


# --- before anything is trained ---------------------------------------------------------------------------------------


def test_rows_without_a_pair_are_refused_before_anything_is_written(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\na film,a\na book,b\n")
    recipe = few(tmp_path / "rows.csv", tiny_bert, data={"validation": None})
    for refused in (lambda: train(recipe, output_dir=tmp_path / "run"), lambda: plan(recipe)):
        with pytest.raises(DataError, match=r"rows\.csv: no label has two different texts.*Add rows"):
            refused()
    assert not (tmp_path / "run").exists()
    (tmp_path / "rows.csv").write_text('text,label\na film,"a,b"\na book,b\n')
    several = few(tmp_path / "rows.csv", tiny_bert, model={}, data={"validation": None, "label_delimiter": ","})
    with pytest.raises(RecipeError, match="multi_label_classification has no single label"):
        check_recipe(several, tokenizer_of(tiny_bert))


def test_a_label_of_one_row_takes_part(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\na film,a\na good film,a\na book,b\n")
    train(few(tmp_path / "rows.csv", tiny_bert, data={"validation": None}), output_dir=tmp_path / "run")
    lines = (tmp_path / "run/contrastive/pairs.jsonl").read_text().splitlines()
    assert lines.count('{"query": "a book", "positive": "a book", "group": "b"}') == 2


def test_the_plan_names_the_first_stage_and_the_check_passes_it(
    reviews_csv: Path, tiny_bert: Path, recipe: Recipe
) -> None:
    planned = plan(recipe.changed({"training.contrastive.num_train_epochs": 1.5}))
    assert planned["contrastive_pairs"] == 16 * 2 * 1.5
    assert "contrastive stage      48 pairs before" in describe(planned)
    without = plan(recipe.changed({"training.contrastive": None}))
    assert without["contrastive_pairs"] == 0
    assert "contrastive" not in describe(without)
    rows, report = check_recipe(recipe, tokenizer_of(tiny_bert))
    assert rows["train"] == 16
    assert not report.problems
