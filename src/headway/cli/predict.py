"""`headway predict`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from headway.cli.train import Overrides

if TYPE_CHECKING:
    from headway.predictor import Predictor


def predict(
    run: str,
    /,
    *overrides: Overrides,
    text: str | None = None,
    text_pair: str | None = None,
    data: str | None = None,
    output: str | None = None,
    batch_size: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 64,
    bf16: bool = False,
    allow_user_code: bool = False,
    json_: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Predict one text (`--text`), a file (`--data FILE`), or standard input (`-`), in the order of the input.

    Files are read as the run's own data were; `--data.format`, `--data.columns.text` and so on change that. Standard
    input holds one text a line, or one JSON object a line. The columns of other tasks are options like `--text`:
    `--question "..." --context "..."`, `--choices '["one", "another"]'`. Options that say how answers are made may
    differ from the run's: `--task.generation.num_beams 4`.

    Args:
        run: The run directory.
        overrides: Columns of one row, reading and answering options that differ, or `-` for standard input.
        text: One text.
        text_pair: The second text of a pair.
        data: A file with one row for each prediction; a label column is not needed.
        output: Where to write one JSON object a line; empty writes to standard output.
        batch_size: Rows of 32 tokens that the model sees at once; it never changes a result.
        bf16: Compute in bfloat16, which is faster; probabilities move in the third digit, and a label that is hardly
            likelier than another is computed in float32 again.
        allow_user_code: Import the classes of your own that the run names.
        json_: Print one text's prediction as JSON, too.
    """
    from headway.errors import RecipeError, RunBusyError, RunError
    from headway.predictor import Predictor
    from headway.training.memory import keep_few_products, keep_freed_memory

    keep_few_products()
    row, options = _apart([token for token in overrides if token != "-"])
    row |= {name: value for name, value in (("text", text), ("text_pair", text_pair)) if value is not None}
    from_input = "-" in overrides
    if sum((bool(row), data is not None, from_input)) != 1:
        raise RecipeError("Give exactly one of --text TEXT, --data FILE, or - for standard input.")
    reading, answering = reading_and_answering(options)
    if row and reading:
        raise RecipeError(f"'--{next(iter(reading))}' goes with --data FILE; it says how a file is read.")
    if output is not None and Path(output).exists():
        raise RunBusyError(f"{output} exists already. Remove it or choose another --output.")
    if output is not None and not Path(output).parent.is_dir():
        raise RunError(f"There is no folder {Path(output).parent} to write {output} in. Make it first.")
    predictor = Predictor.load(
        run, allow_user_code=allow_user_code, batch_size=batch_size, bf16=bf16, answering=answering
    )
    if row:
        prediction = predictor.predict(row)
        record = {**row, "value": prediction.value, "score": prediction.score, **prediction.detail}
        print(json.dumps(record, ensure_ascii=False) if json_ else _lines(record))
        return
    keep_freed_memory()
    total = None
    if data is not None:
        table = predictor.read(data, reading)
        rows: Iterator[Any] = iter(table)
        total = len(table)
    else:
        rows = _standard_input(predictor)
    with _output(output) as file:
        for given, prediction in _watched(predictor.pairs(rows), total, is_on_screen=output is None):
            record = {**given, "value": prediction.value, "score": prediction.score, **prediction.detail}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            if output is None:
                file.flush()


def reading_and_answering(tokens: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the dotted options that say how a file is read, and those that say how answers are made (`task.`)."""
    from headway.recipe import parse_overrides

    options = parse_overrides(tokens)
    answering = {name: value for name, value in options.items() if name.startswith("task.")}
    return {name: value for name, value in options.items() if name not in answering}, answering


def _watched(pairs: Iterator[Any], total: int | None, *, is_on_screen: bool) -> Iterator[Any]:
    """Return the pairs as they come, with a bar on the terminal where the predictions themselves do not show there."""
    if not sys.stderr.isatty() or (is_on_screen and sys.stdout.isatty()):
        return pairs
    from rich.console import Console
    from rich.progress import track

    return iter(track(pairs, "Predicting", total=total, console=Console(stderr=True)))


def _apart(tokens: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the columns of a row (``--question ...``), as they are written, and the reading options."""
    row: dict[str, Any] = {}
    options: list[str] = []
    remaining = iter(tokens)
    for token in remaining:
        name, has_value, value = token.removeprefix("--").partition("=")
        if token.startswith("--") and name.isidentifier():
            row[name] = value if has_value else next(remaining, "")
        else:
            options.append(token)
    return row, options


def _standard_input(predictor: Predictor) -> Iterator[Any]:
    from headway.errors import DataError

    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            text = line.decode("utf-8").rstrip("\r\n")
            yield predictor.row(json.loads(text) if text.startswith("{") else text)
        except DataError as error:
            raise DataError(f"standard input, line {number}: {error}") from None
        except UnicodeDecodeError as error:
            raise DataError(
                f"standard input, line {number}: not UTF-8 at byte {error.start} of the line. Convert it first, for "
                "example with: iconv -f cp1252 -t utf-8"
            ) from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"standard input, line {number}: not a JSON object: {error}.") from None


@contextlib.contextmanager
def _output(path: str | None) -> Iterator[IO[str]]:
    """Write to standard output, or to a file that gets its name when it is whole."""
    from headway.files import whole_writes

    if path is None:
        yield sys.stdout
        return
    temporary = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.part")
    with whole_writes(Path(path)):
        try:
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _lines(record: dict[str, Any]) -> str:
    """Return a prediction for a person: the value, then the alternatives from the likeliest down."""
    value = record["value"]
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        lines = ["  ".join(_shown(part) for part in one.values()) for one in value]
    elif isinstance(value, list):
        lines = [", ".join(map(str, value))]
    else:
        lines = [_shown(value)]
    shares = record.get("probabilities", {})
    lines += [f"  {share:7.4f}  {label}" for label, share in sorted(shares.items(), key=lambda one: -one[1])[:10]]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
