"""Learning from a teacher: a trained model's logits beside the labels, for any task.

The task computes its loss twice over the same batch: once for the teacher, where the criterion only takes down the
logits it is given, and once for the student, where each set of logits meets the teacher's. So whatever a task applies
its criterion to (texts, words, starts and ends of answers, choices) is what is distilled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from headway.errors import RecipeError
from headway.models.losses import IGNORED
from headway.tasks.base import Task
from headway.training.options import Distillation
from headway.types import ACTIVATIONS, Batch, Criterion


@dataclass(frozen=True, slots=True)
class Teacher:
    """A trained model that answers the batches of its student, without dropout and without learning."""

    task: Task
    model: nn.Module
    options: Distillation

    def beside(self, criterion: Criterion, batch: Batch) -> Criterion:
        """Return a criterion for one loss of this batch: ``criterion`` and the distance to the teacher, weighted."""
        said: list[Tensor] = []
        # Those of the student's layers: a teacher has its own.
        batch = replace(batch, inputs={name: one for name, one in batch.inputs.items() if name != ACTIVATIONS})

        def take_down(logits: Tensor, targets: Tensor) -> Tensor:
            said.append(logits)
            return logits.new_zeros(())

        with torch.no_grad():
            self.model.to(next(iter(batch.inputs.values())).device).eval()
            self.task.loss(self.task.forward(self.model, batch), batch, take_down)
        answers = iter(said)
        options = self.options

        def both(logits: Tensor, targets: Tensor) -> Tensor:
            distance = distance_to(next(answers), logits, targets, temperature=options.temperature)
            loss: Tensor = options.alpha * distance + (1 - options.alpha) * criterion(logits, targets)
            return loss

        return both


def distance_to(teacher: Tensor, student: Tensor, targets: Tensor, *, temperature: float) -> Tensor:
    """Return how far the student's logits are from the teacher's, a mean over the rows.

    For classes it is the Kullback-Leibler divergence of the two softmaxes, both softened by the temperature, times its
    square, which keeps the size of the gradient (Hinton et al. 2015, arXiv:1503.02531); for several labels the same of
    each sigmoid; for numbers the squared difference.

    Args:
        teacher: (rows, classes), or (rows, 1) for numbers.
        student: of the same shape.
        targets: the truth, whose form tells which of the three it is; rows of -100 are left out.
        temperature: above 0.
    """
    teacher, student = teacher.float(), student.float()
    if not targets.is_floating_point():
        has_gold = targets != IGNORED
        soft = [(one[has_gold] / temperature).log_softmax(-1) for one in (teacher, student)]
        if not has_gold.any():
            return student.sum() * 0.0
        # Where a choice is absent, both are as unlikely as a number can be, and 0 * inf would be NaN.
        terms = (soft[0].exp() * (soft[0] - soft[1])).nan_to_num(0.0)
        return terms.sum(-1).mean() * temperature**2
    if targets.shape == student.shape and student.dim() == 2 and student.shape[-1] > 1:
        shares = (teacher / temperature).sigmoid()
        loss = functional.binary_cross_entropy_with_logits(student / temperature, shares)
        entropy = functional.binary_cross_entropy(shares, shares)
        return (loss - entropy) * temperature**2
    return functional.mse_loss(student, teacher)


def check_pair(student: Task, teacher: Task, *, run: str) -> None:
    """Complain where a teacher has learnt something else than its student is to learn.

    Raises:
        RecipeError: another task, or other labels.
    """
    if student.name != teacher.name:
        raise RecipeError(
            f"optimization.distillation: {run} is a run of {teacher.name}, but the task is {student.name}."
        )
    for field in ("labels", "problem_type"):
        theirs, own = getattr(teacher, field, None), getattr(student, field, None)
        if theirs != own:
            raise RecipeError(
                f"optimization.distillation: {run} has learnt other {field.replace('_', ' ')}, or in another order: "
                f"{theirs}, here {own}. Train the teacher on the same labels, or name them in task.labels."
            )
