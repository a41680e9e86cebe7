from __future__ import annotations

import json
import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from headway.errors import RunBusyError, RunError
from headway.run_dir import RunDir, model_folder


def make(path: Path, *, metrics: dict[str, Any] | None = None) -> RunDir:
    path.mkdir(parents=True)
    run = RunDir(path)
    run.recipe.write_text("task: text-classification")
    if metrics is not None:
        run.metrics.write_text(json.dumps(metrics))
    return run


def test_opening_a_finished_run(tmp_path: Path) -> None:
    run = make(tmp_path / "a", metrics={"main_metric": "accuracy"})
    opened = RunDir.open(str(run.path))
    assert opened.path == run.path
    assert opened.read_metrics() == {"main_metric": "accuracy"}
    assert opened.seeds == []
    assert opened.predictions("test") == run.path / "predictions" / "test.jsonl"


def test_opening_a_group_gives_its_best_seed(tmp_path: Path) -> None:
    group = make(tmp_path / "a", metrics={"selected_seed": 10})
    for seed in (2, 10):
        make(group.seed(seed).path, metrics={})
    (group.path / "seed-notes").mkdir()
    (group.path / "seed-7").write_text("no folder")
    assert group.seeds == [2, 10]
    assert RunDir.open(group.path).path == group.seed(10).path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "There is no run directory"),
        ("empty", "is not a run directory: it has no recipe.yaml"),
        ("unfinished", "did not finish. Finish it with: headway train"),
    ],
)
def test_what_cannot_be_opened(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    make(tmp_path / "unfinished")
    with pytest.raises(RunError) as refused:
        RunDir.open(tmp_path / name)
    assert message in str(refused.value)


def test_the_model_of_a_run_is_named_by_either_folder(tmp_path: Path) -> None:
    group = make(tmp_path / "a", metrics={"selected_seed": 1})
    model = make(group.seed(1).path, metrics={}).model
    model.mkdir()
    assert model_folder(str(group.path)) == model_folder(group.seed(1).path) == model
    with pytest.raises(RunError, match="is not a run directory"):
        model_folder(model)
    (model / "headway.json").write_text("{}")
    assert model_folder(str(model)) == model


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"manifest\.json is missing"):
        make(tmp_path / "a").read_manifest()


def hold(path: str, holding: Any, go: Any) -> None:
    with RunDir(path).writer():
        holding.set()
        go.wait()
        os._exit(9)


def test_one_writer_at_a_time_and_a_lock_falls_with_its_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    holding, go = context.Event(), context.Event()
    process = context.Process(target=hold, args=(str(tmp_path / "run"), holding, go))
    process.start()
    assert holding.wait(30)
    who = f"process {process.pid} on {socket.gethostname()}"
    with pytest.raises(RunBusyError, match=who), RunDir(tmp_path / "run").writer():
        raise AssertionError("two writers")
    go.set()
    process.join()
    # It died without giving back the lock.
    with RunDir(tmp_path / "run").writer():
        pass


def test_the_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), RunDir(tmp_path).writer():
        raise ValueError("inside")
    with RunDir(tmp_path).writer():
        assert (tmp_path / ".writer").read_text().startswith(f"process {os.getpid()} on ")
    assert not (tmp_path / ".writer").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"/file is a file, so it cannot be"), RunDir(tmp_path / "file" / "run").writer():
        pass


def test_a_folder_that_was_made_for_nothing_is_gone_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="refused"), RunDir(tmp_path / "runs" / "a").writer():
        raise ValueError("refused")
    assert list(tmp_path.iterdir()) == []
    with RunDir(tmp_path / "runs" / "a").writer():
        (tmp_path / "runs" / "a" / "recipe.yaml").write_text("kept")
    assert (tmp_path / "runs" / "a" / "recipe.yaml").exists()


@pytest.mark.parametrize(
    "name", ["with space", "quote'\"", "emoji-🚀", "%41", "-dash", "x" * 250, "new\nline", "ümlaut"]
)
def test_odd_names_of_run_directories(tmp_path: Path, name: str) -> None:
    with RunDir(tmp_path / name).writer():
        make(tmp_path / name / "inner", metrics={"a": 1})
    assert RunDir.open(tmp_path / name / "inner").read_metrics() == {"a": 1}
