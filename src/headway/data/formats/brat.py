"""Standoff annotation as brat writes it: a folder or zip of texts (``a.txt``), each with its spans (``a.ann``)."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

from headway.data.formats.archive import File, tree
from headway.data.formats.content import Complaints, Content, ContentBuilder, Wanted
from headway.data.formats.decoding import lines_of, opened_text, read_text
from headway.data.options import Source
from headway.errors import DataError

# T1<tab>Person 0 4<tab>Anna; the parts of a discontinuous span stand between semicolons.
_SPAN = re.compile(r"(?P<id>T[^\t]*)\t(?P<label>\S+) (?P<parts>\d+ \d+(?:;\d+ \d+)*)(?:\t(?P<text>.*))?")
_LINE_END = re.compile(r"\r\n|[\r\n]")


def read(source: Source, *, wanted: Wanted, complaints: Complaints) -> Content:
    """Return each text with the list of its spans (``start``, ``end``, ``label``, ``text``), in order of file name.

    Offsets count characters of the text file as it is, line ends included, and each is checked against the words that
    the annotation holds. Relations, events, attributes and notes are not read, and a warning says so.

    Raises:
        DataError: there is no text file, or ``data.column_names`` does not name two columns.
    """
    if not isinstance(source.path, str):
        raise DataError(f"data.format: brat reads one folder or zip, not a list: {', '.join(source.path)}.")
    names = list(source.column_names or ["text", "spans"])
    if len(names) != 2:
        raise DataError(f"{source.path}: brat gives two columns, text and spans; data.column_names: {names}.")
    chosen = wanted.choose(names, source=source.path, hint="Brat's files give the columns 'text' and 'spans'.")
    builder = ContentBuilder(chosen, unit="")
    others: Counter[str] = Counter()
    with tree(source.path) as files:
        texts = [name for name in files if name.suffix == ".txt"]
        if not texts:
            shown = ", ".join(map(str, list(files)[:5])) or "nothing"
            raise DataError(f"{source.path} holds no .txt file, only {shown}. Name the folder of the texts.")
        for name in files:
            if name.suffix == ".ann" and name.with_suffix(".txt") not in files:
                complaints.error(str(name), f"there is no {name.with_suffix('.txt').name} beside it.")
        for name in texts:
            row: dict[str, Any] = {names[0]: read_text(files[name], source.encoding)}
            if names[1] in chosen:
                annotation = name.with_suffix(".ann")
                if annotation not in files:
                    complaints.error(
                        str(name), f"there is no {annotation.name} beside it. A text without spans has an empty one."
                    )
                    continue
                row[names[1]] = _spans(
                    annotation, files[annotation], row[names[0]], source.encoding, complaints=complaints, others=others
                )
            builder.append([row[column] for column in chosen], str(name))
    if others:
        shown = ", ".join(f"{kind} ({count:,})" for kind, count in sorted(others.items()))
        complaints.warn(f"only spans (T) are read of the annotation, not the lines that begin with {shown}.")
    return builder.build()


def _spans(
    name: PurePosixPath,
    file: File,
    text: str,
    encoding: str | None,
    *,
    complaints: Complaints,
    others: Counter[str],
) -> list[dict[str, Any]]:
    spans = []
    with opened_text(file, encoding, may_be_empty=True) as lines:
        for number, line in enumerate(lines_of(lines), 1):
            if not line.strip():
                continue
            if not line.startswith("T"):
                others[line[0]] += 1
                continue
            found = _span(line, text)
            if isinstance(found, str):
                complaints.error(f"{name}, line {number}", found)
            else:
                spans.append(found)
    return sorted(spans, key=lambda span: (span["start"], span["end"]))


def _span(line: str, text: str) -> dict[str, Any] | str:
    """Return the span of a line, or what is wrong with it."""
    match = _SPAN.fullmatch(line)
    if match is None:
        return f"not a span such as 'T1<tab>Person 0 4<tab>Anna': {line!r:.80}."
    if ";" in match["parts"]:
        return (
            f"{match['id']} is a discontinuous span ({match['parts']}), which a tag for each word cannot say. Make it "
            "one span, or several."
        )
    start, end = map(int, match["parts"].split())
    if not 0 <= start < end <= len(text):
        return f"{match['id']} goes from {start} to {end}, and the text has {len(text)} characters."
    # Brat writes a line end within a span as blanks.
    held, said = (_LINE_END.sub(" ", one) for one in (text[start:end], match["text"] or text[start:end]))
    if " ".join(held.split()) != " ".join(said.split()):
        return (
            f"{match['id']} ({start} to {end}) says {said!r:.60}, but there the text holds {held!r:.60}. The text was "
            "changed after it was annotated; offsets count characters, line ends included."
        )
    return {"start": start, "end": end, "label": match["label"], "text": text[start:end]}
