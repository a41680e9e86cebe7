"""Run Lightning's loop over the batch stream, from the start or from the newest whole checkpoint."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar

from headway.errors import HeadwayError, MemoryExceededError, RecipeError, RunError
from headway.models.precision import has_bfloat16
from headway.training.callbacks import Evaluation, GradualUnfreezing, History, Saving, load_best
from headway.training.checkpoint import WholeCheckpointIO, newest_whole, prune
from headway.training.memory import keep_freed_memory
from headway.training.module import TrainingModule
from headway.training.options import TrainingOptions
from headway.training.stopping import StopRequest

logger = logging.getLogger(__name__)

# What these arguments of the trainer decide is decided by an option of the recipe.
OWNED = {
    "max_epochs": "training.num_train_epochs",
    "max_steps": "training.max_steps",
    "accumulate_grad_batches": "optimization.gradient_accumulation_steps",
    "gradient_clip_val": "optimization.max_grad_norm",
    "gradient_clip_algorithm": "optimization.max_grad_norm",
    "val_check_interval": "training.eval_steps",
    "check_val_every_n_epoch": "training.eval_steps",
    "log_every_n_steps": "training.logging_steps",
    "deterministic": "training.deterministic",
    "min_epochs": "training.num_train_epochs",
    "min_steps": "training.max_steps",
    "max_time": "training.max_steps",
    "fast_dev_run": "training.max_steps",
    "overfit_batches": "training.max_steps",
    "limit_train_batches": "training.max_steps",
    "limit_val_batches": "data.validation",
    "callbacks": "training.early_stopping_patience and training.save_steps",
    "enable_checkpointing": "training.save_steps",
    "default_root_dir": "output_dir",
    "plugins": "model and training",
    "num_sanity_val_steps": "training.baselines",
    "reload_dataloaders_every_n_epochs": "nothing: the stream of batches is one",
}


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a run keeps what it needs while it trains."""

    checkpoints: Path
    history: Path
    tensorboard: Path


@dataclass(frozen=True, slots=True)
class Fitted:
    """How the loop ended; the module holds the best weights."""

    best_step: int
    last_step: int
    is_stopped_early: bool


def fit(
    module: TrainingModule,
    *,
    score: Callable[[], dict[str, float]] | None,
    metric: str,
    higher_is_better: bool,
    options: TrainingOptions,
    trainer_arguments: Mapping[str, Any],
    paths: Paths,
    request: StopRequest,
    resume_command: str,
) -> Fitted:
    """Train until the stream ends, patience runs out or a stop is asked for; leave the best weights in the module.

    Args:
        module: task, model, loss and stream.
        score: gives every validation metric of the model as it is; without it the last weights count as the best.
        metric: which of them chooses the best weights.
        higher_is_better: the direction of ``metric``.
        options: the recipe's `training`.
        trainer_arguments: the recipe's `trainer`.
        paths: of the run; a whole checkpoint found there is resumed.
        request: asked after every step whether to stop.
        resume_command: what to tell a user whose run was stopped.

    Raises:
        HeadwayError: of the kinds NonFiniteError, MemoryExceededError, RunError, StoppedError, RecipeError.
    """
    paths.checkpoints.mkdir(parents=True, exist_ok=True)
    checkpoint = newest_whole(paths.checkpoints)
    prune(paths.checkpoints)
    start_step = int(checkpoint.stem.rpartition("-")[2]) if checkpoint else 0
    history = History(paths.history, paths.tensorboard, options=options, start_step=start_step)
    evaluation = Evaluation(
        score,
        history=history,
        checkpoints=paths.checkpoints,
        options=options,
        metric=metric,
        higher_is_better=higher_is_better,
    )
    saving = Saving(paths.checkpoints, evaluation=evaluation, options=options, request=request, resume=resume_command)
    if checkpoint is not None:
        saved = WholeCheckpointIO().load_checkpoint(checkpoint)
        evaluation.load_state_dict(saved["callbacks"][evaluation.state_key])
        if start_step >= module.stream.total_steps and evaluation.is_interrupted:
            module.load_state_dict(saved["state_dict"])
            module.stream.position = module.stream.total_batches
            evaluation.evaluate(module, start_step)
    is_done = start_step >= module.stream.total_steps or evaluation.is_stopped_early
    if not is_done:
        _check_room(module, paths.checkpoints)
        callbacks = [history, evaluation, saving, *([GradualUnfreezing()] if options.gradual_unfreezing else [])]
        with _quiet():
            trainer = _trainer(options, trainer_arguments, callbacks, accumulation=module.stream.accumulation)
        if checkpoint is not None:
            logger.info("Resuming from step %d of %d.", start_step, module.stream.total_steps)
        # transformers loads models in evaluation mode and Lightning keeps the mode it finds: without this, no dropout.
        module.train()
        if options.keep_memory:
            keep_freed_memory()
        with _clear_memory_errors(module), _quiet():
            # torch.load by Lightning itself is never reached: the checkpoint goes through WholeCheckpointIO.
            trainer.fit(module, train_dataloaders=module.stream, ckpt_path=checkpoint, weights_only=True)
        last_step = trainer.global_step
    else:
        last_step = start_step
    load_best(paths.checkpoints, module, evaluation.best_step)
    return Fitted(evaluation.best_step, last_step, evaluation.is_stopped_early)


