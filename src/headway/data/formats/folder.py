"""A folder, or a zip, with one folder of text files for each label: ``reviews/positive/1.txt``.

The folders of labels are those that hold the deepest files, all side by side. What lies beside them (a README) is no
row, and is reported.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from headway.data.formats.archive import tree
from headway.data.formats.content import Complaints, Content, ContentBuilder, Wanted
from headway.data.formats.decoding import read_text
from headway.data.options import Source
from headway.errors import DataError


def read(source: Source, *, wanted: Wanted, complaints: Complaints) -> Content:
    """Return each file's whole text and the name of its folder, in order of label and file name.

    Raises:
        DataError: there are no folders of labels, or they lie at different depths.
    """
    if not isinstance(source.path, str):
        raise DataError(f"data.format: folder reads one folder or zip, not a list: {', '.join(source.path)}.")
    names = list(source.column_names or ["text", "label"])
    if len(names) != 2:
        raise DataError(
            f"{source.path}: a folder gives two columns, the text and its label; data.column_names: {names}."
        )
    chosen = wanted.choose(names, source=source.path, hint="A folder gives the columns 'text' and 'label'.")
    builder = ContentBuilder(chosen, unit="")
    with tree(source.path) as files:
        for name in _rows(list(files), source.path, complaints):
            row = dict(zip(names, (read_text(files[name], source.encoding), name.parent.name), strict=True))
            builder.append([row[column] for column in chosen], str(name))
    return builder.build()


def _rows(names: list[PurePosixPath], source: str, complaints: Complaints) -> list[PurePosixPath]:
    """Return the files that lie in the folders of the labels."""
    depth = max((len(name.parts) for name in names), default=0)
    if depth < 2:
        shown = ", ".join(map(str, names[:5])) + (", ..." if len(names) > 5 else "")
        raise DataError(
            f"{source}: expected a folder for each label in it, found {len(names)} files beside one another "
            f"({shown or 'none'}). If one of them is the table, name that file."
        )
    rows = [name for name in names if len(name.parts) == depth]
    parents = sorted({name.parent.parent for name in rows})
    if len(parents) > 1:
        shown = ", ".join(map(str, parents[:5]))
        raise DataError(f"{source} holds folders of files in several places ({shown}). Name the one with the labels.")
    (parent,) = parents
    beside = sorted({*names} - {*rows})
    for name in beside:
        if name.parent != parent and name.parent not in parent.parents:
            raise DataError(f"{source}: {name} lies at another depth than {rows[0]}, so its label is not clear.")
    labels = {name.parent for name in rows}
    if beside:
        shown = ", ".join(map(str, beside[:5])) + (", ..." if len(beside) > 5 else "")
        complaints.warn(f"what lies beside the folders of the labels is no row: {shown} ({len(beside):,} in all).")
    if len(labels) < 2:
        complaints.warn(f"there is one folder of files only, {labels.pop()}.")
    return rows
