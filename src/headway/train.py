"""From a recipe to a finished run: prepare, score before training, train, score after, save. One run for each seed."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from headway.data.findings import Report
from headway.errors import DataError, RunBusyError, WriteError
from headway.few_examples import tuned_first
from headway.files import sweep, whole_writes, write_json, write_text
from headway.manifest import check_fingerprint
from headway.metrics.intervals import across_seeds
from headway.models.backbone import Backbone, load_backbone
from headway.preparation import (
    check_data,
    prepare,
    read_tables,
    split_name,
)
from headway.recipe import Recipe
from headway.run_dir import RunDir
from headway.seed_run import check_first, train_one
from headway.tasks.base import Task
from headway.training.fit import check_trainer
from headway.training.memory import keep_few_products
from headway.training.stopping import StopRequest, stop_request
from headway.work import Part, Work, build, encoded_once, load_teacher

logger = logging.getLogger(__name__)


def train(
    recipe: Recipe, *, output_dir: str | Path | None = None, resume: bool = False, overwrite: bool = False
) -> dict[str, Any]:
    """Train what a recipe describes, once for each seed, and return the content of the run's metrics.json.

    Args:
        recipe: what to do.
        output_dir: the run directory; empty takes the recipe's own, else `runs/<task>`.
        resume: go on with an interrupted run; what is finished is not repeated, and the final weights are
            bit-identical to those of a run that was never interrupted (on CPU).
        overwrite: remove an earlier run in the directory first.

    Raises:
        HeadwayError: see `headway.errors` for the kinds; nothing that was saved before is lost.
    """
    run = RunDir(output_dir or recipe.output_dir or Path("runs") / recipe.task.name)
    check_trainer(recipe.training, recipe.trainer)
    keep_few_products()
    with _resumable(run), stop_request() as request, run.writer():
        _claim(run, resume=resume, overwrite=overwrite)
        is_resumed = run.is_run and not overwrite
        backbone = load_backbone(recipe.model)
        parts = _prepared(recipe, backbone, request, run)
        resolved = recipe.with_parts({part.name: part.recipe for part in parts})
        resolved = resolved.model_copy(update={"output_dir": str(run.path)})
        parts = (replace(parts[0], recipe=resolved), *parts[1:])
        tables = {
            split_name(part.name, split): table for part in parts for split, table in part.prepared.tables.items()
        }
        if is_resumed:
            # The resolved recipe, so that the one which the run keeps resumes it too.
            check_fingerprint(run, resolved, tables, backbone, world_size=1)
            if run.is_complete:
                logger.info("%s is finished already.", run.path)
                return read_scores(run)
        report = _checked(parts, run)
        teacher = load_teacher(resolved, backbone)
        work = Work(resolved, parts, backbone, request, _resume_command(run), teacher)
        if resolved.training.contrastive is None:
            work = encoded_once(work)
        seeds = recipe.training.seeds
        groups = {part.name: run.task(part.name) for part in parts}
        runs = {
            seed: groups if len(seeds) == 1 else {name: group.seed(seed) for name, group in groups.items()}
            for seed in seeds
        }
        pending = [seed for seed in seeds if overwrite or not runs[seed][""].is_complete]
        for seed in pending:
            ready = build(work, seed)
            if seed == pending[0]:
                if not is_resumed:
                    check_first(work, seed, ready)
                    # Nothing is refused any more, so the directory changes from here on, and not before.
                    if overwrite:
                        _clear(run)
                # First, because it makes the directory a run: killed right after it, the run can be resumed.
                check_fingerprint(run, resolved, tables, backbone, world_size=1)
                write_json(run.checks, report.to_json())
                write_text(run.recipe, resolved.to_yaml())
            logger.info("Training with seed %d into %s.", seed, runs[seed][""].path)
            own, ready = tuned_first(runs[seed][""], work, seed, ready)
            train_one(runs[seed], own, seed, ready)
        if len(seeds) > 1:
            for part in reversed(parts):
                write_text(groups[part.name].recipe, part.recipe.to_yaml())
                write_json(groups[part.name].metrics, _summary(groups[part.name], part.prepared.task, seeds))
    return read_scores(run)


def read_scores(run: RunDir) -> dict[str, Any]:
    """Return the content of metrics.json; of several tasks, under ``tasks`` also that of the others, by name."""
    tasks = {name: run.task(name).read_metrics() for name in run.tasks}
    return {**run.read_metrics(), **({"tasks": tasks} if tasks else {})}


def _prepared(recipe: Recipe, backbone: Backbone, request: StopRequest, run: RunDir) -> tuple[Part, ...]:
    """Return the tasks of a run, their rows read and tokenised, their recipes with what they learnt from the rows."""
    unsaved = f"Nothing was trained yet. Start again with: {_resume_command(run)}"
    parts = []
    for name, one in recipe.parts().items():
        tables = read_tables(one)
        counts = ", ".join(f"{split_name(name, split)} {len(table):,}" for split, table in tables.items())
        logger.info("Rows: %s.", counts)
        prepared = prepare(one, tables, backbone.tokenizer, stop_check=lambda: request.check(saved=unsaved))
        parts.append(Part(name, one.model_copy(update={"task": prepared.task}), prepared))
    return tuple(parts)


def _checked(parts: Sequence[Part], run: RunDir) -> Report:
    """Return what the data checks found.

    Raises:
        DataError: something that the rows cannot be trained on with.
    """
    report = check_data({part.name: part.prepared for part in parts})
    if report.problems:
        raise DataError("The data cannot be trained on:\n  " + "\n  ".join(
            f"{one.split}: {one.message} {one.mend}" for one in report.problems
        ))  # fmt: skip
    if report.warnings:
        logger.warning(
            "The data checks have remarks (%s); `headway check` and %s list them.",
            *(", ".join(sorted({one.name for one in report.warnings})), run.checks),
        )
    return report


def _summary(run: RunDir, task: Task, seeds: tuple[int, ...]) -> dict[str, Any]:
    """Return the group's metrics.json: mean, deviation and interval of every metric over the seeds."""
    each = {seed: run.seed(seed).read_metrics() for seed in seeds}
    splits = each[seeds[0]]["metrics"]

    def value(seed: int, split: str, metric: str) -> float:
        return float(each[seed]["metrics"][split][metric]["value"])

    # Never by the test rows: they would no longer be unseen.
    choosing = "validation" if "validation" in splits else None
    sign = 1 if task.higher_is_better else -1
    best = max(seeds, key=lambda seed: sign * value(seed, choosing, task.main_metric)) if choosing else seeds[0]
    return {
        "main_metric": task.main_metric,
        "higher_is_better": task.higher_is_better,
        "seeds": {
            str(seed): {
                split: {metric: value(seed, split, metric) for metric in metrics}
                for split, metrics in each[seed]["metrics"].items()
            }
            for seed in seeds
        },
        "metrics": {
            split: {
                metric: across_seeds([value(seed, split, metric) for seed in seeds])
                for metric in metrics
                if all(metric in each[seed]["metrics"][split] for seed in seeds)
            }
            for split, metrics in splits.items()
        },
        "baselines": each[best]["baselines"],
        "collapsed": [seed for seed in seeds if each[seed]["collapsed"]],
        "selected_seed": best,
    }


