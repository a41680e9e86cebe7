"""What stands in a cell becomes what a task reads, by the kind of its column: a text, a list, labels, a structure.

`headway.data.table` calls `take` for each column of a table; `check_cell` holds a single row to the same rules.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.data.formats.content import Complaints, Values, as_list, compact
from headway.data.label_names import first_tag, named_labels, several_tags
from headway.data.options import Source
from headway.errors import DataError
from headway.types import Column, Row

MAX_SHOWN = 80
"""Characters of a value that a message shows."""

LISTS = ("texts", "references")
"""Kinds of columns that hold a list of texts, which may stand in several columns of a file."""


def take(
    values: Values, column: Column, reading: Source, complaints: Complaints, place: Callable[[int], str]
) -> Values:
    """Return the cells of a column as the task reads them; each that cannot serve is complained of."""
    match column.kind:
        case "text":
            _check_texts(values, column.name, complaints, place)
            return values
        case "passage" if isinstance(values, pa.Array):
            _check_texts(values, column.name, complaints, place)
            return values
        case "label":
            return named_labels(values, column.name, reading, complaints, place)
        case "tags":
            apart = _tags(values, column, reading, complaints, place)
            return named_labels(apart, column.name, reading, complaints, place)
        case _:
            taken = []
            for row, value in enumerate(as_list(values)):
                problems: list[str] = []
                taken.append(_converted(value, column, problems))
                for problem in problems:
                    complaints.error(place(row), problem)
            return taken


def join(cells: list[list[Any]], column: Column) -> Values:
    """Return several columns of the file as one of the task: texts joined by a blank, or, where it takes one, a list.

    Of a list, cells that are missing or empty are left out at its end, for rows of unequal length.
    """
    if column.kind in LISTS:
        return [_without_empty_end(list(row)) for row in zip(*cells, strict=True)]
    return compact([
        None if any(cell is None for cell in row) else " ".join(map(str, row)) for row in zip(*cells, strict=True)
    ])  # fmt: skip


def check_row(row: Row, columns: tuple[Column, ...]) -> Row:
    """Return a row of input as the task reads it.

    Raises:
        DataError: it lacks a column or has one too many, or a cell is of the wrong kind.
    """
    known = {column.name for column in columns}
    inputs = [column for column in columns if not column.is_gold]
    given = {name for name, value in row.items() if value is not None}
    for column in inputs:
        if column.required and not given & {column.name, column.unless}:
            wanted = repr(column.name) if column.unless is None else f"{column.name!r} or {column.unless!r}"
            raise DataError(f"A row needs {wanted}; this one holds {', '.join(map(repr, row)) or 'nothing'}.")
    if wrong := sorted(set(row) - known):
        raise DataError(f"There is no column {wrong[0]!r} in this task. It reads {', '.join(sorted(known))}.")
    taken = dict(row)
    for column in inputs:
        if column.name not in given:
            continue
        problems: list[str] = []
        value = row[column.name]
        if column.kind == "passage" and isinstance(value, str):
            # As in a text, see `_converted`.
            value = value.replace("\0", " ")
        taken[column.name] = _converted(value, column, problems)
        if problems:
            raise DataError(problems[0][0].upper() + problems[0][1:])
    return taken


def _tags(
    values: Values, column: Column, reading: Source, complaints: Complaints, place: Callable[[int], str]
) -> list[Any]:
    """Return the tags of each row as a list, one tag for each token."""
    taken: list[Any] = []
    for row, value in enumerate(as_list(values)):
        # Tags of a row stand side by side as its tokens do.
        tags = value.split() if isinstance(value, str) else value
        if isinstance(tags, list) and reading.label_delimiter:
            tags = [first_tag(tag, reading.label_delimiter) for tag in tags]
        elif isinstance(tags, list):
            for number, tag in enumerate(tags, 1):
                if isinstance(tag, str) and (problem := several_tags(tag)):
                    complaints.error(place(row), f"column {column.name!r}, tag {number}: {problem}")
        taken.append(tags)
    return taken


def _converted(value: Any, column: Column, problems: list[str]) -> Any:
    """Return one cell as its column's kind asks, or None with what is wrong with it added to ``problems``."""
    if column.kind == "text":
        # A model reads a NUL byte like any unknown character; only in a file is it a sign of damage.
        problems += _text_problems(value.replace("\0", " ") if isinstance(value, str) else value, column.name)
        return value
    if value is None:
        if column.required and column.unless is None:
            problems.append(f"the column {column.name!r} is missing or null; {_EXPECTED[column.kind]} is expected.")
        return None
    if column.kind in ("passage", "references"):
        return _lines(value, column, problems)
    if column.kind == "tokens" and isinstance(value, str):
        value = value.split()
    elif isinstance(value, str):
        spelt = _literal(value)
        # A value may be a text, also one that could be read as a number.
        value = value if column.kind == "value" and not isinstance(spelt, list | dict) else spelt
    if column.kind == "span":
        if (span := _span(value)) is not None:
            return span
    elif column.kind in ("structure", "value"):
        if isinstance(value, list | dict) or (column.kind == "value" and isinstance(value, str)):
            return value
    else:
        # The hub keeps the choices of some sets as one mapping of texts and their letters.
        value = value["text"] if isinstance(value, dict) and isinstance(value.get("text"), list) else value
        if isinstance(value, list) and value:
            problems += [problem for part in value for problem in _text_problems(part, column.name)]
            return value
    problems.append(
        f"the column {column.name!r} holds {value!r:.{MAX_SHOWN}}, where {_EXPECTED[column.kind]} is expected."
    )
    return None


