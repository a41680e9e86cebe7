"""`headway extract`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from headway.cli.train import Overrides

if TYPE_CHECKING:
    from headway.extract import Entity, Extraction


def extract(
    ner_run: str,
    relation_run: str,
    /,
    *overrides: Overrides,
    text: str | None = None,
    data: str | None = None,
    threshold: float = 0.5,
    max_distance: int = 30,
    batch_size: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 64,
    allow_user_code: bool = False,
    json_: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Find entities in a text (`--text`), in each row of a file (`--data FILE`) or line of `-`, and relate them.

    Each triple is a line: head | relation | tail | probability, with the places of head and tail in the text, counted
    in characters from 0. Where there are several texts, each line begins with the number of its text, from 1.

    Args:
        ner_run: A run of token classification.
        relation_run: A run of relation extraction.
        overrides: How the file is read (`--data.format`, `--data.columns.text`), or `-` for standard input.
        text: One text.
        data: A file of raw texts in any format; a .txt file holds one a line.
        threshold: The least probability of a relation that is shown.
        max_distance: The most words between two entities that are looked at together.
        batch_size: Rows of 32 tokens that a model sees at once; it never changes a result.
        allow_user_code: Import the classes of your own that a run names.
        json_: Print one JSON object for each text: text, entities, triples.
    """
    from headway.errors import RecipeError
    from headway.extract import extract as extractions
    from headway.predictor import Predictor

    options = [token for token in overrides if token != "-"]
    if sum((text is not None, data is not None, "-" in overrides)) != 1:
        raise RecipeError("Give exactly one of --text TEXT, --data FILE, or - for standard input.")
    if options and data is None:
        raise RecipeError(f"{options[0]!r} goes with --data FILE; it says how a file is read.")
    texts: Iterator[str] = iter([text] if text is not None else _file(data, options) if data else _standard_input())
    tagger, linker = (
        Predictor.load(run, allow_user_code=allow_user_code, batch_size=batch_size) for run in (ner_run, relation_run)
    )
    found = extractions(tagger, linker, texts, threshold=threshold, max_distance=max_distance)
    for number, one in enumerate(found, start=1):
        if json_:
            print(json.dumps(_record(one), ensure_ascii=False), flush=True)
            continue
        for line in _lines(one):
            print(line if text is not None else f"{number}: {line}", flush=True)
        if text is not None and not one.triples:
            held = ", ".join(f"{entity.text} ({entity.label})" for entity in one.entities) or "none"
            print(f"No relation with a probability of {threshold:g} or more. Entities: {held}.", file=sys.stderr)


def _file(path: str, options: list[str]) -> Iterator[str]:
    from headway.data.options import DataOptions
    from headway.data.table import Table
    from headway.recipe import parse_overrides, reading_options
    from headway.types import Column

    reading = reading_options(DataOptions(train=path), parse_overrides(options))
    columns = (Column("text", "text", True, "The text."),)
    return (row["text"] for row in Table.read(path, options=reading, columns=columns, need_gold=False))


def _standard_input() -> Iterator[str]:
    from headway.errors import DataError

    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(
                f"standard input, line {number}: not UTF-8 at byte {error.start} of the line. Convert it first, for "
                "example with: iconv -f cp1252 -t utf-8"
            ) from None


def _lines(found: Extraction) -> Iterator[str]:
    for triple in found.triples:
        head, tail = _place(triple.head), _place(triple.tail)
        yield f"{head} | {triple.relation} | {tail} | {triple.probability:.4f}"


def _place(entity: Entity) -> str:
    """Return an entity with where it stands, on one line."""
    return f"{' '.join(entity.text.split())} [{entity.start}:{entity.end}]"


def _record(found: Extraction) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found)