def _check_room(module: TrainingModule, folder: Path) -> None:
    """Refuse to start where two checkpoints would not fit: what is trained, and two moments of each.

    Raises:
        RunError: with the room needed and found.
    """
    needed = 2 * 3 * sum(one.numel() * one.element_size() for one in module.parameters() if one.requires_grad)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RunError(
            f"{folder} has {free / 1e6:,.0f} MB free, and two checkpoints of this model need {needed / 1e6:,.0f} MB. "
            "Free some space, or choose an --output_dir on another disk."
        )


def device_of(trainer_arguments: Mapping[str, Any]) -> torch.device:
    """Return where Lightning will compute, as far as headway knows devices."""
    wants_cpu = trainer_arguments.get("accelerator") == "cpu"
    return torch.device("cuda" if torch.cuda.is_available() and not wants_cpu else "cpu")


def precision(choice: Any, trainer_arguments: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return Lightning's word for the precision that the recipe asks for; `trainer.precision` wins.

    Raises:
        RecipeError: bfloat16 is asked for and the device has none.
    """
    if "precision" in trainer_arguments:
        return str(trainer_arguments["precision"])
    has_bf16 = has_bfloat16(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if choice is True and not has_bf16:
        raise RecipeError("training.bf16: this machine has no bfloat16 instructions. Leave it at auto.")
    return "bf16-mixed" if choice in ("auto", True) and has_bf16 else "32-true"


def check_trainer_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of the trainer that an option of the recipe decides.

    Raises:
        RecipeError: one is given, with the option to use.
    """
    for name in arguments:
        if name in OWNED:
            raise RecipeError(f"trainer.{name}: this is decided by {OWNED[name]}. Set it there.")


def check_trainer(options: TrainingOptions, arguments: Mapping[str, Any]) -> None:
    """Refuse what `fit` would refuse of a recipe, before anything is read.

    Raises:
        RecipeError: naming the argument of the trainer, or the option.
    """
    with _quiet():
        _trainer(options, arguments, [], accumulation=1)


def _trainer(
    options: TrainingOptions, arguments: Mapping[str, Any], callbacks: list[L.Callback], *, accumulation: int
) -> L.Trainer:
    check_trainer_arguments(arguments)
    is_terminal = sys.stderr.isatty()
    chosen: dict[str, Any] = {
        "precision": precision(options.bf16, arguments),
        "deterministic": options.deterministic,
        "logger": False,
        "enable_progress_bar": is_terminal,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        **arguments,
    }
    if chosen["enable_progress_bar"]:
        callbacks = [RichProgressBar() if is_terminal else TQDMProgressBar(), *callbacks]
    try:
        trainer = L.Trainer(
            # One long epoch: see headway.training.loaders.
            max_epochs=1,
            accumulate_grad_batches=accumulation,
            callbacks=callbacks,
            plugins=[WholeCheckpointIO()],
            enable_checkpointing=False,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            **chosen,
        )
    except (TypeError, ValueError, L.fabric.utilities.exceptions.MisconfigurationException) as error:
        raise RecipeError(f"trainer: lightning.Trainer does not take these arguments: {error}") from error
    if trainer.world_size > 1:
        raise RecipeError("trainer.devices: this version trains on one device. Set trainer.devices: 1.")
    return trainer


@contextlib.contextmanager
def _clear_memory_errors(module: TrainingModule) -> Iterator[None]:
    try:
        yield
    except HeadwayError:
        raise
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text
        if not is_memory:
            raise
        raise MemoryExceededError(
            f"Out of memory at optimizer step {module.global_step}. The last good checkpoint is kept. Lower "
            "training.per_device_train_batch_size and raise optimization.gradient_accumulation_steps by the same "
            "factor (the result stays the same), lower data.max_length, or set model.gradient_checkpointing: true; "
            "start again with --overwrite."
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back Lightning's remarks on choices that are made on purpose here."""
    names = ("lightning.pytorch", "lightning.fabric")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*optimizer.step.*")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
