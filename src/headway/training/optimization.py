"""The optimizer and the learning-rate schedule that the recipe asks for."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from transformers import get_scheduler

from headway.errors import RecipeError
from headway.importing import Choice, load_class
from headway.models.freezing import parts_of
from headway.training.options import ADAM_FAMILY, OPTIMIZERS, SCHEDULES, OptimizationOptions

FUSED = ("adamw", "adam", "sgd")
"""The optimizers that torch updates in one pass over the weights, on every device."""
NORMALISATION = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def parameter_groups(model: nn.Module, options: OptimizationOptions) -> list[dict[str, Any]]:
    """Return the trainable parameters in groups of one learning rate and one weight decay, the highest rate first.

    Biases and normalisation weights are not decayed: it would pull the scale of every layer towards zero; BERT (Devlin
    et al. 2019) and RoBERTa leave them out. With `layerwise_lr_decay` the rate of a layer is ``learning_rate * decay **
    (layers above it)``, that of the embeddings ``learning_rate * decay ** layers``: what is lowest is most general and
    needs least change (Howard and Ruder 2018, arXiv:1801.06146, "discriminative fine-tuning"; ELECTRA, Clark et al.
    2020, arXiv:2003.10555).

    Raises:
        RecipeError: which layers the model has is not known.
    """
    spared = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, NORMALISATION) or "norm" in type(module).__name__.lower()
        for parameter in module.parameters(recurse=False)
    }
    above = _layers_above(model) if options.layerwise_lr_decay else {}
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_spared = id(parameter) in spared or name.rpartition(".")[2] == "bias"
            groups.setdefault((above.get(id(parameter), 0), is_spared), []).append(parameter)
    return [
        {
            "params": groups[number, is_spared],
            "lr": options.learning_rate * (options.layerwise_lr_decay or 1.0) ** number,
            "weight_decay": 0.0 if is_spared else options.weight_decay,
        }
        for number, is_spared in sorted(groups)
    ]


def _layers_above(model: nn.Module) -> dict[int, int]:
    """Return identity of a parameter -> layers above it, for all parameters of the layers and the embeddings."""
    from_top = reversed(parts_of(model, option="optimization.layerwise_lr_decay", instead="Leave it empty"))
    return {
        id(parameter): number
        for number, part in enumerate(from_top)
        for module in part
        for parameter in module.parameters()
    }


def build_optimizer(model: nn.Module, options: OptimizationOptions) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over the trainable parameters.

    Raises:
        RecipeError: nothing is left to train, or see `create_optimizer` and `parameter_groups`.
    """
    groups = parameter_groups(model, options)
    if not groups:
        raise RecipeError("model.freeze leaves no parameter to train. Freeze fewer layers.")
    return create_optimizer(groups, options)


def create_optimizer(groups: list[dict[str, Any]], options: OptimizationOptions) -> torch.optim.Optimizer:
    """Construct the optimizer that the recipe names: AdamW (Loshchilov and Hutter 2019) if it names none.

    Raises:
        RecipeError: the class is not found or is no optimizer, does not take an option, refuses a value, or decays no
            weights though the recipe asks for it.
    """
    choice = options.optimizer
    given: dict[str, Any] = {"params": groups, "lr": options.learning_rate}
    if choice.name in ADAM_FAMILY:
        given |= {"betas": (options.adam_beta1, options.adam_beta2), "eps": options.adam_epsilon}
    if choice.name in FUSED:
        given["fused"] = True
    made = choice.create(torch.optim.Optimizer, known=OPTIMIZERS, option="optimization.optimizer", given=given)
    if options.weight_decay and "weight_decay" not in made.defaults:
        raise RecipeError(f"optimization.weight_decay: the optimizer {choice.name!r} has none. Set it to 0.")
    return made


def leaves_unmoved(options: OptimizationOptions) -> bool:
    """Return whether weights without gradient stay as they are, and have no part in how the others move."""
    return not options.weight_decay and options.optimizer.name in OPTIMIZERS and options.optimizer.name != "adafactor"