def _lines(value: Any, column: Column, problems: list[str]) -> Any:
    """Return a text or a list of texts as one text of several lines (a passage), or as a list (references)."""
    parts = [value] if isinstance(value, str) else value
    if isinstance(parts, list) and parts:
        problems += [problem for part in parts for problem in _text_problems(part, column.name)]
        if column.kind == "references":
            return parts
        return "\n".join(part for part in parts if isinstance(part, str))
    problems.append(
        f"the column {column.name!r} holds {value!r:.{MAX_SHOWN}}, where {_EXPECTED[column.kind]} is expected."
    )
    return None


_EXPECTED = {
    "passage": 'a text, or a list of texts (["one sentence", "another"]),',
    "references": 'a text, or a list of texts (["one answer", "another"]),',
    "texts": 'a list of texts (["one", "another"])',
    "tokens": 'a list of tokens (["one", "token"]), or text whose tokens blanks separate,',
    "span": 'the start and the end of a span of characters ({"start": 4, "end": 9}, [4, 9] or "4 9")',
    "structure": "a list or a mapping",
    "value": "a text, a list or a mapping",
}


def _span(value: Any) -> dict[str, int] | None:
    """Return a span however it is written, or None if it is none; two columns of a file come as ``4 9``."""
    if isinstance(value, dict):
        value = [value.get("start"), value.get("end")]
    elif isinstance(value, str):
        value = [int(part) if part.isdecimal() else part for part in value.split()]
    match value:
        case [int(start), int(end)] if 0 <= start < end:
            return {"start": start, "end": end}
        case _:
            return None


def _literal(text: str) -> Any:
    """Return what a text spells: JSON, or Python's own way of printing lists and mappings; else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text


def _check_texts(values: Values, name: str, complaints: Complaints, place: Callable[[int], str]) -> None:
    if isinstance(values, pa.Array):
        suspects = pc.fill_null(pc.match_substring(values, "\0"), True).to_numpy(zero_copy_only=False).nonzero()[0]
    else:
        suspects = np.arange(len(values))
    for row in suspects.tolist():
        for problem in _text_problems(values[row] if isinstance(values, list) else values[row].as_py(), name):
            complaints.error(place(row), problem)


def _text_problems(value: Any, name: str) -> Iterator[str]:
    if value is None:
        yield f"the column {name!r} is missing or null; a text is expected."
    elif not isinstance(value, str):
        yield f"the column {name!r} holds {value!r:.{MAX_SHOWN}} ({type(value).__name__}), where a text is expected."
    elif "\0" in value:
        yield f"the column {name!r} holds a NUL byte (in {value[:60]!r}). Remove it."
    elif not _is_encodable(value):
        yield f"the column {name!r} holds half of a surrogate pair: {value!r:.{MAX_SHOWN}}."


def _without_empty_end(cells: list[Any]) -> list[Any]:
    while cells and cells[-1] in (None, ""):
        cells.pop()
    return cells


def _is_encodable(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
