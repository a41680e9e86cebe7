"""Files that are whole or absent: written beside their place, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from headway.errors import RunError, WriteError


@contextlib.contextmanager
def whole_writes(path: Path) -> Iterator[None]:
    """Turn the system's complaint about a write into one line that says what to do."""
    try:
        yield
    except OSError as error:
        free = ""
        with contextlib.suppress(OSError):
            folder = next(parent for parent in (path, *path.parents) if parent.exists())
            free = f" ({shutil.disk_usage(folder).free / 1e6:,.1f} MB are free there)"
        raise WriteError(
            f"Cannot write {path}: {error.strerror or error}{free}. What was saved before is whole; free some space or "
            "mend the permission, then start again."
        ) from error


def write_whole(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Call ``write`` on a temporary file, flush it to the disk, then give it its name.

    Raises:
        RunError: the disk is full or the folder is read-only; an earlier file of that name stays as it was.
    """
    with whole_writes(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, content: str | Iterable[str]) -> None:
    """Write a text file; see `write_whole`."""

    def write(file: IO[bytes]) -> None:
        for part in [content] if isinstance(content, str) else content:
            file.write(part.encode("utf-8"))

    write_whole(path, write)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file; see `write_whole`."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is missing: the run directory is not complete.") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged: {error}.") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged: expected a JSON object, found {type(content).__name__}.")
    return content


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep(folder: Path) -> None:
    """Remove what a killed process left half-written in ``folder``."""
    for orphan in folder.glob(".*.part"):
        orphan.unlink(missing_ok=True)
