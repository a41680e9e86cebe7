"""The plan of a training: its counts are exact, its measured part is there, and it leaves nothing behind."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from headway.errors import DataError, RecipeError
from headway.plan import _line, describe, plan
from headway.recipe import Recipe
from headway.tasks.text_classification import TextClassification
from headway.types import ACTIVATIONS, Batch

ROWS = 50


@pytest.fixture
def recipe_of(tmp_path: Path, tiny_bert: Path) -> Any:
    words = ["the", "a", "film", "book", "was", "good", "bad", "happy", "sad", "not", "very", "much"]
    lines = ["text,label"]
    for number in range(ROWS):
        text = " ".join(words[(number * 7 + place) % len(words)] for place in range(3 + number % 20))
        lines.append(f"{text} {'good' if number % 2 else 'bad'} {number},{'positive' if number % 2 else 'negative'}")
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def make(**changes: dict[str, Any]) -> Recipe:
        content: dict[str, Any] = {
            "task": "text-classification",
            "data": {"train": str(tmp_path / "rows.csv"), "validation": 0.2, "max_length": 16},
            "model": {"model_name_or_path": str(tiny_bert)},
            "training": {"per_device_train_batch_size": 8, "num_train_epochs": 2, "bf16": False},
            "optimization": {},
        }
        for section, options in changes.items():
            content[section] = {**content.get(section, {}), **options}
        return Recipe.from_dict(content)

    return make


def test_counts_are_those_of_the_training(recipe_of: Any) -> None:
    planned = plan(recipe_of())
    assert planned["rows"] == {"train": 40, "validation": 10}
    assert planned["batches"] == planned["optimizer_steps"] == 10
    assert planned["epochs"] == 2
    assert planned["evaluations"] == 2
    assert planned["trainable_parameters"] == planned["parameters"] > 10_000
    assert planned["precision"] == "32-true"


def test_accumulation_max_steps_and_seeds(recipe_of: Any) -> None:
    changes = {"gradient_accumulation_steps": 3}
    planned = plan(recipe_of(optimization=changes))
    assert (planned["batches"], planned["optimizer_steps"]) == (10, 4)
    planned = plan(recipe_of(optimization=changes, training={"max_steps": 7, "eval_steps": 2, "seeds": [3, 4]}))
    assert (planned["batches"], planned["optimizer_steps"], planned["evaluations"]) == (21, 7, 4)
    assert planned["seeds"] == 2


def test_tokens_lost_are_counted_for_each_split(recipe_of: Any) -> None:
    whole = plan(recipe_of(data={"max_length": 60}))
    assert set(whole["tokens_lost"].values()) == {0}
    cut = plan(recipe_of(data={"max_length": 8}))
    assert cut["tokens"] == whole["tokens"]
    for split, rows in cut["rows"].items():
        assert 0 < cut["rows_truncated"][split] <= rows
        assert cut["tokens_lost_share"][split] == round(cut["tokens_lost"][split] / cut["tokens"][split], 4) > 0
    # Two epochs of every row, each cut to at most 8 tokens.
    assert cut["training_tokens_with_padding"] <= 2 * 40 * 8


def test_without_validation_nothing_is_scored(recipe_of: Any) -> None:
    planned = plan(recipe_of(data={"validation": None}))
    assert planned["rows"] == {"train": 50}
    assert planned["evaluations"] == 0
    assert planned["estimated_seconds"]["scoring"] == 0


def test_frozen_weights_are_not_counted_as_trained(recipe_of: Any) -> None:
    planned = plan(recipe_of(model={"freeze": "all"}))
    assert 0 < planned["trainable_parameters"] < planned["parameters"] / 10


def test_what_is_measured_is_there_and_plain(recipe_of: Any) -> None:
    planned = plan(recipe_of())
    assert json.loads(json.dumps(planned)) == planned
    seconds = planned["estimated_seconds"]
    assert seconds["total"] >= 0
    assert set(seconds) == {"training", "scoring", "total"}
    assert planned["estimated_peak_memory_gb"]["process"] > 0.1
    assert "timed steps" in planned["estimated_from"]


def test_it_says_estimated_and_names_the_loss_of_tokens(recipe_of: Any) -> None:
    text = describe(plan(recipe_of(data={"max_length": 8})))
    assert "estimated time" in text
    assert "estimated peak memory" in text
    assert "lost to truncation at 8" in text


def test_it_leaves_nothing_but_the_token_cache(recipe_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    monkeypatch.setitem(os.environ, "HEADWAY_CACHE", str(cache))
    recipe = recipe_of()
    before = {path for path in tmp_path.rglob("*") if cache not in path.parents and path != cache}
    state = torch.random.get_rng_state()
    plan(recipe)
    assert {path for path in tmp_path.rglob("*") if cache not in path.parents and path != cache} == before
    assert {path.parent for path in cache.rglob("*.arrow")} == {cache / "tokens"}
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_would_stop_the_training_stops_the_plan(recipe_of: Any) -> None:
    with pytest.raises(RecipeError, match=r"trainer\.max_epochs"):
        plan(recipe_of(trainer={"max_epochs": 3}))
    with pytest.raises(DataError, match="There is no file"):
        plan(recipe_of(data={"train": "nowhere.csv"}))
    with pytest.raises(RecipeError, match="class_weights"):
        plan(recipe_of(optimization={"class_weights": {"neutral": 2.0}}))
    with pytest.raises(RecipeError, match="'sgd' does not take 'momentun'"):
        plan(recipe_of(optimization={"optimizer": {"name": "sgd", "momentun": 0.9}}))


def test_a_line_through_two_measurements() -> None:
    cost = _line((100, 1.0), (200, 2.0))
    assert cost(150) == pytest.approx(1.5)
    assert cost(300) == pytest.approx(3.0)
    # Small batches cost something, whatever the line says.
    assert cost(1) == 0.5
    # A longer batch that seemed faster says nothing of the slope.
    assert _line((100, 1.0), (200, 0.9))(400) == 1.0
    assert _line((100, 1.0), (100, 1.2))(400) == 1.0


def test_windows_are_counted_and_cost_what_they_hold(recipe_of: Any) -> None:
    head = plan(recipe_of(data={"max_length": 8}))
    assert head["windows"] == {}
    window = plan(recipe_of(data={"max_length": 8, "truncation": "window"}))
    assert window["tokens"] == head["tokens"]
    assert set(window["tokens_lost"].values()) == {0}
    assert window["windows"]["train"] > 40
    # Two epochs, each window padded to at most 8 tokens.
    assert head["training_tokens_with_padding"] < window["training_tokens_with_padding"]
    assert window["training_tokens_with_padding"] <= 2 * window["windows"]["train"] * 8
    assert f"{window['windows']['train']} windows" in describe(window)


@pytest.mark.parametrize("head", ["linear", "svm"])
def test_a_frozen_backbone_is_planned_as_read_once(head: str, recipe_of: Any) -> None:
    frozen = {"freeze": "all", "head": head, "pooling": "mean"}
    planned = plan(recipe_of(model=frozen, training={"num_train_epochs": 500}))
    anew = plan(recipe_of(model={**frozen, "head": "linear", "encode_once": False}, training={"num_train_epochs": 500}))
    assert planned["estimated_seconds"]["scoring"] == 0
    assert planned["estimated_seconds"]["training"] < anew["estimated_seconds"]["training"] / 5
    assert planned["estimated_from"].startswith("20 timed steps")
    assert "estimated time" in describe(planned)


def test_cached_layers_are_planned_as_asked_once(recipe_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    infer = TextClassification.infer

    def noted(self: TextClassification, model: Any, batch: Batch) -> Any:
        seen.append(ACTIVATIONS in batch.inputs)
        return infer(self, model, batch)

    monkeypatch.setattr(TextClassification, "infer", noted)
    planned = plan(recipe_of(model={"freeze": 1, "cache_frozen": True}))
    # First scoring, from above; then all splits are read once by the whole model.
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {True, False}
    assert planned["trainable_parameters"] < planned["parameters"]
