"""Print the whole table of what headway is to be faster at, beside the Trainer and the pipeline, with its spread.

Each part of it is measured by train.py, predict.py, first_step.py or growth.py, one fresh process after another, and
kept in a folder, so that the same command goes on where it was interrupted. See README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shlex
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Nothing heavy is imported here: on Linux a process inherits its parent's peak memory.
import predict
import train
from summary import DISTURBED, aligned, mean_and_deviation, share_of_peak, spread

HERE = Path(__file__).parent
Measured = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: how often the one goes into the other, and what was hoped for."""

    ours: str
    theirs: str
    at_least: float
    aim: float
    value: str = "sequences_per_second"
    """What is compared; where less is better, `at_least` and `aim` are upper bounds."""


@dataclass(frozen=True, slots=True)
class Part:
    """What train.py measures for some lines."""

    sets: tuple[str, ...]
    rows: int
    """Training rows, unless --rows says otherwise."""
    lines: tuple[Line, ...]
    epochs: int = 1
    max_length: int | None = None
    more: tuple[str, ...] = ()
    """Variants that are in no line."""
    peak: float | None = None
    """Share of the bfloat16 peak that is hoped for, in per cent."""

    @property
    def variants(self) -> tuple[str, ...]:
        """All that are measured."""
        named = [name for line in self.lines for name in (line.ours, line.theirs)]
        return tuple(dict.fromkeys((*named, *self.more)))


_DEFAULT, _TUNED = "trainer", "trainer-tuned"
_LONG = (Line("headway", _TUNED, 1.6, 3.0),)
PARTS: dict[str, Part] = {
    "short": Part(
        ("sst2",), 1000, (Line("headway", _DEFAULT, 3.5, 6.0), Line("headway", _TUNED, 1.4, 2.2)), peak=20
    ),
    "imdb": Part(("imdb",), 96, _LONG, max_length=512, peak=35),
    "movie_reviews": Part(("movie_reviews",), 48, _LONG, max_length=512, peak=35),
    "squad": Part(("squad",), 96, _LONG, max_length=384, peak=35),
    "core": Part(("wikitext2", "meditations"), 150, (Line("headway", _DEFAULT, 2.5, 5.0),)),
    "frozen": Part(
        ("sst2",), 1000, (Line("headway-frozen", "trainer-frozen", 8.0, 25.0),), epochs=3,
        more=("headway-frozen-second-head",),
    ),
    "top": Part(("sst2",), 1000, (Line("headway-top", "trainer-tuned-top", 2.0, 3.0),), epochs=3),
}  # fmt: skip
"""The parts that train.py measures."""

PREDICTION = (
    Line("headway", "pipeline-32", 5.0, 8.0), Line("headway-bf16", "pipeline-32", 5.0, 8.0),
    Line("headway", "pipeline-1", 8.0, 15.0), Line("headway-bf16", "pipeline-1", 8.0, 15.0),
    Line("headway-1", "pipeline-1", 8.0, 15.0), Line("headway-bf16-1", "pipeline-1", 8.0, 15.0),
)  # fmt: skip
PREDICTED = {"sst2": 1821, "imdb": 488}
FIRST_STEP = (Line("headway", "trainer", 1.0, 0.6, "cpu_seconds"),)
MEMORY = (("training_memory_mb", "while training"), ("memory_mb", "whole run"))
GROWTH = (1_000, 10_000, 100_000)
ALL_PARTS = (*PARTS, "prediction", "first_step", "growth")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 if a measurement failed, 2 for a mistake in the arguments."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.data is None or not options.data.is_dir():
        parser.error("--data: name the folder of the data sets, or set HEADWAY_TEST_DATA.")
    options.output.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", *sys.argv]) if arguments is None else shlex.join(arguments)
    failed = [name for name in options.parts if not measure(name, options)]
    print("\n".join([f"    {command}", "", *table(options.output)]))
    for name in failed:
        print(f"FAILED, or not all of it: {name}", file=sys.stderr)
    return 1 if failed else 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks/speed.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    data = os.environ.get("HEADWAY_TEST_DATA")
    add("--data", type=Path, default=Path(data) if data else None, help="folder of the data sets [$HEADWAY_TEST_DATA]")
    add("--parts", type=train.names(ALL_PARTS), default=ALL_PARTS, help=f"some of {','.join(ALL_PARTS)} [all]")
    add("--seeds", type=train._seeds, default=(0, 1, 2), help="seeds, which are the repeats of everything [0,1,2]")
    add(
        "--rows",
        type=_rows,
        default={},
        help="PART=NUMBER,...: training rows of parts; sst2_texts=, imdb_texts=: texts that are predicted",
    )
    add("--evaluation_rows", type=train._positive, default=100, help="rows of each split that is scored [100]")
    add("--growth", type=_numbers, default=GROWTH, help="numbers of rows of the part growth [1000,10000,100000]")
    add("--model", default="minilm", help="backbone: minilm or a folder [minilm]")
    add("--output", type=Path, default=Path("speed"), help="folder of the results [%(default)s]")
    return parser


