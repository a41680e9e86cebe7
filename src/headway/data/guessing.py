"""Look at a table that nobody described: which columns are texts, which is the label, and how the file is read.

`headway init` writes what is found here into a recipe, where a person corrects it. Nothing else in headway guesses.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headway.data.column_roles import (
    LABELS,
    LONG,
    SUMMARIES,
    TEXTS,
    gold,
    is_number,
    numbered_pair,
    problem_type,
    roles,
    word,
    written_pair,
)
from headway.data.formats.archive import File, check_kind, opened, single_file
from headway.data.formats.content import Complaints, Content, Wanted, as_list
from headway.data.formats.decoding import lines_of, opened_text
from headway.data.options import HUB_PREFIX, ReadingOptions, Source
from headway.data.table import FORMATS, format_of
from headway.errors import DataError

_ROWS_TO_PEEK = 200


@dataclass(frozen=True, slots=True)
class Guess:
    """What a table seems to hold."""

    reading: dict[str, Any]
    """Options of the recipe's `data` section without which the file cannot be read so."""
    texts: list[tuple[str, ...]]
    """The text, or both texts, of each row."""
    problem_type: str
    """`single_label_classification`, `multi_label_classification` or `regression`."""
    labels: dict[str, int]
    """Rows of each label, the commonest first; empty for a regression."""
    notes: list[str] = field(default_factory=list)
    """What was uncertain, for a person to look at."""
    task: str = "text-classification"
    """What the columns seem to be for: this, `summarization` or `translation`."""
    targets: list[str] = field(default_factory=list)
    """The text to be written of each row."""


def guess(path: str, *, reading: Mapping[str, Any] | None = None, task: str | None = None) -> Guess:
    """Return what the file seems to hold.

    Args:
        path: the file.
        reading: what the user says of it, by the names of the `data` section; it is never questioned.
        task: what the user wants to learn from it; None: what the columns' names say.

    Raises:
        DataError: the file cannot be read, or no column looks like what the task needs.
    """
    given = dict(reading or {})
    if path.startswith(HUB_PREFIX):
        raise DataError(
            f"{path}: only files can be looked at. Write a recipe of two sections: task: text-classification, and "
            f"data: {{train: {path}, columns: {{text: ..., label: ...}}}}."
        )
    told = {name: value for name, value in given.items() if name in ReadingOptions.model_fields}
    source = Source(path=path, **told)
    notes: list[str] = []
    found = _with_format(source)
    names, found = _named(found, notes)
    content, found = _read(found, names)
    columns = {name: as_list(values) for name, values in content.columns.items()}
    chosen, found_roles = _task(columns, given.get("columns") or {}, task, path=path, notes=notes)
    is_written = chosen != "text-classification"
    values, delimiter = ([], None) if is_written else gold(columns[found_roles["label"]], found.label_delimiter)
    kind = "" if is_written else problem_type(values, found_roles["label"])
    options = found.model_dump(exclude={"path", "columns"}, exclude_none=True)
    if delimiter:
        options["label_delimiter"] = delimiter
    if found.column_names and not source.column_names:
        # Without a header the names are ours to give, so they are those of the task.
        own = {name: task for task, name in found_roles.items()}
        options["column_names"] = [own.get(name, name) for name in found.column_names]
    elif mapping := {task: name for task, name in found_roles.items() if task != name}:
        options["columns"] = mapping
    if options.get("format") == _format_or_none(path):
        del options["format"]
    parts = [columns[found_roles[one]] for one in ("text", "text_pair", "source") if one in found_roles]
    texts = [tuple(str(cell) for cell in row if cell is not None) for row in zip(*parts, strict=True)]
    if is_written:
        written = [str(cell) for cell in columns[found_roles["target"]] if cell is not None]
        return Guess(options, texts, kind, {}, notes, chosen, written)
    counts: dict[str, int] = {}
    if kind != "regression":
        for value in values:
            for label in value if isinstance(value, list) else [value]:
                counts[str(label)] = counts.get(str(label), 0) + 1
    return Guess(options, texts, kind, dict(sorted(counts.items(), key=lambda one: -one[1])), notes)


