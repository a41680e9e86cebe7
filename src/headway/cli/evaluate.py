"""`headway evaluate`."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import Parameter

from headway.cli.train import Overrides


def evaluate(
    run: str,
    /,
    *overrides: Overrides,
    data: str,
    output_dir: str | None = None,
    allow_user_code: bool = False,
    json_: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Score a run on a labelled file: every metric over all its rows, with 95 % bootstrap intervals.

    The file is read as the run's own data were; `--data.format`, `--data.columns.text` and so on change that. Options
    that say how answers are made may differ, too: `--task.generation.num_beams 4`.

    Args:
        run: The run directory.
        overrides: Reading and answering options that differ.
        data: The labelled file, folder, or hub:name/config[split].
        output_dir: Where to write metrics.json and predictions.jsonl.
        allow_user_code: Import the classes of your own that the run names. Off, metrics of your own are left out.
        json_: Print one JSON object on standard output.
    """
    from headway.cli.predict import reading_and_answering
    from headway.cli.tables import metrics_table
    from headway.evaluate import evaluate as score
    from headway.training.memory import keep_few_products, keep_freed_memory

    keep_freed_memory()
    keep_few_products()
    reading, answering = reading_and_answering(overrides)
    result = score(
        run, data, output_dir=output_dir, allow_user_code=allow_user_code, reading=reading, answering=answering
    )
    if json_:
        print(json.dumps({key: value for key, value in result.items() if key != "details"}))
    else:
        print(f"{result['rows']} rows of {data}; {result['tokens_lost']} tokens lost to truncation.\n")
        print(metrics_table(result))