def measure(name: str, options: argparse.Namespace) -> bool:
    """Measure what a part lacks and return whether it is whole; its own tables are written beside the results."""
    ways: dict[str, Callable[[argparse.Namespace], bool]] = {
        "prediction": _prediction, "first_step": _first_step, "growth": _growth,
    }  # fmt: skip
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        is_whole = ways[name](options) if name in ways else _training(name, options)
    if said.getvalue():
        (options.output / f"{name}.md").write_text(said.getvalue(), encoding="utf-8")
    return is_whole


def _training(name: str, options: argparse.Namespace) -> bool:
    part = PARTS[name]
    given = {
        "data": options.data, "sets": ",".join(part.sets), "seeds": ",".join(map(str, options.seeds)),
        "variants": ",".join(part.variants), "epochs": part.epochs,
        "max_train_rows": options.rows.get(name, part.rows), "max_evaluation_rows": options.evaluation_rows,
        "max_length": part.max_length, "model": options.model, "output": options.output / f"{name}.json",
    }  # fmt: skip
    words = [str(word) for key, value in given.items() if value is not None for word in (f"--{key}", value)]
    return train.main([*words, "--resume"]) == 0


def _prediction(options: argparse.Namespace) -> bool:
    codes = []
    for name, number in PREDICTED.items():
        words = ["--data", options.data, "--sets", name, "--repeats", len(options.seeds), "--model", options.model]
        words += [
            "--max_rows",
            options.rows.get(f"{name}_texts", number),
            "--output",
            options.output / f"prediction-{name}",
        ]
        words += ["--threads", os.environ.get("OMP_NUM_THREADS") or os.cpu_count()]
        codes.append(predict.main([str(word) for word in words]))
    return not any(codes)


def _first_step(options: argparse.Namespace) -> bool:
    file, script = options.output / "first_step.json", HERE / "first_step.py"
    found = _held(file)
    done = {(one["variant"], one["seed"]) for one in found}
    wanted = list(train.measurements(["sst2"], options.seeds, ("headway", "trainer")))
    if all((variant, seed) in done for _, seed, variant in wanted):
        return True
    with tempfile.TemporaryDirectory(prefix="headway-benchmark-") as temporary:
        folder = Path(temporary)
        common = {"cache": str(folder / "caches")}
        job = {"kind": "prepare", "recipe": str(HERE / "recipes/sst2.yaml"), "data": str(options.data.resolve())}
        job |= {"epochs": 1, "max_train_rows": 1000, "max_evaluation_rows": 100, "model": options.model}
        # Then once by each, not counted: caches are to be warm.
        if train.run_process(common | job, folder, script) is None:
            return False
        for variant in ("headway", "trainer"):
            train.run_process(common | {"kind": variant}, folder, script)
        for _, seed, variant in wanted:
            if (variant, seed) not in done:
                one = train.run_process(common | {"kind": variant}, folder, script)
                if one is None:
                    return False
                found.append({"variant": variant, "seed": seed, **one})
                train.save(file, {"measurements": found})
    return True


