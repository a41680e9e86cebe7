"""`headway search`: make an index of texts, find the nearest of them, and find those that say the same."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, validators

from headway.cli.train import Overrides

if TYPE_CHECKING:
    from headway.search import Found, Index

AtLeastOne = Annotated[int, Parameter(validator=validators.Number(gte=1))]
AsJson = Annotated[bool, Parameter(name="--json")]


def index(
    run: str,
    file: str,
    /,
    *overrides: Overrides,
    output: str,
    column: str | None = None,
    pooling: Literal["cls", "mean", "max"] | None = None,
    max_length: AtLeastOne = 128,
    batch_size: AtLeastOne = 64,
    json_: AsJson = False,
) -> None:
    """Turn the texts of a file into an index that can be searched.

    `--data.format`, `--data.delimiter` and the other reading options of a recipe say how the file is read.

    Args:
        run: A run directory of sentence-embeddings, or a pretrained model (`minilm`, a folder, a hub name).
        file: The texts: any file that a recipe may name.
        overrides: Reading options of the file.
        output: The folder to make.
        column: The column of the file that holds the texts; empty takes `text`.
        pooling: Of a pretrained model; empty takes the mean of its tokens.
        max_length: Tokens of a text that a pretrained model sees.
        batch_size: Texts of 32 tokens that the model sees at once; it never changes a result.
        json_: Print one JSON object on standard output.
    """
    from headway.recipe import parse_overrides
    from headway.search import Embedder, build_index, read_texts

    table = read_texts(file, column=column, reading=parse_overrides(overrides))
    embedder = Embedder.load(run, pooling=pooling, max_length=max_length, batch_size=batch_size)
    made = build_index(embedder, table, output, metadata={"source": file})
    if json_:
        print(json.dumps({"index": output, **made.about}))
    else:
        print(f"{output}: {len(made):,} texts of {file}, {made.vectors.shape[1]} numbers each.")


def query(
    index: str,
    /,
    *overrides: Overrides,
    text: str | None = None,
    data: str | None = None,
    like: int | None = None,
    top: AtLeastOne = 10,
    column: str | None = None,
    engine: Literal["numpy", "faiss"] = "numpy",
    model: str | None = None,
    batch_size: AtLeastOne = 64,
    json_: AsJson = False,
) -> None:
    """Find the texts of an index that are nearest to a text, to each text of a file, or to one of its own rows.

    A file, or standard input (`-`, one text a line), gives one JSON object a line.

    Args:
        index: The folder of the index.
        overrides: Reading options of the file, or `-` for standard input.
        text: One text.
        data: A file of texts.
        like: A row of the index, counted from 0: "more like this".
        top: How many texts to find.
        column: The column of the file that holds the texts; empty takes `text`.
        engine: `numpy`, or `faiss` where it is installed; both find the same.
        model: Where the model that made the index lies now, if it was moved.
        batch_size: Texts of 32 tokens that the model sees at once; it never changes a result.
        json_: Print one JSON object on standard output.
    """
    from headway.errors import RecipeError
    from headway.recipe import parse_overrides
    from headway.search import QUERIES_PER_BLOCK, Index, read_texts

    options = [token for token in overrides if token != "-"]
    if sum((text is not None, data is not None, like is not None, "-" in overrides)) != 1:
        raise RecipeError("Give exactly one of --text TEXT, --data FILE, --like ROW, or - for standard input.")
    if options and data is None:
        raise RecipeError(f"{options[0]!r} goes with --data FILE; it says how a file is read.")
    opened = Index.open(index)
    if like is not None:
        _show({"like": like}, opened, opened.like(like, top=top, engine=engine), as_json=json_)
        return
    embedder = opened.embedder(model, batch_size=batch_size)
    if text is not None:
        (vectors,) = embedder.embed([text])
        _show({"query": text}, opened, opened.search(vectors, top=top, engine=engine)[0], as_json=json_)
        return
    texts: Iterator[str] = (
        _lines() if data is None
        else (row["text"] for row in read_texts(data, column=column, reading=parse_overrides(options)))
    )  # fmt: skip
    # From standard input each answer comes before the next line is waited for.
    at_once = 1 if data is None else QUERIES_PER_BLOCK
    while some := list(itertools.islice(texts, at_once)):
        (vectors,) = embedder.embed(some)
        for one, found in zip(some, opened.search(vectors, top=top, engine=engine), strict=True):
            print(json.dumps({"query": one, "found": _records(opened, found)}, ensure_ascii=False), flush=True)


def duplicates(
    index: str,
    /,
    threshold: Annotated[float, Parameter(validator=validators.Number(gte=-1, lte=1))] = 0.9,
    limit: AtLeastOne = 1000,
    json_: AsJson = False,
) -> None:
    """List the pairs of texts of an index that say nearly the same, the nearest first.

    Args:
        index: The folder of the index.
        threshold: The lowest cosine of a pair.
        limit: How many pairs to list; all are counted.
        json_: Print one JSON object on standard output.
    """
    from headway.search import Index

    opened = Index.open(index)
    pairs, count = opened.duplicates(threshold=threshold, limit=limit)
    if json_:
        records = [
            {"cosine": cosine, "first": _record(opened, one), "second": _record(opened, other)}
            for one, other, cosine in pairs
        ]
        print(json.dumps({"index": index, "threshold": threshold, "count": count, "pairs": records}))
        return
    for one, other, cosine in pairs:
        print(f"{cosine:.4f}  {one}: {opened.text(one)}\n        {other}: {opened.text(other)}")
    print(f"{count:,} pairs of {len(opened):,} texts have a cosine of {threshold} or more; {len(pairs):,} are listed.")


def _show(asked: dict[str, Any], index: Index, found: Found, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**asked, "found": _records(index, found)}, ensure_ascii=False))
        return
    for row, cosine in found:
        print(f"{cosine:.4f}  {row:>6}  {index.text(row)}")


def _records(index: Index, found: Found) -> list[dict[str, Any]]:
    return [{**_record(index, row), "cosine": cosine} for row, cosine in found]


def _record(index: Index, row: int) -> dict[str, Any]:
    return {"row": row, "where": index.where(row), "text": index.text(row)}


def _lines() -> Iterator[str]:
    from headway.errors import DataError

    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"standard input, line {number}: not UTF-8 at byte {error.start} of the line.") from None
