"""Compare headway with the Hugging Face Trainer: speed, start-up, memory and quality, on the same rows and seeds.

This module starts one fresh process for each measurement, one after another, keeps every result, and prints the table.
What such a process does stands in measurement.py. See README.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# Nothing heavy is imported here: on Linux a process inherits its parent's peak memory.
from levers import AFTER, LEVERS, PARTLY, TRAINERS
from summary import summary

RECIPES = Path(__file__).parent / "recipes"
SETS = tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))
VARIANTS = ("headway", "trainer", "trainer-tuned")
ALL_VARIANTS = tuple(dict.fromkeys((*VARIANTS, *LEVERS, *PARTLY, *TRAINERS)))
PACKAGES = ("headway", "torch", "transformers", "accelerate", "lightning", "datasets", "tokenizers")
# What a result depends on; results of other settings are not continued.
SETTINGS = ("epochs", "max_steps", "max_train_rows", "max_evaluation_rows", "max_length", "model")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 if a measurement failed, 2 for a mistake in the arguments."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.one is not None:
        # Only here, in a process of its own, are torch and the rest imported.
        from measurement import run_one

        run_one(options.one)
        return 0
    if options.data is None:
        parser.error("--data: name the folder of the data sets, or set HEADWAY_TEST_DATA.")
    if not options.data.is_dir():
        parser.error(f"--data: there is no folder {options.data}.")
    command = shlex.join(["python", *sys.argv]) if arguments is None else shlex.join(arguments)
    results = open_results(options, command=command, fail=parser.error)
    failed = measure_all(options, results)
    print(summary(results))
    for name in failed:
        print(f"FAILED: {name}", file=sys.stderr)
    return 1 if failed else 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks/train.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    data = os.environ.get("HEADWAY_TEST_DATA")
    add("--data", type=Path, default=Path(data) if data else None, help="folder of the data sets [$HEADWAY_TEST_DATA]")
    add("--sets", type=names(SETS), default=SETS, help=f"some of {','.join(SETS)} [all]")
    add("--seeds", type=_seeds, default=(0, 1, 2), help="whole numbers [0,1,2]")
    helped = f"some of {','.join(ALL_VARIANTS)} [{','.join(VARIANTS)}]"
    add("--variants", type=names(ALL_VARIANTS), default=VARIANTS, help=helped)
    add("--epochs", type=_positive, default=3, help="passes over the training rows [3]")
    add("--max_steps", type=_positive, help="end after this many steps, whatever --epochs says [no limit]")
    add("--max_train_rows", type=_positive, help="train on this many random rows, the same for all [all rows]")
    add("--max_evaluation_rows", type=_positive, help="score on this many random rows of each split [all rows]")
    add("--max_length", type=_positive, help="tokens of a row, instead of what the recipes say")
    add("--model", default="minilm", help="backbone: minilm or a folder [minilm]")
    add("--output", type=Path, default=Path("benchmark-results.json"), help="file of the results [%(default)s]")
    add("--resume", action="store_true", help="keep what --output holds and measure only what it lacks")
    add("--one", type=Path, help=argparse.SUPPRESS)
    return parser


def measurements(sets: Sequence[str], seeds: Sequence[int], variants: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    """Return what to measure, in order: the variants take turns, and each seed begins with another of them.

    A machine that slows down or speeds up over the hours then does so for all variants alike.
    """
    for name in sets:
        for number, seed in enumerate(seeds):
            turn = number % len(variants)
            for variant in (*variants[turn:], *variants[:turn]):
                yield name, seed, variant


def open_results(options: argparse.Namespace, *, command: str, fail: Any) -> dict[str, Any]:
    """Return the content of the results file, new or, with --resume, as it was left."""
    settings = {name: getattr(options, name) for name in SETTINGS}
    fresh = {
        "commands": [command],
        "settings": settings,
        "versions": versions(),
        "machine": machine(),
        "sets": {},
        "measurements": [],
    }
    if not options.output.exists():
        return fresh
    if not options.resume:
        fail(f"--output: {options.output} exists. Add --resume to go on with it, or name another file.")
    held: dict[str, Any] = json.loads(options.output.read_text(encoding="utf-8"))
    for name in ("settings", "versions", "machine"):
        if held[name] != fresh[name]:
            fail(f"--resume: {options.output} was measured with other {name}: {held[name]}, now {fresh[name]}.")
    held["commands"].append(command)
    return held


def measure_all(options: argparse.Namespace, results: dict[str, Any]) -> list[str]:
    """Measure what ``results`` lacks, saving it after each measurement; return the names of those that failed."""
    done = {(one["set"], one["seed"], one["variant"]) for one in results["measurements"]}
    wanted = [one for one in measurements(options.sets, options.seeds, options.variants) if one not in done]
    failed = []
    with tempfile.TemporaryDirectory(prefix="headway-benchmark-") as temporary:
        prepared: dict[str, dict[str, Any] | None] = {}
        for number, (name, seed, variant) in enumerate(wanted, 1):
            folder = Path(temporary) / name
            if name not in prepared:
                folder.mkdir()
                settings = {key: getattr(options, key) for key in SETTINGS}
                job = {"kind": "prepare", "recipe": str(RECIPES / f"{name}.yaml"), "data": str(options.data.resolve())}
                prepared[name] = run_process(job | settings, folder)
            facts = prepared[name]
            found = None
            if facts is not None:
                results["sets"][name] = facts
                job = {"kind": variant, "seed": seed}
                if variant in AFTER:
                    job["cache"] = str(folder / f"cache-{seed}")
                    run_process(job | {"kind": AFTER[variant]}, folder)
                found = run_process(job, folder)
            label = f"{name}, seed {seed}, {variant}"
            if found is None:
                failed.append(label)
                continue
            results["measurements"].append({"set": name, "seed": seed, "variant": variant, **found})
            save(options.output, results)
            print(
                f"[{number}/{len(wanted)}] {label}: {found['sequences_per_second']:.1f} sequences/s, "
                f"{found['wall_seconds']:.0f} s in all, others used {found['processors_of_others']:.2f} CPUs",
                file=sys.stderr,
                flush=True,
            )
    return failed


def run_process(job: dict[str, Any], folder: Path, script: Path = Path(__file__)) -> dict[str, Any] | None:
    """Do one job of ``script`` in a fresh process, alone, and return what it found, or nothing where it failed."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        work = Path(temporary)
        # Every run tokenises for itself, as a first run does, unless the job says where an earlier one left its cache.
        caches = Path(job.get("cache", work))
        environment = os.environ | {
            "HEADWAY_CACHE": str(caches / "cache"),
            "HF_DATASETS_CACHE": str(caches / "datasets"),
            "HF_HUB_OFFLINE": "1",  # nobody asks a network for anything
        }
        file = work / "job.json"
        result = work / "result.json"
        started = time.time()
        job = job | {"prepared": str(folder), "work": str(work), "result": str(result), "started": started}
        file.write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, str(script.resolve()), "--one", str(file)]
        # What the variants say while they train goes to a file, which costs all of them the same.
        with (work / "log.txt").open("w", encoding="utf-8") as log:
            code = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT).returncode
        wall = time.time() - started
        if code or not result.exists():
            lines = (work / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
            print("\n".join([*lines[-40:], f"({job['kind']}: exit code {code})"]), file=sys.stderr, flush=True)
            return None
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found | {"wall_seconds": wall}


def save(path: Path, results: dict[str, Any]) -> None:
    """Write the results whole, so that an interruption leaves the ones before."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def versions() -> dict[str, str | None]:
    """Return the versions of what results depend on."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def machine() -> dict[str, Any]:
    """Return what the measurements ran on."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "platform": platform.platform(),
        "threads_asked_for": os.environ.get("OMP_NUM_THREADS"),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return number


def _seeds(text: str) -> tuple[int, ...]:
    seeds = tuple(int(part) for part in text.split(","))
    if len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"a seed stands twice in {text!r}")
    return seeds


def names(known: Sequence[str]) -> Any:
    """Return what turns an argument, some of ``known`` parted by commas, into their names."""

    def parse(text: str) -> tuple[str, ...]:
        chosen = tuple(dict.fromkeys(text.split(",")))
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no {name!r}; choose from {', '.join(known)}")
        return chosen

    return parse


if __name__ == "__main__":
    # So that a plain kill also ends the measurement that is under way, and removes what it wrote.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
