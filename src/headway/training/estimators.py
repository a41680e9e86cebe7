"""Fit a head of scikit-learn: no steps, no optimizer, one call over the vectors of all training rows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from headway.data.token_cache import TokenCache
from headway.errors import RecipeError
from headway.inference import Inference
from headway.models.estimators import KINDS, EstimatorHead, is_estimator
from headway.models.heads import HeadedModel
from headway.models.options import ModelOptions
from headway.training.options import OptimizationOptions

logger = logging.getLogger(__name__)


def estimator_of(model: nn.Module) -> HeadedModel | None:
    """Return the model whose head is an estimator, or nothing where it learns in steps."""
    return model if isinstance(model, HeadedModel) and isinstance(model.head, EstimatorHead) else None


def check_estimator(model: ModelOptions, optimization: OptimizationOptions, *, kind: str, truncation: str) -> None:
    """Complain of options that a head of scikit-learn cannot heed.

    Raises:
        RecipeError: naming the option and what to set instead.
    """
    name = model.head.name
    if not is_estimator(name):
        return
    if kind not in KINDS:
        raise RecipeError(
            f"model.head: {name!r} labels single rows of vectors, which does not suit {kind}. Use linear."
        )
    if model.freeze != "all":
        raise RecipeError(
            f"model.head: {name!r} is fitted by scikit-learn, which moves no weight of the backbone. Set model.freeze: "
            "all."
        )
    if model.pooling == "attention":
        raise RecipeError(f"model.pooling: nothing trains the weights of attention under {name!r}. Choose mean.")
    if truncation == "window":
        raise RecipeError(f"data.truncation: {name!r} reads no windows. Choose a cut, or model.head: linear.")
    for option in ("loss", "class_weights", "label_smoothing_factor"):
        if getattr(optimization, option):
            raise RecipeError(
                f"optimization.{option}: {name!r} is fitted by scikit-learn in its own way. Say what you want beside "
                f"the name ({{name: {name}, class_weight: balanced}})."
            )


def fit_estimator(
    model: HeadedModel, inference: Inference, features: TokenCache, *, seed: int, stop_check: Callable[[], None]
) -> None:
    """Fit the head of ``model`` on the training rows.

    What the rows and their labels are is for the task to say: it computes its loss as ever, over a head that hands the
    vectors through, and the criterion takes down what it is given.
    """
    vectors: list[Tensor] = []
    targets: list[Tensor] = []

    def take_down(logits: Tensor, labels: Tensor) -> Tensor:
        vectors.append(logits.float().cpu())
        targets.append(labels.cpu())
        return logits.new_zeros(())

    task, head, num_labels = inference.task, cast(EstimatorHead, model.head), model.num_labels
    device = next(model.parameters()).device
    model.eval()
    model.head, model.num_labels = nn.Identity(), model.width
    try:
        with torch.inference_mode():
            for start in range(0, len(features), inference.batch_size):
                stop_check()
                some: Any = features[start : start + inference.batch_size]
                batch = task.collate(some, inference.tokenizer).to(device)
                task.loss(task.forward(model, batch), batch, take_down)
    finally:
        model.head, model.num_labels = head, num_labels
    rows = np.concatenate([one.numpy() for one in vectors])
    logger.info("Fitting %s on %s vectors.", model.choice.name, f"{len(rows):,}")
    head.fit(rows, np.concatenate([one.numpy() for one in targets]), seed=seed)