def warmup_steps(options: OptimizationOptions, total_steps: int) -> int:
    """Return the optimizer steps over which the learning rate rises."""
    return options.warmup_steps or round(options.warmup_ratio * total_steps)


def build_schedule(
    optimizer: torch.optim.Optimizer, options: OptimizationOptions, *, total_steps: int, steps_per_epoch: int
) -> LRScheduler:
    """Return the schedule, advanced once after every optimizer step (`reduce_lr_on_plateau`: every evaluation).

    Args:
        optimizer: whose learning rates it moves, each group's from its own base.
        options: the recipe's `optimization`.
        total_steps: optimizer steps of the whole run.
        steps_per_epoch: optimizer steps of one pass, the unit of `step_size` in the `step` schedule.

    Raises:
        RecipeError: `lr_scheduler_kwargs` holds an argument that the schedule does not take, or a class of the user's
            own is not found or is no schedule.
    """
    kwargs: dict[str, Any] = dict(options.lr_scheduler_kwargs)
    warmup = warmup_steps(options, total_steps)
    if options.lr_scheduler_type not in SCHEDULES:
        return _own_schedule(
            optimizer,
            Choice(name=options.lr_scheduler_type, options=kwargs),
            {"total_steps": total_steps, "steps_per_epoch": steps_per_epoch, "warmup_steps": warmup},
        )
    try:
        match options.lr_scheduler_type:
            case "step":
                step_size = max(1, round(kwargs.pop("step_size", 1) * steps_per_epoch))
                schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size, **kwargs)
                return _with_warmup(optimizer, schedule, warmup)
            case "one_cycle":
                kwargs.setdefault("pct_start", warmup / total_steps if warmup else 0.3)
                peaks = [group["lr"] for group in optimizer.param_groups]
                # Momentum stays: it is an option of its own.
                return torch.optim.lr_scheduler.OneCycleLR(
                    optimizer, peaks, total_steps=total_steps + 1, cycle_momentum=False, **kwargs
                )
            case "reduce_lr_on_plateau":
                # Scores come negated where more is better; torch's relative threshold takes an equal negative number
                # for a better one.
                return ReduceLROnPlateau(optimizer, threshold_mode="abs", **kwargs)
            case name:
                found: LRScheduler = get_scheduler(name, optimizer, warmup, total_steps, kwargs or None)
                return found
    except (TypeError, ValueError) as error:
        raise RecipeError(
            f"optimization.lr_scheduler_kwargs do not fit {options.lr_scheduler_type!r}: {error}."
        ) from error


def _own_schedule(optimizer: torch.optim.Optimizer, choice: Choice, facts: dict[str, int]) -> LRScheduler:
    """Construct a schedule named by import path, with those of ``facts`` that its constructor takes by name."""
    option = "optimization.lr_scheduler_type"
    chosen = load_class(choice.name, known={}, option=option, base=LRScheduler)
    if issubclass(chosen, ReduceLROnPlateau):
        raise RecipeError(f"{option}: {choice.name!r} needs the scores. Use reduce_lr_on_plateau.")
    taken = {name: fact for name, fact in facts.items() if name in inspect.signature(chosen).parameters}
    if facts["warmup_steps"] and "warmup_steps" not in taken:
        raise RecipeError(
            f"{option}: {choice.name!r} does not take 'warmup_steps', so it cannot warm up. Set "
            "optimization.warmup_ratio and optimization.warmup_steps to 0."
        )
    return choice.create(LRScheduler, known={}, option=option, given={"optimizer": optimizer, **taken})


def _with_warmup(optimizer: torch.optim.Optimizer, schedule: LRScheduler, warmup: int) -> LRScheduler:
    if not warmup:
        return schedule
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1e-8, total_iters=warmup)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, schedule], milestones=[warmup])
