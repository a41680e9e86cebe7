"""One seed of a run: build its model, score it untrained, train it, score and save it."""

from __future__ import annotations

import datetime
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from headway.errors import RecipeError
from headway.evaluate import Scored, prediction_lines, score, score_features
from headway.files import read_json, sweep, write_json, write_text
from headway.inference import Inference, LossMean
from headway.manifest import data_record, machine, model_record, versions
from headway.models.adapters import has_adapter, save_and_merge
from headway.models.backbone import Backbone
from headway.models.saving import save_model
from headway.predictor import Predictor
from headway.preparation import (
    Prepared,
    build_criterion,
    build_model,
    build_stream,
    token_statistics,
)
from headway.recipe import Recipe
from headway.run_dir import RunDir
from headway.tasks.base import Task
from headway.training.callbacks import check_metric
from headway.training.distillation import Teacher, check_pair
from headway.training.estimators import estimator_of, fit_estimator
from headway.training.fit import Fitted, Paths, device_of, fit, precision
from headway.training.frozen import encode_once
from headway.training.loaders import BatchStream
from headway.training.module import TrainingModule, seed_from
from headway.training.stopping import StopRequest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """What all seeds of a run share."""

    recipe: Recipe
    prepared: Prepared
    backbone: Backbone
    request: StopRequest
    resume_command: str
    teacher: Teacher | None = None
    simple_methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the task's simple methods score, from the first seed on that needs it."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The untrained model of one seed, and what it is trained and scored with."""

    model: nn.Module
    criterion: nn.Module
    inference: Inference
    stream: BatchStream


def build(work: Work, seed: int) -> Ready:
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
    return Ready(model, build_criterion(work.recipe, work.prepared), inference, stream)


def encoded_once(work: Work) -> Work:
    """Return the work with the vectors of all rows, where a frozen backbone has to be asked only once."""
    options = work.recipe.model
    if options.freeze != "all" or not options.encode_once:
        return work
    # The same backbone serves all seeds; what is drawn for its head here is thrown away.
    inference = build(work, work.recipe.training.seeds[0]).inference
    inference.model.to(device_of(work.recipe.trainer))
    features = encode_once(
        work.prepared.features,
        inference,
        weights=f"{work.backbone.sha256} {work.backbone.config.to_json_string()} {options.num_hidden_layers}",
        bf16=precision(work.recipe.training.bf16, work.recipe.trainer).startswith("bf16"),
        stop_check=inference.stop_check,
    )
    return replace(work, prepared=replace(work.prepared, features=features))


def load_teacher(recipe: Recipe, backbone: Backbone) -> Teacher | None:
    """Return the trained model that the recipe's own learns from, if it names one.

    Raises:
        HeadwayError: the teacher cannot be loaded, or has learnt something else, or reads other tokens.
    """
    options = recipe.optimization.distillation
    if options is None:
        return None
    predictor = Predictor.load(options.teacher)
    check_pair(recipe.task, predictor.task, run=options.teacher)
    vocabularies = [one.backend_tokenizer.to_str() for one in (predictor.tokenizer, backbone.tokenizer)]
    if vocabularies[0] != vocabularies[1]:
        raise RecipeError(
            f"optimization.distillation: {options.teacher} reads other tokens than {backbone.name}, so it cannot "
            "answer the same batches. Choose a teacher and a student of one tokenizer."
        )
    return Teacher(predictor.task, predictor.inference.model, options)


def check_metrics(work: Work, ready: Ready) -> None:
    """Refuse a misspelt metric, and one of the user's own that fails, which would show after the first epoch."""
    metric, prepared = work.recipe.training.metric_for_best_model, work.prepared
    if metric is not None or (prepared.task.metrics and "validation" in prepared.tables):
        scores = _validation_score(prepared, ready)()
        check_metric(metric or prepared.task.main_metric, scores)


def train_one(run: RunDir, work: Work, seed: int, ready: Ready) -> None:
    """Train one seed and write everything that its run directory holds.

    Args:
        run: of this seed; what an interrupted training left there is gone on with.
        work: of all seeds.
        seed: which.
        ready: from `build`.

    Raises:
        HeadwayError: see `headway.training.fit.fit`.
    """
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

    fitted = _learn(run, work, seed, ready)
    model.float().cpu()
    about_model = model_record(backbone, model)
    if has_adapter(model):
        # Before anything is scored, so that the scores are those of the model that is kept.
        save_and_merge(model, run.adapter)
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
        "model": about_model,
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


def _learn(run: RunDir, work: Work, seed: int, ready: Ready) -> Fitted:
    """Train the model of one seed, in steps or, under a head of scikit-learn, in one go."""
    recipe, prepared, task = work.recipe, work.prepared, work.prepared.task
    if (fits_at_once := estimator_of(ready.model)) is not None:
        features = prepared.features["train"]
        fit_estimator(fits_at_once, ready.inference, features, seed=seed, stop_check=ready.inference.stop_check)
        return Fitted(best_step=0, last_step=0, is_stopped_early=False)
    module = TrainingModule(
        task,
        ready.model,
        ready.criterion,
        stream=ready.stream,
        optimization=recipe.optimization,
        seed=seed,
        teacher=work.teacher,
    )
    metric = recipe.training.metric_for_best_model or task.main_metric
    return fit(
        module,
        score=_validation_score(prepared, ready) if "validation" in prepared.tables else None,
        metric=metric,
        higher_is_better=not task.is_lower_better(metric),
        options=recipe.training,
        trainer_arguments=recipe.trainer,
        paths=Paths(run.checkpoints, run.history, run.tensorboard),
        request=work.request,
        resume_command=work.resume_command,
    )


def _before(work: Work, inference: Inference, splits: list[str]) -> dict[str, Any]:
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


def _validation_score(prepared: Prepared, ready: Ready) -> Callable[[], dict[str, float]]:
    features, table = prepared.features["validation"], prepared.tables["validation"]
    rows = list(table)

    def score_now() -> dict[str, float]:
        mean = LossMean(ready.criterion)
        predictions = ready.inference.predict(features, rows, loss=mean)
        loss = {} if mean.value is None else {"loss": mean.value}
        return {**prepared.task.measure(predictions, rows), **loss}

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
