from __future__ import annotations

import json
from pathlib import Path

import pytest

from headway.cli.app import run

ROWS = [f"the {noun} was {word},{label}" for noun in ("book", "film", "song", "room", "soup")
        for word, label in (("good", "yes"), ("bad", "no"), ("fine", "yes"), ("sad", "no"))]  # fmt: skip


def check(tiny_bert: Path, train: Path, test: Path, *options: str) -> int:
    recipe = train.with_name("recipe.yaml")
    recipe.write_text(
        f"task: text-classification\ndata: {{train: {train}, validation: null, test: {test}}}\n"
        f"model: {{model_name_or_path: {tiny_bert}}}\n"
    )
    return run(["check", str(recipe), *options])


def test_a_leak_is_a_warning_and_an_unseen_label_a_problem(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("\n".join(["text,label", *ROWS]))
    test.write_text("\n".join(["text,label", ROWS[0], "the street was red,no"]))
    assert check(tiny_bert, train, test) == 0
    shown = capsys.readouterr().out
    assert f"{train}, line 2 and {test}, line 2" in shown
    assert "0 problems" in shown
    test.write_text("\n".join(["text,label", "the street was red,perhaps"]))
    assert check(tiny_bert, train, test, "--json") == 3
    found = json.loads(capsys.readouterr().out)
    assert "perhaps" in json.dumps(found["problems"])
