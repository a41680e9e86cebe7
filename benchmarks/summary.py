"""The printed form of the results: where they come from, then one table for each data set."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

# Set -> the metrics to show; every other one is in the results file.
SHOWN_METRICS = {
    "sst2": ("accuracy",),
    "stsb": ("spearman", "pearson"),
    "banking77": ("accuracy",),
    "goemotions": ("f1_micro", "f1_macro"),
    "emotion": ("f1_macro", "accuracy"),
    "irony": ("f1_macro", "accuracy"),
    "mrpc": ("accuracy", "f1"),
    "rte": ("accuracy",),
    "snli": ("accuracy",),
    "qnli": ("accuracy",),
    "imdb": ("accuracy",),
    "movie_reviews": ("accuracy",),
    "movie_reviews_windows": ("accuracy",),
    "conll2003": ("f1",),
    "wnut17": ("f1",),
    "squad": ("exact_match", "f1"),
    "codah": ("accuracy",),
    "semeval2010_task8": ("f1_macro_official", "accuracy"),
    "meditations": ("perplexity", "mlm_accuracy"),
    "wikitext2": ("perplexity", "mlm_accuracy"),
    "stsb_embeddings": ("spearman",),
    "banking77_search": ("recall_at_1", "recall_at_5"),
}
REFERENCE = "trainer"
"""The variant that the others' speed is compared with."""
DISTURBED = 0.1
"""Processors that others kept busy, from which a measurement is marked."""


def summary(results: dict[str, Any]) -> str:
    """Return the whole text: command lines, versions, machine, and a table for each data set."""
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items() if value is not None)
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    lines = [*(f"    {command}" for command in results["commands"]), "", f"Machine: {machine}", f"Versions: {versions}"]
    for name, facts in results["sets"].items():
        found = [one for one in results["measurements"] if one["set"] == name]
        if found:
            lines += ["", heading(name, facts, found), "", *table(found, SHOWN_METRICS[name], facts)]
            if len({(one["train_tokens"], one["steps"]) for one in found}) > 1:
                lines += ["", "NOT COMPARABLE: the variants differ in training tokens or steps; see the results file."]
    lines += [
        "",
        "Median (lowest to highest) over the seeds; metrics: mean ± sample deviation. Each measurement ran alone in a "
        "fresh process.",
    ]
    if disturbed := [disturbance(one) for one in results["measurements"] if one["processors_of_others"] > DISTURBED]:
        lines += ["", "Not alone on the machine, so that speed and times say little:", *disturbed]
    return "\n".join(lines)


def disturbance(one: dict[str, Any]) -> str:
    """Return in words how much else the machine did during a measurement."""
    return f"- {one['set']}, seed {one['seed']}, {one['variant']}: others used {one['processors_of_others']:.2f} CPUs"


def heading(name: str, facts: dict[str, Any], found: Sequence[dict[str, Any]]) -> str:
    """Return the title of a data set's table."""
    rows = ", ".join(f"{split} {count:,}" for split, count in facts["rows"].items())
    seeds = ", ".join(str(seed) for seed in sorted({one["seed"] for one in found}))
    epochs = "1 epoch" if facts["epochs"] == 1 else f"{facts['epochs']} epochs"
    return (
        f"## {name}: {rows} rows; {epochs}, batch {facts['batch_size']}, learning rate {facts['learning_rate']}, "
        f"up to {facts['max_length']} tokens; seeds {seeds}"
    )


def table(found: Sequence[dict[str, Any]], metrics: Sequence[str], facts: dict[str, Any]) -> list[str]:
    """Return the lines of a table in Markdown, one row for each variant."""
    variants = sorted({one["variant"] for one in found})
    columns: list[tuple[str, Callable[[list[dict[str, Any]]], str]]] = [
        ("precision", lambda some: " / ".join(sorted({str(one["precision"]) for one in some}))),
        ("sequences/s", lambda some: spread([one["sequences_per_second"] for one in some], digits=1)),
        (f"x {REFERENCE}", lambda some: ratio(some, found)),
        ("% of peak", lambda some: spread([100 * share_of_peak(one, facts) for one in some], digits=0)),
        ("start-up s", lambda some: spread([one["startup_seconds"] for one in some], digits=1)),
        ("training s", lambda some: spread([one["training_seconds"] for one in some], digits=1)),
        ("whole run s", lambda some: spread([one["wall_seconds"] for one in some], digits=0)),
        ("peak MB, training", lambda some: spread([one["training_memory_mb"] for one in some], digits=0)),
        ("peak MB, whole run", lambda some: spread([one["memory_mb"] for one in some], digits=0)),
    ]
    splits = dict.fromkeys(split for one in found for split in one["metrics"])
    columns += [(f"{split} {metric}", _metric(split, metric)) for split in splits for metric in metrics]
    lines = [["variant", *(title for title, _ in columns)]]
    for variant in variants:
        some = [one for one in found if one["variant"] == variant]
        lines.append([variant, *(cell(some) for _, cell in columns)])
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as a Markdown table; the first row is the header, the first column stands left."""
    widths = [max(len(line[number]) for line in lines) for number in range(len(lines[0]))]
    rule = [f"{'-' * widths[0]}", *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    texts = [
        [cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))]
        for cells in lines
    ]
    return ["| " + " | ".join(cells) + " |" for cells in (texts[0], rule, *texts[1:])]


def spread(values: Sequence[float], *, digits: int) -> str:
    """Return the median, with the lowest and highest where there are several: ``205.0 (198.2-210.4)``."""
    median = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return median
    return f"{median} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def mean_and_deviation(values: Sequence[float]) -> str:
    """Return the mean, with the sample deviation where there are several values."""
    mean = f"{statistics.fmean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.4f}"


def ratio(some: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]]) -> str:
    """Return how many times as fast as the reference, seed by seed."""
    reference = {one["seed"]: one["sequences_per_second"] for one in found if one["variant"] == REFERENCE}
    ratios = [one["sequences_per_second"] / reference[one["seed"]] for one in some if one["seed"] in reference]
    return spread(ratios, digits=2) if ratios else "-"


def share_of_peak(one: dict[str, Any], facts: dict[str, Any]) -> float:
    """Return the operations a second that the model needed, over those of this machine's bfloat16 matrix product."""
    per_epoch, rows = one["train_tokens"], facts["rows"]["train"]
    of_weights, of_length = facts["flops_per_token"]
    tokens = per_epoch * facts["epochs"]
    needed = tokens * (of_weights + of_length * per_epoch / rows)
    return float(needed / one["training_seconds"] / facts["peak_flops"])


def _metric(split: str, metric: str) -> Callable[[list[dict[str, Any]]], str]:
    return lambda some: mean_and_deviation([one["metrics"][split][metric] for one in some])