def _growth(options: argparse.Namespace) -> bool:
    file = options.output / "growth.json"
    found = _held(file)
    done = {(one["rows"], one["seed"]) for one in found}
    for number in options.growth:
        for seed in options.seeds:
            if (number, seed) not in done:
                job = {"kind": "growth", "rows": number, "data": str(options.data.resolve()), "model": options.model}
                one = train.run_process(job, options.output, HERE / "growth.py")
                if one is None:
                    return False
                found.append({"seed": seed, **one})
                train.save(file, {"measurements": found})
    return True


def _held(file: Path) -> Measured:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return list(content.get("measurements", []))


# --- the printed form -------------------------------------------------------------------------------------------------


def table(folder: Path) -> list[str]:
    """Return everything that the results in a folder say, in Markdown."""
    heads = ["work", "compared", "times", "at least", "worth aiming at", "reached"]
    ratios, shares, memory, quality = [heads], [], [], []
    machines: dict[str, None] = {}
    disturbed = False
    for name, part in PARTS.items():
        held = json.loads((folder / f"{name}.json").read_text("utf-8")) if (folder / f"{name}.json").exists() else {}
        if held:
            machines[f"Machine: {held['machine']}\nVersions: {held['versions']}"] = None
        for one, facts in held.get("sets", {}).items():
            found = [each for each in held["measurements"] if each["set"] == one]
            disturbed |= any(each["processors_of_others"] > DISTURBED for each in found)
            title = f"{one}, {facts['rows']['train']:,} rows, up to {facts['max_length']} tokens, x {facts['epochs']}"
            ratios += [row for line in part.lines if (row := compared(title, line, found))]
            for variant in part.variants:
                some = [each for each in found if each["variant"] == variant]
                if some and part.epochs == 1:
                    share = spread([100 * share_of_peak(each, facts) for each in some], digits=0)
                    shares.append([one, variant, share, "-" if part.peak is None else f"{part.peak:.0f}"])
                if some:
                    quality.append([one, variant, *_quality(some)])
            memory += [row for row in (_memory(one, part, found, *of) for of in MEMORY) if row]
    for name in PREDICTED:
        file = folder / f"prediction-{name}/results.json"
        found = _held(file)
        # As predict.py does: one thread's own time is the better clock.
        is_alone = bool(found) and json.loads(file.read_text(encoding="utf-8"))["settings"]["threads"] == 1
        rate = "sentences_per_cpu_second" if is_alone else "sentences_per_second"
        lines = [Line(one.ours, one.theirs, one.at_least, one.aim, rate) for one in PREDICTION]
        ratios += [row for line in lines if (row := compared(f"prediction, {name}", line, found))]
    first = _held(folder / "first_step.json")
    ratios += [row for line in FIRST_STEP if (row := compared("first step, processor time", line, first))]
    lines = [*machines, "", *aligned(ratios)] if len(ratios) > 1 else []
    if shares:
        lines += ["", *aligned([["share of the bfloat16 peak", "variant", "per cent", "aim"], *shares])]
    if memory:
        heads = ["peak memory", "of", "headway, MB", "Trainer, MB", "times", "at most", "aim"]
        lines += ["", *aligned([heads, *memory])]
    if first:
        lines += ["", *aligned(_first_steps(first))]
    if quality:
        lines += [
            "",
            *aligned([["trained", "variant", "sequences/s", "seconds", "whole run, s", "score"], *quality]),
        ]
    if grown := _held(folder / "growth.json"):
        lines += ["", *aligned(_curve(grown))]
    lines += ["", "Median (lowest to highest) over the seeds; ratios are taken seed by seed."]
    if disturbed:
        lines.append(
            "Other processes computed meanwhile; on processors of their own they slow memory and caches alone."
        )
    return lines


