"""One seed of a run: build its models, score them untrained, train them, score and save them.

A run has one model for each of its tasks; most have one task.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from headway.data.table import Table
from headway.evaluate import Scored, prediction_lines, score, score_features
from headway.files import read_json, sweep, write_json, write_text
from headway.inference import Inference, LossMean
from headway.manifest import data_record, machine, model_record, versions
from headway.models.adapters import has_adapter, save_and_merge
from headway.models.saving import save_model
from headway.models.used_rows import only_used_rows
from headway.preparation import (
    Prepared,
    split_name,
    token_statistics,
)
from headway.recipe import Recipe
from headway.run_dir import RunDir
from headway.tasks.base import Task
from headway.training.callbacks import check_metric
from headway.training.estimators import estimator_of, fit_estimator
from headway.training.fit import Fitted, Paths, fit
from headway.training.module import Learner, TrainingModule
from headway.training.optimization import leaves_unmoved
from headway.training.trial import check_optimization
from headway.types import Features
from headway.work import Part, Ready, Work, stream_of

logger = logging.getLogger(__name__)

MEAN = "mean_of_tasks"
"""The metric that chooses the best weights of several tasks."""


def check_first(work: Work, seed: int, ready: Sequence[Ready]) -> None:
    """Refuse what would otherwise show after the first epoch.

    Raises:
        RecipeError: a misspelt metric, one of the user's own that fails, or an optimizer or a schedule that cannot be
            used over as many steps as there are batches for.
    """
    check_optimization(work.recipe.optimization, stream_of(work, seed))
    has_own = any(one.part.prepared.task.metrics for one in ready)
    if work.recipe.training.metric_for_best_model is not None or (has_own and _scored_parts(ready)):
        check_metric(_choosing_metric(work, ready), _validation_score(ready)())


def train_one(runs: Mapping[str, RunDir], work: Work, seed: int, ready: Sequence[Ready]) -> None:
    """Train one seed and write everything that its run directories hold.

    Args:
        runs: of this seed, by the name of the task; what an interrupted training left there is gone on with.
        work: of all seeds.
        seed: which.
        ready: from `build`.

    Raises:
        HeadwayError: see `headway.training.fit.fit`.
    """
    started = time.monotonic()
    for one in ready:
        _begin(runs[one.part.name], seed, one)
    fitted = _learn(runs[""], work, seed, ready)
    seconds = round(time.monotonic() - started, 1)
    # The recipe's own task comes last: with its scores the run is whole.
    for one in reversed(ready):
        _finish(runs[one.part.name], work, seed, one, fitted, seconds=seconds, is_alone=len(ready) == 1)


def _begin(run: RunDir, seed: int, ready: Ready) -> None:
    """Write the recipe of one task, and what was scored before training."""
    run.path.mkdir(parents=True, exist_ok=True)
    sweep(run.path)
    sweep(run.predictions("validation").parent)
    if not run.recipe.exists():
        recipe = ready.part.recipe
        training = recipe.training.model_copy(update={"seeds": (seed,)})
        write_text(run.recipe, recipe.model_copy(update={"training": training, "output_dir": str(run.path)}).to_yaml())
    if not run.before.exists():
        write_json(run.before, _before(ready))


def _finish(
    run: RunDir, work: Work, seed: int, ready: Ready, fitted: Fitted, *, seconds: float, is_alone: bool
) -> None:
    """Score the trained model of one task, and write everything that its run directory keeps."""
    recipe, prepared = ready.part.recipe, ready.part.prepared
    started = time.monotonic()
    inference = ready.inference if is_alone else replace(ready.inference, model=copy.deepcopy(ready.inference.model))
    model = inference.model.float().cpu()
    about_model = model_record(work.backbone, model)
    if has_adapter(model):
        # Before anything is scored, so that the scores are those of the model that is kept.
        save_and_merge(model, run.adapter)
    inference = _calibrated(inference, prepared)
    task = inference.task
    scored: dict[str, Scored] = {}
    for name in _scored_splits(prepared):
        table = prepared.tables[name]
        scored[name] = score_features(inference, prepared.features[name], table, criterion=ready.criterion)
        write_text(run.predictions(name), prediction_lines(task, scored[name].predictions, table))
    save_model(
        model,
        work.backbone.tokenizer,
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
        "model": about_model,
        "seed": seed,
        "duration_seconds": round(seconds + time.monotonic() - started, 1),
        "tokens": {
            name: token_statistics(
                features, len(prepared.tables[name]), inference.limits.max_length, joins_windows=task.joins_windows
            )
            for name, features in prepared.features.items()
        },
    })  # fmt: skip
    if any(one.is_collapsed for one in scored.values()):
        logger.warning(
            "The model%s collapsed: it gives every row the same answer. Lower optimization.learning_rate, set "
            "optimization.warmup_ratio: 0.1, or try another seed.",
            f" of {ready.part.name}" if ready.part.name else "",
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


def _learn(run: RunDir, work: Work, seed: int, ready: Sequence[Ready]) -> Fitted:
    """Train the models of one seed, in steps or, under a head of scikit-learn, in one go."""
    recipe = work.recipe
    if (fits_at_once := estimator_of(ready[0].inference.model)) is not None:
        inference, features = ready[0].inference, ready[0].part.prepared.features["train"]
        fit_estimator(fits_at_once, inference, features, seed=seed, stop_check=inference.stop_check)
        return Fitted(best_step=0, last_step=0, is_stopped_early=False)
    learners = [Learner(one.part.prepared.task, one.inference.model, one.criterion) for one in ready]
    module = TrainingModule(
        learners, stream=stream_of(work, seed), optimization=recipe.optimization, seed=seed, teacher=work.teacher
    )
    metric = _choosing_metric(work, ready)
    with _less_to_train(recipe, ready):
        return fit(
            module,
            score=_validation_score(ready) if _scored_parts(ready) else None,
            metric=metric,
            higher_is_better=_is_higher_better(metric, ready),
            options=recipe.training,
            trainer_arguments=recipe.trainer,
            paths=Paths(run.checkpoints, run.history, run.tensorboard),
            request=work.request,
            resume_command=work.resume_command,
        )


def _less_to_train(recipe: Recipe, ready: Sequence[Ready]) -> contextlib.AbstractContextManager[None]:
    """Return the context in which embeddings of words that no training text holds are left out, where that is exact."""
    # Core training draws words of the whole vocabulary.
    draws = any(type(one.part.prepared.task).refresh is not Task.refresh for one in ready)
    if draws or not recipe.optimization.used_embeddings_only or not leaves_unmoved(recipe.optimization):
        return contextlib.nullcontext()
    used = [one.part.prepared.features["train"].used_ids() for one in ready]
    used += [np.asarray(one.inference.tokenizer.all_special_ids) for one in ready]
    return only_used_rows([one.inference.model for one in ready], np.concatenate(used))


# --- scores -----------------------------------------------------------------------------------------------------------


def _scored_splits(prepared: Prepared) -> list[str]:
    return [name for name in prepared.tables if name != "train"]


def _scored_parts(ready: Sequence[Ready]) -> list[Ready]:
    """Return those with validation rows."""
    return [one for one in ready if "validation" in one.part.prepared.tables]


def _choosing_metric(work: Work, ready: Sequence[Ready]) -> str:
    """Return the name of the validation metric that chooses the best weights."""
    own = MEAN if len(ready) > 1 else ready[0].part.prepared.task.main_metric
    return work.recipe.training.metric_for_best_model or own


def _is_higher_better(metric: str, ready: Sequence[Ready]) -> bool:
    name, dot, inner = metric.partition(".")
    by_name = {one.part.name: one.part.prepared.task for one in ready}
    if dot and name in by_name:
        return not by_name[name].is_lower_better(inner)
    return metric == MEAN or not by_name[""].is_lower_better(metric)


def _validation_score(ready: Sequence[Ready]) -> Callable[[], dict[str, float]]:
    """Return what scores the models as they are.

    Of several tasks, the metrics of all but the recipe's own carry the task's name (``similarity.spearman``), the loss
    is the sum, and `MEAN` that of the main metrics, the negative ones of those that are better when lower.
    """
    chosen = ((one.part.name, *_some_rows(one.part, "validation")) for one in _scored_parts(ready))
    some = {name: (features, list(table)) for name, features, table in chosen}

    def score_now() -> dict[str, float]:
        found: dict[str, float] = {}
        main, losses = [], []
        for one in _scored_parts(ready):
            name, task = one.part.name, one.part.prepared.task
            mean = LossMean(one.criterion)
            features, rows = some[name]
            predictions = one.inference.predict(features, rows, loss=mean)
            scores = task.measure(predictions, rows)
            main.append(scores[task.main_metric] * (1 if task.higher_is_better else -1))
            losses += [] if mean.value is None else [mean.value]
            found |= {f"{name}.{metric}" if name else metric: value for metric, value in scores.items()}
        if len(ready) > 1:
            found[MEAN] = sum(main) / len(main)
        return found | ({"loss": sum(losses)} if losses else {})

    return score_now


def _some_rows(part: Part, split: str) -> tuple[Sequence[Features], Table]:
    """Return the features and the rows of a split that are scored before and during training."""
    features, table = part.prepared.features[split], part.prepared.tables[split]
    most = part.recipe.training.max_eval_samples
    if most is None or most >= len(table):
        return features, table
    chosen = np.sort(np.random.default_rng(0).permutation(len(table))[:most])
    number_of = {row: number for number, row in enumerate(chosen.tolist())}
    numbers = np.flatnonzero(np.isin(features.rows, chosen))
    kept = [replace(one, row=number_of[one.row]) for one in (features[int(number)] for number in numbers)]
    return kept, table.select(chosen)


def _before(ready: Ready) -> dict[str, Any]:
    """Return the metrics of the untrained model and of the task's simple methods, by name and split."""
    part, inference = ready.part, ready.inference
    if not part.recipe.training.baselines:
        return {}
    prepared = part.prepared
    splits = _scored_splits(prepared)
    untrained = {split: score_features(inference, *_some_rows(part, split)).metrics for split in splits}
    if not part.simple_methods:
        part.simple_methods.update(_simple_methods(prepared, inference, splits))
    found = {"untrained": untrained, **part.simple_methods}
    metric = prepared.task.main_metric
    for split in splits:
        logger.info(
            "Before training, %s %s: %s.", split_name(part.name, split), metric,
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


def _about(recipe: Recipe, task: Task, inference: Inference) -> dict[str, Any]:
    """Return what headway.json says of a model: enough to predict without the rest of the run."""
    return {
        "task": task.model_dump(mode="json"),
        "kind": task.model_kind,
        "limits": inference.limits.model_dump(mode="json"),
        "data": recipe.data.model_dump(mode="json"),
        "labels": task.model_dump(mode="json").get("labels", []),
        "sorted_weights": recipe.model.sorted_weights,
    }
