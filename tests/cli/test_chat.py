from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from headway.cli.app import run
from headway.recipe import Recipe
from headway.train import train

REPLIES = [("the dog", "a cat"), ("a cat", "the train"), ("is it night", "it is day"), ("a sad song", "a happy song")]


@pytest.fixture(scope="module")
def talks(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows four replies by heart, and what to say after the first of them."""
    folder = tmp_path_factory.mktemp("talks")
    rows = [{"history": one, "response": two} for one, two in REPLIES]
    rows.append({"history": ["the dog", "a cat", "a cat"], "response": "we loved the rain"})
    (folder / "talks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = Recipe.from_dict({
        "task": {"type": "dialogue", "max_target_length": 12},
        "data": {"train": str(folder / "talks.jsonl"), "validation": None, "max_length": 32},
        "model": {"model_name_or_path": str(tiny_bert), "dropout": 0.0},
        "optimization": {"learning_rate": 1e-2, "warmup_ratio": 0.1},
        "training": {"max_steps": 120, "bf16": False, "baselines": False},
    })  # fmt: skip
    train(recipe, output_dir=folder / "run")
    return folder / "run"


def said(folder: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    assert run(["chat", str(folder)]) == 0
    return capsys.readouterr().out


def test_each_line_is_answered_by_what_was_said_before(
    talks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(talks, ["the dog", "", "a cat"], monkeypatch, capsys) == "a cat\nwe loved the rain\n"
    assert said(talks, ["the dog", "/again", "a cat"], monkeypatch, capsys) == "a cat\nthe train\n"
    assert said(talks, ["is it night", "/end", "a cat"], monkeypatch, capsys) == "it is day\n"


def test_the_same_run_predicts_and_takes_other_settings(talks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(talks), "--history", "a sad song"]) == 0
    assert capsys.readouterr().out == "a happy song\n"
    command = ["predict", str(talks), "--history", "a sad song", "--task.max_target_length", "3", "--json"]
    assert run(command) == 0
    assert json.loads(capsys.readouterr().out)["is_finished"] is False
    assert run(["predict", str(talks), "--history", "a", "--task.num_turns", "2"]) == 2
    assert "task.num_turns: a finished run of dialogue cannot change it" in capsys.readouterr().err
    assert run(["predict", str(talks), "--history", "a", "--task.generation.num_beam", "2"]) == 2
    assert "generation.num_beam: there is no such option" in capsys.readouterr().err


def test_only_dialogues_talk(finished_run: Path, talks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chat", str(finished_run)]) == 2
    assert "is a run of text-classification. A talk needs a run of dialogue." in capsys.readouterr().err
    assert run(["chat", str(talks), "--data.format", "csv"]) == 2
    assert "a talk reads no file" in capsys.readouterr().err
