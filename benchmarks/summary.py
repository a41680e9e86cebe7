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
    "scitldr": ("rouge1", "rouge2", "rougeL"),
    "dialogsum": ("rouge1", "rouge2", "rougeL"),
    "multi30k": ("bleu", "chrf"),
}
REFERENCE = "trainer"
"""The variant that the others' speed is compared with."""
GENERATION_REFERENCES = (REFERENCE, "trainer-tuned")
DISTURBED = 0.1
"""Processors that others kept busy, from which a measurement is marked."""


Column = tuple[str, Callable[[list[dict[str, Any]]], str]]
"""The title of a column, and what stands in it for the measurements of one variant."""


def summary(results: dict[str, Any]) -> str:
    """Return the whole text: command lines, versions, machine, and a table for each data set."""
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items() if value is not None)
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    lines = [*(f"    {command}" for command in results["commands"]), "", f"Machine: {machine}", f"Versions: {versions}"]
    for name, facts in results["sets"].items():
        found = [one for one in results["measurements"] if one["set"] == name]
        if found:
            lines += ["", heading(name, facts, found), "", *table(found, SHOWN_METRICS[name], facts)]
            if any("generation" in one for one in found):
                lines += ["", *generation_table(found, SHOWN_METRICS[name], facts)]
                lines += ["", *loss_curves(found)]
            if len({(one["train_tokens"], one.get("target_tokens"), one["steps"]) for one in found}) > 1:
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
    if facts.get("max_steps", -1) > 0:
        epochs = f"{facts['max_steps']:,} steps"
    written = f", {facts['max_target_length']} of them written" if "max_target_length" in facts else ""
    return (
        f"## {name}: {rows} rows; {epochs}, batch {facts['batch_size']}, learning rate {facts['learning_rate']}, "
        f"up to {facts['max_length']} tokens{written}; seeds {seeds}"
    )


def table(found: Sequence[dict[str, Any]], metrics: Sequence[str], facts: dict[str, Any]) -> list[str]:
    """Return the lines of a table in Markdown, one row for each variant."""
    variants = sorted({one["variant"] for one in found})
    columns: list[Column] = [
        ("precision", lambda some: " / ".join(sorted({str(one["precision"]) for one in some}))),
        ("sequences/s", lambda some: spread([one["sequences_per_second"] for one in some], digits=1)),
        (f"x {REFERENCE}", lambda some: ratio(some, found)),
        *(_by_processor_time(found) if all(is_alone(one) for one in found) else []),
        *([("% of peak", _share_of_peak(facts))] if "peak_flops" in facts else []),
        ("start-up s", lambda some: spread([one["startup_seconds"] for one in some], digits=1)),
        ("training s", lambda some: spread([one["training_seconds"] for one in some], digits=1)),
        ("whole run s", lambda some: spread([one["wall_seconds"] for one in some], digits=0)),
        ("peak MB, training", lambda some: spread([one["training_memory_mb"] for one in some], digits=0)),
        ("peak MB, whole run", lambda some: spread([one["memory_mb"] for one in some], digits=0)),
    ]
    splits = [split for split in found[0]["metrics"] if all(split in one["metrics"] for one in found)]
    columns += [(f"{split} {metric}", _metric(split, metric)) for split in splits for metric in metrics]
    lines = [["variant", *(title for title, _ in columns)]]
    for variant in variants:
        some = [one for one in found if one["variant"] == variant]
        lines.append([variant, *(cell(some) for _, cell in columns)])
    return aligned(lines)


