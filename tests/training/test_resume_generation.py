"""A run that learns to write texts resumes to the same weights, bit for bit, also where its evaluations sample."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.rewinding import rewound, saved_steps

from headway.models.new_model import ModelSize
from headway.recipe import Recipe
from headway.train import train
from headway.training import checkpoint as checkpoints
from headway.vocabulary import build_vocabulary

NOUNS, VERBS = ("dog", "cat", "train", "child", "song"), ("found", "loved", "made", "liked")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [
        {"source": f"the {noun} was old. a man {verb} it" + " and it rained" * n, "target": f"man {verb} {noun}"}
        for n, (noun, verb) in enumerate((noun, verb) for noun in NOUNS for verb in VERBS)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def digest(run: Path) -> str:
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()


def check(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "KEPT_RESUME_CHECKPOINTS", 1000)
    whole = tmp_path / "whole"
    train(recipe, output_dir=whole)
    steps = saved_steps(whole)
    assert len(steps) >= 4
    for step in steps[:-1]:
        resumed = rewound(whole, tmp_path / f"from-{step}", step=step)
        torch.manual_seed(step)  # the state of the process must not matter
        train(recipe, output_dir=resumed, resume=True)
        assert digest(resumed) == digest(whole), f"resumed from step {step}"
        assert (resumed / "predictions" / "validation.jsonl").read_bytes() == (
            whole / "predictions" / "validation.jsonl"
        ).read_bytes()


def recipe_for(pairs: Path, model: Path, task: dict[str, Any]) -> Recipe:
    return Recipe.from_dict({
        "task": {"max_target_length": 8, **task},
        "data": {"train": str(pairs), "validation": 0.2, "max_length": 48},
        "model": {"model_name_or_path": str(model)},
        "optimization": {"learning_rate": 1e-3},
        "training": {
            "num_train_epochs": 1.5, "per_device_train_batch_size": 4, "save_steps": 1, "eval_steps": 2,
            "max_eval_samples": 3, "baselines": False,
        },
    })  # fmt: skip


def test_an_encoder_made_into_an_encoder_decoder(
    pairs: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = {"type": "summarization", "generation": {"do_sample": True, "temperature": 2.0}}
    check(recipe_for(pairs, tiny_bert, task), tmp_path, monkeypatch)


def test_a_model_from_scratch(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [value for line in pairs.read_text().splitlines() for value in json.loads(line).values()]
    size = ModelSize(num_layers=1, d_model=32, num_heads=2, ffn_dim=64, dropout=0.3, max_length=48)
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(texts))
    build_vocabulary([str(corpus)], tmp_path / "new", vocab_size=300, size=size)
    check(recipe_for(pairs, tmp_path / "new", {"type": "translation"}), tmp_path, monkeypatch)
