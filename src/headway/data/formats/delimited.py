"""CSV and TSV, record by record with Python's csv module: every field a string, byte for byte, at a known line.

The module's strict mode refuses what others mend in silence; what it cannot see (a quote that swallowed whole rows, a
header that stands twice, another delimiter) is looked for here.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from headway.data.formats.archive import single_file
from headway.data.formats.content import Complaints, Content, ContentBuilder, Wanted
from headway.data.formats.decoding import opened_text
from headway.data.options import Source
from headway.errors import DataError

MAX_COLUMNS = 4096
_OTHER_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
# A whole field in quotes that holds a quote written twice.
_QUOTED = r'(?s)^"(?:[^"]|"")*""(?:[^"]|"")*"$'
_LINE_END = re.compile(r"\r\n|\r|\n")


def read(source: Source, *, wanted: Wanted, complaints: Complaints) -> Content:
    """Return the wanted columns of a CSV or TSV file; bad records are added to ``complaints``.

    Raises:
        DataError: the file as a whole cannot be read, or lacks a column.
    """
    file = single_file(source.path)
    delimiter = source.delimiter or ("\t" if source.format == "tsv" else ",")
    with opened_text(file, source.encoding) as text, _long_fields():
        records = _Records(text, delimiter=delimiter, has_quotes=source.quoting != "none", complaints=complaints)
        header = list(source.column_names or ()) or records.header()
        _check_header(header, name=file.name, delimiter=records.delimiter)
        hint = "" if source.column_names else _header_hint(header, wanted, records.delimiter)
        chosen = wanted.choose(header, source=file.name, hint=hint)
        reading = _Reading(header, chosen, source=source, complaints=complaints, delimiter=records.delimiter)
        for place, num_lines, record in records:
            reading.add(place, num_lines, record)
        if len(header) == 1 and records.num_blank:
            complaints.warn(f"blank lines ({records.num_blank:,}) are no rows; an empty text is written as two quotes.")
        return reading.finish()


@contextmanager
def _long_fields() -> Iterator[None]:
    # The module's limit of 128 KB a field is a setting of the whole process, so it is put back.
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


class _Records:
    """The records of a text, each with its first line and the number of its lines; blank lines are no records."""

    def __init__(self, text: Any, *, delimiter: str, has_quotes: bool, complaints: Complaints) -> None:
        self._text = text
        self._complaints = complaints
        self._quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if has_quotes else csv.QUOTE_NONE
        self._lines_before = 0
        self.num_blank = 0
        self._start(delimiter)

    def _start(self, delimiter: str) -> None:
        self.delimiter = delimiter
        self._reader = csv.reader(
            self._text,
            delimiter=delimiter,
            quoting=self._quoting,
            strict=True,
        )

    def header(self) -> list[str]:
        """Return the first record; a line ``sep=;`` before it, which Excel writes, names the delimiter."""
        for _, _, record in self:
            self._complaints.raise_errors()
            joined = self.delimiter.join(record)
            if len(joined) == 5 and joined.startswith("sep="):
                self._complaints.warn(f"the first line {joined!r} is taken as the delimiter's name.")
                self._lines_before = self._reader.line_num
                self._start(joined[4])
                return self.header()
            return record
        raise DataError(f"{self._complaints.name} holds blank lines only.")

    def __iter__(self) -> Iterator[tuple[int, int, list[str]]]:
        reader, offset = self._reader, self._lines_before
        before = reader.line_num
        while True:
            try:
                for record in reader:
                    line_num = reader.line_num
                    self.num_blank += not record
                    if record:
                        yield before + 1 + offset, line_num - before, record
                    before = line_num
                return
            except csv.Error as error:
                self._complain(error, before + 1 + offset, reader.line_num + offset)
                before = reader.line_num

    def _complain(self, error: csv.Error, first: int, last: int) -> None:
        lines = f"line {first}" if last <= first else f"lines {first} to {last}"
        if "unexpected end of data" in str(error):
            message = f"a quote that opens in line {first} is never closed."
        else:
            message = "a field that begins with a quote goes on after the closing one."
        self._complaints.error(lines, message)
        self._complaints.advise(
            'Write a quote inside quotes twice (""), also where a backslash stands before it; if quotes are characters '
            "like any other in this file, set data.quoting: none."
        )


def _check_header(header: Sequence[str], *, name: str, delimiter: str) -> None:
    if len(header) > MAX_COLUMNS:
        raise DataError(
            f"{name} has {len(header):,} columns; at most {MAX_COLUMNS:,} are read. Is {delimiter!r} the delimiter "
            "(data.delimiter), and are the rows the lines?"
        )


def _header_hint(header: Sequence[str], wanted: Wanted, delimiter: str) -> str:
    """Return what may be wrong with a header that lacks a column: another delimiter, no header, another encoding."""
    line = delimiter.join(header)
    needed = [name for names in wanted.required.values() for name in names]
    if "\0" in line:
        return "It holds NUL bytes, as UTF-16 text does: set data.encoding: utf-16-le if it is."
    for other, word in _OTHER_DELIMITERS.items():
        parts = [part.strip().strip('"').lower() for part in line.split(other)]
        if other != delimiter and len(parts) > 1 and any(name.lower() in parts for name in needed):
            return f"The columns seem to be separated by {word}, not {delimiter!r}: set data.delimiter: {other!r}."
    return (
        f"If the first line is a row and not a header, name the columns: data.column_names: [...] ({len(header)} "
        f"names). Else say which is meant: {wanted.mapping(header)}."
    )


class _Reading:
    """Checks the shape of each record and keeps the chosen fields."""

    def __init__(
        self, header: list[str], chosen: list[str], *, source: Source, complaints: Complaints, delimiter: str
    ) -> None:
        self._header = header
        self._chosen = chosen
        self._positions = [header.index(name) for name in chosen]
        self._source = source
        self._complaints = complaints
        self._delimiter = delimiter
        # In prose a blank or a line end follows a comma; between two fields they rarely do.
        self._between_fields = re.compile(re.escape(delimiter) + ("(?! |$)" if delimiter in ",;" else ""))
        self._builder = ContentBuilder(chosen, unit="line")
        self._trailing: list[tuple[int, list[str]]] = []
        self._num_records = 0
        self._swallowing: list[int] = []
        self._has_other_delimiter = False

    def add(self, place: int, num_lines: int, record: list[str]) -> None:
        """Take one record."""
        self._num_records += 1
        if record == self._header or (self._num_records == 1 and self._looks_like_header(record)):
            if len(record) > 1 or self._source.column_names:
                self._repeated_header(place)
                return
            # In a file of one column this may well be a text.
            self._complaints.warn(f"line {place} repeats the header; it is read as a row.")
        if len(record) != len(self._header):
            self._ragged(place, num_lines, record)
            return
        if num_lines > 1 and self._swallowed_rows(record):
            self._swallowing.append(place)
            if self._is_certainly_swallowing():
                self._complaints.error(
                    f"line {place}",
                    f"a quote swallowed {num_lines} lines into one record, and each has a row's number of tabs.",
                )
                self._complaints.advise(
                    "If quotes are characters like any other in this file, set data.quoting: none; if such a record "
                    "is meant, data.quoting: minimal."
                )
                return
        self._builder.append([record[position] for position in self._positions], place)

    def _looks_like_header(self, record: list[str]) -> bool:
        # Only for files said to have no header: a first row that holds a wanted column's own name is one.
        if not self._source.column_names or len(record) != len(self._header):
            return False
        return any(record[position].lower() == self._header[position].lower() for position in self._positions)

    def _repeated_header(self, place: int) -> None:
        if self._source.column_names and self._num_records == 1:
            message = "the file has a header after all. Remove data.column_names, and map names by data.columns."
        else:
            message = "the header stands here again, as if two files were joined. Remove this line."
        self._complaints.error(f"line {place}", message)

    def _ragged(self, place: int, num_lines: int, record: list[str]) -> None:
        expected, found = len(self._header), len(record)
        if found == expected + 1 and not record[-1]:
            self._trailing.append((place, record))
            return
        shown = self._delimiter.join(record)
        if expected > 1 and found == 1:
            for other, word in _OTHER_DELIMITERS.items():
                if shown.count(other) == expected - 1 and not self._has_other_delimiter:
                    self._has_other_delimiter = True
                    self._complaints.advise(f"Line {place} seems to be separated by {word}: data.delimiter: {other!r}.")
        where = f"line {place}" if num_lines == 1 else f"lines {place} to {place + num_lines - 1}"
        mend = "A field that holds the delimiter must stand in quotes." if found > expected else "Fields are missing."
        if self._source.quoting == "none":
            mend = "With data.quoting: none no field can hold the delimiter."
        self._complaints.error(where, f"{expected} fields expected, {found} found in {shown!r:.120}.")
        self._complaints.advise(mend)

    def _swallowed_rows(self, record: list[str]) -> bool:
        """Whether a field of several lines has a row's number of delimiters in each, all but the last line."""
        last = len(self._header) - 1
        for position, cell in enumerate(record):
            lines = _LINE_END.split(cell)
            counts = [len(self._between_fields.findall(line)) for line in lines[:-1]]
            rows = [last - position] + [last] * (len(counts) - 1)
            if counts and counts == rows and sum(counts):
                return True
        return False

    def _is_certainly_swallowing(self) -> bool:
        # A comma is common in text, a tab is not; and who sets `minimal` has looked.
        return self._delimiter == "\t" and self._source.quoting is None

    def finish(self) -> Content:
        """Return what was kept; complain of what only the whole file shows."""
        kept = len(self._builder)
        if self._trailing and not kept:
            # Every row ends in a delimiter, which leaves an empty field without a name.
            self._complaints.warn(
                f"all {len(self._trailing):,} rows end in {self._delimiter!r}, which the header lacks."
            )
            for place, record in self._trailing:
                self._builder.append([record[position] for position in self._positions], place)
        else:
            for place, record in self._trailing:
                shown = self._delimiter.join(record)
                self._complaints.error(
                    f"line {place}",
                    f"{len(self._header)} fields expected, {len(record)} found in {shown!r:.120}: the line ends in "
                    "a delimiter.",
                )
        if self._swallowing and not self._is_certainly_swallowing():
            shown = ", ".join(map(str, self._swallowing[:10])) + (", ..." if len(self._swallowing) > 10 else "")
            self._complaints.warn(
                f"several lines, each with as many {self._delimiter!r} as a row, stand in one record at line {shown} "
                f"({len(self._swallowing):,} in all): a quote that is not closed may have swallowed rows."
            )
        if not self._header[-1].strip() and len(self._header) > 1:
            self._complaints.warn("the last column has no name; does the header end in a delimiter?")
        content = self._builder.build()
        self._check_quotes(content)
        return content

    def _check_quotes(self, content: Content) -> None:
        for name, values in content.columns.items():
            if not isinstance(values, pa.Array) or not len(values):
                continue
            if self._source.quoting == "none":
                found = _matches(values, _QUOTED)
                message = (
                    "stand in quotes, with the quotes inside written twice; they are read as they stand. Leave "
                    "data.quoting out if quotes enclose a field in this file."
                )
            else:
                found = _matches(values, r'^[ \t]+"')
                message = (
                    "hold a blank and then a quote; the quote is read as a character, because it does not stand at the "
                    "field's beginning."
                )
            if found:
                lines = ", ".join(str(content.places[row]) for row in found[:5]) + (", ..." if found[5:] else "")
                self._complaints.warn(f"{len(found):,} fields of column {name!r} (line {lines}) {message}")
            if len(_matches(values, r"(?s)^'.*'$")) == len(values):
                self._complaints.warn(
                    f"all fields of column {name!r} stand in single quotes, which are read as part of the text."
                )


def _matches(values: pa.Array, pattern: str) -> list[int]:
    """Return the numbers of the rows that match."""
    rows: list[int] = pc.indices_nonzero(pc.match_substring_regex(values, pattern)).to_pylist()
    return rows