def generation_table(found: Sequence[dict[str, Any]], metrics: Sequence[str], facts: dict[str, Any]) -> list[str]:
    """Return a table of the texts that were written: how fast, how long, how good; simple methods come last."""
    flat = [
        {"variant": one["variant"], "seed": one["seed"], **written, "rows": facts["rows"]["test"]}
        for one in found
        for written in one["generation"]
    ]
    by_wall, by_cpu = "sequences_per_second", "sequences_per_cpu_second"
    rate = by_cpu if all(is_alone(one) for one in found) else by_wall
    columns: list[Column] = [
        ("texts/s", lambda some: spread([one[by_wall] for one in some], digits=2)),
        ("texts/CPU s", lambda some: spread([one[by_cpu] for one in some], digits=2)),
        *((f"x {name}", _ratio_to(flat, rate, name)) for name in GENERATION_REFERENCES),
        ("tokens/CPU s", lambda some: spread([one["tokens"] / one["rows"] * one[by_cpu] for one in some], digits=0)),
        ("tokens a text", lambda some: spread([one["tokens"] / one["rows"] for one in some], digits=1)),
        *((f"test {name}", _written(name)) for name in metrics),
    ]
    lines = [["written by", *(title for title, _ in columns)]]
    for variant, precision in sorted({(one["variant"], one["precision"]) for one in flat}):
        some = [one for one in flat if (one["variant"], one["precision"]) == (variant, precision)]
        lines.append([f"{variant}, {precision}", *(cell(some) for _, cell in columns)])
    for name, scores in facts["baselines"].items():
        values = [f"{scores['test'][metric]:.4f}" for metric in metrics]
        lines.append([name, *["-"] * (len(columns) - len(values)), *values])
    return aligned(lines)


def loss_curves(found: Sequence[dict[str, Any]], *, points: int = 8) -> list[str]:
    """Return the mean loss over the seeds at a few steps of the run, a line for each variant."""
    lines = []
    for variant in sorted({one["variant"] for one in found}):
        curves = [dict(map(tuple, one["losses"])) for one in found if one["variant"] == variant]
        steps = sorted(set.intersection(*(set(curve) for curve in curves)))
        chosen = [steps[round(number * (len(steps) - 1) / (points - 1))] for number in range(points)] if steps else []
        means = (f"{step}: {statistics.fmean(curve[step] for curve in curves):.3f}" for step in dict.fromkeys(chosen))
        lines.append(f"- training loss by step, {variant}: {', '.join(means)}")
    return lines


def _ratio_to(flat: Sequence[dict[str, Any]], rate: str, variant: str) -> Callable[[list[dict[str, Any]]], str]:
    return lambda some: ratio(some, flat, rate, variant=variant)


def _written(metric: str) -> Callable[[list[dict[str, Any]]], str]:
    return lambda some: mean_and_deviation([one["metrics"][metric] for one in some])


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


def ratio(
    some: Sequence[dict[str, Any]],
    found: Sequence[dict[str, Any]],
    rate: str = "sequences_per_second",
    *,
    variant: str = REFERENCE,
) -> str:
    """Return how many times as fast as the reference, seed by seed."""
    reference = {one["seed"]: one[rate] for one in found if one["variant"] == variant}
    ratios = [one[rate] / reference[one["seed"]] for one in some if one["seed"] in reference]
    return spread(ratios, digits=2) if ratios else "-"


def is_alone(one: dict[str, Any]) -> bool:
    """Whether a measurement computed with one thread, whose own time then says more than the clock on the wall."""
    return one.get("threads") == 1 and "sequences_per_cpu_second" in one


def _by_processor_time(found: Sequence[dict[str, Any]]) -> list[Column]:
    rate = "sequences_per_cpu_second"
    return [
        ("sequences/CPU s", lambda some: spread([one[rate] for one in some], digits=1)),
        (f"x {REFERENCE}, CPU s", lambda some: ratio(some, found, rate)),
    ]


def share_of_peak(one: dict[str, Any], facts: dict[str, Any]) -> float:
    """Return the operations a second that the model needed, over those of this machine's bfloat16 matrix product."""
    per_epoch, rows = one["train_tokens"], facts["rows"]["train"]
    of_weights, of_length = facts["flops_per_token"]
    tokens = per_epoch * one.get("epochs", facts["epochs"])
    needed = tokens * (of_weights + of_length * per_epoch / rows)
    return float(needed / one["training_seconds"] / facts["peak_flops"])


def _share_of_peak(facts: dict[str, Any]) -> Callable[[list[dict[str, Any]]], str]:
    return lambda some: spread([100 * share_of_peak(one, facts) for one in some], digits=0)


def _metric(split: str, metric: str) -> Callable[[list[dict[str, Any]]], str]:
    return lambda some: mean_and_deviation([one["metrics"][split][metric] for one in some])
