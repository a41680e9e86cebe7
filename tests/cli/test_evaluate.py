from __future__ import annotations

import json
from pathlib import Path

import pytest

from headway.cli.app import run


def test_it_scores_a_file_and_writes_what_it_found(
    finished_run: Path, reviews_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", str(finished_run), "--data", str(reviews_csv), "--output_dir", str(tmp_path / "found")]
    assert run(arguments) == 0
    assert "40 rows" in capsys.readouterr().out
    assert len((tmp_path / "found" / "predictions.jsonl").read_text().splitlines()) == 40
    assert run([*arguments[:4], "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "found" / "metrics.json").read_text())
    assert said["metrics"] == written["metrics"]
    held = json.loads((finished_run / "metrics.json").read_text())["metrics"]["test"]["accuracy"]
    assert said["metrics"]["data"]["accuracy"] == held


def test_reading_options_can_differ(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.txt").write_text("good|the film was great\nbad|the film was awful\n")
    data = ["--data.format", "csv", "--data.delimiter", "|", "--data.column_names", "[label, text]"]
    assert run(["evaluate", str(finished_run), "--data", str(tmp_path / "rows.txt"), *data]) == 0
    assert "2 rows" in capsys.readouterr().out
