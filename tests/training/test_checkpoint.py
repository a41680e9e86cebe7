from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from headway.errors import ModelError, RunError
from headway.training import checkpoint as module
from headway.training.checkpoint import (
    KEPT_RESUME_CHECKPOINTS,
    UNSEALED,
    WholeCheckpointIO,
    best_path,
    damage,
    newest_whole,
    prune,
    resume_path,
)


def checkpoint(step: int, *, best_step: int = -1, size: int = 50) -> dict[str, Any]:
    return {
        "global_step": step,
        "state_dict": {"weight": torch.full((size,), float(step))},
        "seal": {"best_step": best_step},
    }


def save(folder: Path, step: int, *, best_step: int = -1) -> Path:
    path = resume_path(folder, step)
    WholeCheckpointIO().save_checkpoint(checkpoint(step, best_step=best_step), path)
    return path


def save_best(folder: Path, step: int) -> Path:
    path = best_path(folder, step)
    WholeCheckpointIO().save_checkpoint({"global_step": step, "state_dict": {"weight": torch.ones(3)}}, path)
    return path


def step_of(path: Path) -> float:
    return float(WholeCheckpointIO().load_checkpoint(path)["state_dict"]["weight"][0])


GROWTH = """
import resource, sys, torch
from pathlib import Path
from headway.training.checkpoint import WholeCheckpointIO
io = WholeCheckpointIO()
io.save_checkpoint({"global_step": 1, "state_dict": {}}, Path(sys.argv[1]) / "resume-00000001.ckpt")
weights = {str(number): torch.ones(1_000_000) for number in range(64)}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
io.save_checkpoint({"global_step": 2, "state_dict": weights}, Path(sys.argv[1]) / "resume-00000002.ckpt")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in other units there")
def test_a_checkpoint_is_never_held_in_memory_as_a_whole(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", GROWTH, str(tmp_path)], capture_output=True, check=True)
    assert int(done.stdout) < 64_000, "kilobytes, a quarter of what the file holds"
    assert (tmp_path / "resume-00000002.ckpt").stat().st_size > 256_000_000


def test_an_error_while_torch_writes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    kept = resume_path(tmp_path, 1).read_bytes()

    class Full:
        def write(self, content: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_whole", lambda path, write: write(Full()))
    with pytest.raises(RunError, match="No space left"):
        save(tmp_path, 2)
    assert resume_path(tmp_path, 1).read_bytes() == kept
    assert newest_whole(tmp_path) == resume_path(tmp_path, 1)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = save(tmp_path, 3)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["resume-00000003.ckpt", "resume-00000003.json"]
    assert damage(path) is None
    assert step_of(path) == 3


def test_a_checkpoint_never_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return (os.mkdir, (str(tmp_path / "canary"),))

    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = resume_path(tmp_path, 1)
    WholeCheckpointIO().save_checkpoint({**checkpoint(1), "state": Payload()}, path)
    with pytest.raises(Exception, match=r"(?i)weights.only|unsupported"):
        WholeCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not (tmp_path / "canary").exists()


# --- a failing disk ---------------------------------------------------------------------------------------------------

CALLS = {
    "open": (Path, "open"),
    "fsync": (os, "fsync"),
    "rename": (Path, "replace"),
    "unlink": (Path, "unlink"),
    "usage": (shutil, "disk_usage"),
}


def failing_at(number: int, original: Callable[..., Any], code: int) -> Callable[..., Any]:
    calls = iter(range(1, 1000))

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == number:
            raise OSError(code, os.strerror(code))
        return original(*args, **kwargs)

    return call


def error_of(act: Callable[[], Any]) -> RunError | None:
    try:
        act()
    except RunError as error:
        return error
    return None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("name", CALLS)
def test_whichever_call_fails_the_checkpoint_before_is_whole(
    name: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    owner, attribute = CALLS[name]
    original, failures = getattr(owner, attribute), 0
    for number in range(1, 20):
        with monkeypatch.context() as patched:
            patched.setattr(owner, attribute, failing_at(number, original, code))
            error = error_of(lambda: save(tmp_path, 2))
        if error is None:
            break
        failures += 1
        assert error.exit_code == 5
        assert os.strerror(code) in str(error)
        newest = newest_whole(tmp_path)
        assert newest is not None
        # The new one counts only if it is whole, too.
        assert step_of(newest) in (1, 2)
        assert damage(resume_path(tmp_path, 1)) is None
        prune(tmp_path)
        assert not list(tmp_path.glob(".*"))
    assert failures >= 1
    assert step_of(resume_path(tmp_path, 2)) == 2


def test_writing_a_checkpoint_again_never_leaves_a_wrong_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, 1)
    for number in (1, 2):
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", failing_at(number, Path.replace, errno.EIO))
            with pytest.raises(RunError):
                WholeCheckpointIO().save_checkpoint(checkpoint(1, size=60 + number), path)
        assert damage(path) == "is not complete: resume-00000001.json is missing"


def test_a_disk_without_room_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 100))  # type: ignore[attr-defined]
    with pytest.raises(RunError, match=r"The disk is full: resume-00000002\.ckpt needs .* MB free"):
        save(tmp_path, 2)
    assert not list(tmp_path.glob("*2.ckpt"))
    assert step_of(resume_path(tmp_path, 1)) == 1


def save_under_a_limit(folder: str, limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        save(Path(folder), 2)
    except RunError as error:
        os._exit(error.exit_code)
    os._exit(0)


@pytest.fixture(scope="module")
def server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["headway.training.checkpoint"])
    return context


@pytest.mark.parametrize("limit", [0, 10, 1000])
def test_a_disk_that_fills_up_while_writing(limit: int, server: Any, tmp_path: Path) -> None:
    save(tmp_path, 1)
    process = server.Process(target=save_under_a_limit, args=(str(tmp_path), limit))
    process.start()
    process.join()
    assert process.exitcode == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resume-00000001.ckpt", "resume-00000001.json"]
    assert step_of(resume_path(tmp_path, 1)) == 1


# --- damage -----------------------------------------------------------------------------------------------------------


def test_every_flipped_bit_and_every_cut_is_found(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    content = path.read_bytes()
    for position in range(0, len(content), 29):
        changed = bytearray(content)
        changed[position] ^= 1 << (position % 8)
        path.write_bytes(changed)
        assert damage(path) == "is damaged: its content does not match its digest"
        path.write_bytes(content[:position])
        assert damage(path) == f"is damaged: {position} bytes, expected {len(content)}"
    path.write_bytes(content)
    assert damage(path) is None


@pytest.mark.parametrize("seal", [b"", b"{", b"[]", b"{}", b"\xff", b'{"size": 5}'])
def test_a_damaged_seal_is_damage_and_stops_nothing(
    seal: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        save(tmp_path, step)
    resume_path(tmp_path, 2).with_suffix(".json").write_bytes(seal)
    with caplog.at_level(logging.WARNING):
        assert newest_whole(tmp_path) == resume_path(tmp_path, 1)
    assert "resume-00000002.ckpt cannot be checked: resume-00000002.json is damaged" in caplog.text
    prune(tmp_path)
    assert newest_whole(tmp_path) == resume_path(tmp_path, 1)


def test_a_checkpoint_whose_best_weights_are_damaged_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step, best_step in ((1, 1), (2, 1), (3, 3)):
        if step == best_step:
            save_best(tmp_path, step)
        save(tmp_path, step, best_step=best_step)
    best_path(tmp_path, 3).write_bytes(b"x")
    assert newest_whole(tmp_path) == resume_path(tmp_path, 2)
    assert "resume-00000003.ckpt refers to best-00000003.ckpt, which is damaged: 1 bytes" in caplog.text
    best_path(tmp_path, 1).unlink()
    with pytest.raises(ModelError, match=r"None of the 3 checkpoints .* is whole"):
        newest_whole(tmp_path)


def test_a_damaged_checkpoint_is_never_loaded(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"resume-00000001\.ckpt is damaged"):
        WholeCheckpointIO().load_checkpoint(path)


def test_no_checkpoint_is_a_start_from_the_beginning(tmp_path: Path) -> None:
    assert newest_whole(tmp_path) is None
    assert newest_whole(tmp_path / "absent") is None


# --- keeping ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def names(tmp_path: Path) -> Callable[[], Iterator[str]]:
    return lambda: (path.stem for path in sorted(tmp_path.glob("*.ckpt")))


def test_the_newest_and_the_best_they_refer_to_are_kept(tmp_path: Path, names: Callable[[], Iterator[str]]) -> None:
    for step, best_step in ((1, 1), (2, 2), (3, 2), (4, 2), (5, 5)):
        if step == best_step:
            save_best(tmp_path, step)
        save(tmp_path, step, best_step=best_step)
    save_best(tmp_path, 6)  # killed before the checkpoint that refers to it
    (tmp_path / ".resume-00000006.ckpt.77.part").write_text("")
    prune(tmp_path)
    assert KEPT_RESUME_CHECKPOINTS == 2
    assert list(names()) == ["best-00000002", "best-00000005", "resume-00000004", "resume-00000005"]
    assert len(list(tmp_path.iterdir())) == 8
    assert newest_whole(tmp_path) == resume_path(tmp_path, 5)


def test_a_checkpoint_without_a_seal_is_removed_and_its_elders_stay(
    tmp_path: Path, names: Callable[[], Iterator[str]]
) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    resume_path(tmp_path, 3).with_suffix(".json").unlink()
    prune(tmp_path)
    assert list(names()) == ["resume-00000001", "resume-00000002"]


def test_removing_takes_the_seal_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, 1)
    assert json.loads(path.with_suffix(".json").read_text())["best_step"] == -1
    WholeCheckpointIO().remove_checkpoint(path)
    WholeCheckpointIO().remove_checkpoint(path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(Path, "unlink", failing_at(1, Path.unlink, errno.EROFS))
    with pytest.raises(RunError):
        WholeCheckpointIO().remove_checkpoint(path)


def test_a_first_checkpoint_that_was_never_finished_does_not_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = resume_path(tmp_path, 1)
    save(tmp_path, 1)
    assert [one.name for one in sorted(tmp_path.iterdir())] == ["resume-00000001.ckpt", "resume-00000001.json"]
    # As a kill between the two files leaves it.
    path.with_suffix(".json").unlink()
    path.with_suffix(UNSEALED).touch()
    assert newest_whole(tmp_path) is None
    assert "was not finished when the run ended" in caplog.text
    # Saved again, and one step more.
    save(tmp_path, 1)
    path.with_suffix(UNSEALED).touch()
    assert newest_whole(tmp_path) == path
    prune(tmp_path)
    assert not path.with_suffix(UNSEALED).exists()
    # Without the mark the seal was lost, and nobody begins anew in silence.
    path.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match="None of the 1 checkpoints"):
        newest_whole(tmp_path)
