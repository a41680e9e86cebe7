"""Rows are tokenised once: the features of a table lie in a memory-mapped Arrow file with a readable name.

The name says what is inside and ends in a hash of everything that decides the content (rows, tokenizer, task, limits,
code). A file is written beside its place and renamed, so two processes may build one cache at the same time; a digest
beside it is checked at opening, and a damaged file is built again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.errors import RunError
from headway.files import sha256_of, write_text, write_whole
from headway.types import Features

logger = logging.getLogger(__name__)

FORMAT = 3
ROWS_PER_CHUNK = 4096
# As plain Python numbers, tokens take ten times the room that they have in the file.
TOKENS_PER_CHUNK = 1_000_000

COUNTS = ("tokens_lost", "tokens_repeated", "num_windows")
"""What the cache knows of all features without reading them, from their ``extra``."""


class TokenCache(Sequence[Features]):
    """The features of one table, read from disk as they are needed."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()
        self._columns = [(*name.split(".", 1), self._table.column(name)) for name in table.column_names if "." in name]
        self._rows: np.ndarray = table.column("row").to_numpy()
        pieces = self._table.column("pieces")
        self._pieces = pieces if pieces.null_count < len(pieces) else None
        self.lengths: np.ndarray = table.column("length").to_numpy()
        """(features,) tokens of each."""
        self.tokens_lost: np.ndarray = table.column("tokens_lost").to_numpy()
        """(features,) tokens of the row that truncation left out."""
        self.tokens_repeated: np.ndarray = table.column("tokens_repeated").to_numpy()
        """(features,) tokens that are read more than once, for windows overlap."""
        self.num_windows: np.ndarray = table.column("num_windows").to_numpy()
        """(features,) windows over which the text was laid; 0 where it is not read in windows."""
        self.num_pieces, self.longest_piece = self._piece_sizes()
        """Two arrays (features,): sequences that the model reads apart, and tokens of the longest of them."""

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        parts: dict[str, dict[str, Any]] = {"inputs": {}, "targets": {}, "extra": {}}
        for part, name, column in self._columns:
            value = column[int(index)].as_py()
            if value is not None:
                parts[part][name] = value
        pieces = self._pieces[int(index)].as_py() if self._pieces is not None else None
        return Features(**parts, pieces=tuple(pieces or ()), row=int(self._rows[index]))

    def _piece_sizes(self) -> tuple[np.ndarray, np.ndarray]:
        number, longest = np.ones_like(self.lengths), self.lengths.copy()
        if self._pieces is not None:
            parts = self._table.column("pieces").combine_chunks()
            number = np.maximum(pc.list_value_length(parts).fill_null(1).to_numpy(zero_copy_only=False), 1)
            held = np.flatnonzero(parts.is_valid().to_numpy(zero_copy_only=False))
            sizes = parts.flatten().to_numpy()
            starts = np.cumsum([0, *number[held][:-1]])
            longest[held] = np.maximum.reduceat(sizes, starts)
        return number, longest

    @property
    def rows(self) -> np.ndarray:
        """(features,) number of the row that each came from."""
        return self._rows


def cache_folder() -> Path:
    """Return the folder of all caches: `$HEADWAY_CACHE`, else `headway` below the user's cache folder."""
    if named := os.environ.get("HEADWAY_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headway"


def cache_key(**content: str) -> str:
    """Return a hash of everything that decides the features, by name."""
    digest = hashlib.sha256(json.dumps({"format": FORMAT, **content}, sort_keys=True).encode())
    return digest.hexdigest()[:20]


def open_or_build(name: str, key: str, build: Iterable[Features], *, folder: Path | None = None) -> TokenCache:
    """Return the cached features for ``key``, building them from ``build`` where they are missing or damaged.

    Args:
        name: words for the file name (table, rows, tokenizer, length).
        key: from `cache_key`.
        build: the features; consumed only if the cache does not hold them.
        folder: where caches lie; see `cache_folder`.

    Raises:
        RunError: the folder cannot be written, or belongs to another user.
    """
    folder = folder or cache_folder() / "tokens"
    path = folder / f"{re.sub('[^A-Za-z0-9._-]+', '-', name)[:80]}-{key}.arrow"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_uid != os.getuid():
            raise RunError(f"The cache folder {folder} belongs to another user. Set HEADWAY_CACHE to one of your own.")
        if (cached := _open(path)) is not None:
            return cached
        _write(path, build)
    except OSError as error:
        raise RunError(
            f"Cannot write the token cache {path}: {error}. Free some space, or set HEADWAY_CACHE."
        ) from error
    cached = _open(path)
    if cached is None:
        raise RunError(f"The token cache {path} was damaged while it was written. Check the disk and start again.")
    return cached


def _open(path: Path) -> TokenCache | None:
    digest_path = path.with_suffix(".sha256")
    if not path.exists() or not digest_path.exists():
        return None
    if sha256_of(path).encode() != digest_path.read_bytes().strip():
        logger.warning("The token cache %s is damaged; it is built again.", path)
        return None
    return TokenCache(pa.ipc.open_file(pa.memory_map(str(path))).read_all())


def _write(path: Path, build: Iterable[Features]) -> None:
    def write(file: IO[bytes]) -> None:
        numbers = {name: pa.int64() for name in ("row", "length", *COUNTS)}
        schema = pa.schema({**numbers, "pieces": pa.list_(pa.int32())})
        batches = _record_batches(build)
        first = next(batches, None)
        if first is not None:
            schema = first.schema
        with pa.ipc.new_file(file, schema) as writer:
            for batch in [] if first is None else itertools.chain([first], batches):
                writer.write_batch(batch.cast(schema))

    write_whole(path, write)
    # The digest comes last: a cache without one counts as absent.
    write_text(path.with_suffix(".sha256"), sha256_of(path))


def _record_batches(build: Iterable[Features]) -> Iterator[pa.RecordBatch]:
    chunk: list[dict[str, Any]] = []
    tokens = 0
    for features in build:
        record: dict[str, Any] = {
            "row": features.row,
            "length": features.length,
            **{name: int(features.extra.get(name, 0)) for name in COUNTS},
            "pieces": features.pieces or None,
        }
        for part, values in (("inputs", features.inputs), ("targets", features.targets), ("extra", features.extra)):
            record |= {f"{part}.{name}": value for name, value in values.items()}
        chunk.append(record)
        tokens += features.length
        if len(chunk) == ROWS_PER_CHUNK or tokens >= TOKENS_PER_CHUNK:
            yield _record_batch(chunk)
            chunk, tokens = [], 0
    if chunk:
        yield _record_batch(chunk)


def _record_batch(chunk: list[dict[str, Any]]) -> pa.RecordBatch:
    # The names of all records: pyarrow takes those of the first, and leaves out what only later ones hold.
    names = dict.fromkeys(name for record in chunk for name in record)
    batch = pa.RecordBatch.from_pydict({name: [record.get(name) for record in chunk] for name in names})
    # Half the size on disk; no vocabulary needs more than 31 bits.
    fields = [
        field.with_type(pa.list_(pa.int32())) if field.name.startswith(("inputs.", "pieces")) else field
        for field in batch.schema
    ]
    return batch.cast(pa.schema(fields))
