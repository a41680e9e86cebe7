from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from headway.cli.app import run


def test_it_writes_the_pages_again(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished_run, copy)
    assert run(["report", str(copy)]) == 0
    assert capsys.readouterr().out.strip() == str(copy / "report.html")
    assert "<html" in (copy / "report.html").read_text()
    assert (copy / "model" / "README.md").read_text() == (copy / "README.md").read_text()
    assert run(["predict", str(copy), "--text", "the film was great"]) == 0
