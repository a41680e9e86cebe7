"""Results as plain text tables, for a terminal or a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns; the first is flush left, all others flush right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [
        "  ".join(cell.ljust(width) if not number else cell.rjust(width) for number, (cell, width) in
                  enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    ]  # fmt: skip
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:]])


def number(value: Mapping[str, float]) -> str:
    """Return a value with its interval."""
    return f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """Return the metrics of every split, and the main metric of the baselines beside it."""
    splits, main = metrics["metrics"], metrics["main_metric"]
    if not splits:
        return "No validation or test rows: nothing was scored."
    names = sorted({name for values in splits.values() for name in values}, key=lambda name: (name != main, name))
    rows = [[name, *(number(values[name]) if name in values else "" for values in splits.values())] for name in names]
    parts = [table(["metric [95 % interval]", *splits], rows)]
    baselines = metrics.get("baselines") or {}
    if baselines:
        rows = [
            [name.replace("_", " "), *(number(values[split][main]) if split in values else "" for split in splits)]
            for name, values in [("this model", splits), *baselines.items()]
        ]
        parts.append(table([main, *splits], rows))
    if metrics.get("collapsed"):
        parts.append("WARNING: the model collapsed: it gives every row the same answer.")
    return "\n\n".join(parts)
