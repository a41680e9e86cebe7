from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.test_compare import accuracies, write_run

from headway.cli.app import run


def test_a_table_and_a_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_run(tmp_path / "a", accuracies(0.80, 0.70, 0.90))
    second = write_run(tmp_path / "b", accuracies(0.83, 0.74, 0.92))
    assert run(["compare", str(first), str(second)]) == 0
    shown = capsys.readouterr().out
    assert f"{second} against {first}, 3 seeds" in shown
    assert "accuracy       0.8000  0.8300     +0.0300     0.0100  [+0.0052, +0.0548]" in shown
    assert "validation, by accuracy: better." in shown


def test_json_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [write_run(tmp_path / name, accuracies(value)) for name, value in (("a", 0.5), ("b", 0.6), ("c", 0.7))]
    assert run(["compare", *map(str, runs), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [one["run"] for one in result["comparisons"]] == [str(runs[1]), str(runs[2])]
    assert run(["compare", *map(str, runs[:2])]) == 0
    assert "One seed:" in capsys.readouterr().out


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_run(tmp_path / "a", accuracies(0.5))
    assert run(["compare", str(first)]) == 2
    other = write_run(tmp_path / "b", accuracies(0.5), data={"train": "t", "validation": "other"})
    assert run(["compare", str(first), str(other)]) == 5
    assert "different validation rows" in capsys.readouterr().err
