"""Tries the recipe's optimizer and schedule on a few numbers, so that a mistake shows before anything is trained."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from headway.errors import HeadwayError, RecipeError
from headway.models.freezing import parts_of
from headway.training.loaders import BatchStream
from headway.training.optimization import build_optimizer, build_schedule, create_optimizer
from headway.training.options import OptimizationOptions, TrainingOptions


def check_optimization(options: OptimizationOptions, stream: BatchStream) -> None:
    """Take some steps with the recipe's optimizer, and all steps of the run with its schedule, on 2 x 2 numbers.

    Beside weights with a gradient the optimizer gets some without, as a pooler that no loss asks for has none.

    Raises:
        RecipeError: one of them is not found, fails, never computes the gradient, or cannot be kept in a checkpoint.
    """
    moved, unmoved = (nn.Parameter(torch.ones(2, 2)) for _ in range(2))
    moved.grad = torch.zeros(2, 2)
    group = {"params": [moved, unmoved], "lr": options.learning_rate, "weight_decay": options.weight_decay}
    losses = []

    def closure() -> Any:
        losses.append(moved.sum())
        return losses[-1]

    with _blaming("optimization.optimizer", options.optimizer.name):
        optimizer = create_optimizer([group], options)
        optimizer.step(closure)
        optimizer.step()
        _restore(optimizer)
    if not losses:
        raise RecipeError(
            f"optimization.optimizer: {options.optimizer.name!r} never calls the function that its step() is given. "
            "step(closure) must call closure, which computes the gradients, before it moves a weight."
        )
    with _blaming("optimization.lr_scheduler_type", options.lr_scheduler_type):
        schedule = build_schedule(
            optimizer, options, total_steps=stream.total_steps, steps_per_epoch=stream.steps_per_epoch
        )
        # torch warns of a schedule that is advanced before the optimizer has made a step under it.
        optimizer.step()
        if not isinstance(schedule, ReduceLROnPlateau):
            for _ in range(stream.total_steps):
                schedule.step()
        _restore(schedule)


def check_layers(model: nn.Module, optimization: OptimizationOptions, training: TrainingOptions) -> None:
    """Complain where the options ask for layers that are not known of the model, or the optimizer refuses its weights.

    Raises:
        RecipeError: naming the option.
    """
    with _blaming("optimization.optimizer", optimization.optimizer.name):
        build_optimizer(model, optimization)
    if training.gradual_unfreezing:
        parts_of(model, option="training.gradual_unfreezing", instead="Set it to false")


def _restore(one: Any) -> None:
    """Save the state of an optimizer or a schedule and load it again, as a checkpoint does."""
    buffer = io.BytesIO()
    torch.save(one.state_dict(), buffer)
    buffer.seek(0)
    one.load_state_dict(torch.load(buffer, weights_only=True))


@contextlib.contextmanager
def _blaming(option: str, name: str) -> Iterator[None]:
    try:
        yield
    except HeadwayError:
        raise
    except Exception as error:
        raise RecipeError(f"{option}: a trial of {name!r} failed with {type(error).__name__}: {error}") from error
