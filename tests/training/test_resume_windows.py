"""A run over texts in windows resumes to the same weights, bit for bit, and predicts what it was scored on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.rewinding import rewound, saved_steps

from headway.errors import RunError
from headway.evaluate import evaluate
from headway.models import windows
from headway.predictor import Predictor
from headway.recipe import Recipe
from headway.train import train
from headway.training import checkpoint as checkpoints


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of 3 to 60 words whose label stands in one word, often far from the beginning."""
    lines = ["text,label"]
    for number in range(40):
        label = "good" if number % 2 else "bad"
        words = ["the", "film", "was", *["very"] * (number * 3 % 58)]
        words[number * 7 % len(words)] = {"good": "lovely", "bad": "awful"}[label]
        lines.append(f"{' '.join(words)} {number},{label}")
    path = tmp_path_factory.mktemp("documents") / "documents.csv"
    path.write_text("\n".join(lines))
    return path


def recipe_for(documents: Path, backbone: Path, pooling: str) -> Recipe:
    return Recipe.from_dict({
        "task": "text-classification",
        "data": {
            "train": str(documents),
            "validation": 0.2,
            "max_length": 12,
            "truncation": "window",
            "window_pooling": pooling,
        },
        "model": {"model_name_or_path": str(backbone)},
        "optimization": {"learning_rate": 1e-3},
        "training": {
            "num_train_epochs": 1.5,
            "per_device_train_batch_size": 8,
            "save_steps": 1,
            "logging_steps": 1,
            "baselines": False,
        },
    })  # fmt: skip


def digest(folder: Path) -> str:
    names = [name for name in ("model.safetensors", "windows.safetensors") if (folder / "model" / name).exists()]
    assert names
    return hashlib.sha256(b"".join((folder / "model" / name).read_bytes() for name in names)).hexdigest()


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_resume_from_every_step_is_bit_identical(
    pooling: str, documents: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several slices a batch, whose dropout is drawn twice from one state.
    monkeypatch.setattr(windows, "TOKENS_PER_SLICE", 120)
    monkeypatch.setattr(checkpoints, "KEPT_RESUME_CHECKPOINTS", 1000)
    recipe, whole = recipe_for(documents, tiny_bert, pooling), tmp_path / "whole"
    train(recipe, output_dir=whole)
    steps = saved_steps(whole)
    assert len(steps) >= 4
    for step in steps[:-1]:
        resumed = rewound(whole, tmp_path / f"from-{step}", step=step)
        torch.manual_seed(step)  # the state of the process must not matter
        train(recipe, output_dir=resumed, resume=True)
        assert digest(resumed) == digest(whole), f"resumed from step {step}"


@pytest.fixture(scope="module")
def finished(documents: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "documents"
    train(recipe_for(documents, tiny_bert, "attention"), output_dir=folder)
    return folder


def test_the_run_says_that_nothing_was_lost_and_how_many_windows(finished: Path, documents: Path) -> None:
    tokens = json.loads((finished / "manifest.json").read_text())["tokens"]["train"]
    assert (tokens["tokens_lost"], tokens["rows_truncated"], tokens["rows"]) == (0, 0, 32)
    assert tokens["windows"] > 64
    checks = json.loads((finished / "checks.json").read_text())
    assert checks["tokens"]["train"]["windows"] == tokens["windows"]
    result = evaluate(finished, str(documents))
    assert result["tokens_lost"] == 0
    assert result["windows"] > tokens["windows"]


def test_the_predictor_reads_in_windows_whatever_the_batch_size(finished: Path, documents: Path) -> None:
    rows = [line.partition(",")[0] for line in documents.read_text().splitlines()[1:]]
    predictors = [Predictor.load(finished, batch_size=size) for size in (1, 7)]
    one, seven = ([prediction.score for prediction in predictor.stream(rows)] for predictor in predictors)
    assert one == pytest.approx(seven, abs=1e-5)
    saved = [json.loads(line) for line in (finished / "predictions" / "validation.jsonl").read_text().splitlines()]
    again = [predictors[0].predict(line["input"]["text"]).score for line in saved]
    assert again == pytest.approx([line["score"] for line in saved], abs=1e-5)
    # A document of a book's length differs from its own beginning.
    long = predictors[0].predict("the film was awful " * 4000)
    assert 0 < long.score <= 1


def test_a_disk_that_refuses_is_told_how_to_go_on(
    documents: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headway import files

    def refuse(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files, "flush", refuse)
        with pytest.raises(RunError, match=r"free some space .* goes on with: headway train .* --resume"):
            train(recipe_for(documents, tiny_bert, "mean"), output_dir=tmp_path / "run")
        with pytest.raises(RunError) as refused:
            files.write_text(tmp_path / "predictions.jsonl", "a")
    assert "--resume" not in str(refused.value)


@pytest.mark.parametrize(
    "data",
    [
        {"window_pooling": "max"},
        {"max_windows": 3},
        {"truncation": "window", "max_length": 8, "doc_stride": 8},
    ],
)
def test_options_that_do_nothing_or_never_end_are_refused(data: dict[str, Any]) -> None:
    name = list(data)[-1]
    with pytest.raises(Exception, match=rf"data: {name} "):
        Recipe.from_dict({"task": "text-classification", "data": {"train": "a.csv", **data}})
