"""`headway runs`: every run below a folder, from its files alone."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headway.cli.app import run

VALUE = {"value": 0.875, "low": 0.8, "high": 0.95}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of four runs: finished, a group of two seeds, unfinished, and damaged."""
    make_run(tmp_path / "one", age=40, metrics={"validation": {"accuracy": VALUE, "f1": VALUE}})
    group = make_run(
        tmp_path / "deep" / "group", age=30, metrics={"test": {"accuracy": VALUE}}, seeds=[0, 7], collapsed=[7]
    )
    for seed in (0, 7):
        (group / f"seed-{seed}").mkdir()
        (group / f"seed-{seed}" / "recipe.yaml").write_text("task: {type: text-classification}\n")
    make_run(tmp_path / "begun", age=20)
    damaged = make_run(tmp_path / "damaged", age=10)
    (damaged / "metrics.json").write_text('{"main_metric": "accu')
    (tmp_path / "no run").mkdir()
    (tmp_path / "no run" / "recipe.yaml").write_text("task: x\n")
    return tmp_path


def make_run(
    path: Path,
    *,
    age: int,
    metrics: dict[str, Any] | None = None,
    seeds: list[int] | None = None,
    collapsed: Any = False,
) -> Path:
    path.mkdir(parents=True)
    (path / "fingerprint.json").write_text("{}")
    os.utime(path / "fingerprint.json", (1_800_000_000 - age, 1_800_000_000 - age))
    (path / "recipe.yaml").write_text(f"task:\n  type: text-classification\ntraining:\n  seeds: {seeds or [0]}\n")
    if metrics is not None:
        content = {"main_metric": "accuracy", "metrics": metrics, "collapsed": collapsed}
        (path / "metrics.json").write_text(json.dumps(content))
    return path


def listed(place: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert run(["runs", str(place), "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["runs"]
    return found


def test_the_newest_comes_first_and_seeds_belong_to_their_group(place: Path, capsys: Any) -> None:
    assert [one["name"] for one in listed(place, capsys)] == ["damaged", "begun", "group", "one"]


def test_what_is_told_of_a_finished_run(place: Path, capsys: Any) -> None:
    one = next(one for one in listed(place, capsys) if one["name"] == "one")
    assert one["state"] == "finished"
    assert one["task"] == "text-classification"
    assert one["main_metric"] == "accuracy"
    assert one["scores"] == {"validation": VALUE}
    assert one["created"] == "2027-01-15T07:59:20+00:00"
    assert one["problem"] is None


def test_a_group_names_its_seeds_and_whether_one_collapsed(place: Path, capsys: Any) -> None:
    group = next(one for one in listed(place, capsys) if one["name"] == "group")
    assert group["seeds"] == [0, 7]
    assert group["collapsed"] is True


def test_a_damaged_run_does_not_hide_the_others(place: Path, capsys: Any) -> None:
    damaged = listed(place, capsys)[0]
    assert damaged["state"] == "damaged"
    assert "metrics.json is damaged" in damaged["problem"]
    (place / "begun" / "recipe.yaml").write_text("task: [")
    begun = listed(place, capsys)[1]
    assert begun["state"] == "damaged"
    assert "recipe.yaml is damaged" in begun["problem"]
    (place / "one" / "metrics.json").write_text('{"metrics": {}}')
    one = listed(place, capsys)[3]
    assert "is not as headway writes it" in one["problem"]


@pytest.mark.parametrize(
    ("holder", "state"),
    [
        (f"process {os.getpid()} on {socket.gethostname()}", "in use"),
        (f"process 999999999 on {socket.gethostname()}", "unfinished"),
        ("process 1 on some.other.machine", "in use on some.other.machine"),
        ("", "unfinished"),
    ],
    ids=["living", "dead", "elsewhere", "unnamed"],
)
def test_a_run_in_use(holder: str, state: str, place: Path, capsys: Any) -> None:
    (place / "begun" / ".writer").write_text(holder)
    assert listed(place, capsys)[1]["state"] == state


def test_the_table_of_a_person(place: Path, capsys: Any) -> None:
    assert run(["runs", str(place)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "task", "metric", "test", "validation", "seeds", "state", "created"]
    assert "0.8750 [0.8000, 0.9500]" in lines[4]
    assert "finished, collapsed" in lines[4]
    assert any("metrics.json is damaged" in line for line in lines[6:])


def test_no_runs_and_no_folder(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["runs", str(tmp_path)]) == 0
    assert "There is no run below" in capsys.readouterr().out
    assert listed(tmp_path, capsys) == []
    monkeypatch.chdir(tmp_path)
    assert run(["runs"]) == 5
    assert "The folder runs does not exist" in capsys.readouterr().err


def test_a_run_itself_may_be_named(place: Path, capsys: Any) -> None:
    assert [one["name"] for one in listed(place / "one", capsys)] == ["one"]


def test_nothing_heavy_is_imported(place: Path) -> None:
    code = (
        "import sys; from headway.cli.app import run; run(['runs', sys.argv[1]]);"
        "print([name for name in ('torch', 'transformers', 'lightning', 'pyarrow', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(place)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
