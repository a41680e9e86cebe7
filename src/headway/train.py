"""From a recipe to a finished run: prepare, score before training, train, score after, save. One run for each seed."""

from __future__ import annotations

import contextlib
import datetime
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from headway.errors import DataError, RunBusyError, WriteError
from headway.evaluate import Scored, prediction_lines, score, score_features
from headway.files import read_json, sweep, whole_writes, write_json, write_text
from headway.inference import Inference, LossMean
from headway.manifest import check_fingerprint, data_record, machine, model_record, versions
from headway.metrics.intervals import across_seeds
from headway.models.backbone import Backbone, load_backbone
from headway.models.saving import save_model
from headway.preparation import (
    Prepared,
    build_criterion,
    build_model,
    build_stream,
    check_data,
    prepare,
    read_tables,
    token_statistics,
)
from headway.recipe import Recipe
from headway.run_dir import RunDir
from headway.tasks.base import Task
from headway.training.callbacks import check_metric
from headway.training.fit import Paths, check_trainer, fit
from headway.training.loaders import BatchStream
from headway.training.module import TrainingModule, seed_from
from headway.training.stopping import StopRequest, stop_request

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
    with _resumable(run), stop_request() as request, run.writer():
        _claim(run, resume=resume, overwrite=overwrite)
        is_resumed = run.is_run and not overwrite
        backbone = load_backbone(recipe.model)
        tables = read_tables(recipe)
        logger.info("Rows: %s.", ", ".join(f"{name} {len(table):,}" for name, table in tables.items()))
        unsaved = f"Nothing was trained yet. Start again with: {_resume_command(run)}"
        prepared = prepare(recipe, tables, backbone.tokenizer, stop_check=lambda: request.check(saved=unsaved))
        resolved = recipe.model_copy(update={"task": prepared.task, "output_dir": str(run.path)})
        if is_resumed:
            # The resolved recipe, so that the one which the run keeps resumes it too.
            check_fingerprint(run, resolved, tables, backbone, world_size=1)
            if run.is_complete:
                logger.info("%s is finished already.", run.path)
                return run.read_metrics()
        report = check_data(prepared)
        if report.problems:
            raise DataError("The data cannot be trained on:\n  " + "\n  ".join(
                f"{one.split}: {one.message} {one.mend}" for one in report.problems
            ))  # fmt: skip
        if report.warnings:
            logger.warning(
                "The data checks have remarks (%s); `headway check` and %s list them.",
                *(", ".join(sorted({one.name for one in report.warnings})), run.checks),
            )
        work = _Work(resolved, prepared, backbone, request, _resume_command(run))
        seeds = recipe.training.seeds
        runs = {seed: run if len(seeds) == 1 else run.seed(seed) for seed in seeds}
        pending = [seed for seed in seeds if overwrite or not runs[seed].is_complete]
        for seed in pending:
            ready = _build(work, seed)
            if seed == pending[0]:
                if not is_resumed:
                    _check_metric(work, ready)
                    # Nothing is refused any more, so the directory changes from here on, and not before.
                    if overwrite:
                        _clear(run)
                # First, because it makes the directory a run: killed right after it, the run can be resumed.
                check_fingerprint(run, resolved, tables, backbone, world_size=1)
                write_json(run.checks, report.to_json())
                write_text(run.recipe, resolved.to_yaml())
            logger.info("Training with seed %d into %s.", seed, runs[seed].path)
            _train_one(runs[seed], work, seed, ready)
        if len(seeds) > 1:
            write_json(run.metrics, _summary(run, prepared.task, seeds))
    return run.read_metrics()


@dataclass(frozen=True, slots=True)
class _Work:
    """What all seeds of a run share."""

    recipe: Recipe
    prepared: Prepared
    backbone: Backbone
    request: StopRequest
    resume_command: str
    simple_methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the task's simple methods score, from the first seed on that needs it."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """The untrained model of one seed, and what it is trained and scored with."""

    model: nn.Module
    criterion: nn.Module
    inference: Inference
    stream: BatchStream


def _build(work: _Work, seed: int) -> _Ready:
    """Return everything that the recipe names for one seed, so that a fault in it shows before a file is written."""
    # The new head is drawn here; everything after draws from (seed, position).
    seed_from(seed)
    model = build_model(work.recipe, work.prepared, work.backbone)
    inference = Inference(
        work.prepared.task,
        model,
        work.backbone.tokenizer,
        work.prepared.limits,
        work.recipe.training.per_device_eval_batch_size,
        lambda: work.request.check(saved=f"What was saved before is whole. Go on with: {work.resume_command}"),
    )
    stream = build_stream(work.recipe, work.prepared, work.backbone.tokenizer, seed=seed)
    return _Ready(model, build_criterion(work.recipe, work.prepared), inference, stream)


def _check_metric(work: _Work, ready: _Ready) -> None:
    """Refuse a misspelt metric, which would otherwise show after the first epoch."""
    metric = work.recipe.training.metric_for_best_model
    if metric is not None:
        check_metric(metric, _validation_score(work.prepared, ready)())


