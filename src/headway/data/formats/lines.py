"""Parallel line files: line n of each file is row n, one file for each column."""

from __future__ import annotations

from headway.data.formats.archive import check_kind, single_file
from headway.data.formats.content import Complaints, Content, ContentBuilder, Wanted
from headway.data.formats.decoding import lines_of, opened_text
from headway.data.options import Source
from headway.errors import DataError


def read(source: Source, *, wanted: Wanted, complaints: Complaints) -> Content:
    """Return one column from each file, in the order of ``data.column_names``; a blank line is an empty text.

    Raises:
        DataError: the files differ in their number of lines, or in number from the names.
    """
    paths = [source.path] if isinstance(source.path, str) else source.path
    files = [single_file(path) for path in paths]
    for file in files:
        check_kind(file)
    names = list(source.column_names or ())
    if not names and len(paths) == 1:
        names = ["text"]
    if len(names) != len(paths):
        raise DataError(
            f"{complaints.name}: {len(paths)} line files need {len(paths)} names in data.column_names, in the order "
            f"of the files ([text, label]); it holds {names or 'none'}."
        )
    hint = "A line file holds one column: name each in data.column_names, in the order of the files."
    if len(paths) == 1:
        hint = "A line file holds one column. If this one is a table, set data.format: tsv or csv."
    chosen = wanted.choose(names, source=complaints.name, hint=hint)
    columns, counts = {}, {}
    for name, file in zip(names, files, strict=True):
        builder = ContentBuilder([name], unit="line")
        with opened_text(file, source.encoding) as text:
            for number, line in enumerate(lines_of(text), 1):
                builder.append([line], number)
        content = builder.build()
        columns.update(content.columns)
        counts[file.name] = len(builder)
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} has {count:,}" for name, count in counts.items())
        raise DataError(f"Parallel files must have the same number of lines, but {shown}. Which rows belong together?")
    return Content({name: columns[name] for name in chosen}, content.places, "line")
