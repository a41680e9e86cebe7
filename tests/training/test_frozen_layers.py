"""Frozen layers are asked once: the same result as asking them at every step, and nothing asked twice."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.tasks.test_contract import CASES, build
from tests.training.rewinding import rewound, saved_steps
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from headway.data.token_cache import open_or_build, record_batches
from headway.errors import RecipeError
from headway.inference import LossMean
from headway.models import blocked
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.recipe import Recipe
from headway.tokenising import encode_table
from headway.train import train
from headway.training import checkpoint as checkpoints
from headway.training import frozen
from headway.training.frozen import encode_once

KINDS = [
    pytest.param((name, kind), id=f"{name}: {kind}")
    for name, kinds in CASES.items()
    for kind in kinds
    # Core training draws other inputs each epoch; the decoder of those that write is not above frozen layers.
    if name not in ("pretraining", "summarization", "translation", "dialogue")
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADWAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def fill_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Leave next to no room for vectors, from now on."""
    disk = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=1000))
    return lambda: monkeypatch.setattr(frozen, "shutil", disk)


@pytest.mark.parametrize("case", KINDS)
def test_every_task_predicts_and_loses_the_same_from_above(
    case: tuple[str, str], tiny_bert: Path, tmp_path: Path
) -> None:
    options = ModelOptions(model_name_or_path=str(tiny_bert), freeze=1, cache_frozen=True)
    made = build(*case, load_backbone(options))
    features = encode_table(made.table, made.task, made.inference.tokenizer, made.inference.limits)
    cached = open_or_build("rows", "key", record_batches(features), folder=tmp_path)
    found = encode_once(
        {"train": cached}, made.inference, weights="w", bf16=False, stop_check=lambda: None, num_frozen=1
    )["train"]
    assert found[0].activations is not None
    assert found[0].activations.shape == (found[0].length, 32)
    assert list(found) == list(cached)  # all but the activations
    losses = [LossMean(made.criterion) for _ in range(2)]
    expected = made.inference.predict(cached, made.rows, loss=losses[0])

    def asked(*_: Any) -> None:
        raise AssertionError("a frozen layer was asked")

    lowest = next(one for name, one in made.model.named_modules() if name.endswith("encoder.layer.0"))
    lowest.register_forward_hook(asked)
    predicted = made.inference.predict(found, made.rows, loss=losses[1])
    assert made.task.evaluate(predicted, made.rows) == pytest.approx(made.task.evaluate(expected, made.rows), abs=1e-5)
    assert losses[1].value == pytest.approx(losses[0].value, abs=1e-5)


