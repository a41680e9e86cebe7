"""Sentiment trees, one a line, with a label at each node: ``(3 (2 It) (4 works))``. The root's label is the row's."""

from __future__ import annotations

import re

from headway.data.formats.archive import single_file
from headway.data.formats.content import Complaints, Content, ContentBuilder, Wanted
from headway.data.formats.decoding import lines_of, opened_text
from headway.data.options import Source
from headway.errors import DataError

_TOKEN = re.compile(r"\(|\)|[^()\s]+")


def read(source: Source, *, wanted: Wanted, complaints: Complaints) -> Content:
    """Return the sentence (its words as they are written, joined by blanks) and the root label of each tree."""
    file = single_file(source.path)
    names = list(source.column_names or ["text", "label"])
    if len(names) != 2:
        raise DataError(f"{file.name}: trees give two columns, the sentence and its label; data.column_names: {names}.")
    chosen = wanted.choose(names, source=file.name, hint="Trees give the columns 'text' and 'label'.")
    builder = ContentBuilder(chosen, unit="line")
    with opened_text(file, source.encoding) as text:
        for number, line in enumerate(lines_of(text), 1):
            if not line.strip():
                continue
            try:
                words, label = _parse(line)
            except ValueError as error:
                complaints.error(
                    f"line {number}", f"not a tree such as (3 (2 It) (4 works)): {error}, in {line!r:.80}."
                )
                continue
            row = dict(zip(names, (" ".join(words), label), strict=True))
            builder.append([row[name] for name in chosen], number)
    return builder.build()


def _parse(line: str) -> tuple[list[str], str]:
    tokens = _TOKEN.findall(line)
    depth, words = 0, []
    previous = ""
    for place, token in enumerate(tokens):
        if depth == 0 and place > 0:
            raise ValueError("something stands after the tree's end")
        if token == "(":
            depth += 1
        elif token == ")":
            depth -= 1
            if previous == "(":
                raise ValueError("a bracket holds nothing")
        elif depth == 0:
            raise ValueError("it does not begin with a bracket")
        elif previous != "(":  # the first word in a bracket is its label
            words.append(token)
        previous = token
    if depth:
        raise ValueError(f"{depth} brackets are not closed")
    if len(tokens) < 2 or tokens[1] in "()":
        raise ValueError("the root has no label")
    if not words:
        raise ValueError("it holds no words")
    return words, tokens[1]
