"""A run with a prefix resumes to the same weights, bit for bit, and predicts what it was scored on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.test_train import recipe_for
from tests.training.rewinding import rewound, saved_steps

from headway.errors import RecipeError
from headway.models.prefix import PREFIX_FILE
from headway.predictor import Predictor
from headway.recipe import Recipe
from headway.report.card import write_card
from headway.run_dir import RunDir
from headway.train import train
from headway.training import checkpoint as checkpoints

ADAPTER = {"name": "prefix", "num_virtual_tokens": 4, "prefix_projection": True, "encoder_hidden_size": 16}


def recipe(reviews_csv: Path, tiny_bert: Path, **sections: Any) -> Recipe:
    content = recipe_for(reviews_csv, tiny_bert, **sections)
    content["model"] |= {"adapter": ADAPTER}
    content["training"] |= {"save_steps": 1, "baselines": False}
    return Recipe.from_dict(content)


def test_a_run_keeps_its_prefix_and_resumes(
    reviews_csv: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "KEPT_RESUME_CHECKPOINTS", 1000)
    chosen, whole = recipe(reviews_csv, tiny_bert), tmp_path / "whole"
    train(chosen, output_dir=whole)
    run = RunDir.open(whole)
    assert {path.name for path in run.adapter.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert "`prefix.safetensors`" in write_card(whole).read_text()
    line = json.loads(run.predictions("validation").read_text().splitlines()[0])
    found = Predictor.load(run.path).predict(line["input"]["text"])
    assert found.score == pytest.approx(line["score"], abs=1e-5)

    step = saved_steps(whole)[1]
    again = rewound(whole, tmp_path / "again", step=step)
    torch.manual_seed(step)  # the state of the process must not matter
    train(chosen, output_dir=again, resume=True)
    for name in ("model.safetensors", PREFIX_FILE):
        assert (again / "model" / name).read_bytes() == (whole / "model" / name).read_bytes()


def test_texts_that_do_not_fit_are_refused_before_a_run(reviews_csv: Path, tiny_bert: Path, tmp_path: Path) -> None:
    room = json.loads((tiny_bert / "config.json").read_text())["max_position_embeddings"] - 4
    chosen = recipe(reviews_csv, tiny_bert, data={"max_length": room + 1})
    with pytest.raises(RecipeError, match=f"leave room for {room} tokens behind a prefix of 4"):
        train(chosen, output_dir=tmp_path / "run")