def compared(title: str, line: Line, found: Measured) -> list[str] | None:
    """Return a row of the table, or nothing where there is nothing to compare."""
    theirs = {one["seed"]: one[line.value] for one in found if one["variant"] == line.theirs}
    ratios = [
        one[line.value] / theirs[one["seed"]] for one in found if one["variant"] == line.ours and one["seed"] in theirs
    ]
    if not ratios:
        return None
    is_less_better = line.aim < line.at_least
    middle = statistics.median(ratios)
    is_reached = [middle <= bound if is_less_better else middle >= bound for bound in (line.at_least, line.aim)]
    bound = "at most " if is_less_better else ""
    verdict = "aim" if is_reached[1] else "yes" if is_reached[0] else "NO"
    names = f"{line.ours} / {line.theirs}"
    return [title, names, spread(ratios, digits=2), f"{bound}{line.at_least}", f"{bound}{line.aim}", verdict]


def _memory(name: str, part: Part, found: Measured, value: str, label: str) -> list[str] | None:
    line = part.lines[-1]
    theirs = {one["seed"]: one[value] for one in found if one["variant"] == line.theirs}
    ours = {one["seed"]: one[value] for one in found if one["variant"] == line.ours and one["seed"] in theirs}
    if not ours:
        return None
    ratios = [ours[seed] / theirs[seed] for seed in ours]
    cells = [spread(list(values), digits=0) for values in (ours.values(), [theirs[seed] for seed in ours])]
    return [f"{name}, {line.theirs}", label, *cells, spread(ratios, digits=2), "1.0", "0.8"]


def _quality(some: Measured) -> list[str]:
    """Return speed and seconds, and the first score of the last split, which all variants were given alike."""
    split = list(some[0]["metrics"])[-1]
    metric = next(iter(some[0]["metrics"][split]))
    return [
        spread([one["sequences_per_second"] for one in some], digits=1),
        spread([one["training_seconds"] for one in some], digits=1),
        spread([one["wall_seconds"] for one in some], digits=1),
        f"{split} {metric} {mean_and_deviation([one['metrics'][split][metric] for one in some])}",
    ]


def _first_steps(found: Measured) -> list[list[str]]:
    rows = [["to the first step", "processor time, s", "wall, s", "memory, MB"]]
    for variant in ("headway", "trainer"):
        if some := [one for one in found if one["variant"] == variant]:
            values = (("cpu_seconds", 2), ("seconds", 2), ("memory_mb", 0))
            rows.append([variant, *(spread([one[name] for one in some], digits=digits) for name, digits in values)])
    return rows


def _curve(found: Measured) -> list[list[str]]:
    """Return microseconds a token, by the number of rows."""
    names = {
        "tokenizer_alone": "tokenizer, row by row", "tokenizer_together": "all at once", "reading": "reading",
        "tokenising": "tokenising into the cache", "from_the_cache": "found there", "training": "training",
    }  # fmt: skip
    rows = [["rows", "tokens", *names.values(), "peak memory, MB"]]
    for number in sorted({one["rows"] for one in found}):
        some = [one for one in found if one["rows"] == number]
        costs = [spread([1e6 * one[name] for one in some], digits=1) for name in names]
        rows.append(
            [f"{number:,}", f"{some[0]['tokens']:,}", *costs, spread([one["memory_mb"] for one in some], digits=0)]
        )
    return rows


def _rows(text: str) -> dict[str, int]:
    known = (*PARTS, *(f"{name}_texts" for name in PREDICTED))
    found = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        if name not in known or not number.isdecimal() or not int(number):
            raise argparse.ArgumentTypeError(f"expected PART=NUMBER with a part of {', '.join(known)}, found {part!r}")
        found[name] = int(number)
    return found


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(train._positive(part) for part in text.split(","))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
