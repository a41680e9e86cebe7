"""Compare prediction by headway with transformers' text-classification pipeline: speed and answers, on the same texts.

Each measurement runs in a fresh process, the variants taking turns, and every result is kept. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Nothing heavy is imported here: each variant loads what it needs in a process of its own.
from summary import DISTURBED, aligned, spread
from train import RECIPES, _positive, machine, measurements, names, run_process, save, versions

SETS: dict[str, dict[str, Any]] = {
    "sst2": {"file": "sst2/test.tsv", "column_names": ["text", "label"], "quoting": "none"},
    "imdb": {"file": "imdb/orig_test.tsv", "columns": {"text": "Text", "label": "Sentiment"}},
}
"""Set -> the file of its test rows, and how it is read."""
VARIANTS = ("pipeline-1", "pipeline-32", "headway", "headway-bf16", "headway-1", "headway-bf16-1")
"""What predicts: the pipeline at two batch sizes, or headway with all texts in hand; ``-1``: one text after another."""
LEVERS = {
    "headway-bf16-without-packing": "packing",
    "headway-bf16-without-unread-tokens": "skip_unread_tokens",
    "headway-bf16-without-sorted-weights": "sorted_weights",
}
"""Variant with all texts in hand, and the option of the model that is off in it."""
REFERENCES = ("pipeline-1", "pipeline-32")
"""The variants that speed is compared with; answers are compared with the first, each text alone in float32."""
RATES = ("sentences_per_second", "sentences_per_cpu_second")
ROWS_PER_LABEL = 1000
"""Rows of a set that a model learns from where there is none yet. Speed depends on what it has learnt only in how many
answers are so close that bfloat16 asks float32 again; under a model that knows little they are many."""
WARM_UP = 16
"""Texts that are predicted before the clock runs."""
Labels = list[dict[str, float]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 if a measurement failed, 2 for a mistake in the arguments."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.one is not None:
        run_one(json.loads(options.one.read_text(encoding="utf-8")))
        return 0
    if options.data is None or not options.data.is_dir():
        parser.error("--data: name the folder of the data sets, or set HEADWAY_TEST_DATA.")
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "results.json"
    settings = {name: getattr(options, name) for name in ("model", "threads", "max_rows")}
    settings["run"] = None if options.run is None else str(options.run.resolve())
    facts = {"settings": settings, "versions": versions(), "machine": machine()}
    fresh = {"commands": [], **facts, "sets": {}, "measurements": []}
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else fresh
    for name, value in facts.items():
        if results[name] != value:
            parser.error(f"--output: {file} was measured with other {name}. Name another folder.")
    results["commands"].append(shlex.join(["python", *sys.argv]) if arguments is None else shlex.join(arguments))
    failed = measure_all(options, results)
    print(summary(results))
    for name in failed:
        print(f"FAILED: {name}", file=sys.stderr)
    return 1 if failed else 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks/predict.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    data = os.environ.get("HEADWAY_TEST_DATA")
    add("--data", type=Path, default=Path(data) if data else None, help="folder of the data sets [$HEADWAY_TEST_DATA]")
    add("--run", type=Path, help="run directory of a text classification [one trained on each set]")
    add("--sets", type=names(tuple(SETS)), default=tuple(SETS), help=f"some of {','.join(SETS)} [all]")
    known = (*VARIANTS, *LEVERS)
    add("--variants", type=names(known), default=VARIANTS, help=f"some of {','.join(known)} [{','.join(VARIANTS)}]")
    add("--repeats", type=_positive, default=3, help="measurements of each variant [3]")
    add("--max_rows", type=_positive, help="predict this many random rows of each set [all rows]")
    add("--threads", type=_positive, default=os.cpu_count(), help="threads that compute [all processors]")
    add("--model", default="minilm", help="backbone of the run that is trained: minilm or a folder [minilm]")
    add("--output", type=Path, default=Path("predict"), help="folder of results and model [%(default)s]")
    add("--one", type=Path, help=argparse.SUPPRESS)
    return parser


def measure_all(options: argparse.Namespace, results: dict[str, Any]) -> list[str]:
    """Measure what ``results`` lacks, saving it after each measurement; return the names of those that failed."""
    common = {"data": str(options.data.resolve()), "threads": options.threads}
    runs = {name: (options.run or options.output / f"run-{name}").resolve() for name in options.sets}
    for name, run in runs.items():
        if (run / "model").is_dir():
            continue
        if options.run is not None:
            return [f"--run: {run} holds no finished run"]
        job = {"kind": "train", "set": name, "run": str(run), "model": options.model, **common}
        if _process(job, options) is None:
            return [f"the training of a model on {name}"]
    done = {(one["set"], one["seed"], one["variant"]) for one in results["measurements"]}
    failed = []
    for name, repeat, variant in measurements(options.sets, range(options.repeats), options.variants):
        if (name, repeat, variant) in done:
            continue
        job = {"kind": variant, "set": name, "run": str(runs[name]), "max_rows": options.max_rows, **common}
        found = _process(job, options)
        label = f"{name}, {variant}, repeat {repeat}"
        if found is None:
            failed.append(label)
            continue
        results["sets"][name] = found.pop("facts")
        found |= _agreement(found.pop("answers"), options.output / f"{name}-answers.json", variant)
        results["measurements"].append({"set": name, "seed": repeat, "variant": variant, **found})
        save(options.output / "results.json", results)
        print(f"{label}: {found['sentences_per_second']:.1f} sentences/s", file=sys.stderr, flush=True)
    return failed


def _process(job: dict[str, Any], options: argparse.Namespace) -> dict[str, Any] | None:
    return run_process(job, options.output, Path(__file__))


def _agreement(answers: Labels, file: Path, variant: str) -> dict[str, float | None]:
    """Compare answers with those of the reference, which its first measurement leaves in ``file``."""
    if variant == REFERENCES[0] and not file.exists():
        file.write_text(json.dumps(answers), encoding="utf-8")
    if not file.exists():
        return {"equal_labels": None, "largest_difference": None}
    expected: Labels = json.loads(file.read_text(encoding="utf-8"))
    pairs = list(zip(answers, expected, strict=True))
    return {
        "equal_labels": sum(_likeliest(one) == _likeliest(other) for one, other in pairs) / len(pairs),
        "largest_difference": max(abs(one[label] - other[label]) for one, other in pairs for label in other),
    }


def _likeliest(shares: dict[str, float]) -> str:
    return max(shares, key=shares.__getitem__)


# --- in a process of its own ------------------------------------------------------------------------------------------


def run_one(job: dict[str, Any]) -> None:
    """Train a model, or predict the texts of a set by one variant, and write what was found."""
    import torch

    torch.set_num_threads(job["threads"])
    found = train(job) if job["kind"] == "train" else predict(job)
    Path(job["result"]).write_text(json.dumps(found), encoding="utf-8")


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Train a model on rows of the set, as who predicts such texts would have."""
    from headway.recipe import Recipe
    from headway.train import train as train_run

    recipe = Recipe.load(RECIPES / f"{job['set']}.yaml", {
        "data.max_train_rows_per_label": ROWS_PER_LABEL, "data.max_length": 512, "training.baselines": False,
        "model.model_name_or_path": job["model"],
    })  # fmt: skip
    data = recipe.data.model_copy(update={"test": None}).relative_to(Path(job["data"]))
    train_run(recipe.model_copy(update={"data": data}), output_dir=job["run"], overwrite=True)
    return {}


