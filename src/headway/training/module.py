"""The only LightningModule: it knows tasks, models and losses, and nothing of files or data."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from headway.errors import ModelError, NonFiniteError
from headway.tasks.base import Task
from headway.training.distillation import Teacher
from headway.training.loaders import BatchStream
from headway.training.optimization import build_optimizer, build_schedule
from headway.training.options import OptimizationOptions
from headway.types import Batch, Criterion


@dataclass(frozen=True, slots=True)
class Learner:
    """A task with its model and its loss."""

    task: Task
    model: nn.Module
    criterion: nn.Module


class TrainingModule(L.LightningModule):
    """One optimizer step of any task: forward, loss, finite or stop.

    Several tasks that are learnt together take turns, batch by batch; their models share what they share.
    """

    def __init__(
        self,
        learners: Sequence[Learner],
        *,
        stream: BatchStream,
        optimization: OptimizationOptions,
        seed: int,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.tasks = [one.task for one in learners]
        self.models = nn.ModuleList(one.model for one in learners)
        self.criteria = nn.ModuleList(one.criterion for one in learners)
        self.stream, self.optimization, self.seed = stream, optimization, seed
        # No module: its weights are none of a checkpoint's. It teaches the first task.
        self.teacher = teacher
        self.position = 0
        named = self.named_parameters(remove_duplicate=False)
        self._frozen = {name for name, one in named if not one.requires_grad}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return what training may change; a run that is resumed makes the frozen weights anew from the same backbone.

        What is frozen only at first (`training.gradual_unfreezing`) is trained later, and is held.
        """
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        return {name: value for name, value in state.items() if name not in self._frozen}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take over what `state_dict` gave.

        Raises:
            ModelError: it is of another model.
        """
        found = super().load_state_dict(state_dict, strict=False, assign=assign)
        if strict and (found.unexpected_keys or set(found.missing_keys) - self._frozen):
            raise ModelError("The checkpoint is of another model. Start again with --overwrite.")
        return found

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move the tensors of a batch, which Lightning cannot find in a frozen dataclass."""
        return batch.to(device)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Draw dropout from (seed, position, rank), so that it does not depend on what ran before."""
        self.position = self.stream.position
        seed_from(self.seed, self.position, self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch.

        Raises:
            NonFiniteError: the loss is NaN or infinite; no weight has been touched by it.
        """
        task, model = self.tasks[batch.task], self.models[batch.task]
        criterion: Criterion = self.criteria[batch.task]
        if self.teacher is not None and batch.task == 0:
            criterion = self.teacher.beside(criterion, batch)
        loss = task.loss(task.forward(model, batch), batch, criterion)
        if not torch.isfinite(loss):
            rows = ", ".join(str(features.row) for features in batch.features[:10])
            raise NonFiniteError(
                f"The loss became {loss.item()} at optimizer step {self.global_step} (training rows {rows}, ...). The "
                "last good checkpoint is kept. Lower optimization.learning_rate, raise optimization.warmup_ratio, or "
                "look at these rows."
            )
        return loss

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip by the recipe's norm, and stop before a gradient that is not finite reaches the weights."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.optimization.max_grad_norm or torch.inf)
        if not torch.isfinite(norm):
            raise NonFiniteError(
                f"The gradient became {norm.item()} at optimizer step {self.global_step}. No weight was changed by it, "
                "and the last good checkpoint is kept. Lower optimization.learning_rate or optimization.max_grad_norm."
            )

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule."""
        optimizer = build_optimizer(self.models, self.optimization)
        schedule = build_schedule(
            optimizer,
            self.optimization,
            total_steps=self.stream.total_steps,
            steps_per_epoch=self.stream.steps_per_epoch,
        )
        if self.optimization.lr_scheduler_type == "reduce_lr_on_plateau":
            # Advanced by the evaluation callback, which has the score.
            return {
                "optimizer": optimizer,
                "lr_scheduler": {
                    "scheduler": schedule,
                    "monitor": "plateau",
                    "strict": False,
                    "interval": "epoch",
                    "frequency": 10**9,
                },
            }
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def seed_from(*numbers: int) -> None:
    """Seed torch, numpy and Python from a few whole numbers, mixed so that neighbours share nothing."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    mixed = int.from_bytes(digest, "little") >> 1
    torch.manual_seed(mixed)
    np.random.seed(mixed % 2**32)
    random.seed(mixed)
