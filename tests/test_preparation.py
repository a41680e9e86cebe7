from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headway.data.token_cache import cache_folder, open_or_build, record_batches
from headway.errors import DataError, RecipeError, StoppedError
from headway.importing import Choice
from headway.metrics.own import Metric
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.models.windows import WindowedModel
from headway.preparation import (
    build_model,
    check_data,
    check_recipe,
    features_of,
    limits_of,
    prepare,
    read_tables,
    token_statistics,
)
from headway.recipe import Recipe
from headway.tasks.base import Limits
from headway.training.options import OptimizationOptions
from headway.types import Features


class Zero(Metric):
    """A metric of the user's own."""

    def __call__(self, predictions: Any, rows: Any) -> float:
        return 0.0


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return load_backbone(ModelOptions(model_name_or_path=str(tiny_bert))).tokenizer


def recipe_for(path: Path, **data: Any) -> Recipe:
    return Recipe.from_dict({"task": "text-classification", "data": {"train": str(path), **data}})


def test_a_share_of_train_becomes_validation_with_the_same_labels(reviews_csv: Path) -> None:
    tables = read_tables(recipe_for(reviews_csv, validation=0.25, test=str(reviews_csv)))
    assert {name: len(table) for name, table in tables.items()} == {"train": 30, "validation": 10, "test": 40}
    assert sorted(tables["validation"].column("label")) == ["bad"] * 5 + ["good"] * 5
    held_out = set(tables["validation"].column("text"))
    assert not held_out & set(tables["train"].column("text"))
    assert set(read_tables(recipe_for(reviews_csv, validation=0.25))["validation"].column("text")) == held_out