def predict(job: dict[str, Any]) -> dict[str, Any]:
    """Measure one variant: rate, processor time, and the probabilities of each text."""
    from measurement import seconds_of_others

    if job["kind"] in ("headway", "headway-bf16", *LEVERS):
        # As the command does, before the first product; who calls `Predictor` text by text keeps what is prepared.
        from headway.training.memory import keep_few_products, keep_freed_memory

        keep_few_products()
        keep_freed_memory()
    texts, facts = _texts(job)
    answer = _predictor(job)
    answer(texts[:WARM_UP])
    others, used, started = seconds_of_others(), time.process_time(), time.perf_counter()
    answers = answer(texts)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    return {
        "sentences_per_second": len(texts) / seconds,
        "sentences_per_cpu_second": len(texts) / used,
        "processors_of_others": max(0.0, (seconds_of_others() - others) / seconds),
        "answers": answers,
        "facts": facts,
    }


def _texts(job: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the texts, and how many tokens they have and lose."""
    import numpy as np

    from headway.data.options import DataOptions
    from headway.data.table import Table
    from headway.predictor import Predictor

    reading = dict(SETS[job["set"]])
    file = str(Path(job["data"]) / reading.pop("file"))
    predictor = Predictor.load(job["run"], device="cpu")
    table = Table.read(
        file, options=DataOptions(train=file, **reading), columns=predictor.task.columns, need_gold=False
    )
    texts = [row["text"] for row in table]
    if job["max_rows"]:
        texts = [
            texts[number] for number in np.sort(np.random.default_rng(0).permutation(len(texts))[: job["max_rows"]])
        ]
    features = list(predictor.inference.encode({"text": text} for text in texts))
    return texts, {
        "rows": len(texts),
        "tokens": sum(one.length for one in features),
        "tokens_lost": sum(one.extra["tokens_lost"] for one in features),
        "max_length": predictor.inference.limits.max_length,
    }


def _predictor(job: dict[str, Any]) -> Callable[[list[str]], Labels]:
    """Return what answers texts with the probability of each label."""
    from headway.predictor import Predictor

    kind, _, size = job["kind"].partition("-")
    if kind == "pipeline":
        from transformers import pipeline

        limit = Predictor.load(job["run"], device="cpu").inference.limits.max_length
        ask = pipeline("text-classification", str(Path(job["run"]) / "model"), device="cpu")
        settings = {"batch_size": int(size), "truncation": True, "max_length": limit, "top_k": None}
        return lambda texts: [{one["label"]: one["score"] for one in some} for some in ask(texts, **settings)]
    lever = LEVERS.get(job["kind"])
    run = _without(lever, job) if lever else job["run"]
    predictor = Predictor.load(run, bf16="bf16" in size, device="cpu")
    if size.endswith("1"):
        return lambda texts: [predictor.predict(text).detail["probabilities"] for text in texts]
    return lambda texts: [one.detail["probabilities"] for one in predictor.stream(texts)]


def _without(lever: str, job: dict[str, Any]) -> Path:
    """Return a copy of the model in which an option is off."""
    folder = Path(job["result"]).parent / f"model-without-{lever}"
    shutil.copytree(Path(job["run"]) / "model", folder, dirs_exist_ok=True)
    description = json.loads((folder / "headway.json").read_text(encoding="utf-8"))
    (folder / "headway.json").write_text(json.dumps({**description, lever: False}), encoding="utf-8")
    return folder


# --- the printed form -------------------------------------------------------------------------------------------------


def summary(results: dict[str, Any]) -> str:
    """Return the command lines, the machine, and a table for each data set."""
    lines = [*(f"    {command}" for command in results["commands"]), ""]
    for name in ("machine", "versions", "settings"):
        known = ", ".join(f"{key} {value}" for key, value in results[name].items() if value is not None)
        lines.append(f"{name.capitalize()}: {known}")
    # Beside other work, one thread's own time is the better clock; of several threads it counts the waiting, too.
    rate = "sentences_per_cpu_second" if results["settings"]["threads"] == 1 else "sentences_per_second"
    for name, facts in results["sets"].items():
        found = [one for one in results["measurements"] if one["set"] == name]
        title = f"{facts['rows']:,} texts, {facts['tokens']:,} tokens, cut at {facts['max_length']}"
        lines += ["", f"## {name}: {title}, {facts['tokens_lost']:,} tokens lost", "", *table(found, rate)]
    lines += [
        "",
        "Median (lowest to highest) of the repeats, each in a fresh process. Loading and warm-up not counted.",
    ]
    if any(one["processors_of_others"] > DISTURBED for one in results["measurements"]):
        lines.append("Not alone on the machine, so that sentences/s say little.")
    return "\n".join(lines)


def table(found: Sequence[dict[str, Any]], rate: str) -> list[str]:
    """Return the lines of a table in Markdown, one row for each variant; ``rate`` is what makes one faster."""
    titles = ["variant", "sentences/s", "sentences/CPU s", *(f"x {one}" for one in REFERENCES)]
    lines = [[*titles, "equal labels", "largest difference"]]
    for variant in (*VARIANTS, *LEVERS):
        if some := [one for one in found if one["variant"] == variant]:
            lines.append([
                variant,
                *(spread([one[name] for one in some], digits=1) for name in RATES),
                *(times(some, [one for one in found if one["variant"] == name], rate) for name in REFERENCES),
                _worst(some, "equal_labels", min, "{:.2%}"),
                _worst(some, "largest_difference", max, "{:.1e}"),
            ])  # fmt: skip
    return aligned(lines)


def times(some: Sequence[dict[str, Any]], reference: Sequence[dict[str, Any]], rate: str) -> str:
    """Return how many times as fast as a reference, repeat by repeat."""
    rates = {one["seed"]: one[rate] for one in reference}
    ratios = [one[rate] / rates[one["seed"]] for one in some if one["seed"] in rates]
    return spread(ratios, digits=2) if ratios else "-"


def _worst(some: Sequence[dict[str, Any]], name: str, choose: Callable[..., float], form: str) -> str:
    values = [one[name] for one in some if one[name] is not None]
    return form.format(choose(values)) if values else "-"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
