"""Compare choices of a recipe with one another: score, trained parameters, time and memory, over the same seeds.

A study is a YAML file below studies/: recipes of recipes/, and named variants, each a set of options. Every variant and
seed is trained in a fresh process, the variants taking turns, and every result is kept. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

# Nothing heavy is imported here: on Linux a process inherits its parent's peak memory.
from train import machine, save, versions

HERE = Path(__file__).parent
STUDIES = tuple(sorted(path.stem for path in (HERE / "studies").glob("*.yaml")))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 if a training failed, 2 for a mistake in the arguments."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.one is not None:
        run_one(json.loads(options.one.read_text(encoding="utf-8")))
        return 0
    if options.data is None or not options.data.is_dir():
        parser.error("--data: name the folder of the data sets, or set HEADWAY_TEST_DATA.")
    study = yaml.safe_load((HERE / "studies" / f"{options.study}.yaml").read_text(encoding="utf-8"))
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "results.json"
    fresh = {"commands": [], "study": study, "versions": versions(), "machine": machine(), "measurements": []}
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else fresh
    for name in ("study", "versions", "machine"):
        if results[name] != fresh[name]:
            parser.error(f"--output: {file} was measured with another {name}. Name another folder.")
    results["commands"].append(shlex.join(["python", *sys.argv]) if arguments is None else shlex.join(arguments))
    failed = measure_all(study, results, options)
    print(summary(results))
    for name in failed:
        print(f"FAILED: {name}", file=sys.stderr)
    return 1 if failed else 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks/study.py", description=__doc__.split("\n")[0])
    data = os.environ.get("HEADWAY_TEST_DATA")
    parser.add_argument("study", nargs="?", choices=STUDIES, help="a file of studies/")
    parser.add_argument("--data", type=Path, default=Path(data) if data else None, help="folder of the data sets")
    parser.add_argument("--output", type=Path, default=Path("study"), help="folder of runs and results [%(default)s]")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    return parser


def measure_all(study: dict[str, Any], results: dict[str, Any], options: argparse.Namespace) -> list[str]:
    """Train what ``results`` lacks, saving it after each training; return the names of those that failed."""
    failed = []
    done = {(one["set"], one["seed"], one["variant"]) for one in results["measurements"]}
    if not _train_first(study, options):
        return ["first"]
    for name in study["sets"]:
        for seed in study["seeds"]:
            for variant in study["variants"]:
                # A set may leave a variant out.
                if (name, seed, variant) in done or study["sets"][name].get(variant, {}) is None:
                    continue
                found = measure(study, name, seed, variant, options)
                if found is None:
                    failed.append(f"{name}, {variant}, seed {seed}")
                    continue
                results["measurements"].append({"set": name, "seed": seed, "variant": variant, **found})
                save(options.output / "results.json", results)
    return failed


def _train_first(study: dict[str, Any], options: argparse.Namespace) -> bool:
    """Train what all variants begin with, <first>, if the study has it and it is not there; return whether it is."""
    if "first" not in study or (_first(options.output) / "metrics.json").exists():
        return True
    name, overrides = study["first"]["set"], study["first"]["options"]
    alone = {"sets": {name: {}}, "variants": {"run": overrides}}
    job = job_of(alone, name, 0, "run", output=options.output, data=options.data)
    run = _first(options.output)
    return (
        run_job(job | {"run": str(run), "result": str(run.parent / "result.json")}, label=f"first, {name}") is not None
    )


def _first(output: Path) -> Path:
    return output.resolve() / "first" / "run"


def measure(
    study: dict[str, Any], name: str, seed: int, variant: str, options: argparse.Namespace
) -> dict[str, Any] | None:
    """Train one variant in a fresh process, and return what it found, or nothing where it failed."""
    job = job_of(study, name, seed, variant, output=options.output, data=options.data)
    return run_job(job, label=f"{name}, {variant}, seed {seed}")


def run_job(job: dict[str, Any], *, label: str) -> dict[str, Any] | None:
    """Do what a job describes in a fresh process, and return what it found, or nothing where it failed."""
    work = Path(job["run"]).parent
    work.mkdir(parents=True, exist_ok=True)
    (work / "job.json").write_text(json.dumps(job), encoding="utf-8")
    environment = os.environ | {"HEADWAY_CACHE": str(work / "cache"), "HF_HUB_OFFLINE": "1"}
    started = time.time()
    with (work / "log.txt").open("w", encoding="utf-8") as log:
        command = [sys.executable, str(Path(__file__).resolve()), "--one", str(work / "job.json")]
        code = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT).returncode
    wall = time.time() - started
    print(f"{label}: exit code {code}, {wall:.0f} s", file=sys.stderr, flush=True)
    if code:
        print("\n".join((work / "log.txt").read_text(encoding="utf-8").splitlines()[-20:]), file=sys.stderr)
        return None
    found: dict[str, Any] = json.loads(Path(job["result"]).read_text(encoding="utf-8"))
    return found | {"wall_seconds": wall}


def job_of(study: dict[str, Any], name: str, seed: int, variant: str, *, output: Path, data: Path) -> dict[str, Any]:
    """Return what the process that trains one variant has to know: recipe, options, and where everything goes."""
    folder = output.resolve() / name / str(seed)
    work = folder / _folder_name(variant)
    # A set may need a variant in a form of its own.
    own = study["sets"][name].get(variant, {})
    overrides = {**study.get("common", {}), **study["variants"][variant], **own}
    # A variant may go on from the run of another one, named <variant>.
    run_of = r'"<(.+?)>"', lambda found: json.dumps(str(folder / _folder_name(found[1]) / "run"))
    text = json.dumps(overrides).replace('"<first>"', json.dumps(str(_first(output) / "model")))
    overrides = json.loads(re.sub(*run_of, text))
    return {
        "recipe": str(HERE / "recipes" / f"{name}.yaml"),
        "data": str(data.resolve()),
        "overrides": overrides,
        "seed": seed,
        "run": str(work / "run"),
        "result": str(work / "result.json"),
        "rows": study.get("max_train_rows"),
    }


def run_one(job: dict[str, Any]) -> None:
    """Train what a job describes, and write scores, trained parameters and peak memory to the place it names."""
    import logging

    from headway.recipe import Recipe
    from headway.train import train

    logging.basicConfig(level=logging.INFO)
    recipe = Recipe.load(job["recipe"], {**job["overrides"], "training.seeds": [job["seed"]]})
    base = Path(job["data"])
    parts = {name: one.model_copy(update={"data": one.data.relative_to(base)}) for name, one in recipe.parts().items()}
    recipe = recipe.with_parts(parts)
    if job["rows"]:
        recipe = with_some_rows(recipe, job["rows"], Path(job["run"]).parent)
    scores = train(recipe, output_dir=job["run"], overwrite=True)
    # A study of many runs would fill the disk.
    shutil.rmtree(Path(job["run"]) / "checkpoints", ignore_errors=True)
    manifest = json.loads((Path(job["run"]) / "manifest.json").read_text(encoding="utf-8"))
    found = {
        "metrics": {
            f"{task} {split}".strip(): {name: one["value"] for name, one in values.items()}
            for task, of_task in {"": scores, **scores.get("tasks", {})}.items()
            for split, values in of_task["metrics"].items()
        },
        "main_metric": scores["main_metric"],
        "trainable_parameters": manifest["model"]["trainable_parameters"],
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }
    Path(job["result"]).write_text(json.dumps(found), encoding="utf-8")


def with_some_rows(recipe: Any, number: int, folder: Path) -> Any:
    """Return the recipe over one random choice of its training rows, the same for all seeds and variants."""
    import numpy as np

    from headway.preparation import read_tables

    tables = read_tables(recipe)
    chosen = np.sort(np.random.default_rng(0).permutation(len(tables["train"]))[:number])
    tables["train"] = tables["train"].select(chosen)
    files = {name: folder / f"{name}.jsonl" for name in tables}
    for name, table in tables.items():
        files[name].write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    data = {name: str(file) for name, file in files.items()} | {"max_length": recipe.data.max_length}
    return recipe.model_copy(update={"data": type(recipe.data).model_validate({"validation": None, **data})})


def summary(results: dict[str, Any]) -> str:
    """Return the command lines, the machine, and a table for each data set."""
    study = results["study"]
    lines = [*(f"    {command}" for command in results["commands"]), "", study["about"].strip()]
    for name in study["sets"]:
        held = [one for one in results["measurements"] if one["set"] == name]
        if not held:
            continue
        scored = {split: values for one in held for split, values in one["metrics"].items()}
        heads = [(split, metric) for split, values in scored.items() for metric in study["metrics"] if metric in values]
        columns = ["", *map(" ".join, heads), "trained parameters", "seconds", "memory (MB)", "seeds"]
        lines += ["", name, "", _row(columns), _row(["---"] * len(columns))]
        for variant in study["variants"]:
            some = [one for one in held if one["variant"] == variant]
            if some:
                values = [[one["metrics"].get(split, {}).get(metric) for one in some] for split, metric in heads]
                lines.append(_row([
                    variant, *map(mean, values), f"{some[0]['trainable_parameters']:,}",
                    f"{statistics.median(one['wall_seconds'] for one in some):.0f}",
                    f"{statistics.median(one['memory_mb'] for one in some):.0f}",
                    ", ".join(str(one["seed"]) for one in some),
                ]))  # fmt: skip
    note = "Scores: mean ± sample deviation over the seeds; seconds and memory: medians, of the whole process."
    return "\n".join([*lines, "", note])


def _folder_name(variant: str) -> str:
    return re.sub(r"\W+", "-", variant)


def mean(values: Sequence[float | None]) -> str:
    """Return mean and sample deviation, or nothing where a variant does not have the metric."""
    found = [one for one in values if one is not None]
    if not found:
        return ""
    spread = f" ± {statistics.stdev(found):.4f}" if len(found) > 1 else ""
    return f"{statistics.fmean(found):.4f}{spread}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
