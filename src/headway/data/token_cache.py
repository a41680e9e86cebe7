"""Rows are tokenised once: the features of a table lie in a memory-mapped Arrow file (see `cache_files`)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.data.cache_files import cache_folder, cached_file
from headway.data.vector_cache import VectorCache
from headway.types import Features

ROWS_PER_CHUNK = 4096
# As plain Python numbers, tokens take ten times the room that they have in the file.
TOKENS_PER_CHUNK = 1_000_000

COUNTS = ("tokens_lost", "tokens_repeated", "num_windows")
"""What the cache knows of all features without reading them, from their ``extra``."""


class TokenCache(Sequence[Features]):
    """The features of one table, read from disk as they are needed."""

    def __init__(
        self, table: pa.Table, name: str, vectors: VectorCache | None = None, activations: VectorCache | None = None
    ) -> None:
        self.name = name
        """That of the file, which tells these features from all others."""
        self.vectors = vectors
        """What a frozen backbone says of the features, where it was asked once for all."""
        self.activations = activations
        """What the frozen layers of one say of them, where they were asked once for all."""
        # In its chunks, for one piece of them would be a copy in memory.
        self._table = table
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
        return Features(
            **parts,
            pieces=tuple(pieces or ()),
            row=int(self._rows[index]),
            vectors=None if self.vectors is None else self.vectors[int(index)],
            activations=None if self.activations is None else self.activations[int(index)],
        )

    def with_vectors(self, vectors: VectorCache) -> TokenCache:
        """Return the same features, each with its vectors."""
        return TokenCache(self._table, self.name, vectors)

    def with_activations(self, activations: VectorCache) -> TokenCache:
        """Return the same features, each with what the frozen layers say of it."""
        return TokenCache(self._table, self.name, activations=activations)

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

    @functools.cached_property
    def target_lengths(self) -> np.ndarray | None:
        """(features,) numbers in the target of each, where targets are lists; else None."""
        columns = [column for part, _, column in self._columns if part == "targets" and pa.types.is_list(column.type)]
        sizes = [pc.list_value_length(column).fill_null(0).to_numpy() for column in columns]
        return np.max(sizes, axis=0) if sizes else None

    def used_ids(self) -> np.ndarray:
        """Return the numbers of all words in the features, each once, ascending."""
        columns = [column for part, name, column in self._columns if part == "inputs" and name.endswith("input_ids")]
        found = [pc.unique(pc.list_flatten(column)).to_numpy() for column in columns]
        return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *found]))

    @property
    def rows(self) -> np.ndarray:
        """(features,) number of the row that each came from."""
        return self._rows


def open_or_build(name: str, key: str, build: Iterable[pa.RecordBatch], *, folder: Path | None = None) -> TokenCache:
    """Return the cached features for ``key``, building them from ``build`` where they are missing or damaged.

    Args:
        name: words for the file name (table, rows, tokenizer, length).
        key: from `headway.data.cache_files.cache_key`.
        build: the features as `record_batches`; consumed only if the cache does not hold them.
        folder: where the file lies; empty takes `tokens` in the folder of all caches.

    Raises:
        RunError: the folder cannot be written, or belongs to another user.
    """
    write = functools.partial(_write, batches=iter(build))
    path = cached_file(folder or cache_folder() / "tokens", name, key, ".arrow", write)
    return TokenCache(pa.ipc.open_file(pa.memory_map(str(path))).read_all(), path.stem)


def _write(file: IO[bytes], batches: Iterator[pa.RecordBatch]) -> None:
    numbers = {name: pa.int64() for name in ("row", "length", *COUNTS)}
    schema = pa.schema({**numbers, "pieces": pa.list_(pa.int32())})
    first = next(batches, None)
    if first is not None:
        schema = first.schema
    with pa.ipc.new_file(file, schema) as writer:
        for batch in [] if first is None else itertools.chain([first], batches):
            writer.write_batch(batch.cast(schema))


def record_batches(build: Iterable[Features]) -> Iterator[pa.RecordBatch]:
    """Return features in the form of `open_or_build`, some thousands at a time."""
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