def test_numbers_are_held_out_without_shares(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("text,label\n" + "".join(f"film {n},{n / 7}\n" for n in range(20)))
    task = {"type": "text-classification", "problem_type": "regression"}
    recipe = Recipe.from_dict({"task": task, "data": {"train": str(path), "validation": 0.2}})
    assert {name: len(table) for name, table in read_tables(recipe).items()} == {"train": 16, "validation": 4}


def test_few_rows_of_each_label_are_learnt_from(reviews_csv: Path, tmp_path: Path) -> None:
    tables = read_tables(recipe_for(reviews_csv, validation=0.25, max_train_rows_per_label=3))
    assert sorted(tables["train"].column("label")) == ["bad"] * 3 + ["good"] * 3
    assert len(tables["validation"]) == 10
    several = tmp_path / "several.jsonl"
    several.write_text('{"text": "a", "label": ["x"]}\n{"text": "b", "label": ["x", "y"]}\n')
    with pytest.raises(RecipeError, match="no single label to be counted by"):
        read_tables(recipe_for(several, validation=None, max_train_rows_per_label=3))


def test_validation_may_be_a_file_or_none(reviews_csv: Path) -> None:
    assert len(read_tables(recipe_for(reviews_csv, validation=str(reviews_csv)))["validation"]) == 40
    assert list(read_tables(recipe_for(reviews_csv, validation=None))) == ["train"]


def test_prepared_tables_have_labels_and_features(reviews_csv: Path, tokenizer: Any) -> None:
    recipe = recipe_for(reviews_csv, validation=0.25, max_length=8)
    prepared = prepare(recipe, read_tables(recipe), tokenizer)
    assert prepared.task.model_dump()["labels"] == ("bad", "good")
    assert prepared.limits == Limits(max_length=8, truncation="head", doc_stride=2)
    assert {name: len(one) for name, one in prepared.features.items()} == {"train": 30, "validation": 10}
    assert prepared.features["train"].lengths.max() == 8
    assert check_data({"": prepared}).problems == ()
    assert [one.name for one in check_data({"": prepared}).warnings if one.name == "tokens_lost"]


def test_features_are_made_once(reviews_csv: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_for(reviews_csv, validation=None, max_length=9)
    first = prepare(recipe, read_tables(recipe), tokenizer)

    def never(*_: Any) -> None:
        raise AssertionError("a row was encoded again")

    monkeypatch.setattr(type(first.task), "encode", never)
    again = prepare(recipe, read_tables(recipe), tokenizer)
    assert list(again.features["train"]) == list(first.features["train"])
    assert any("reviews.csv-40rows-9tokens" in path.name for path in (cache_folder() / "tokens").iterdir())
    # A metric of the user's own changes what is measured, not what the model sees.
    measured = recipe.task.model_copy(update={"metrics": (Choice(name=f"{__name__}.Zero"),)})
    prepare(recipe.model_copy(update={"task": measured}), read_tables(recipe), tokenizer)


@pytest.mark.parametrize(
    "change", [{"max_length": 10}, {"truncation": "tail"}, {"task": {"labels": ["good", "bad"]}}, {"rows": 39}]
)
def test_other_ingredients_make_other_features(
    change: dict[str, Any], reviews_csv: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWAY_CACHE", str(tmp_path))
    content: dict[str, Any] = {"task": {"type": "text-classification"}, "data": {"train": str(reviews_csv)}}
    content["data"] |= {"validation": None, "max_length": 9}
    for step in ({}, change):
        content["task"] |= step.get("task", {})
        content["data"] |= {name: one for name, one in step.items() if name in ("max_length", "truncation")}
        recipe = Recipe.from_dict(content)
        tables = {name: table[: step.get("rows", 40)] for name, table in read_tables(recipe).items()}
        prepare(recipe, tables, tokenizer)
    assert len(list((tmp_path / "tokens").glob("*.arrow"))) == 2


def test_changed_code_of_a_task_makes_other_features(
    reviews_csv: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWAY_CACHE", str(tmp_path))
    recipe = recipe_for(reviews_csv, validation=None)
    table = read_tables(recipe)["train"]
    path = tmp_path / "changing_task.py"
    lines = "from headway.tasks.text_classification import TextClassification\nclass Mine(TextClassification): ...\n"
    for content in (lines, lines + "# changed\n"):
        path.write_text(content)
        spec = importlib.util.spec_from_file_location("changing_task", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "changing_task", module)
        spec.loader.exec_module(module)
        task = module.Mine(type="changing_task.Mine", labels=("bad", "good"))
        features_of(table, task, tokenizer, Limits())
    assert len(list((tmp_path / "tokens").glob("*.arrow"))) == 2


def test_a_limit_beyond_the_model_is_lowered_with_a_warning(
    reviews_csv: Path, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert limits_of(recipe_for(reviews_csv, max_length=64), tokenizer).max_length == 64
    assert not caplog.records
    assert limits_of(recipe_for(reviews_csv, max_length=500), tokenizer).max_length == 64
    assert "data.max_length is 500, but the model takes at most 64 tokens; 64 is used." in caplog.text


def test_tokens_are_counted_over_rows_and_windows(tmp_path: Path) -> None:
    given = [(0, 5, 0), (0, 3, 2), (1, 4, 0), (2, 8, 100)]
    features = [
        Features({"input_ids": [1] * length}, {}, {"tokens_lost": lost}, row=row) for row, length, lost in given
    ]
    cache = open_or_build("x", "k", record_batches(features), folder=tmp_path)
    assert token_statistics(cache, 3, 8) == {
        "rows": 3,
        "tokens": 122,
        "tokens_lost": 102,
        "rows_truncated": 2,
        "max_length": 8,
        "length_quantiles": {"50": 10, "90": 108, "99": 108, "100": 108},
    }
    empty = open_or_build("y", "k", record_batches([]), folder=tmp_path)
    assert token_statistics(empty, 0, 8)["length_quantiles"] == {"50": 0, "90": 0, "99": 0, "100": 0}
    assert np.issubdtype(cache.lengths.dtype, np.integer)


def test_windows_are_counted_and_what_they_share_is_not(reviews_csv: Path, tokenizer: Any) -> None:
    numbers = {}
    for how in ("head", "window"):
        recipe = recipe_for(reviews_csv, validation=None, max_length=8, truncation=how)
        prepared = prepare(recipe, read_tables(recipe), tokenizer)
        numbers[how] = token_statistics(prepared.features["train"], 40, 8)
        report = check_data({"": prepared})
        assert ("tokens_lost" in {one.name for one in report.warnings}) == (how == "head")
        assert report.to_json()["tokens"]["train"]["windows"] == (0 if how == "head" else numbers[how]["windows"])
    head, window = numbers["head"], numbers["window"]
    assert (window["tokens_lost"], window["rows_truncated"]) == (0, 0)
    assert head["tokens_lost"] > 0
    assert "windows" not in head
    assert window["windows"] > 40
    # The texts are as long as they are, however they are read.
    assert (window["tokens"], window["length_quantiles"]) == (head["tokens"], head["length_quantiles"])


def test_the_model_is_wrapped_for_windows_only(reviews_csv: Path, tiny_bert: Path) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert)))
    for options in ({}, {"truncation": "window"}, {"truncation": "window", "window_pooling": "attention"}):
        recipe = recipe_for(reviews_csv, validation=None, max_length=8, **options)
        model = build_model(recipe, prepare(recipe, read_tables(recipe), backbone.tokenizer), backbone)
        assert isinstance(model, WindowedModel) == bool(options)
        assert not isinstance(model, WindowedModel) or model.pooling == options.get("window_pooling", "mean")


def test_bad_rows_are_named_with_their_lines(tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("text,label\na,1.5\nb,high\nc,2\nd,inf\n")
    recipe = Recipe.from_dict({
        "task": {"type": "text-classification", "problem_type": "regression"},
        "data": {"train": str(path), "validation": None},
    })  # fmt: skip
    with pytest.raises(DataError) as refused:
        check_recipe(recipe, tokenizer)
    message = str(refused.value)
    assert message.startswith("2 of 4 rows do not fit the task:")
    assert "scores.csv, line 3: column 'label' holds 'high', expected a finite number." in message
    assert "scores.csv, line 5: column 'label' holds 'inf', expected a finite number." in message


def test_messages_name_the_column_of_the_file(tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("text,stars\na,high\nb,high\n")
    data = {"train": str(path), "validation": None, "columns": {"label": "stars"}}
    for task, said in (
        ({"type": "text-classification"}, r"column 'label' \('stars' in the file\) holds only 'high'"),
        (
            {"type": "text-classification", "problem_type": "regression"},
            r"line 2: column 'label' \('stars' in the file\) holds 'high', expected a finite number",
        ),
    ):
        with pytest.raises(DataError, match=said):
            check_recipe(Recipe.from_dict({"task": task, "data": data}), tokenizer)


def test_a_label_of_validation_rows_alone_may_be_listed(reviews_csv: Path, tmp_path: Path, tokenizer: Any) -> None:
    other = tmp_path / "other.csv"
    other.write_text("text,label\nthe film was fine,mixed\n")
    recipe = recipe_for(reviews_csv, validation=str(other))
    with pytest.raises(DataError, match="'mixed', which is not among the labels"):
        check_recipe(recipe, tokenizer)
    content = recipe.model_dump(mode="json")
    content["task"]["labels"] = ["bad", "good", "mixed"]
    _, report = check_recipe(Recipe.from_dict(content), tokenizer)
    assert report.problems == ()
    assert "label_not_learnt" in {one.name for one in report.warnings}


def test_a_check_counts_rows_and_reports(reviews_csv: Path, tokenizer: Any) -> None:
    rows, report = check_recipe(recipe_for(reviews_csv, validation=0.25, test=str(reviews_csv)), tokenizer)
    assert rows == {"train": 30, "validation": 10, "test": 40}
    assert "duplicates_across_splits" in {one.name for one in report.warnings} or any(
        "," in one.split for one in report.warnings
    )


def test_a_stop_during_preparation(reviews_csv: Path, tokenizer: Any) -> None:
    def stop() -> None:
        raise StoppedError("Stopped.", exit_code=75)

    recipe = recipe_for(reviews_csv, validation=None, max_length=11)
    with pytest.raises(StoppedError):
        prepare(recipe, read_tables(recipe), tokenizer, stop_check=stop)


def test_an_optimizer_that_cannot_be_built_is_found_by_the_check(reviews_csv: Path, tokenizer: Any) -> None:
    recipe = recipe_for(reviews_csv)
    assert check_recipe(recipe, tokenizer)[0] == {"train": 36, "validation": 4}
    wrong = OptimizationOptions.model_validate({"optimizer": {"name": "sgd", "momentum": -1}})
    with pytest.raises(RecipeError, match=r"optimization\.optimizer: 'sgd' cannot be constructed: Invalid momentum"):
        check_recipe(recipe.model_copy(update={"optimization": wrong}), tokenizer)
