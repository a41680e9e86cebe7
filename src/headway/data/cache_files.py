"""Files that can be computed again: where they lie, what they are called, and how a damaged one is found.

A name says what is inside and ends in a hash of everything that decides the content. A file is written beside its
place and renamed, so two processes may build one at the same time; a digest beside it is checked at opening, and a
damaged file is built again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO

from headway.errors import RunError
from headway.files import sha256_of, write_text, write_whole

logger = logging.getLogger(__name__)

FORMAT = 3
"""Raised where what stands in the files is laid out in another way."""


def cache_folder() -> Path:
    """Return the folder of all caches: `$HEADWAY_CACHE`, else `headway` below the user's cache folder."""
    if named := os.environ.get("HEADWAY_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headway"


def cache_key(**content: str) -> str:
    """Return a hash of everything that decides the content of a file, by name."""
    digest = hashlib.sha256(json.dumps({"format": FORMAT, **content}, sort_keys=True).encode())
    return digest.hexdigest()[:20]


def is_cached(folder: Path, name: str, key: str, suffix: str) -> bool:
    """Return whether `cached_file` wrote a file for ``key``; whether it is still whole is seen when it is opened."""
    # What is wrong with a folder that cannot be read, `cached_file` says.
    with contextlib.suppress(OSError):
        return _path(folder, name, key, suffix).exists()
    return False


def cached_file(folder: Path, name: str, key: str, suffix: str, write: Callable[[IO[bytes]], None]) -> Path:
    """Return the whole file for ``key``, written by ``write`` where it is missing or damaged.

    Args:
        folder: where it lies.
        name: words for the file name.
        key: from `cache_key`.
        suffix: of the file name, with its dot.
        write: gets the open file; called only if there is none that is whole.

    Raises:
        RunError: the folder cannot be written, or belongs to another user.
    """
    path = _path(folder, name, key, suffix)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_uid != os.getuid():
            raise RunError(f"The cache folder {folder} belongs to another user. Set HEADWAY_CACHE to one of your own.")
        if _is_whole(path):
            return path
        write_whole(path, write)
        # The digest comes last: a file without one counts as absent.
        write_text(path.with_suffix(".sha256"), sha256_of(path))
    except OSError as error:
        raise RunError(f"Cannot write the cache {path}: {error}. Free some space, or set HEADWAY_CACHE.") from error
    if not _is_whole(path):
        raise RunError(f"The cache {path} was damaged while it was written. Check the disk and start again.")
    return path


def _path(folder: Path, name: str, key: str, suffix: str) -> Path:
    return folder / f"{re.sub('[^A-Za-z0-9._-]+', '-', name)[:80]}-{key}{suffix}"


def _is_whole(path: Path) -> bool:
    digest_path = path.with_suffix(".sha256")
    if not path.exists() or not digest_path.exists():
        return False
    is_whole = sha256_of(path).encode() == digest_path.read_bytes().strip()
    if not is_whole:
        logger.warning("The cache %s is damaged; it is built again.", path)
    return is_whole
