"""The contract of a task: the functions that turn a row into features, a batch, a loss, a prediction and a score.

Everything else (tables, caches, loops, checkpoints, reports) is written once and calls these methods only.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator

from headway.data.checks import check_tables
from headway.data.truncation import CUTS
from headway.errors import DataError, RecipeError, did_you_mean
from headway.importing import Choice
from headway.metrics.own import Metric, load_metrics, with_own
from headway.types import Batch, Column, Criterion, Features, Options, Outputs, Prediction, Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from headway.data.findings import Report, TokenLoss
    from headway.data.table import Table
    from headway.models.backbone import Backbone


def _each_once(labels: tuple[str, ...]) -> tuple[str, ...]:
    if double := [label for label, count in Counter(labels).items() if count > 1]:
        raise ValueError(f"each label must stand once; these stand twice: {', '.join(double)}")
    return labels


Labels = Annotated[tuple[str, ...], AfterValidator(_each_once)]
"""The names of a task's labels, in the order of the model's outputs."""


def label_id(name: str, labels: Sequence[str], *, found: str) -> int:
    """Return the number of a label.

    Args:
        name: of the label.
        labels: all of them, in the order of the model's outputs.
        found: where the name stands, for the message (``column 'label' holds``).

    Raises:
        DataError: there is no such label.
    """
    if name not in labels:
        raise DataError(
            f"{found} {name!r:.80}, which is not among the labels of this task "
            f"({', '.join(labels[:20])}{', ...' if len(labels) > 20 else ''}).{did_you_mean(name, labels)} Correct it, "
            "or name all labels in task.labels before you train."
        )
    return labels.index(name)


class Limits(Options):
    """How much of a text the model sees: what `encode` must know of ``data``."""

    max_length: int = 128
    truncation: str = "head"
    doc_stride: int = 0
    max_windows: int | None = None

    @functools.cached_property
    def arguments(self) -> dict[str, Any]:
        """All of them by name, for the functions that take them apart; asked for once a row."""
        return self.model_dump()


class Task(Options, ABC):
    """One downstream task. Its fields are its options and what it learnt from the data, so a recipe rebuilds it.

    A task never holds weights, files or random state: the same fields give the same functions everywhere.
    """

    name: ClassVar[str]
    """The word for it in recipes, documents and pages (``text-classification``)."""

    truncations: ClassVar[tuple[str, ...]] = CUTS
    """The values of ``data.truncation`` that `encode` keeps to; with `window` among them the model is wrapped so that
    the scores of a text's windows become one (`headway.models.windows`)."""

    joins_windows: ClassVar[bool] = False
    """Whether `encode` itself lays every long text over windows, which `merge` joins: then nothing of a text is cut,
    and the model is not wrapped."""

    answer_options: ClassVar[tuple[str, ...]] = ()
    """The options that say how answers are made of what the model says; at prediction they may differ from the
    run's."""

    batch_factor: ClassVar[int] = 1
    """How many times as many tokens a batch for prediction holds as `headway.data.batching.sorted_batches` says."""

    generates: ClassVar[bool] = False
    """Whether `infer` writes texts token by token, which takes long; the loss then needs a `forward` of its own."""

    type: str
    """The task: a short name, or the import path of your own subclass of headway.tasks.base.Task."""
    metrics: tuple[Choice, ...] = ()
    """Further metrics of your own: import paths of subclasses of headway.metrics.own.Metric, each alone or with its
    options (`{name: my_module.MyMetric, ...}`)."""

    # --- what a row must hold, and how the task is judged --------------------------------------------------------

    @property
    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """The columns a row may hold, in the order a person would read them."""

    @property
    @abstractmethod
    def main_metric(self) -> str:
        """The metric that chooses the best checkpoint; a key of what `evaluate` returns."""

    @property
    def lower_is_better(self) -> frozenset[str]:
        """The metrics of `evaluate` of which less is better."""
        return frozenset()

    def is_lower_better(self, metric: str) -> bool:
        """Whether less of a metric is better, be it one of `evaluate`, one of the recipe's own, or the loss."""
        own = self.own_metrics()
        return own[metric].lower_is_better if metric in own else metric in self.lower_is_better | {"loss"}

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger main metric is a better one."""
        return self.main_metric not in self.lower_is_better

    @property
    @abstractmethod
    def default_loss(self) -> str:
        """The loss (a short name of `headway.models.losses`) when the recipe leaves ``optimization.loss`` empty."""

    @property
    @abstractmethod
    def model_kind(self) -> str:
        """What `build_model` asks the backbone for: a key of `headway.models.options.KINDS`."""

    @property
    def stratify_by(self) -> str | None:
        """The column of which each value gives up the same share of its rows to validation, where there is one."""
        return None

    @property
    def group_by(self) -> tuple[str, ...] | None:
        """The columns whose equal values stay on one side when rows are held out; None: rows of equal texts do."""
        return None

    # --- before training -----------------------------------------------------------------------------------------

    def prepare(self, table: Table, seed: int) -> Table:
        """Return the rows to learn from, where they are not the rows of the file (pairs drawn from a text)."""
        return table

    def resolve(self, train: Table) -> Self:
        """Return the task with what it learns from the training rows (the labels) fixed.

        Raises:
            DataError: the rows cannot serve this task; all bad rows are named at once.
        """
        return self

    def check(self, tables: Mapping[str, Table], tokens_lost: Mapping[str, TokenLoss]) -> Report:
        """Return what is wrong, or suspicious, with the rows of all splits."""
        texts = [column.name for column in self.columns if not column.is_gold]
        return check_tables(tables, text_columns=texts, label_column=None, tokens_lost=tokens_lost)

    def class_weights(self, train: Table, weights: Literal["balanced"] | Mapping[str, float]) -> list[float]:
        """Return the weight of each class for the loss, in label order.

        Raises:
            RecipeError: the task has no classes, or ``weights`` names other ones.
        """
        raise RecipeError(f"optimization.class_weights: {self.name} has no classes to weigh. Leave it empty.")

    # --- from row to batch ---------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, row: Row, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> list[Features]:
        """Return the model inputs of one row; targets only if the row holds its gold column."""

    def refresh(self, features: Features, tokenizer: PreTrainedTokenizerBase, rng: np.random.Generator) -> Features:
        """Return the features as this epoch sees them (fresh masks).

        ``rng`` is a function of (seed, epoch, number of the features), so neither batch size, nor number of
        processes, nor an interruption changes what is drawn. Evaluation always uses epoch 0.
        """
        return features

    @abstractmethod
    def collate(self, features: Sequence[Features], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Return the features as one padded batch; see `headway.data.batching.pad`."""

    # --- from batch to loss --------------------------------------------------------------------------------------

    @abstractmethod
    def build_model(self, backbone: Backbone) -> nn.Module:
        """Return the model: the backbone under the head that this task and the recipe ask for."""

    def companions(self, model: nn.Module, limits: Limits) -> Mapping[str, Any]:
        """Return what other tools look for beside the saved model: path in its folder -> plain JSON."""
        return {}

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return what the model says of the batch, for the loss."""
        outputs: Outputs = model(**batch.inputs)
        return outputs

    @abstractmethod
    def loss(self, outputs: Outputs, batch: Batch, criterion: Criterion) -> Tensor:
        """Return the scalar loss: ``criterion(logits, targets)``, the recipe's choice, applied where the task says."""

    # --- from batch to score -------------------------------------------------------------------------------------

    def infer(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return what the model says of the batch, for `decode`: `forward`, or generation."""
        return self.forward(model, batch)

    @abstractmethod
    def decode(
        self, outputs: Outputs, batch: Batch, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase
    ) -> list[Prediction]:
        """Return one prediction for each of the batch's features; ``rows[i]`` is the row of ``batch.features[i]``."""

    def merge(self, parts: Sequence[Prediction]) -> Prediction:
        """Join the predictions of the features of one row (windows) into the row's own."""
        (only,) = parts
        return only

    def lead(self, prediction: Prediction) -> float | None:
        """Return how far what a row gets is ahead of what it would get otherwise, in probability; None: nobody can say.

        In bfloat16, float32 is asked again where it is less than what rounding moves (`headway.inference.Exact`).
        """
        return None

    def finish(self, predictions: Sequence[Prediction], rows: Sequence[Row], *, is_split: bool) -> list[Prediction]:
        """Return the predictions as they are shown and measured, from those of `merge`.

        Where the rows are a whole split (``is_split``), this is the place for what shows only beside the others: at
        which place the right answer stands among all. Elsewhere they are some rows of a stream.
        """
        return list(predictions)

    @abstractmethod
    def evaluate(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> dict[str, float]:
        """Return every metric of a whole split, from what a user would be shown."""

    def scorer(
        self, predictions: Sequence[Prediction], rows: Sequence[Row]
    ) -> Callable[[NDArray[np.int64]], dict[str, float]]:
        """Return a function from chosen row numbers to `evaluate` of these rows, for bootstrap intervals.

        A task whose metrics can be resampled faster than one row after another returns its own.
        """
        return lambda chosen: self.evaluate([predictions[i] for i in chosen], [rows[i] for i in chosen])

    def own_metrics(self) -> dict[str, Metric]:
        """Import the recipe's own metrics, and return them by name.

        Raises:
            RecipeError: see `headway.metrics.own.load_metrics`.
        """
        return load_metrics(self.metrics)

    def measure(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> dict[str, float]:
        """Return what `evaluate` does, and the recipe's own metrics.

        Raises:
            RecipeError: one of these is at fault; see `headway.metrics.own`.
        """
        return with_own(self.evaluate(predictions, rows), self.own_metrics(), predictions, rows)

    def measurer(
        self, predictions: Sequence[Prediction], rows: Sequence[Row]
    ) -> Callable[[NDArray[np.int64]], dict[str, float]]:
        """Return what `scorer` does, and the recipe's own metrics; of drawn rows only those that are defined there.

        Raises:
            RecipeError: one of these is at fault on all rows; see `headway.metrics.own`.
        """
        scorer, own = self.scorer(predictions, rows), self.own_metrics()
        if not own:
            return scorer
        with_own({}, own, predictions, rows)

        def measure(chosen: NDArray[np.int64]) -> dict[str, float]:
            drawn = [predictions[i] for i in chosen], [rows[i] for i in chosen]
            return with_own(scorer(chosen), own, *drawn, is_drawn=True)

        return measure

    def calibrate(self, predict: Callable[[], Sequence[Prediction]], rows: Sequence[Row]) -> Self:
        """Return the task with what only a trained model can teach it fixed (the threshold of a decision).

        Called once, after training, with all validation rows and what predicts them; never with test rows. Every
        split is then scored with the task that is returned, and the saved model keeps it.
        """
        return self

    def gold(self, row: Row) -> Any:
        """Return the true answer of a row in the form of a prediction's value, or None where it has none."""
        return next((row[column.name] for column in self.columns if column.is_gold and column.name in row), None)

    # --- for the report ------------------------------------------------------------------------------------------

    def baselines(self, train: Sequence[Row], rows: Sequence[Row], seed: int) -> dict[str, list[Prediction]]:
        """Return the predictions for ``rows`` of methods that need no transformer, by the method's name."""
        return {}

    def feature_baselines(
        self, train: Sequence[Features], features: Iterable[Features], tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, list[Prediction]]:
        """Return what `baselines` does, of methods that count tokens instead of reading texts.

        ``train`` are the features to learn from; ``features`` those of all rows to answer, as `refresh` shows them to
        evaluation.
        """
        return {}

    def details(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> Mapping[str, Any]:
        """Return tables for the report as plain JSON (per class, confusion matrix, reliability)."""
        return {}

    def is_collapsed(self, predictions: Sequence[Prediction]) -> bool:
        """Whether the model gives every row the same answer, the commonest way in which fine-tuning fails."""
        return len(predictions) > 1 and all(one.value == predictions[0].value for one in predictions)


def lead_of_likeliest(shares: Mapping[str, float]) -> float | None:
    """Return how far the likeliest of ``shares`` is ahead of the next; see `Task.lead`."""
    first, *others = sorted(shares.values(), reverse=True)
    return first - others[0] if others else None
