from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import pytest

from headway.data.cache_files import cache_folder, cache_key, cached_file, is_cached
from headway.errors import RunError


def write(file: IO[bytes]) -> None:
    file.write(b"content")


def test_a_file_is_written_once_and_again_where_it_is_damaged(tmp_path: Path) -> None:
    written = []

    def count(file: IO[bytes]) -> None:
        written.append(file.name)
        write(file)

    assert not is_cached(tmp_path, "my rows", "k", ".bin")
    for _ in range(2):
        path = cached_file(tmp_path, "my rows", "k", ".bin", count)
        assert path == tmp_path / "my-rows-k.bin"
        assert path.read_bytes() == b"content"
    assert len(written) == 1
    assert is_cached(tmp_path, "my rows", "k", ".bin")
    path.write_bytes(b"contend")
    assert cached_file(tmp_path, "my rows", "k", ".bin", count).read_bytes() == b"content"
    assert len(written) == 2


def test_a_folder_of_someone_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(RunError, match=r"belongs to another user\. Set HEADWAY_CACHE"):
        cached_file(tmp_path, "x", "k", ".bin", write)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"Cannot write .*file/tokens.*HEADWAY_CACHE"):
        cached_file(tmp_path / "file" / "tokens", "x", "k", ".bin", write)
    # Longer than a name may be: the system refuses to look.
    assert not is_cached(tmp_path / ("x" * 300), "x", "k", ".bin")


def test_the_folder_is_private_and_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWAY_CACHE", str(tmp_path / "named"))
    cached_file(cache_folder() / "tokens", "x", "k", ".bin", write)
    assert (tmp_path / "named" / "tokens" / "x-k.bin").exists()
    assert (tmp_path / "named" / "tokens").stat().st_mode & 0o077 == 0
    monkeypatch.delenv("HEADWAY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/headway")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/headway")


def test_the_key_changes_with_each_ingredient() -> None:
    whole = {"rows": "a", "tokenizer": "b", "task": "c", "code": "d", "limits": "e"}
    keys = {cache_key(**whole), *(cache_key(**{**whole, name: "other"}) for name in whole)}
    assert len(keys) == 1 + len(whole)
    assert cache_key(**dict(reversed(whole.items()))) in keys
