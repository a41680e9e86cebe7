"""Named mistakes, each through the command itself: one message, its exit code, and every file as it was."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from tests.bad_data import ACCEPTED, DATA
from tests.bad_inputs import MODELS, RECIPES, RUNS, BadInput

from headway.cli.app import run

REFUSED = {
    "Recipes and commands": RECIPES,
    "Tables": DATA,
    "Model folders": MODELS,
    "Run directories and predictions": RUNS,
}
ALL = [bad for part in REFUSED.values() for bad in part]
PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
IS_WRITTEN_ANEW = bool(os.environ.get("HEADWAY_WRITE_PAGES"))
INTRODUCTION = """\
# What is refused

Every mistake below is made by a test, which compares the answer with this page; after a change of a message, write the
page anew with `HEADWAY_WRITE_PAGES=1 pytest tests/test_bad_inputs.py`. The command leaves with the exit code, standard
error holds the message, no file is made or changed, and nothing is trained. Where a file has many faults, up to twenty
are named at once; this page shows the first three lines.
"""

Lay = Callable[[BadInput], Path]


def named(bad: BadInput) -> str:
    return bad.name


@pytest.fixture
def lay(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Lay]:
    """Lay out the files of a bad input where the command is started, and let no command reach a hub."""
    held = []

    def now(bad: BadInput) -> Path:
        finished = request.getfixturevalue("finished_run") if bad.needs_run else None
        held.append(bad.write(tmp_path, backbone=tiny_bert, run=finished))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bad.standard_input)))
        return tmp_path

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    yield now
    held.clear()


@pytest.fixture(scope="module")
def page() -> Iterator[dict[str, str]]:
    """The lines of the documentation by name; where it is to be written anew, what goes into it."""
    if not IS_WRITTEN_ANEW:
        lines = PAGE.read_text(encoding="utf-8").splitlines()
        yield {line.split("`")[1]: line for line in lines if line.startswith("| `")}
        return
    found: dict[str, str] = {}
    yield found
    if len(found) < len(ALL):
        return
    parts = [INTRODUCTION]
    for title, some in REFUSED.items():
        rows = [found[bad.name] for bad in some]
        parts.append(
            "\n".join([f"## {title}\n", "| mistake | exit code | message |", "| --- | --- | --- |", *rows, ""])
        )
    PAGE.write_text("\n".join(parts), encoding="utf-8")


def line_of(bad: BadInput, answer: str, folder: Path) -> str:
    """Return the line of the page for a mistake and its answer."""
    lines = answer.replace(str(folder), "/home/ada").strip().removeprefix("headway: ").split("\n")
    shown = [*lines[:3], "..."] if len(lines) > 3 else lines
    cells = [
        f"`` {cell.strip()} ``" if "`" in cell else f"`{cell.strip()}`"
        for cell in (line.replace("|", "\\|") for line in shown)
    ]
    return f"| `{bad.name}` | {bad.exit_code} | {'<br>'.join(cells)} |"


def state(folder: Path) -> dict[str, object]:
    """Return every file below a folder with its content, every link with its target, and every other thing's mode."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = path.readlink()
        else:
            found[str(path)] = path.read_bytes() if path.is_file() else path.stat().st_mode
    return found


def without_numbers(line: str) -> str:
    """Return a line in which the sizes and steps of this test's own models and runs do not count."""
    return re.sub(r"\d+(\.\d+)?", "0", line)


@pytest.mark.parametrize("bad", ALL, ids=named)
def test_one_message_one_code_and_nothing_made_or_lost(
    bad: BadInput, lay: Lay, page: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = lay(bad)
    before = state(folder)
    code = run(bad.command)
    out, err = capsys.readouterr()
    assert code == bad.exit_code, err
    log, _, answer = f"\n{err}".partition("\nheadway: ")
    assert not [word for word in bad.says if word not in answer], answer
    assert "Traceback" not in err
    assert "\nheadway: " not in answer
    assert len(log) < 400
    assert len(answer.splitlines()) <= 25
    assert max(map(len, answer.splitlines())) <= 500
    assert out == ""
    assert state(folder) == before
    if IS_WRITTEN_ANEW:
        page[bad.name] = line_of(bad, answer, folder)
    assert without_numbers(page[bad.name]) == without_numbers(line_of(bad, answer, folder))


@pytest.mark.parametrize("bad", DATA, ids=named)
def test_check_finds_it_too_and_no_weights_are_loaded(
    bad: BadInput, lay: Lay, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr("headway.models.backbone.load_weights", never)
    folder = lay(bad)
    before = state(folder)
    for verb in ("check", "train"):
        assert run((verb, *bad.command[1:])) == 3
        out, err = capsys.readouterr()
        assert not [word for word in bad.says if word not in out + err], out + err
        assert state(folder) == before


@pytest.mark.parametrize("odd", ACCEPTED, ids=named)
def test_what_only_looks_bad_is_read_as_it_stands(odd: BadInput, lay: Lay, capsys: pytest.CaptureFixture[str]) -> None:
    folder = lay(odd)
    before = state(folder)
    code = run(odd.command)
    out, err = capsys.readouterr()
    assert code == 0, err
    assert not [word for word in odd.says if word not in out], out
    assert "headway: " not in err
    assert state(folder) == before


def test_there_are_enough_and_each_has_its_own_name(page: dict[str, str]) -> None:
    names = [bad.name for bad in (*ALL, *ACCEPTED)]
    assert len(set(names)) == len(names) > 150
    assert {bad.exit_code for bad in ALL} == {2, 3, 4, 5, 8}
    assert list(page) == [bad.name for bad in ALL]
