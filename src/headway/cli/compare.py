"""`headway compare`."""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import Parameter


def compare(run: str, other: str, /, *others: str, json_: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Say by how much runs differ, paired over their seeds, with 95 % intervals of the differences.

    All runs must have been scored on the same rows. An interval that holds 0 tells nothing apart: then train more
    seeds (`--training.seeds "[0, 1, 2, 3, 4]"`).

    Args:
        run: The run directory, a single one or a group of seeds, that the others are measured against.
        other: A run to measure.
        others: More of them.
        json_: Print one JSON object on standard output.
    """
    from headway.compare import compare as measure

    result = measure([run, other, *others])
    if json_:
        print(json.dumps(result))
        return
    print("\n\n".join(_text(result, one) for one in result["comparisons"]))


def _text(result: dict[str, Any], one: dict[str, Any]) -> str:
    from headway.cli.tables import table

    seeds = f"{len(one['seeds'])} seed{'s' if len(one['seeds']) > 1 else ''}"
    parts = [f"{one['run']} against {result['reference']}, {seeds}"]
    for split, metrics in one["splits"].items():
        rows = [
            [
                name,
                f"{values['reference']:.4f}",
                f"{values['run']:.4f}",
                f"{values['difference']:+.4f}",
                f"{values['deviation']:.4f}" if "deviation" in values else "",
                f"[{values['low']:+.4f}, {values['high']:+.4f}]" if "low" in values else "",
            ]
            for name, values in metrics.items()
        ]
        parts.append(table([split, "reference", "run", "difference", "deviation", "95 % interval"], rows))
        parts.append(f"{split}, by {result['main_metric']}: {one['verdict'][split]}.")
    return "\n\n".join([*parts, *one["remarks"]])