def _task(
    columns: Mapping[str, Sequence[Any]], given: Mapping[str, Any], task: str | None, *, path: str, notes: list[str]
) -> tuple[str, dict[str, str]]:
    """Return the task, and the file's column for each of its own."""
    named = written_pair(columns)
    if task is None and not given and named:
        return named
    if task in (None, "text-classification"):
        return "text-classification", roles(columns, given, path=path, notes=notes)
    own = dict(named[1]) if named and named[0] == task else {}
    own |= {name: str(column) for name, column in given.items()}
    if set(own) != {"source", "target"} or not set(own.values()) <= set(columns):
        raise DataError(
            f"{path}: the names of the columns do not say what {task} reads and writes. They are "
            f"{', '.join(map(repr, columns))}; say which are meant: --data.columns.source NAME "
            "--data.columns.target NAME."
        )
    return task, own


# --- the file ---------------------------------------------------------------------------------------------------------


def _format_or_none(path: str) -> str | None:
    try:
        return format_of(Source(path=path))
    except DataError:
        return None


def _with_format(source: Source) -> Source:
    """Return the source with its format, by its name or else by its first lines."""
    named = source.format or _format_or_none(str(source.path))
    if named not in (None, "lines"):
        return source.model_copy(update={"format": named})
    file = single_file(source.path)
    check_kind(file)
    with opened_text(file, source.encoding) as text:
        lines = [line for line in itertools.islice(lines_of(text), _ROWS_TO_PEEK) if line.strip()]
    if lines and all(line.startswith("{") for line in lines):
        return source.model_copy(update={"format": "jsonl"})
    if lines and all(re.match(r"\(\S+ ", line) for line in lines):
        return source.model_copy(update={"format": "trees"})
    tabs = {line.count("\t") for line in lines}
    if len(tabs) == 1 and tabs != {0}:
        return source.model_copy(update={"format": "tsv"})
    if named is None:
        # The same complaint that reading it would give.
        format_of(source)
    raise DataError(
        f"{source.path} holds lines of text without labels, as far as its first {len(lines)} lines show. If a second "
        "file holds the labels, write data.train: [texts.txt, labels.txt] and data.column_names: [text, label] in a "
        "recipe; if it is a table, name its format: --data.format csv."
    )


def _named(source: Source, notes: list[str]) -> tuple[list[str], Source]:
    """Return the names of the columns, and the source as it must be read to have them."""
    match source.format:
        case "csv" | "tsv":
            return _delimited_names(source, notes)
        case "jsonl" | "json":
            return _json_names(source)
        case "parquet":
            return _parquet_names(single_file(source.path)), source
        case _:
            return list(source.column_names or ("text", "label")), source


def _delimited_names(source: Source, notes: list[str]) -> tuple[list[str], Source]:
    if source.column_names:
        return list(source.column_names), source
    file = single_file(source.path)
    check_kind(file)
    with opened_text(file, source.encoding) as text:
        lines = list(itertools.islice(text, _ROWS_TO_PEEK))
    delimiter = source.delimiter or _delimiter(lines, "\t" if source.format == "tsv" else ",")
    if delimiter != (source.delimiter or ("\t" if source.format == "tsv" else ",")):
        source = source.model_copy(update={"delimiter": delimiter})
    records = _records(lines, delimiter, has_quotes=source.quoting != "none")
    if not records:  # the reader says what is wrong, better than could be said here
        return ["text", "label"], source
    if len(records[0]) == 1 and len(records) > 1:
        raise DataError(
            f"{file.name}: one column is found, but a text and a label are needed. Name what stands between two "
            "fields: --data.delimiter CHARACTER."
        )
    if _is_header(records):
        return records[0], source
    notes.append("The first line looks like a row, not like a header, so the columns are named here.")
    names = [f"column_{number}" for number in range(1, len(records[0]) + 1)]
    return names, source.model_copy(update={"column_names": names})


