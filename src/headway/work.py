"""What a run works on: its tasks with their rows, the backbone, and for each seed the models that are to be trained.

A run has one model for each of its tasks; most have one task.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from headway.errors import RecipeError
from headway.inference import Inference
from headway.models.backbone import Backbone
from headway.models.safe_loading import sha256_of_tokenizer
from headway.models.sharing import share_body
from headway.predictor import Predictor
from headway.preparation import (
    Prepared,
    build_criterion,
    build_model,
    build_stream,
)
from headway.recipe import Recipe
from headway.training.distillation import Teacher, check_pair
from headway.training.estimators import estimator_of
from headway.training.fit import device_of, precision
from headway.training.frozen import encode_once
from headway.training.loaders import BatchStream
from headway.training.module import seed_from
from headway.training.stopping import StopRequest


@dataclass(frozen=True, slots=True)
class Part:
    """One task of a run: its recipe with what it learnt from the rows, and the rows."""

    name: str
    """Empty for the recipe's own task."""
    recipe: Recipe
    prepared: Prepared
    simple_methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the task's simple methods score, from the first seed on that needs it."""


@dataclass(frozen=True, slots=True)
class Work:
    """What all seeds of a run share."""

    recipe: Recipe
    parts: tuple[Part, ...]
    backbone: Backbone
    request: StopRequest
    resume_command: str
    teacher: Teacher | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The untrained model of one task and seed, and what it is trained and scored with."""

    part: Part
    inference: Inference
    criterion: nn.Module


def build(work: Work, seed: int) -> list[Ready]:
    """Return everything that the recipe names for one seed, so that a fault in it shows before a file is written.

    Raises:
        RecipeError: an option does not suit a model, or the models cannot share a backbone.
    """
    # The new heads are drawn here; everything after draws from (seed, position).
    seed_from(seed)
    built = [Ready(part, _inference(work, part), build_criterion(part.recipe, part.prepared)) for part in work.parts]
    if len(built) > 1:
        models = [one.inference.model for one in built]
        if any(estimator_of(model) is not None for model in models):
            raise RecipeError("model.head: a head of scikit-learn is fitted in one go, which several tasks cannot be.")
        share_body(models)
    return built


def stream_of(work: Work, seed: int) -> BatchStream:
    """Return the training batches of one seed."""
    return build_stream(work.recipe, [part.prepared for part in work.parts], work.backbone.tokenizer, seed=seed)


def _inference(work: Work, part: Part) -> Inference:
    return Inference(
        part.prepared.task,
        build_model(part.recipe, part.prepared, work.backbone),
        work.backbone.tokenizer,
        part.prepared.limits,
        work.recipe.training.per_device_eval_batch_size,
        lambda: work.request.check(saved=f"What was saved before is whole. Go on with: {work.resume_command}"),
        sort_weights=work.recipe.model.sorted_weights,
    )


def encoded_once(work: Work) -> Work:
    """Return the work with the vectors of all rows, where what is frozen has to be asked only once."""
    if not (work.recipe.model.asks_once or work.recipe.model.cache_frozen):
        return work
    work = replace(work, parts=tuple(_encoded(work, part) for part in work.parts))
    # Models refer to themselves, so that the one that was asked would stay in memory beside the one that is trained.
    gc.collect()
    return work


def _encoded(work: Work, part: Part) -> Part:
    # The same backbone serves all seeds; what is drawn for its head here is thrown away.
    inference = _inference(work, part)
    inference.model.to(device_of(work.recipe.trainer))
    options = work.recipe.model
    features = encode_once(
        part.prepared.features,
        inference,
        weights=f"{work.backbone.sha256} {work.backbone.config.to_json_string()} {options.num_hidden_layers}",
        bf16=precision(work.recipe.training.bf16, work.recipe.trainer).startswith("bf16"),
        stop_check=inference.stop_check,
        num_frozen=int(options.freeze) if options.cache_frozen else None,
    )
    return replace(part, prepared=replace(part.prepared, features=features))


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
    vocabularies = [sha256_of_tokenizer(one) for one in (predictor.tokenizer, backbone.tokenizer)]
    if vocabularies[0] != vocabularies[1]:
        raise RecipeError(
            f"optimization.distillation: {options.teacher} reads other tokens than {backbone.name}, so it cannot "
            "answer the same batches. Choose a teacher and a student of one tokenizer."
        )
    return Teacher(predictor.task, predictor.inference.model, options)
