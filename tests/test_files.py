from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from headway.errors import RunError
from headway.files import read_json, sha256_of, sweep, write_json, write_text, write_whole


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    content = {"name": "Zoë \u2028", "values": [1, 0.1, None]}
    write_json(path, content)
    assert read_json(path) == content
    write_text(path.with_name("b.txt"), (part for part in ["one\n", "zwölf\n"]))
    assert path.with_name("b.txt").read_bytes() == "one\nzwölf\n".encode()
    assert sorted(one.name for one in path.parent.iterdir()) == ["a.json", "b.txt"]


def test_a_value_that_json_lacks_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "a.json is missing: the run directory is not complete"),
        (b"{", "a.json is damaged"),
        (b"\xff\xfe", "a.json is damaged"),
        (b"", "a.json is damaged"),
        (b"[1]", "a.json is damaged: expected a JSON object, found list"),
    ],
)
def test_a_json_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RunError) as refused:
        read_json(tmp_path / "a.json")
    assert message in str(refused.value)


def test_an_error_halfway_keeps_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write(file: Any) -> None:
        file.write(b"new")
        raise ValueError("halfway")

    with pytest.raises(ValueError, match="halfway"):
        write_whole(path, write)
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


CALLS = {"open": (Path, "open"), "fsync": (os, "fsync"), "rename": (Path, "replace")}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("call", CALLS)
def test_a_failing_call_of_the_system_keeps_the_earlier_file(
    call: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(*CALLS[call], fail)
        with pytest.raises(RunError, match=rf"Cannot write .*a\.txt: {os.strerror(code)} \(.* MB are free there\)"):
            write_text(path, "new")
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def fill(folder: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        write_text(Path(folder) / "a.txt", "x" * 5000)
    except RunError as error:
        os._exit(5 if "File too large" in str(error) else 1)
    os._exit(0)


def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    process = multiprocessing.get_context("forkserver").Process(target=fill, args=(str(tmp_path),))
    process.start()
    process.join()
    assert process.exitcode == 5
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("a.txt", "old")]


def test_the_sweep_takes_what_was_left_half_written_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.json.123.part", ".lock", "a.json", "b.part"):
        (tmp_path / name).write_text("")
    sweep(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == [".lock", "a.json", "b.part"]
    sweep(tmp_path / "absent")


def test_the_digest_is_the_usual_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
