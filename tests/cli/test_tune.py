from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.test_train import recipe_for

from headway.cli.app import run
from headway.recipe import Recipe


@pytest.fixture
def recipe(reviews_csv: Path, tiny_bert: Path, tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(recipe_for(reviews_csv, tiny_bert)))
    return path


OVER = ["--over", "optimization.learning_rate=1e-9,5e-3", "--over", "model.reinit_layers=0,1"]


def test_every_combination_is_tried_and_the_best_recipe_named(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["tune", str(recipe), *OVER, "--training.max_steps", "20"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].split() == ["options", "validation", "accuracy", "seeds", "seconds", "run"]
    assert "learning_rate 0.005, reinit_layers 1" in text
    assert text.count("(best)") == 1
    assert "headway train runs/tune-small/best.yaml" in text
    assert len(list((tmp_path / "runs/tune-small").glob("trial-*"))) == 4
    assert Recipe.load(tmp_path / "runs/tune-small/best.yaml").training.max_steps == 20


def test_json_and_mistakes(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["tune", str(recipe), "--output_dir", str(tmp_path / "out"), "--training.max_steps", "1"]
    assert run([*arguments, "--over", "optimization.learning_rate=1e-3", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["best"]["options"] == {"optimization.learning_rate": 1e-3}
    assert run([*arguments, "--over", "optimization.learning_rate=1e-3"]) == 8
    assert run([*arguments, "--over", "optimization.learning_rate", "--overwrite"]) == 2
    assert "name an option and the values" in capsys.readouterr().err
    assert run([*arguments, "--overwrite"]) == 2
