"""A frozen backbone is asked once: the same result as asking it at every step, and nothing asked twice."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.tasks.test_contract import CASES, build

from headway.data.token_cache import TokenCache, open_or_build, record_batches
from headway.inference import Inference
from headway.models.backbone import load_backbone
from headway.models.heads import OF_TOKENS, POOLED, HeadedModel
from headway.models.options import ModelOptions
from headway.models.windows import WindowedModel
from headway.recipe import Recipe
from headway.tasks.base import Limits
from headway.tasks.summarization import Summarization
from headway.tasks.text_classification import TextClassification
from headway.tokenising import encode_table
from headway.train import train
from headway.training import frozen
from headway.training.frozen import encode_once, frozen_part

KINDS = [pytest.param((name, kind), id=f"{name}: {kind}") for name, kinds in CASES.items() for kind in kinds]


def cached(inference: Inference, table: Any, folder: Path) -> TokenCache:
    features = encode_table(table, inference.task, inference.tokenizer, inference.limits)
    return open_or_build("rows", "key", record_batches(features), folder=folder)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADWAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("case", KINDS)
def test_predictions_from_the_vectors_are_those_from_the_text(
    case: tuple[str, str], tiny_bert: Path, tmp_path: Path
) -> None:
    options = ModelOptions(model_name_or_path=str(tiny_bert), freeze="all", pooling_layers=2, head="linear")
    plain = build(*case, load_backbone(ModelOptions(model_name_or_path=str(tiny_bert))))
    if plain.task.model_kind not in (*POOLED, *OF_TOKENS):
        assert frozen_part(plain.model) is None
        return
    made = build(*case, load_backbone(options))
    features = cached(made.inference, made.table, tmp_path)
    found = encode_once({"train": features}, made.inference, weights="w", bf16=False, stop_check=lambda: None)["train"]
    assert found[0].vectors is not None
    assert found[0].vectors.shape[-1] == 64
    assert list(found) == list(features)  # all but the vectors
    expected = made.inference.predict(features, made.rows)

    def unasked(**inputs: Any) -> Any:
        raise AssertionError("the backbone was asked again")

    made.model.backbone.forward = unasked
    scores = made.task.evaluate(made.inference.predict(found, made.rows), made.rows)
    assert scores == pytest.approx(made.task.evaluate(expected, made.rows), abs=1e-5)


def recipe_of(reviews_csv: Path, tiny_bert: Path, **model: Any) -> Recipe:
    return Recipe.from_dict({
        "task": "text-classification",
        "data": {"train": str(reviews_csv), "validation": 0.2, "test": str(reviews_csv), "max_length": 16},
        "model": {"model_name_or_path": str(tiny_bert), "freeze": "all", "head": "mlp", "pooling": "mean", **model},
        "optimization": {"learning_rate": 5e-3},
        "training": {"max_steps": 6, "per_device_train_batch_size": 8, "bf16": False, "seeds": [0, 1]},
    })  # fmt: skip


def test_a_run_is_the_same_with_and_without(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for name, once in (("once", True), ("anew", False)):
            train(recipe_of(reviews_csv, tiny_bert, encode_once=once), output_dir=tmp_path / name)
    # Three splits, once for both seeds.
    assert caplog.text.count("are encoded once") == 3
    for seed in (0, 1):
        heads = [load_file(tmp_path / name / f"seed-{seed}/model/head.safetensors") for name in ("once", "anew")]
        assert heads[0].keys() == heads[1].keys()
        for name, tensor in heads[0].items():
            torch.testing.assert_close(tensor, heads[1][name], rtol=1e-4, atol=1e-5)
    lines = [(tmp_path / name / "seed-0/predictions/test.jsonl").read_text().splitlines() for name in ("once", "anew")]
    for left, right in zip(*(map(json.loads, some) for some in lines), strict=True):
        assert left["value"] == right["value"]
        assert left["score"] == pytest.approx(right["score"], abs=1e-5)


def test_another_head_finds_the_vectors_and_another_pooling_does_not(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(recipe_of(reviews_csv, tiny_bert), output_dir=tmp_path / "first")

    def encode(*_: Any, **__: Any) -> Any:
        raise AssertionError("encoded again")
        yield

    monkeypatch.setattr(frozen, "_encode", encode)
    train(recipe_of(reviews_csv, tiny_bert, head="linear"), output_dir=tmp_path / "second")
    with pytest.raises(AssertionError, match="encoded again"):
        train(recipe_of(reviews_csv, tiny_bert, pooling="max"), output_dir=tmp_path / "third")


def test_a_shortened_backbone_does_not_read_the_vectors_of_the_whole_one(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    short = {"num_hidden_layers": 1}
    train(recipe_of(reviews_csv, tiny_bert), output_dir=tmp_path / "whole")
    train(recipe_of(reviews_csv, tiny_bert, **short), output_dir=tmp_path / "short")
    train(recipe_of(reviews_csv, tiny_bert, **short, encode_once=False), output_dir=tmp_path / "anew")
    heads = [load_file(tmp_path / name / "seed-0/model/head.safetensors") for name in ("short", "anew")]
    for name, tensor in heads[0].items():
        torch.testing.assert_close(tensor, heads[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "is_wrapped", "expected"),
    [
        ({"head": "linear"}, None, True),
        ({"head": "linear", "pooling": "attention"}, None, False),
        ({}, None, False),
        ({"head": "linear"}, "mean", True),
        ({"head": "linear"}, "attention", False),
    ],
)
def test_only_what_has_no_weights_below_the_head_is_encoded_once(
    options: dict[str, Any], is_wrapped: str | None, expected: bool, tiny_bert: Path
) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert), freeze="all", **options))
    model = backbone.build("sequence-classification", labels=("a", "b"), num_labels=2).model
    if is_wrapped:
        model = WindowedModel(model, pooling=is_wrapped)
    assert isinstance(frozen_part(model), HeadedModel) == expected


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Leave next to no room for vectors, from now on."""
    disk = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=1000))
    return lambda: monkeypatch.setattr(frozen, "shutil", disk)


