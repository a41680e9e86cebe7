"""The rows of a split: any file becomes a `Table` whose columns bear the task's names and whose rows know their line.

What cannot be read exactly as it stands is refused, with every bad row named; nothing is guessed, merged or left out.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.data.cells import LISTS, join, take
from headway.data.formats import (
    brat,
    conll,
    delimited,
    documents,
    folder,
    hub,
    json_lines,
    lines,
    parquet,
    semeval,
    squad,
    trees,
)
from headway.data.formats.archive import File, find, is_zip, single_file, tree
from headway.data.formats.content import Complaints, Content, Values, Wanted, as_list, compact
from headway.data.options import HUB_PREFIX, DataOptions, Source
from headway.errors import DataError, RecipeError, did_you_mean
from headway.types import Column, Row

FORMATS: dict[str, Callable[..., Content]] = {
    "csv": delimited.read,
    "tsv": delimited.read,
    "jsonl": json_lines.read_lines,
    "json": json_lines.read_whole,
    "parquet": parquet.read,
    "lines": lines.read,
    "folder": folder.read,
    "trees": trees.read,
    "text": documents.read,
    "semeval": semeval.read,
    "conll": conll.read,
    "brat": brat.read,
    "squad": squad.read,
    "hub": hub.read,
}
SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "lines",
    ".conll": "conll",
}
ROWS_AT_ONCE = 4096


class Table(Sequence[Row]):
    """Rows in the order of their file, held as columns; text lies outside Python's heap."""

    def __init__(
        self,
        columns: Mapping[str, Values],
        *,
        name: str,
        places: Sequence[int] | Sequence[str] | np.ndarray,
        unit: str = "row",
        warnings: Sequence[str] = (),
        file_columns: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.name = name
        """The source in messages: the path, as it was given."""
        self.warnings = tuple(warnings)
        """What is odd about the source but does not keep it from being used, each with its place."""
        self.file_columns = file_columns
        """What the file calls the columns that bear another name there."""
        self._columns = dict(columns)
        self._places = np.asarray(places, dtype=np.int64) if unit else np.asarray(places, dtype=np.object_)
        self._unit = unit
        self._fingerprint = ""

    @classmethod
    def read(
        cls,
        source: str | os.PathLike[str] | list[str] | Source,
        *,
        options: DataOptions,
        columns: tuple[Column, ...],
        need_gold: bool,
    ) -> Table:
        """Read one split.

        Gold columns are read only where ``need_gold``; other columns of the file than the task's are left out.

        Raises:
            DataError: what is wrong with the file, all bad rows at once.
            RecipeError: ``data.columns`` names a column that the task does not have.
        """
        reading = options.reading(source)
        name = reading.path if isinstance(reading.path, str) else " + ".join(reading.path)
        reading = reading.model_copy(update={"format": format_of(reading)})
        wanted = _wanted(reading, columns, need_gold=need_gold)
        complaints = Complaints(name)
        before = _stamps(reading)
        content = FORMATS[str(reading.format)](reading, wanted=wanted, complaints=complaints)
        if _stamps(reading) != before:
            complaints.warn("the file changed while it was read; some rows may be missing.")
        found = {
            column.name: _mapped(content, wanted.sources[column.name], column)
            for column in columns
            if all(name in content.columns for name in wanted.sources.get(column.name, ("",)))
        }
        renamed = {task: " + ".join(of) for task, of in wanted.sources.items() if tuple(of) != (task,)}
        table = cls(found, name=name, places=content.places, unit=content.unit, file_columns=renamed)
        complaints.in_file_terms = table.in_file_terms
        if need_gold and reading.unlabelled == "leave_out":
            table = table._labelled([column.name for column in columns if column.is_gold], complaints)
        for column in columns:
            if column.name in found:
                table._take(column, reading, complaints)
        complaints.raise_errors()
        if not len(table):
            raise DataError(f"{name} holds no rows" + (", only a header." if reading.format in ("csv", "tsv") else "."))
        table.warnings = tuple(complaints.warnings)
        return table

    @classmethod
    def from_rows(cls, rows: Sequence[Row], name: str = "rows") -> Table:
        """Return the table of rows that are in memory; a key that a row lacks is absent from it again later."""
        names = dict.fromkeys(key for row in rows for key in row)
        columns = {key: compact([row.get(key) for row in rows]) for key in names}
        return cls(columns, name=name, places=range(1, len(rows) + 1))

    def _labelled(self, gold: Sequence[str], complaints: Complaints) -> Table:
        """Return the table of the rows that hold all their gold values, and note how many do not."""
        lacking = np.zeros(len(self), dtype=bool)
        for name in gold:
            values = as_list(self._columns[name]) if name in self._columns else []
            for number, value in enumerate(values):
                lacking[number] |= value is None or (isinstance(value, str) and not value.strip())
        if lacking.any():
            complaints.warn(
                f"{lacking.sum():,} of {len(self):,} rows have no label; they are left out, as data.unlabelled says."
            )
        return self.select(np.flatnonzero(~lacking))

    def _take(self, column: Column, reading: Source, complaints: Complaints) -> None:
        """Check the values of a column, and turn them into what the task reads."""
        values = self._columns[column.name]
        if not (column.required and column.unless is None) and not column.is_gold and _is_empty(values):
            del self._columns[column.name]
        else:
            self._columns[column.name] = take(values, column, reading, complaints, self._place)

    # --- the rows -------------------------------------------------------------------------------------------------

    @property
    def column_names(self) -> list[str]:
        """The names of the columns, in the order of the task."""
        return list(self._columns)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Table: ...
    def __getitem__(self, index: int | slice) -> Row | Table:
        if isinstance(index, slice):
            return self.select(range(*index.indices(len(self))))
        number = range(len(self))[index]  # negative numbers, and IndexError beyond the end
        row = {name: values[number] for name, values in self._columns.items()}
        plain = {name: value.as_py() if isinstance(value, pa.Scalar) else value for name, value in row.items()}
        return {name: value for name, value in plain.items() if value is not None}

    def __iter__(self) -> Iterator[Row]:
        names = list(self._columns)
        if not names:
            yield from ({} for _ in range(len(self)))
            return
        for start in range(0, len(self), ROWS_AT_ONCE):
            parts = [as_list(values[start : start + ROWS_AT_ONCE]) for values in self._columns.values()]
            for cells in zip(*parts, strict=True):
                yield {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None}

    def column(self, name: str) -> list[Any]:
        """Return the values of a column, None where a row has none.

        Raises:
            DataError: the table has no such column.
        """
        if name not in self._columns:
            raise DataError(f"{self.name} has no column {name!r}.{did_you_mean(name, self._columns)}")
        return list(as_list(self._columns[name]))

    def select(self, indices: Sequence[int] | np.ndarray) -> Table:
        """Return the table of some rows, in the order given; they keep their places."""
        numbers = np.asarray(indices, dtype=np.int64)
        columns: dict[str, Values] = {
            name: values.take(pa.array(numbers)) if isinstance(values, pa.Array) else [values[i] for i in numbers]
            for name, values in self._columns.items()
        }
        return Table(
            columns,
            name=self.name,
            places=self._places[numbers],
            unit=self._unit,
            warnings=self.warnings,
            file_columns=self.file_columns,
        )

    def with_columns(self, columns: Mapping[str, list[Any]]) -> Table:
        """Return a table of other columns, whose rows stand at the places of these."""
        values = {name: compact(cells) for name, cells in columns.items()}
        return Table(values, name=self.name, places=self._places, unit=self._unit, warnings=self.warnings)

    def where(self, index: int) -> str:
        """Return the place of a row for a message: ``reviews.csv, line 12``."""
        return f"{self.name}, {self._place(index)}"

    def in_file_terms(self, message: str) -> str:
        """Return a message about the task's columns with the names that they have in the file."""
        for column, of_file in self.file_columns.items():
            message = message.replace(f"column {column!r}", f"column {column!r} ({of_file!r} in the file)")
        return message

    def _place(self, index: int) -> str:
        return f"{self._unit} {self._places[index]}" if self._unit else str(self._places[index])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the column names and of all values, in order; files and places do not enter."""
        if not self._fingerprint:
            digest = hashlib.sha256()
            for name, values in self._columns.items():
                digest.update(json.dumps([name, len(self)]).encode())
                for start in range(0, len(self), ROWS_AT_ONCE):
                    part = as_list(values[start : start + ROWS_AT_ONCE])
                    # Escaped to ASCII, so that any text has exactly one form.
                    digest.update(json.dumps(part, default=repr, sort_keys=True).encode())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def format_of(source: Source) -> str:
    """Return the format of a source: the one named, or what the file's name says.

    Raises:
        DataError: the name says nothing.
    """
    if isinstance(source.path, str) and source.path.startswith(HUB_PREFIX):
        return "hub"
    if source.format is not None:
        return source.format
    if isinstance(source.path, list):
        formats = {_format_of_file(File(path, Path(path))) for path in source.path}
        return "lines" if formats <= {"lines", None} else str((formats - {"lines", None}).pop())
    place = find(source.path)
    if place.is_dir():
        return "folder"
    if is_zip(place):
        with tree(source.path) as files:
            if len(files) != 1:
                return "folder"
        file = single_file(source.path)
    else:
        file = File(source.path, place)
    found = _format_of_file(file)
    if found is None:
        raise DataError(
            f"{file.name}: the name does not tell the format. Set data.format to one of {', '.join(FORMATS)}."
        )
    return found


def _format_of_file(file: File) -> str | None:
    return SUFFIXES.get(file.suffix)


def _wanted(reading: Source, columns: tuple[Column, ...], *, need_gold: bool) -> Wanted:
    mapping = {task: [of] if isinstance(of, str) else of for task, of in (reading.columns or {}).items()}
    known = [column.name for column in columns]
    for task in mapping:
        if task not in known:
            raise RecipeError(
                f"data.columns: this task has no column {task!r}.{did_you_mean(task, known)} It reads "
                f"{', '.join(known)}; left of the colon stands the task's name, right of it the file's."
            )
    required: dict[str, tuple[str, ...]] = {}
    optional: dict[str, tuple[str, ...]] = {}
    for column in columns:
        if column.is_gold and not need_gold:
            continue
        names = tuple(mapping.get(column.name, [column.name]))
        # A column that the recipe names is meant to be there.
        (required if column.required or column.name in mapping else optional)[column.name] = names
    return Wanted(required, optional, {one.name: one.unless for one in columns if one.unless is not None})


def _mapped(content: Content, names: tuple[str, ...], column: Column) -> Values:
    if len(names) == 1:
        return content.columns[names[0]]
    parts = [content.columns[name] for name in names]
    if column.kind not in LISTS and all(isinstance(part, pa.Array) for part in parts):
        return pc.binary_join_element_wise(*parts, pa.scalar(" ", pa.large_string()))
    return join(list(map(as_list, parts)), column)


def _is_empty(values: Values) -> bool:
    missing = sum(value is None for value in values) if isinstance(values, list) else int(values.null_count)
    return missing == len(values)


def _stamps(reading: Source) -> list[tuple[int, int]]:
    """Return size and time of each file, by which a change during reading shows."""
    if reading.format == "hub":
        return []
    paths = [reading.path] if isinstance(reading.path, str) else reading.path
    stats = [find(path).stat() for path in paths]
    return [(stat.st_size, stat.st_mtime_ns) for stat in stats]
