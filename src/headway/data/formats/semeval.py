"""Sentences with two marked entities in the form of SemEval-2010 task 8: blocks of a sentence and its relation.

A block is a line of number, tab and the sentence in quotes, a line with the relation, a line ``Comment: ...`` and a
blank line. A file without relations is one such sentence a line; a second file may hold them, as number, tab, relation.
"""

from __future__ import annotations

import re

from headway.data.formats.archive import check_kind, single_file
from headway.data.formats.content import Complaints, Content, ContentBuilder, Wanted
from headway.data.formats.decoding import lines_of, opened_text
from headway.data.options import Source
from headway.errors import DataError

_SENTENCE = re.compile(r'(?P<number>\d+)\t"(?P<text>.*)"\s*')
_KEY = re.compile(r"(?P<number>\d+)\t(?P<label>\S.*?)\s*")
NAMES = ("id", "text", "label")


def read(source: Source, *, wanted: Wanted, complaints: Complaints) -> Content:
    """Return the columns ``id``, ``text`` (marks included, quotes not) and ``label`` (if the file has relations).

    Of two files, the second holds the relations: ``[TEST_FILE_CLEAN.TXT, KEY.TXT]``. Bad lines go to ``complaints``.

    Raises:
        DataError: the file as a whole cannot be read, the two files hold other sentences, or no sentence has the
            relation that is wanted.
    """
    paths = [source.path] if isinstance(source.path, str) else list(source.path)
    if len(paths) > 2:
        raise DataError(f"{complaints.name}: {len(paths)} files; sentences and their relations are two at most.")
    if source.column_names:
        raise DataError(
            f"{complaints.name}: this format has its own columns ({', '.join(NAMES)}). Leave data.column_names out."
        )
    rows = _blocks(paths[0], source, complaints)
    if len(paths) == 2:
        rows = _with_labels(rows, paths[1], source, complaints)
    has_labels = any(label is not None for _, _, _, label in rows)
    hint = "Where the relations stand in a file of their own, give both: [TEST_FILE_CLEAN.TXT, KEY.TXT]."
    chosen = wanted.choose(NAMES if has_labels else NAMES[:2], source=complaints.name, hint=hint)
    builder = ContentBuilder(chosen, unit="line")
    for number, identity, text, label in rows:
        if label is None and "label" in chosen:
            complaints.error(f"line {number}", f"the sentence {identity} has no relation in the line under it.")
        row = {"id": identity, "text": text, "label": label}
        builder.append([row[name] for name in chosen], number)
    return builder.build()


def _blocks(path: str, source: Source, complaints: Complaints) -> list[tuple[int, str, str, str | None]]:
    """Return line number, number, text and relation of each sentence."""
    file = single_file(path)
    check_kind(file)
    rows: list[tuple[int, str, str, str | None]] = []
    is_open = False
    with opened_text(file, source.encoding) as text:
        for number, line in enumerate(lines_of(text), 1):
            match = _SENTENCE.fullmatch(line)
            if match is not None:
                rows.append((number, match["number"], match["text"], None))
                is_open = True
            elif not line.strip():
                is_open = False
            elif is_open and line.startswith("Comment:"):
                pass
            elif is_open and rows[-1][3] is None and "\t" not in line:
                rows[-1] = (*rows[-1][:3], line.strip())
            else:
                complaints.error(
                    f"line {number}",
                    f'expected a number, a tab and a sentence in quotes (1<tab>"The <e1>...") or, under it, its '
                    f"relation and a line 'Comment: ...'; found {line!r:.80}.",
                )
                is_open = False
    return rows


def _with_labels(
    rows: list[tuple[int, str, str, str | None]], path: str, source: Source, complaints: Complaints
) -> list[tuple[int, str, str, str | None]]:
    """Return the sentences with the relations of a key file, which has one line for each, in any order."""
    file = single_file(path)
    check_kind(file)
    labels: dict[str, str] = {}
    with opened_text(file, source.encoding) as text:
        for number, line in enumerate(lines_of(text), 1):
            match = _KEY.fullmatch(line)
            if match is not None and match["number"] not in labels:
                labels[match["number"]] = match["label"]
            elif line.strip():
                problem = "this number stands there before" if match else "expected a number, a tab and a relation"
                complaints.error(f"line {number} of {file.name}", f"{problem}; found {line!r:.80}.")
    known = {identity for _, identity, _, _ in rows}
    if known != set(labels):
        lone = sorted(known ^ set(labels), key=int)
        raise DataError(
            f"{complaints.name}: the two files do not hold the same sentences; {len(lone)} numbers stand in one of "
            f"them only ({', '.join(lone[:5])}{', ...' if len(lone) > 5 else ''})."
        )
    return [(number, identity, text, labels[identity]) for number, identity, text, _ in rows]