def _delimiter(lines: Sequence[str], usual: str) -> str:
    """Return the usual delimiter unless it splits nothing, and another one splits every line alike."""
    if any(usual in line for line in lines[:1]):
        return usual
    for other in "\t;|,":
        counts = {len(record) for record in _records(lines[:20], other)}
        if len(counts) == 1 and counts != {1}:
            return other
    return usual


def _records(lines: Sequence[str], delimiter: str, *, has_quotes: bool = True) -> list[list[str]]:
    """Return the records in some lines, as far as they can be read."""
    records = []
    with contextlib.suppress(csv.Error):
        for record in csv.reader(
            lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if has_quotes else csv.QUOTE_NONE
        ):
            if record:
                records.append(record)
    return records


def _is_header(records: Sequence[Sequence[str]]) -> bool:
    """Whether the first record names the columns."""
    first, rest = records[0], records[1:]
    words = [word(cell) for cell in first]
    if any(one in (*LABELS, *TEXTS, *SUMMARIES) for one in words) or numbered_pair(list(first)):
        return True
    if any(is_number(cell) or len(cell) > LONG for cell in first) or len(set(first)) < len(first):
        return False
    columns = [[record[place] for record in rest if place < len(record)] for place in range(len(first))]
    # A label recurs; a name does not.
    return not any(cell in column for cell, column in zip(first, columns, strict=True) if cell)


def _json_names(source: Source) -> tuple[list[str], Source]:
    file = single_file(source.path)
    check_kind(file)
    rows: list[Any] = []
    try:
        with opened_text(file, source.encoding) as text:
            if source.format == "jsonl":
                rows = [json.loads(line) for line in itertools.islice(text, _ROWS_TO_PEEK) if line.strip()]
            else:
                whole = json.loads(text.read())
                lists = (
                    {key: value for key, value in whole.items() if isinstance(value, list)}
                    if isinstance(whole, dict)
                    else {}
                )
                if source.field is None and "train" in lists and len(lists) > 1:
                    source = source.model_copy(update={"field": "train"})
                one = lists.get(source.field or next(iter(lists), "")) if isinstance(whole, dict) else whole
                rows = list(one or [])[:_ROWS_TO_PEEK]
    except (ValueError, RecursionError):
        rows = []
    if rows and all(isinstance(row, list) for row in rows) and not source.column_names:
        names = [f"column_{number}" for number in range(1, len(rows[0]) + 1)]
        return names, source.model_copy(update={"column_names": names})
    names = list(source.column_names or dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row))
    # Nothing usable: the reader says what is wrong, better than could be said here.
    return names or ["text", "label"], source


def _parquet_names(file: File) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_kind(file, is_parquet=True)
    with opened(file) as stream:
        try:
            return list(pq.read_schema(io.BytesIO(stream.read())).names)
        except pa.ArrowException as error:
            raise DataError(f"{file.name} is damaged, or not Parquet. Fetch or write it again. ({error})") from error


def _read(source: Source, names: Sequence[str]) -> tuple[Content, Source]:
    """Return all columns by the reader that training uses, with quotes taken as characters where only that works."""
    may_be_plain = source.quoting is None and source.format in ("csv", "tsv")
    plain = source.model_copy(update={"quoting": "none"})
    try:
        content, warnings = _attempt(source, names)
    except DataError as error:
        if may_be_plain and "quote" in str(error):
            with contextlib.suppress(DataError):
                return _attempt(plain, names)[0], plain
        raise
    if may_be_plain and source.format == "tsv" and any("swallowed" in one for one in warnings):
        with contextlib.suppress(DataError):
            return _attempt(plain, names)[0], plain
    return content, source


def _attempt(source: Source, names: Sequence[str]) -> tuple[Content, list[str]]:
    complaints = Complaints(str(source.path))
    wanted = Wanted({name: (name,) for name in names if name})
    content = FORMATS[str(source.format)](source, wanted=wanted, complaints=complaints)
    complaints.raise_errors()
    if not len(content.places):
        raise DataError(f"{source.path} holds no rows.")
    return content, complaints.warnings
