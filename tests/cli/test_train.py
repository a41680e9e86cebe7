from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from headway.cli.app import run


@pytest.fixture
def recipe(reviews_csv: Path, tiny_bert: Path, tmp_path: Path) -> str:
    path = tmp_path / "films.yaml"
    path.write_text(
        "task: text-classification\n"
        f"data: {{train: {reviews_csv}, validation: 0.2, max_length: 16}}\n"
        f"model: {{model_name_or_path: {tiny_bert}}}\n"
        "training: {max_steps: 3, per_device_train_batch_size: 8, bf16: false, baselines: false}\n"
    )
    return str(path)


def test_it_trains_into_a_folder_named_after_the_recipe(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", recipe]) == 0
    shown = capsys.readouterr()
    assert "headway predict runs/films" in shown.out
    assert "step 3/3" in shown.err
    for name in ("report.html", "README.md", "model/README.md", "model/config.json", "metrics.json", "history.csv"):
        assert (tmp_path / "runs" / "films" / name).is_file(), name
    assert run(["train", recipe]) == 8
    assert "Add --resume to go on with it" in capsys.readouterr().err


def test_it_ends_with_the_command_that_asks_this_task(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model.model_name_or_path", str(tiny_bert), "--training.max_steps", "1", "--training.bf16", "false"]
    assert run(["train", "choices", "--output_dir", str(tmp_path / "run"), *options]) == 0
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("Predict:")]
    assert shlex.split(line)[1:] == [
        "headway", "predict", str(tmp_path / "run"), "--context", "...", "--question", "...",
        "--choices", '["...", "..."]',
    ]  # fmt: skip


def test_json_is_one_object_and_seeds_give_a_spread(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "run")
    options = ["--output_dir", folder, "--json", "--training.seeds", "[0, 1]", "--training.max_steps=2"]
    assert run(["train", recipe, *options]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["run"] == folder
    assert set(said["seeds"]) == {"0", "1"}
    assert set(said["metrics"]["validation"]["accuracy"]) == {"value", "deviation", "low", "high"}
    assert (Path(folder) / "seed-1" / "report.html").is_file()


def test_a_plan_trains_nothing(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", recipe, "--plan", "--output_dir", str(tmp_path / "run")]) == 0
    assert "estimated time" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
