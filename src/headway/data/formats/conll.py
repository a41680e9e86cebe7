"""CoNLL columns: a token and its tags on each line, sentences apart by blank lines. Each sentence is one row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from headway.data.formats.archive import single_file
from headway.data.formats.content import Complaints, Content, ContentBuilder, Wanted
from headway.data.formats.decoding import lines_of, opened_text
from headway.data.label_names import several_tags
from headway.data.options import Source
from headway.errors import DataError

BLANKS = " \t\f\v"
"""What parts columns, and may stand in a blank line. A no-break space is a token like any other."""
DOCSTART = "-DOCSTART-"


def read(source: Source, *, wanted: Wanted, complaints: Complaints) -> Content:
    """Return a list for each wanted column and sentence; the place of a sentence is its first line.

    Columns are named by ``data.column_names``; without it the first holds the tokens and the last the tags. In a line
    that holds a tab, tabs part the columns (so a token may hold blanks), in another one blanks do; either way several
    count as one. ``data.delimiter`` names one character that alone parts them. Lines that begin a document
    (``-DOCSTART-``) are left out.

    Raises:
        DataError: there is no token, or the names do not fit the number of columns.
    """
    file = single_file(source.path)
    tags = set(wanted.sources.get("tags", ()))
    builder: ContentBuilder | None = None
    names: list[str] = []
    chosen: list[str] = []
    with opened_text(file, source.encoding) as text:
        for first, lines in _sentences(lines_of(text), source.delimiter):
            if builder is None:
                names = _names(source, width=len(lines[0]), where=f"{file.name}, line {first}")
                chosen = wanted.choose(names, source=file.name, hint=_HINT)
                builder = ContentBuilder(chosen, unit="line")
            is_whole = True
            for number, fields in enumerate(lines, first):
                for problem in _problems(fields, names, tags, source.label_delimiter):
                    complaints.error(f"line {number}", problem)
                    is_whole = False
            if is_whole:
                columns = dict(zip(names, zip(*lines, strict=True), strict=True))
                builder.append([list(columns[name]) for name in chosen], first)
    if builder is None:
        raise DataError(f"{file.name} holds no tokens, only blank lines.")
    return builder.build()


_HINT = "The columns of a CoNLL file have no header: name them in data.column_names, in their order ([tokens, tags])."


def _sentences(lines: Iterator[str], delimiter: str | None) -> Iterator[tuple[int, list[list[str]]]]:
    """Yield the fields of the lines of each sentence, with the number of its first line."""
    sentence: list[list[str]] = []
    number = 0
    for number, line in enumerate(lines, 1):
        is_document = line.startswith(DOCSTART)
        if is_document or not line.strip(BLANKS):
            if sentence:
                yield number - len(sentence), sentence
            sentence = []
        else:
            sentence.append(_fields(line, delimiter))
    if sentence:
        yield number - len(sentence) + 1, sentence


def _fields(line: str, delimiter: str | None) -> list[str]:
    if delimiter is not None:
        return [field.strip(BLANKS) for field in line.split(delimiter)]
    line = line.strip(BLANKS)
    return [field.strip(BLANKS) for field in re.split("\t[\t ]*" if "\t" in line else "[ \f\v]+", line)]


def _names(source: Source, *, width: int, where: str) -> list[str]:
    """Return the names of the columns."""
    given = source.column_names
    if given is None:
        # A file to predict may hold the tokens alone.
        return ["tokens"] if width == 1 else ["tokens", *(f"column {n}" for n in range(2, width)), "tags"]
    if len(given) != width:
        raise DataError(
            f"{where} has {width} columns, and data.column_names names {len(given)} ({', '.join(given)}). Name each "
            "column of the file, those that are not read as well."
        )
    return list(given)


def _problems(fields: Sequence[str], names: Sequence[str], tags: set[str], delimiter: str | None) -> Iterator[str]:
    """Yield what is wrong with a line."""
    if len(fields) != len(names):
        yield (
            f"{len(fields)} columns, where the first line of the file has {len(names)}: "
            f"{' '.join(fields)!r:.80}. Mend the line, or name what parts the columns in data.delimiter."
        )
        return
    for name, field in zip(names, fields, strict=True):
        if not field:
            yield f"the column {name!r} is empty."
        elif name in tags and delimiter is None and (found := several_tags(field)):
            yield found
