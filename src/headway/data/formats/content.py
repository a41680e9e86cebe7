"""What every format takes and returns: the columns wanted of a file, the columns read, and the complaints."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pyarrow as pa

from headway.errors import DataError, did_you_mean

MAX_SHOWN = 20
MAX_NAME = 40
"""Characters of a column's name that a message shows; without a header the name may be a whole text."""
ROWS_PER_CHUNK = 65_536

Values: TypeAlias = "pa.Array | list[Any]"
"""A column: an Arrow array if it holds text only, so that a million rows fit in little memory; else a list."""


@dataclass(frozen=True)
class Content:
    """The columns of a file by the file's names, and where each row stands in it."""

    columns: dict[str, Values]
    places: Sequence[int] | Sequence[str]
    """Number of each row's line (or row), counted from 1, or the name of its file."""
    unit: str
    """What the numbers count (``line``, ``row``, ``item``); empty where places are names."""


class Complaints:
    """All that is wrong with a file, so that one message can name it all."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.in_file_terms: Callable[[str], str] = str
        """Gives the columns in a message the names that they have in the file."""
        self.warnings: list[str] = []
        self._errors: list[str] = []
        self._count = 0
        self._advice: dict[str, None] = {}

    def error(self, place: str, message: str) -> None:
        """Note an error at a place (``line 12``)."""
        self._count += 1
        if len(self._errors) < MAX_SHOWN:
            self._errors.append(f"{self.name}, {place}: {self.in_file_terms(message)}")

    def warn(self, message: str) -> None:
        """Note something odd about the file that does not keep it from being used."""
        self.warnings.append(f"{self.name}: {self.in_file_terms(message)}")

    def advise(self, advice: str) -> None:
        """Note what may mend the errors; the same advice is given once."""
        self._advice[advice] = None

    def raise_errors(self) -> None:
        """Raise one error with the first complaints, the number of the others and the advice, if there are any."""
        if not self._count:
            return
        lines = list(self._errors)
        if self._count > len(lines):
            lines.append(f"... and {self._count - len(lines):,} more errors in {self.name}.")
        raise DataError("\n".join([*lines, *self._advice]))


@dataclass(frozen=True)
class Wanted:
    """The columns of a file that are read, by the column of the task they serve."""

    required: Mapping[str, tuple[str, ...]]
    optional: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unless: Mapping[str, str] = field(default_factory=dict)
    """Column of the task -> the one whose presence makes it unnecessary."""

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """Column of the task -> columns of the file."""
        return {**self.required, **self.optional}

    @property
    def names(self) -> list[str]:
        """Every column of the file that may be read."""
        return list(dict.fromkeys(name for names in self.sources.values() for name in names))

    def choose(self, found: Sequence[str], *, source: str, hint: str = "") -> list[str]:
        """Return those of the columns ``found`` in a file that are to be read.

        Raises:
            DataError: a required column is missing, or a name that matters stands twice.
        """
        missing = self._missing(found)
        if missing:
            names = [name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}..." for name in found[:20]]
            shown = ", ".join(map(repr, names)) + (", ..." if len(found) > 20 else "")
            lines = [
                f"{source}: there is no column {name!r}"
                + (f" (data.columns.{task})." if task != name else ".")
                + did_you_mean(name, found)
                for task, name in missing
            ]
            hint = hint or f"Say which of them is meant: {self.mapping(found)}."
            lines.append(f"The columns found are {shown or 'none'}. {hint}")
            raise DataError("\n".join(lines))
        twice = [name for name in dict.fromkeys(found) if found.count(name) > 1 and name]
        if twice:
            raise DataError(
                f"{source}: the column {twice[0]!r} stands {list(found).count(twice[0])} times in the header, so it is "
                "not clear which is meant. Rename or remove one."
            )
        present = set(found)
        return [name for name in self.names if name in present]

    def mapping(self, found: Sequence[str]) -> str:
        """Return the option that says which of the columns ``found`` are those that are missing."""
        roles = dict.fromkeys(task for task, _ in self._missing(found))
        return f"data.columns: {{{', '.join(f'{task}: ...' for task in roles)}}}"

    def _missing(self, found: Sequence[str]) -> list[tuple[str, str]]:
        """Return the required columns of the file that are not among those ``found``, each with that of the task."""
        return [
            (task, name)
            for task, names in self.required.items()
            if not self._is_served(self.unless.get(task), found)
            for name in names
            if name not in found
        ]

    def _is_served(self, task: str | None, found: Sequence[str]) -> bool:
        """Whether the file has what a column of the task is read from."""
        return task is not None and task in self.sources and all(name in found for name in self.sources[task])


class ContentBuilder:
    """Gathers rows; text goes to Arrow arrays chunk by chunk."""

    def __init__(self, names: Sequence[str], *, unit: str) -> None:
        self._names = list(names)
        self._unit = unit
        self._open: list[list[Any]] = [[] for _ in names]
        self._chunks: list[list[Values]] = [[] for _ in names]
        self._places: Any = array("q") if unit else []
        self._pending = 0

    def __len__(self) -> int:
        return len(self._places)

    def append(self, values: Sequence[Any], place: int | str) -> None:
        """Add one row: a value for each name."""
        for cells, value in zip(self._open, values, strict=True):
            cells.append(value)
        self._places.append(place)
        self._pending += 1
        if self._pending == ROWS_PER_CHUNK:
            self._flush()

    def _flush(self) -> None:
        for number, cells in enumerate(self._open):
            self._chunks[number].append(compact(cells))
            self._open[number] = []
        self._pending = 0

    def build(self) -> Content:
        """Return all rows."""
        self._flush()
        columns = {name: joined(chunks) for name, chunks in zip(self._names, self._chunks, strict=True)}
        return Content(columns, self._places, self._unit)


def compact(values: list[Any]) -> Values:
    """Return text as an Arrow array, and anything else as it is."""
    if not all(value is None or type(value) is str for value in values):
        return values
    try:
        return pa.array(values, type=pa.large_string())
    except UnicodeEncodeError:  # half of a surrogate pair; the table names the row
        return values


def joined(chunks: Sequence[Values]) -> Values:
    """Return the chunks of a column as one."""
    if all(isinstance(chunk, pa.Array) for chunk in chunks):
        return pa.chunked_array(chunks, type=pa.large_string()).combine_chunks()
    return [value for chunk in chunks for value in as_list(chunk)]


def as_list(values: Values) -> list[Any]:
    """Return the values as Python objects."""
    return values if isinstance(values, list) else values.to_pylist()