def _claim(run: RunDir, *, resume: bool, overwrite: bool) -> None:
    """Make sure that nothing in the directory is written over unasked."""
    sweep(run.path)
    if not run.held:
        if resume:
            logger.info("%s holds no run yet; starting at the beginning.", run.path)
        return
    if not run.is_run:
        raise RunBusyError(f"{run.path} is not empty and holds no run. Choose another --output_dir.")
    if resume:
        return
    if not overwrite:
        state = "a finished run" if run.is_complete else "an unfinished run"
        raise RunBusyError(
            f"{run.path} holds {state}. Add --resume to go on with it, --overwrite to replace it, or choose another "
            "--output_dir."
        )


def _clear(run: RunDir) -> None:
    """Remove an earlier run, which the user asked for."""
    with whole_writes(run.path):
        for path in run.held:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextlib.contextmanager
def _resumable(run: RunDir) -> Iterator[None]:
    """Tell a user whose disk refused a file how the training goes on."""
    try:
        yield
    except WriteError as error:
        raise WriteError(f"{error} The training goes on with: {_resume_command(run)}") from error


def _resume_command(run: RunDir) -> str:
    words = sys.argv[1:] if sys.argv[1:2] == ["train"] else ["train", str(run.recipe), "--output_dir", str(run.path)]
    return " ".join(["headway", *(word for word in words if word not in ("--resume", "--overwrite")), "--resume"])