def recipe_of(reviews_csv: Path, tiny_bert: Path, **changes: Any) -> Recipe:
    content = {
        "task": "text-classification",
        "data": {"train": str(reviews_csv), "validation": 0.2, "test": str(reviews_csv), "max_length": 16},
        "model": {"model_name_or_path": str(tiny_bert), "freeze": 1, "cache_frozen": True},
        "optimization": {"learning_rate": 5e-3},
        "training": {"num_train_epochs": 2, "per_device_train_batch_size": 8, "bf16": False},
    }
    return Recipe.from_dict(content).changed(changes)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def test_a_run_is_the_same_with_the_cache_and_without_room_for_it(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, fill_disk: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    recipe = recipe_of(reviews_csv, tiny_bert)
    with caplog.at_level(logging.INFO):
        train(recipe, output_dir=tmp_path / "cached")
    assert caplog.text.count("are encoded once") == 3  # of three splits
    for file in (tmp_path / "cache" / "vectors").iterdir():
        file.unlink()
    fill_disk()
    train(recipe, output_dir=tmp_path / "anew")
    assert "computed anew each epoch" in caplog.text
    assert not list((tmp_path / "cache" / "vectors").iterdir())
    cached, anew, before = (
        weights_of(tmp_path / "cached"), weights_of(tmp_path / "anew"), load_file(tiny_bert / "model.safetensors")
    )  # fmt: skip
    assert cached.keys() == anew.keys()
    for name, tensor in cached.items():
        torch.testing.assert_close(tensor, anew[name], rtol=1e-3, atol=2e-5)
    same = {name for name, tensor in before.items() if torch.equal(tensor, cached[f"bert.{name}"])}
    assert same == {name for name in before if name.startswith(("embeddings.", "encoder.layer.0."))}


def test_the_saved_model_is_a_plain_one_that_predicts_what_was_scored(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    train(recipe_of(reviews_csv, tiny_bert), output_dir=tmp_path / "run")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    for line in (tmp_path / "run" / "predictions" / "test.jsonl").read_text().splitlines()[:8]:
        said = json.loads(line)
        inputs = tokenizer(said["input"]["text"], truncation=True, max_length=16, return_tensors="pt")
        probabilities = model(**inputs).logits.detach().softmax(-1)[0]
        assert model.config.id2label[int(probabilities.argmax())] == said["value"]
        assert float(probabilities.max()) == pytest.approx(said["score"], abs=1e-5)


def test_a_second_run_finds_the_activations_and_another_boundary_does_not(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(recipe_of(reviews_csv, tiny_bert), output_dir=tmp_path / "first")

    def encode(*_: Any, **__: Any) -> Any:
        raise AssertionError("encoded again")
        yield

    monkeypatch.setattr(frozen, "_encode", encode)
    train(recipe_of(reviews_csv, tiny_bert, **{"model.head": "mlp"}), output_dir=tmp_path / "second")
    for name, changes in {"n": {"model.freeze": 2}, "rows": {"data.max_length": 12}}.items():
        with pytest.raises(AssertionError, match="encoded again"):
            train(recipe_of(reviews_csv, tiny_bert, **changes), output_dir=tmp_path / name)


def test_in_bfloat16_those_of_the_training_rows_take_half_the_room(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, cache: Path, fill_disk: Callable[[], None]
) -> None:
    recipe = recipe_of(reviews_csv, tiny_bert, **{"training.bf16": True})
    cached = train(recipe, output_dir=tmp_path / "run")
    tokens = {
        name: one["tokens"] for name, one in json.loads((tmp_path / "run/manifest.json").read_text())["tokens"].items()
    }
    sizes = sorted(file.stat().st_size - 128 for file in (cache / "vectors").glob("*.npy"))
    assert sizes == sorted(32 * (2 if name == "train" else 4) * count for name, count in tokens.items())
    for file in (cache / "vectors").iterdir():
        file.unlink()
    fill_disk()
    # All but the rounding of what enters the layers above.
    anew = train(recipe, output_dir=tmp_path / "anew")
    assert cached["loss"] == pytest.approx(anew["loss"], abs=0.02)


@pytest.mark.skipif(not blocked.can_sort(), reason="this torch or processor has nothing for it")
def test_in_bfloat16_they_are_encoded_by_sorted_weights_too(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sort, sorted_in = blocked._sorted, Counter[torch.dtype]()

    def watched(weight: torch.Tensor) -> torch.Tensor:
        sorted_in[weight.dtype] += 1
        return sort(weight)

    monkeypatch.setattr(blocked, "_sorted", watched)
    train(recipe_of(reviews_csv, tiny_bert, **{"training.bf16": True}), output_dir=tmp_path / "run")
    # Six maps of the frozen layer and the body's pooler, for the training rows; the other splits are in float32.
    assert sorted_in[torch.bfloat16] == 7


@pytest.mark.parametrize("packing", [False, True])
def test_resume_from_every_step_is_bit_identical(
    packing: bool, reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "KEPT_RESUME_CHECKPOINTS", 1000)
    recipe = recipe_of(
        reviews_csv, tiny_bert, **{"model.packing": packing, "training.max_steps": 4, "training.save_steps": 1}
    )
    train(recipe, output_dir=tmp_path / "whole")
    steps = saved_steps(tmp_path / "whole")
    assert len(steps) >= 3
    for step in steps[:-1]:
        resumed = rewound(tmp_path / "whole", tmp_path / f"from-{step}", step=step)
        torch.manual_seed(step)  # the state of the process must not matter
        train(recipe, output_dir=resumed, resume=True)
        expected, found = weights_of(tmp_path / "whole"), weights_of(resumed)
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    "changes",
    [
        {"data.truncation": "window", "data.window_pooling": "attention", "data.max_length": 8},
        {"model.gradient_checkpointing": True},
        {"model.head": "linear", "model.pooling": "attention"},
        {"multi_task": True},
        {"optimization.distillation": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_goes_with_it_trains_as_without_room(
    changes: dict[str, Any],
    reviews_csv: Path,
    tiny_bert: Path,
    finished_run: Path,
    tmp_path: Path,
    fill_disk: Callable[[], None],
) -> None:
    if "multi_task" in changes:
        beside = {"task": "text-classification", "data": {"train": str(reviews_csv), "validation": 0.3}}
        changes = {"multi_task": {"tasks": {"again": beside}}}
    if "optimization.distillation" in changes:
        changes = {"optimization.distillation": {"teacher": str(finished_run)}}
    recipe = recipe_of(reviews_csv, tiny_bert, **changes)
    found = [train(recipe, output_dir=tmp_path / "cached")]
    for file in (tmp_path / "cache" / "vectors").iterdir():
        file.unlink()
    fill_disk()
    found.append(train(recipe, output_dir=tmp_path / "anew"))
    cached, anew = (one["loss"] for one in found)
    assert cached == pytest.approx(anew, abs=1e-3)
    left, right = (
        load_file(next((tmp_path / name / "model").glob("model.safetensors"))) for name in ("cached", "anew")
    )
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name], rtol=1e-3, atol=5e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.freeze": "none"}, "cache_frozen keeps what the lowest layers say, and freeze is 'none'"),
        ({"model.freeze": "all"}, "with 'all' under a head of its own, encode_once keeps it"),
        ({"model.freeze": 0}, "freeze is 0; set freeze to the number of these layers, 1 or more"),
        ({"task": "pretraining"}, "pretraining draws other inputs in each epoch; leave it off"),
        ({"training.contrastive": {}}, "does not go with training.contrastive; leave one of them out"),
        ({"training.gradual_unfreezing": True}, "gradual_unfreezing trains all layers in the end"),
    ],
)
def test_recipes_that_it_does_not_suit_are_refused(
    changes: dict[str, Any], message: str, reviews_csv: Path, tiny_bert: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe_of(reviews_csv, tiny_bert, **changes)


def test_an_adapter_is_refused_before_anything_is_written(reviews_csv: Path, tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="an adapter leaves all pretrained weights as they are"):
        train(recipe_of(reviews_csv, tiny_bert, **{"model.adapter": "lora"}), output_dir=tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.yaml").exists()