def test_without_room_the_backbone_is_asked_each_time(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, cache: Path, full_disk: Callable[[], None], caplog: Any
) -> None:
    full_disk()
    metrics = train(recipe_of(reviews_csv, tiny_bert), output_dir=tmp_path / "run")
    assert "computed anew each epoch" in caplog.text
    assert "accuracy" in metrics["metrics"]["test"]
    assert not (cache / "vectors").exists()


def test_vectors_that_are_there_already_need_no_room(
    tiny_bert: Path, tmp_path: Path, full_disk: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    options = ModelOptions(model_name_or_path=str(tiny_bert), freeze="all", head="linear")
    made = build("text-classification", "two labels", load_backbone(options))
    features = cached(made.inference, made.table, tmp_path)

    def has_vectors(*, bf16: bool) -> dict[str, bool]:
        found = encode_once(
            {"train": features, "test": features}, made.inference, weights="w", bf16=bf16, stop_check=lambda: None
        )
        return {name: some[0].vectors is not None for name, some in found.items()}

    assert has_vectors(bf16=False) == {"train": True, "test": True}
    full_disk()
    assert has_vectors(bf16=False) == {"train": True, "test": True}
    assert "computed anew" not in caplog.text
    # In bfloat16 those of the training rows are others, which have no room.
    assert has_vectors(bf16=True) == {"train": False, "test": True}
    assert "computed anew" in caplog.text


def test_a_frozen_encoder_under_a_decoder_gets_no_advice_about_heads(
    tiny_bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert), freeze="all"))
    told = []
    for task, kind in ((Summarization(), "seq2seq"), (TextClassification(), "features")):
        inference = Inference(task, backbone.build(kind).model, backbone.tokenizer, Limits())
        with caplog.at_level(logging.INFO):
            assert encode_once({}, inference, weights="", bf16=False, stop_check=lambda: None) == {}
        told.append("model.head" in caplog.text)
    assert told == [False, True]