def _train_one(run: RunDir, work: _Work, seed: int, ready: _Ready) -> None:
    recipe, prepared, backbone = work.recipe, work.prepared, work.backbone
    model, criterion, inference = ready.model, ready.criterion, ready.inference
    task, started = prepared.task, time.monotonic()
    run.path.mkdir(parents=True, exist_ok=True)
    sweep(run.path)
    sweep(run.predictions("validation").parent)
    if not run.recipe.exists():
        training = recipe.training.model_copy(update={"seeds": (seed,)})
        write_text(run.recipe, recipe.model_copy(update={"training": training, "output_dir": str(run.path)}).to_yaml())
    scored_splits = [name for name in prepared.tables if name != "train"]
    if not run.before.exists():
        write_json(run.before, _before(work, inference, scored_splits))

    module = TrainingModule(task, model, criterion, stream=ready.stream, optimization=recipe.optimization, seed=seed)
    metric = recipe.training.metric_for_best_model or task.main_metric
    fitted = fit(
        module,
        score=_validation_score(prepared, ready) if "validation" in prepared.tables else None,
        metric=metric,
        higher_is_better=metric not in task.lower_is_better | {"loss"},
        options=recipe.training,
        trainer_arguments=recipe.trainer,
        paths=Paths(run.checkpoints, run.history, run.tensorboard),
        request=work.request,
        resume_command=work.resume_command,
    )

    model.float().cpu()
    inference = _calibrated(inference, prepared)
    task = inference.task
    scored: dict[str, Scored] = {}
    for name in scored_splits:
        table = prepared.tables[name]
        scored[name] = score_features(inference, prepared.features[name], table, criterion=criterion)
        write_text(run.predictions(name), prediction_lines(task, scored[name].predictions, table))
    save_model(
        model,
        backbone.tokenizer,
        run.model,
        extra=_about(recipe, task, inference),
        companions=task.companions(model, inference.limits),
    )
    write_json(run.manifest, {
        **versions(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "machine": machine(),
        "data": data_record(prepared.tables),
        "model": model_record(backbone, model),
        "seed": seed,
        "duration_seconds": round(time.monotonic() - started, 1),
        "tokens": {
            name: token_statistics(features, len(prepared.tables[name]), inference.limits.max_length)
            for name, features in prepared.features.items()
        },
    })  # fmt: skip
    if any(one.is_collapsed for one in scored.values()):
        logger.warning(
            "The model collapsed: it gives every row the same answer. Lower optimization.learning_rate, set "
            "optimization.warmup_ratio: 0.1, or try another seed."
        )
    write_json(run.metrics, {
        "main_metric": task.main_metric,
        "higher_is_better": task.higher_is_better,
        "metrics": {name: one.metrics for name, one in scored.items()},
        "baselines": read_json(run.before),
        "details": {name: one.details for name, one in scored.items()},
        "collapsed": any(one.is_collapsed for one in scored.values()),
        "best_step": fitted.best_step,
        "last_step": fitted.last_step,
        "stopped_early": fitted.is_stopped_early,
        "loss": {name: one.loss for name, one in scored.items()},
    })  # fmt: skip


def _before(work: _Work, inference: Inference, splits: list[str]) -> dict[str, Any]:
    """Return the metrics of the untrained model and of the task's simple methods, by name and split."""
    if not work.recipe.training.baselines:
        return {}
    prepared = work.prepared
    untrained = {
        split: score_features(inference, prepared.features[split], prepared.tables[split]).metrics for split in splits
    }
    if not work.simple_methods:
        work.simple_methods.update(_simple_methods(prepared, inference, splits))
    found = {"untrained": untrained, **work.simple_methods}
    metric = prepared.task.main_metric
    for split in splits:
        logger.info(
            "Before training, %s %s: %s.", split, metric,
            ", ".join(f"{name} {values[split][metric]['value']:.4f}" for name, values in found.items()),
        )  # fmt: skip
    return found


def _simple_methods(prepared: Prepared, inference: Inference, splits: list[str]) -> dict[str, dict[str, Any]]:
    """Return the metrics of the methods that need no transformer, and no seed."""
    found: dict[str, dict[str, Any]] = {}
    for split in splits:
        table = prepared.tables[split]
        predictions = prepared.task.baselines(list(prepared.tables["train"]), list(table), seed=0)
        predictions |= prepared.task.feature_baselines(
            prepared.features["train"], inference.refreshed(prepared.features[split]), inference.tokenizer
        )
        for name, some in predictions.items():
            found.setdefault(name, {})[split] = score(prepared.task, some, table).metrics
    return found


def _calibrated(inference: Inference, prepared: Prepared) -> Inference:
    """Return the inference whose task has learnt from the validation rows what only a trained model can teach it."""
    if "validation" not in prepared.tables:
        return inference
    features, rows = prepared.features["validation"], list(prepared.tables["validation"])
    return replace(inference, task=inference.task.calibrate(lambda: inference.predict(features, rows), rows))


def _validation_score(prepared: Prepared, ready: _Ready) -> Callable[[], dict[str, float]]:
    features, table = prepared.features["validation"], prepared.tables["validation"]
    rows = list(table)

    def score_now() -> dict[str, float]:
        mean = LossMean(ready.criterion)
        predictions = ready.inference.predict(features, rows, loss=mean)
        loss = {} if mean.value is None else {"loss": mean.value}
        return {**prepared.task.evaluate(predictions, rows), **loss}

    return score_now


def _about(recipe: Recipe, task: Task, inference: Inference) -> dict[str, Any]:
    """Return what headway.json says of a model: enough to predict without the rest of the run."""
    return {
        "task": task.model_dump(mode="json"),
        "kind": task.model_kind,
        "limits": inference.limits.model_dump(mode="json"),
        "data": recipe.data.model_dump(mode="json"),
        "labels": task.model_dump(mode="json").get("labels", []),
    }


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
