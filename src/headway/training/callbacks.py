"""What happens between optimizer steps: log, evaluate, save, stop. In this order, and only at whole steps."""

from __future__ import annotations

import contextlib
import csv
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from headway.errors import RecipeError, StoppedError, did_you_mean
from headway.models.freezing import parts_of
from headway.training.checkpoint import WholeCheckpointIO, best_path, prune, resume_path
from headway.training.module import TrainingModule
from headway.training.options import TrainingOptions
from headway.training.stopping import StopRequest

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

Scores = dict[str, float]


class StepCallback(L.Callback):
    """A callback that acts after whole optimizer steps, never between two accumulated batches."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Call `after_batch`, and `after_step` if this batch ended an optimizer step."""
        assert isinstance(pl_module, TrainingModule)
        self.after_batch(float(outputs["loss"]), len(batch.features))
        stream = pl_module.stream
        if stream.position % stream.accumulation == 0 or stream.position == stream.total_batches:
            self.after_step(trainer, pl_module, trainer.global_step)

    def after_batch(self, loss: float, num_rows: int) -> None:
        """Take note of a batch."""

    def after_step(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        """Act after optimizer step ``step``, counted from 1."""


class GradualUnfreezing(L.Callback):
    """Trains the head and the top layer in the first epoch, and one layer more from the top in each further epoch.

    Howard and Ruder 2018, Universal Language Model Fine-tuning for Text Classification, arXiv:1801.06146. Which layers
    move is a function of the position in the stream of batches, so a resumed run goes on exactly. The others have no
    gradient at all, and an optimizer passes over what has none.
    """

    def __init__(self) -> None:
        self._layers: list[list[nn.Parameter]] = []
        """Parameters of each layer from the top, the embeddings with the lowest."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the layers."""
        assert isinstance(pl_module, TrainingModule)
        parts = parts_of(pl_module.models, option="training.gradual_unfreezing", instead="Set it to false")
        embeddings, lowest, *others = [
            [one for module in part for one in module.parameters() if one.requires_grad] for part in parts
        ]
        self._layers = [*reversed(others), lowest + embeddings]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Let the layers move whose epoch has come."""
        assert isinstance(pl_module, TrainingModule)
        # The position counts this batch already.
        epoch = (pl_module.stream.position - 1) // pl_module.stream.batches_per_epoch
        self._train(epoch + 1)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the model as it came."""
        self._train(len(self._layers))

    def _train(self, number: int) -> None:
        for depth, layer in enumerate(self._layers):
            for parameter in layer:
                parameter.requires_grad_(depth < number)


class History(StepCallback):
    """Writes loss, learning rate and scores to history.csv, TensorBoard and the screen.

    Logging never stops training: a full disk or a vanished folder is reported once.
    """

    COLUMNS = ("step", "epoch", "split", "name", "value")

    def __init__(self, path: Path, tensorboard: Path, *, options: TrainingOptions, start_step: int) -> None:
        self._path, self._options = path, options
        self._loss_sum, self._batches = 0.0, 0
        self._rows_done, self._started = 0, time.monotonic()
        self._start_step, self._last_line = start_step, 0.0
        self._has_failed = False
        self._writer: SummaryWriter | None = None
        from torch.utils.tensorboard import SummaryWriter

        with self._never_stopping():
            _trim(path, start_step)
            self._writer = SummaryWriter(str(tensorboard), purge_step=start_step + 1 if start_step else None)

    def after_batch(self, loss: float, num_rows: int) -> None:
        """Add the loss to the mean of the current logging window."""
        self._loss_sum += loss
        self._batches += 1
        self._rows_done += num_rows

    def after_step(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        """Log the mean loss of the window and the learning rate."""
        if step % self._options.logging_steps and step != module.stream.total_steps:
            return
        loss = self._loss_sum / self._batches
        self._loss_sum, self._batches = 0.0, 0
        learning_rate = trainer.optimizers[0].param_groups[0]["lr"]
        epoch = module.stream.epoch_at(module.stream.position)
        self.write(step, epoch, "train", {"loss": loss, "learning_rate": learning_rate})
        module.log("loss", loss, prog_bar=True, logger=False)
        if trainer.progress_bar_callback is None:
            self._line(step, module.stream.total_steps, epoch, loss, learning_rate)

    def write(self, step: int, epoch: float, split: str, values: Scores) -> None:
        """Add one line for each value to history.csv and one point to TensorBoard."""
        with self._never_stopping():
            is_new = not self._path.exists()
            with self._path.open("a", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                if is_new:
                    writer.writerow(self.COLUMNS)
                writer.writerows((step, f"{epoch:.4f}", split, name, repr(value)) for name, value in values.items())
            if self._writer is not None:
                for name, value in values.items():
                    self._writer.add_scalar(f"{split}/{name}", value, step)
                self._writer.flush()

    def state_dict(self) -> dict[str, Any]:
        """Return the unfinished logging window."""
        return {"loss_sum": self._loss_sum, "batches": self._batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the unfinished logging window."""
        self._loss_sum, self._batches = state_dict["loss_sum"], state_dict["batches"]

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Close TensorBoard's file."""
        with self._never_stopping():
            if self._writer is not None:
                self._writer.close()

    def _line(self, step: int, total: int, epoch: float, loss: float, learning_rate: float) -> None:
        now = time.monotonic()
        if now - self._last_line < 5 and step != total:
            return
        self._last_line = now
        elapsed = now - self._started
        left = elapsed / max(step - self._start_step, 1) * (total - step)
        logger.info(
            "step %d/%d  epoch %.2f  loss %.4f  learning rate %.2e  %.0f rows/s  %s left",
            *(step, total, epoch, loss, learning_rate, self._rows_done / elapsed, _clock(left)),
        )

    @contextlib.contextmanager
    def _never_stopping(self) -> Any:
        try:
            yield
        except OSError as error:
            if not self._has_failed:
                logger.warning("Cannot write the log: %s. Training goes on without it.", error)
            self._has_failed = True


class Evaluation(StepCallback):
    """Scores the validation rows, remembers the best weights, and ends a run that stopped getting better."""

    def __init__(
        self,
        score: Callable[[], Scores] | None,
        *,
        history: History,
        checkpoints: Path,
        options: TrainingOptions,
        metric: str,
        higher_is_better: bool,
    ) -> None:
        self._score, self._history, self._checkpoints = score, history, checkpoints
        self._options, self._metric, self._sign = options, metric, 1.0 if higher_is_better else -1.0
        self.best_step, self._misses = -1, 0
        self._best_rank = (-math.inf, -math.inf)
        """Score and negative loss of the best weights."""
        self._patience_value = -math.inf
        self.is_stopped_early = False
        self.is_interrupted = False
        """Whether a stop was asked for during the evaluation of the step that the run stands at."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make up for the evaluation that a stop interrupted."""
        assert isinstance(pl_module, TrainingModule)
        if self.is_interrupted:
            trainer.should_stop = self.evaluate(pl_module, trainer.global_step, trainer.lr_scheduler_configs)

    def after_step(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        """Evaluate where it is due: every `eval_steps`, else at the end of each epoch, and at the very end."""
        every = self._options.eval_steps or module.stream.steps_per_epoch
        if (step % every or self._score is None) and step != module.stream.total_steps:
            return
        try:
            trainer.should_stop = self.evaluate(module, step, trainer.lr_scheduler_configs)
        except StoppedError:
            # `Saving` writes the checkpoint and stops; whoever resumes evaluates first.
            self.is_interrupted = True

    def evaluate(self, module: TrainingModule, step: int, schedules: Sequence[Any] = ()) -> bool:
        """Score the weights as they are after ``step``, keep them if they are the best, and say whether to stop."""
        if self._score is None:
            # Nothing to choose by: the last weights are the ones to keep.
            self._keep(module, step, (math.inf, math.inf))
            return False
        scores = self._score()
        self.is_interrupted = False
        value = self._sign * self.value_of(scores)
        epoch = module.stream.epoch_at(module.stream.position)
        self._history.write(step, epoch, "validation", scores)
        named = (self._metric, scores[self._metric])
        logger.info("step %d/%d  epoch %.2f  validation %s %.4f", step, module.stream.total_steps, epoch, *named)
        for config in schedules:
            if isinstance(config.scheduler, ReduceLROnPlateau):
                config.scheduler.step(-value)
        # Not a number is never better, and anything is better than nothing.
        rank = (value, -scores.get("loss", math.inf))
        if self.best_step < 0 or rank > self._best_rank:
            self._keep(module, step, rank if value == value else (-math.inf, -math.inf))
        if value > self._patience_value + self._options.early_stopping_threshold:
            self._patience_value, self._misses = value, 0
        else:
            self._misses += 1
        patience = self._options.early_stopping_patience
        self.is_stopped_early = patience is not None and self._misses >= patience
        return self.is_stopped_early

    def _keep(self, module: TrainingModule, step: int, rank: tuple[float, float]) -> None:
        self.best_step, self._best_rank = step, rank
        checkpoint = {"state_dict": module.state_dict(), "global_step": step}
        WholeCheckpointIO().save_checkpoint(checkpoint, best_path(self._checkpoints, step))

    def value_of(self, scores: Scores) -> float:
        """Return the score that chooses the best weights.

        Raises:
            RecipeError: there is no metric of that name.
        """
        check_metric(self._metric, scores)
        return scores[self._metric]

    def state_dict(self) -> dict[str, Any]:
        """Return what the search for the best weights has found."""
        return {
            "best_step": self.best_step,
            "best_rank": self._best_rank,
            "patience_value": self._patience_value,
            "misses": self._misses,
            "is_stopped_early": self.is_stopped_early,
            "is_interrupted": self.is_interrupted,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the search."""
        self.best_step, self._best_rank = state_dict["best_step"], state_dict["best_rank"]
        self._patience_value, self._misses = state_dict["patience_value"], state_dict["misses"]
        self.is_stopped_early = state_dict["is_stopped_early"]
        self.is_interrupted = state_dict["is_interrupted"]


class Saving(StepCallback):
    """Writes resume checkpoints, and stops the run where it was asked to stop. The last callback of a step."""

    def __init__(
        self, checkpoints: Path, *, evaluation: Evaluation, options: TrainingOptions, request: StopRequest, resume: str
    ) -> None:
        self._checkpoints, self._evaluation, self._options = checkpoints, evaluation, options
        self._request, self._resume = request, resume

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals back from Lightning, which has just taken them."""
        self._request.install()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint's seal say which best weights it refers to, so that they are kept as long as it is."""
        checkpoint["seal"] = {"best_step": self._evaluation.best_step}

    def after_step(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        """Save where it is due or the run ends; then stop if a signal came."""
        every = self._options.eval_steps or module.stream.steps_per_epoch
        is_due = not step % self._options.save_steps or not step % every or step == module.stream.total_steps
        if is_due or trainer.should_stop or self._request.signal is not None:
            trainer.save_checkpoint(resume_path(self._checkpoints, step))
            prune(self._checkpoints)
        self._request.check(saved=f"The run is saved at step {step}. Go on with: {self._resume}")


def check_metric(name: str, scores: Scores) -> None:
    """Complain if the metric that is to choose the best weights is not measured.

    Raises:
        RecipeError: there is no metric of that name.
    """
    if name not in scores:
        raise RecipeError(
            f"training.metric_for_best_model: there is no metric {name!r}.{did_you_mean(name, scores)} This task has "
            f"{', '.join(sorted(scores))}."
        )


def load_best(checkpoints: Path, module: TrainingModule, step: int) -> None:
    """Put the weights that scored best back into the model."""
    checkpoint = WholeCheckpointIO().load_checkpoint(best_path(checkpoints, step))
    module.load_state_dict(checkpoint["state_dict"])


def _trim(path: Path, step: int) -> None:
    """Drop what was logged after ``step``: a resumed run logs it again."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = list(csv.reader(file))
    whole = [row for row in rows[1:] if len(row) == len(History.COLUMNS) and row[0].isdecimal()]
    kept = rows[:1] + [row for row in whole if int(row[0]) <= step]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(kept)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"
