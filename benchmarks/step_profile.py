"""Where the time of a training step goes, by kinds of operations: a profile of some steps of each variant.

python benchmarks/step_profile.py --data DIR --sets sst2,imdb --variants trainer,trainer-tuned,headway
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from summary import aligned
from train import ALL_VARIANTS, RECIPES, SETS, names, run_process

WARM_UP = 8
"""Steps before the profile: they meet each shape for the first time."""
STEPS = 16
KINDS: dict[str, tuple[str, ...]] = {
    "linear layers": ("aten::mm", "aten::addmm", "mkldnn::_linear_pointwise"),
    "attention": ("aten::bmm", "aten::baddbmm", "softmax", "scaled_dot", "flash_attention"),
    "dropout": ("dropout", "bernoulli", "random", "uniform_"),
    "GELU, tanh": ("gelu", "tanh"),
    "layer norm": ("layer_norm",),
    "optimizer, clipping": ("adamw", "_foreach", "norm", "zero_"),
    "embeddings": ("embedding", "index_put", "index_copy"),
    "casts and copies": ("copy_", "aten::cat", "index_select", "aten::gather", "stack"),
}
"""Kind -> parts of the names of the operations; the first that fits counts."""
REST, PYTHON = "other operations", "Python, data, waiting"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks/step_profile.py", description=__doc__.split("\n")[0])
    data = os.environ.get("HEADWAY_TEST_DATA")
    add = parser.add_argument
    add("--data", type=Path, default=Path(data) if data else None, help="folder of the data sets [$HEADWAY_TEST_DATA]")
    add("--sets", type=names(SETS), default=("sst2",), help="[sst2]")
    add("--variants", type=names(ALL_VARIANTS), default=("trainer", "trainer-tuned", "headway"), help="of train.py")
    add("--max_length", type=int, help="tokens of a row, instead of what the recipes say")
    add("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one is not None:
        run_one(options.one)
        return 0
    if options.data is None or not options.data.is_dir():
        parser.error("--data: name the folder of the data sets, or set HEADWAY_TEST_DATA.")
    failed = []
    for name in options.sets:
        found = _measured(name, options)
        print("\n".join(["", f"## {name}: milliseconds of a step", "", *table(found)]), flush=True)
        failed += [f"{name}, {variant}" for variant in options.variants if variant not in found]
    for name in failed:
        print(f"FAILED: {name}", file=sys.stderr)
    return 1 if failed else 0


def _measured(name: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the profile of each variant that could be measured."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="headway-benchmark-") as temporary:
        job: dict[str, Any] = {
            "recipe": str(RECIPES / f"{name}.yaml"), "data": str(options.data.resolve()), "model": "minilm",
            "max_length": options.max_length, "epochs": 1, "max_steps": WARM_UP + STEPS, "max_train_rows": 1000,
            "max_evaluation_rows": 20, "seed": 0,
        }  # fmt: skip
        if run_process(job | {"kind": "prepare"}, Path(temporary), Path(__file__)) is None:
            return {}
        for variant in options.variants:
            one = run_process(job | {"kind": variant}, Path(temporary), Path(__file__))
            if one is not None:
                found[variant] = one["profile"]
    return found


def table(profiles: dict[str, dict[str, float]]) -> list[str]:
    """Return the lines of a table: a row for each kind, a column for each variant."""
    rows = [[kind, *(f"{one.get(kind, 0.0):.1f}" for one in profiles.values())] for kind in (*KINDS, REST, PYTHON)]
    whole = ["a step", *(f"{sum(one.values()):.1f}" for one in profiles.values())]
    return aligned([["", *profiles], *rows, whole])


def kind_of(operation: str) -> str:
    """Return the kind that an operation counts as."""
    # What an optimizer's step does itself: under Lightning it calls forward and backward.
    if operation.startswith("Optimizer."):
        return PYTHON
    return next((kind for kind, parts in KINDS.items() if any(part in operation for part in parts)), REST)


def run_one(file: Path) -> None:
    """Do the job in ``file`` as measurement.py does, and add the profile of some of its steps to what is found."""
    import measurement
    from torch.profiler import ProfilerActivity, profile

    found: dict[str, float] = {}
    profiler = profile(activities=[ProfilerActivity.CPU])
    began = 0.0

    class ProfiledClock(measurement.Clock):
        """Profiles the steps behind the first ones, as it watches them."""

        def begin_step(self) -> None:
            nonlocal began
            super().begin_step()
            if self.steps == WARM_UP and not began:
                profiler.start()
                began = time.perf_counter()

        def end_step(self) -> None:
            super().end_step()
            if self.steps == WARM_UP + STEPS:
                milliseconds = (time.perf_counter() - began) * 1e3
                profiler.stop()
                found.update(by_kind(profiler.key_averages(), milliseconds))

    measurement.Clock = ProfiledClock  # type: ignore[misc]
    measurement.run_one(file)
    job = json.loads(file.read_text(encoding="utf-8"))
    if job["kind"] != "prepare":
        result = Path(job["result"])
        result.write_text(
            json.dumps(json.loads(result.read_text(encoding="utf-8")) | {"profile": found}), encoding="utf-8"
        )


def by_kind(events: Any, milliseconds: float) -> dict[str, float]:
    """Return the milliseconds of a step by kind; what no operation took of ``milliseconds`` is Python's."""
    found: dict[str, float] = {}
    for event in events:
        kind = kind_of(event.key)
        found[kind] = found.get(kind, 0.0) + event.self_cpu_time_total / 1e3 / STEPS
    own = found.pop(PYTHON, 0.0)
    return found | {PYTHON: max(own, milliseconds / STEPS - sum(found.values()))}


if __name__ == "__main__":
    sys.exit(main())
