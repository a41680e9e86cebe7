"""Every script in examples/ is short enough to be read at once, and runs as it stands in an empty folder."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
MAX_LINES = 40


def test_there_are_examples() -> None:
    assert "text_classification" in {path.stem for path in SCRIPTS}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_it_is_short_and_says_what_it_shows(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < MAX_LINES
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    ended = subprocess.run(
        [sys.executable, str(path)],
        cwd=work,
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    # A model is hundreds of megabytes: it stands where its user sees it.
    assert [one.name for one in work.iterdir()] == ["runs"]
    assert sum(one.stat().st_size for one in temporary.rglob("*") if one.is_file()) < 1e6
    # It shows scores, and the last line of the log of training.
    assert len(re.findall(r"\b0\.\d+", ended.stdout)) >= 3
