"""Is one run better than another? The difference of every metric, paired over seeds, with its interval.

Two runs of one seed share the order of their rows and what dropout leaves out, and all are scored on the same rows; so
the differences within pairs vary less than the runs themselves, and few seeds say more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway.errors import RunError
from headway.metrics.intervals import across_seeds
from headway.run_dir import RunDir

FEWEST_SEEDS = 3
"""Pairs from which on an interval is worth reading; with two it spans 12.7 standard errors on either side."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What a finished run says of itself, by seed."""

    path: str
    main_metric: str
    higher_is_better: bool
    values: dict[int, dict[str, dict[str, float]]]
    """Seed -> split -> metric -> value."""
    data: dict[str, str]
    """Split -> fingerprint of its rows."""


def compare(runs: Sequence[str | Path]) -> dict[str, Any]:
    """Return by how much each run differs from the first, in every metric that they share.

    Args:
        runs: run directories, single ones or groups of seeds; the first is what the others are measured against.

    Returns:
        ``{"main_metric", "higher_is_better", "reference", "comparisons": [{"run", "seeds", "splits": {split: {metric:
        {"reference", "run", "difference", "deviation", "low", "high", "pairs"}}}, "verdict", "remarks"}]}``. A
        difference is the run's mean minus the reference's; ``deviation`` is that of the paired differences, ``low``
        and ``high`` the 95 % t interval of their mean (Student 1908), both absent with one pair only.

    Raises:
        RunError: a run is missing or unfinished, or two cannot be compared: other evaluation rows, no common metric
            or no common seed.
    """
    if len(runs) < 2:
        raise RunError("Name at least two runs; the first is what the others are measured against.")
    reference, *others = [_read(run) for run in runs]
    return {
        "main_metric": reference.main_metric,
        "higher_is_better": reference.higher_is_better,
        "reference": reference.path,
        "comparisons": [_compared(reference, one) for one in others],
    }


def _read(path: str | Path) -> _Read:
    # Opened for its checks; of a group, the group itself is read.
    chosen, run = RunDir.open(path), RunDir(path)
    parts = {seed: run.seed(seed) for seed in run.seeds} or {int(chosen.read_manifest()["seed"]): run}
    metrics = {seed: part.read_metrics() for seed, part in parts.items() if part.is_complete}
    if unfinished := sorted(parts.keys() - metrics.keys()):
        raise RunError(f"{path}: the seeds {unfinished} did not finish. Finish them with --resume.")
    data = {
        seed: {name: one["fingerprint"] for name, one in parts[seed].read_manifest()["data"].items()} for seed in parts
    }
    first = next(iter(parts))
    for seed, held in data.items():
        if held != data[first]:
            raise RunError(f"{path}: the seeds {first} and {seed} were not made from the same rows.")
    return _Read(
        str(path),
        metrics[first]["main_metric"],
        bool(metrics[first]["higher_is_better"]),
        {
            seed: {
                split: {name: float(one["value"]) for name, one in values.items()}
                for split, values in held["metrics"].items()
            }
            for seed, held in metrics.items()
        },
        data[first],
    )


def _compared(reference: _Read, other: _Read) -> dict[str, Any]:
    splits = [name for name in reference.data if name != "train" and name in other.data]
    if not splits:
        raise RunError(f"{reference.path} and {other.path} share no validation or test rows, so nothing compares.")
    for split in splits:
        if reference.data[split] != other.data[split]:
            raise RunError(
                f"{reference.path} and {other.path} were scored on different {split} rows, so their scores do not "
                "compare. Train both with the same data and data.split_seed, or score both on one file with "
                "`headway evaluate`."
            )
    if reference.main_metric != other.main_metric:
        raise RunError(
            f"{reference.path} is judged by {reference.main_metric} and {other.path} by {other.main_metric}: these "
            "are different tasks."
        )
    seeds = sorted(reference.values.keys() & other.values.keys())
    if not seeds:
        raise RunError(
            f"{reference.path} (seeds {sorted(reference.values)}) and {other.path} (seeds {sorted(other.values)}) "
            "share no seed, so they cannot be paired. Train both with the same training.seeds."
        )
    remarks = []
    if left := sorted(reference.values.keys() ^ other.values.keys()):
        remarks.append(f"Left out, for only one of the two has them: seeds {', '.join(map(str, left))}.")
    if reference.data["train"] != other.data["train"]:
        remarks.append("The two were trained on different rows.")
    if len(seeds) == 1:
        remarks.append("One seed: chance cannot be told from a difference. Set training.seeds: [0, 1, 2] or more.")
    elif len(seeds) < FEWEST_SEEDS:
        remarks.append(f"{len(seeds)} seeds are few: the interval is very wide. Train {FEWEST_SEEDS} or more.")
    found = {split: _differences(reference, other, split, seeds) for split in splits}
    main, higher_is_better = reference.main_metric, reference.higher_is_better
    return {
        "run": other.path,
        "seeds": seeds,
        "splits": found,
        "verdict": {split: _verdict(values[main], higher_is_better) for split, values in found.items()},
        "remarks": remarks,
    }


def _differences(reference: _Read, other: _Read, split: str, seeds: Sequence[int]) -> dict[str, dict[str, float]]:
    found = {}
    main = reference.main_metric
    names = reference.values[seeds[0]][split]
    for name in sorted(names, key=lambda one: (one != main, one)):
        sides = [[one.values[seed][split].get(name) for seed in seeds] for one in (reference, other)]
        left, right = ([value for value in side if value is not None] for side in sides)
        if len(left) < len(seeds) or len(right) < len(seeds):
            continue
        differences = across_seeds([after - before for before, after in zip(left, right, strict=True)])
        found[name] = {
            "reference": sum(left) / len(left),
            "run": sum(right) / len(right),
            "difference": differences["value"],
            "pairs": len(seeds),
        }
        if len(seeds) > 1:
            found[name] |= {key: differences[key] for key in ("deviation", "low", "high")}
    return found


def _verdict(difference: dict[str, float], higher_is_better: bool) -> str:
    """Return what the interval of a difference says: ``better``, ``worse``, or ``not told apart``."""
    if "low" not in difference or difference["low"] <= 0 <= difference["high"]:
        return "not told apart"
    return "better" if (difference["low"] > 0) == higher_is_better else "worse"
