"""The optimizer and the learning-rate schedule that the recipe asks for."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import get_scheduler

from headway.errors import RecipeError
from headway.training.options import OptimizationOptions

NORMALISATION = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Return the trainable parameters in two groups; biases and normalisation weights are not decayed.

    Decaying them pulls the scale of every layer towards zero; BERT (Devlin et al. 2019) and RoBERTa leave them out.
    """
    spared = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, NORMALISATION) or "norm" in type(module).__name__.lower()
        for parameter in module.parameters(recurse=False)
    }
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_spared = id(parameter) in spared or name.rpartition(".")[2] == "bias"
            (plain if is_spared else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def build_optimizer(model: nn.Module, options: OptimizationOptions) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov and Hutter 2019) over the trainable parameters.

    Raises:
        RecipeError: nothing is left to train.
    """
    groups = parameter_groups(model, weight_decay=options.weight_decay)
    if not groups:
        raise RecipeError("model.freeze leaves no parameter to train. Freeze fewer layers.")
    return torch.optim.AdamW(
        groups,
        lr=options.learning_rate,
        betas=(options.adam_beta1, options.adam_beta2),
        eps=options.adam_epsilon,
        fused=True,
    )


def warmup_steps(options: OptimizationOptions, total_steps: int) -> int:
    """Return the optimizer steps over which the learning rate rises."""
    return options.warmup_steps or round(options.warmup_ratio * total_steps)


def build_schedule(
    optimizer: torch.optim.Optimizer, options: OptimizationOptions, *, total_steps: int, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule, advanced once after every optimizer step (`reduce_lr_on_plateau`: every evaluation).

    Args:
        optimizer: whose learning rate it moves.
        options: the recipe's `optimization`.
        total_steps: optimizer steps of the whole run.
        steps_per_epoch: optimizer steps of one pass, the unit of `step_size` in the `step` schedule.

    Raises:
        RecipeError: `lr_scheduler_kwargs` holds an argument that the schedule does not take.
    """
    kwargs: dict[str, Any] = dict(options.lr_scheduler_kwargs)
    warmup = warmup_steps(options, total_steps)
    try:
        match options.lr_scheduler_type:
            case "step":
                step_size = max(1, round(kwargs.pop("step_size", 1) * steps_per_epoch))
                schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size, **kwargs)
                return _with_warmup(optimizer, schedule, warmup)
            case "one_cycle":
                kwargs.setdefault("pct_start", warmup / total_steps if warmup else 0.3)
                # Momentum stays: AdamW's betas are options of their own.
                return torch.optim.lr_scheduler.OneCycleLR(
                    optimizer, options.learning_rate, total_steps=total_steps + 1, cycle_momentum=False, **kwargs
                )
            case "reduce_lr_on_plateau":
                # Scores come negated where more is better; torch's relative threshold takes an equal negative number
                # for a better one.
                return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, threshold_mode="abs", **kwargs)
            case name:
                found: torch.optim.lr_scheduler.LRScheduler = get_scheduler(
                    name, optimizer, warmup, total_steps, kwargs or None
                )
                return found
    except (TypeError, ValueError) as error:
        raise RecipeError(
            f"optimization.lr_scheduler_kwargs do not fit {options.lr_scheduler_type!r}: {error}."
        ) from error


def _with_warmup(
    optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler, warmup: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if not warmup:
        return schedule
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1e-8, total_iters=warmup)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, schedule], milestones=[warmup])
