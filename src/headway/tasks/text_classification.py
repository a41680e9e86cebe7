"""Text classification: one text or a pair to one label, several labels, or a number."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from headway.data.batching import collate
from headway.data.checks import check_tables
from headway.data.truncation import CUTS, text_features
from headway.errors import DataError, RecipeError
from headway.metrics import baselines, classification, intervals, regression
from headway.models import losses
from headway.tasks.base import Labels, Limits, Task, label_id, lead_of_likeliest
from headway.types import Batch, Column, Criterion, Features, Outputs, Prediction, Row

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from headway.data.findings import Report, TokenLoss
    from headway.data.table import Table
    from headway.models.backbone import Backbone

ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]


class TextClassification(Task):
    """Assigns each text, or pair of texts, one of several labels, any number of labels, or a number."""

    name: ClassVar[str] = "text-classification"
    truncations: ClassVar[tuple[str, ...]] = (*CUTS, "window")

    type: str = "text-classification"
    """The task."""
    problem_type: ProblemType | None = None
    """`single_label_classification`, `multi_label_classification` or `regression`, as transformers calls them; empty
    takes several labels where the label column holds lists, and one label otherwise."""
    labels: Labels = ()
    """The label names in their order, stored with the model; empty learns them from the training rows (numbers in
    order of size, other names in alphabetical order)."""
    threshold: float = Field(0.5, gt=0, lt=1)
    """Several labels: the probability from which a label counts as given."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """One text, perhaps a second one, and the label."""
        return (
            Column("text", "text", True, "The text."),
            Column("text_pair", "text", False, "The second text of a pair."),
            Column("label", "label", True, "The label, a list of labels, or a number."),
        )

    @property
    def main_metric(self) -> str:
        """Accuracy for one label, micro F1 for several, Spearman's correlation for numbers."""
        match self.problem_type:
            case "multi_label_classification":
                return "f1_micro"
            case "regression":
                return "spearman"
            case _:
                return "accuracy"

    @property
    def stratify_by(self) -> str | None:
        """The label; numbers differ from row to row and have no shares."""
        return None if self.problem_type == "regression" else "label"

    @property
    def lower_is_better(self) -> frozenset[str]:
        """The two distances of a regression."""
        return frozenset({"mse", "mae"})

    @property
    def model_kind(self) -> str:
        """The model families' own `...ForSequenceClassification`."""
        return "sequence-classification"

    @property
    def default_loss(self) -> str:
        """Cross entropy for one label, binary cross entropy for several, mean squared error for numbers."""
        match self.problem_type:
            case "multi_label_classification":
                return "binary_cross_entropy"
            case "regression":
                return "mse"
            case _:
                return "cross_entropy"

    def resolve(self, train: Table) -> Self:
        """Fix the kind of problem and the labels."""
        gold = train.column("label")
        problem_type = self.problem_type or _problem_type(gold)
        if problem_type == "regression":
            if self.labels:
                raise RecipeError("task.labels: a regression has no labels. Leave them out, or choose another type.")
            return self.model_copy(update={"problem_type": problem_type})
        found = {name for value in gold if value is not None for name in _names(value)} - {""}
        if problem_type == "single_label_classification" and not self.labels:
            _check_not_numbers(found, len(train), train.name)
        labels = self.labels or tuple(sorted(found, key=_label_order))
        fewest = 2 if problem_type == "single_label_classification" else 1
        if len(labels) < fewest:
            raise DataError(
                f"{train.name}: column 'label' holds {'only ' + repr(labels[0]) if labels else 'no label'}; this task "
                f"needs at least {fewest}. Check data.columns.label, or add rows of another label."
            )
        return self.model_copy(update={"problem_type": problem_type, "labels": labels})

    def check(self, tables: Mapping[str, Table], tokens_lost: Mapping[str, TokenLoss]) -> Report:
        """Return what is wrong, or suspicious, with texts and labels."""
        return check_tables(
            tables,
            text_columns=("text", "text_pair"),
            label_column="label",
            problem_type=self.problem_type or "single_label_classification",
            labels_of=_names,
            tokens_lost=tokens_lost,
            listed_labels=self.labels,
        )

    def class_weights(self, train: Table, weights: Literal["balanced"] | Mapping[str, float]) -> list[float]:
        """Return a weight for each label; of several labels, balanced ones weigh how rarely each is present."""
        if self.problem_type == "regression":
            raise RecipeError("optimization.class_weights: a regression has no classes to weigh. Leave it empty.")
        gold = [name for value in train.column("label") for name in _names(value)]
        if self.problem_type == "multi_label_classification" and weights == "balanced":
            # How many rows lack the label for each that has it.
            counts = Counter(gold)
            return [(len(train) - counts[label]) / max(counts[label], 1) for label in self.labels]
        return losses.class_weights(weights, labels=self.labels, gold=gold)

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> list[Features]:
        """Return the input of a row; under `window` its pieces are the windows."""
        features = text_features(tokenizer, row["text"], row.get("text_pair"), **limits.arguments)
        if row.get("label") is None:
            return [features]
        return [replace(features, targets={"labels": self._target(row["label"])})]

    def collate(self, features: Sequence[Features], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Pad the inputs; labels are ids (batch,), a matrix of zeros and ones (batch, labels), or numbers (batch,)."""
        return collate(features, tokenizer)

    def build_model(self, backbone: Backbone) -> nn.Module:
        """Return the backbone with one output for each label, or one for a number."""
        return backbone.build(
            self.model_kind,
            labels=self.labels or None,
            num_labels=len(self.labels) or 1,
            problem_type=self.problem_type,
        ).model

    def loss(self, outputs: Outputs, batch: Batch, criterion: Criterion) -> Tensor:
        """Return the criterion of logits (batch, labels) and labels."""
        loss: Tensor = criterion(outputs["logits"], batch.targets["labels"])
        return loss

    def decode(
        self, outputs: Outputs, batch: Batch, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase
    ) -> list[Prediction]:
        """Return the likeliest label, the labels over the threshold, or the number."""
        logits = outputs["logits"].float().cpu()  # (batch, labels)
        match self.problem_type:
            case "regression":
                return [Prediction(value) for value in logits[:, 0].tolist()]
            case "multi_label_classification":
                return [self._several(one) for one in torch.sigmoid(logits).tolist()]
            case _:
                return [self._one(one) for one in torch.softmax(logits, dim=-1).tolist()]

    def lead(self, prediction: Prediction) -> float | None:
        """Return how far the likeliest label is ahead of the next; of several, how far the nearest is from its turn."""
        match self.problem_type:
            case "regression":
                return None
            case "multi_label_classification":
                # Two probabilities part twice as fast as one of them moves.
                shares: Mapping[str, float] = prediction.detail["probabilities"]
                return 2 * min(abs(share - self.threshold) for share in shares.values())
            case _:
                return lead_of_likeliest(prediction.detail["probabilities"])

    def evaluate(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> dict[str, float]:
        """Return the metrics of `headway.metrics.classification` or `headway.metrics.regression`."""
        match self.problem_type:
            case "regression":
                return regression.regression(*self._numbers(predictions, rows))
            case "multi_label_classification":
                return classification.multi_label(*self._sides(predictions, rows))
            case _:
                return classification.single_label(*self._sides(predictions, rows))

    def scorer(
        self, predictions: Sequence[Prediction], rows: Sequence[Row]
    ) -> Callable[[NDArray[np.int64]], dict[str, float]]:
        """Return `evaluate` of chosen rows from counts that are made once."""
        match self.problem_type:
            case "regression":
                gold, predicted = (np.asarray(side) for side in self._numbers(predictions, rows))
                return lambda chosen: regression.regression(gold[chosen].tolist(), predicted[chosen].tolist())
            case "multi_label_classification":
                return intervals.multi_label_evaluate(*self._sides(predictions, rows))
            case _:
                return intervals.single_label_evaluate(*self._sides(predictions, rows))

    def details(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> Mapping[str, Any]:
        """Return per-class scores, confusion matrix and reliability, or the scatter of gold and predicted numbers."""
        match self.problem_type:
            case "regression":
                return regression.details_regression(*self._numbers(predictions, rows))
            case "multi_label_classification":
                return classification.details_multi_label(*self._sides(predictions, rows))
            case _:
                return classification.details_single_label(*self._sides(predictions, rows))

    def baselines(self, train: Sequence[Row], rows: Sequence[Row], seed: int) -> dict[str, list[Prediction]]:
        """Return what the commonest answer and a linear model over weighted words would say."""
        learn_from, texts = _texts(train), _texts(rows)
        match self.problem_type:
            case "regression":
                numbers = [_number(row["label"]) for row in train]
                mean = baselines.mean(numbers, len(rows))
                ridge = baselines.tfidf_ridge(learn_from, numbers, texts, seed=seed)
                return {
                    "mean": [Prediction(one) for one in mean.tolist()],
                    "tfidf_ridge": [Prediction(one) for one in ridge.tolist()],
                }
            case "multi_label_classification":
                sets = [_names(row["label"]) for row in train]
                commonest = baselines.majority_multi_label(sets, len(rows), labels=self.labels)
                linear = baselines.tfidf_one_vs_rest(learn_from, sets, texts, labels=self.labels, seed=seed)
                decide = self._several
            case _:
                gold = [_names(row["label"])[0] for row in train]
                commonest = baselines.majority(gold, len(rows), labels=self.labels)
                linear = baselines.tfidf_logistic_regression(learn_from, gold, texts, labels=self.labels, seed=seed)
                decide = self._one
        return {
            "majority": [decide(one) for one in commonest.tolist()],
            "tfidf_logistic_regression": [decide(one) for one in linear.tolist()],
        }

    def is_collapsed(self, predictions: Sequence[Prediction]) -> bool:
        """Whether every row gets the same label, or the same number up to a hundredth of a per cent."""
        if self.problem_type == "regression":
            values = [prediction.value for prediction in predictions]
            return len(values) > 1 and float(np.ptp(values)) <= 1e-4 * max(1.0, abs(values[0]))
        return super().is_collapsed(predictions)

    def _target(self, value: Any) -> int | float | list[float]:
        if self.problem_type == "regression":
            return _number(value)
        numbers = [label_id(name, self.labels, found="column 'label' holds") for name in _names(value)]
        if self.problem_type == "multi_label_classification":
            return [float(number in numbers) for number in range(len(self.labels))]
        if len(numbers) != 1:
            raise DataError(f"column 'label' holds {len(numbers)} labels ({value!r:.80}), expected one.")
        return numbers[0]

    def _one(self, probabilities: list[float]) -> Prediction:
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        shares = dict(zip(self.labels, probabilities, strict=True))
        return Prediction(self.labels[best], probabilities[best], {"probabilities": shares})

    def _several(self, probabilities: list[float]) -> Prediction:
        shares = dict(zip(self.labels, probabilities, strict=True))
        return Prediction(
            [label for label, share in shares.items() if share >= self.threshold], None, {"probabilities": shares}
        )

    def _sides(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> tuple[Any, Any, Any, Any]:
        multi_label = self.problem_type == "multi_label_classification"
        gold = [_names(row["label"]) if multi_label else _names(row["label"])[0] for row in rows]
        shares = [list(prediction.detail["probabilities"].values()) for prediction in predictions]
        return gold, [prediction.value for prediction in predictions], np.asarray(shares), self.labels

    def _numbers(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> tuple[list[float], list[float]]:
        return [_number(row["label"]) for row in rows], [prediction.value for prediction in predictions]


def _names(value: Any) -> list[str]:
    """Return the label names in a cell; whole numbers and words of JSON become their text."""
    return [str(name) for name in value] if isinstance(value, list | tuple) else [str(value)]


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"column 'label' holds {value!r}, expected a finite number.")
    return number


def _problem_type(gold: Sequence[Any]) -> ProblemType:
    has_lists = any(isinstance(value, list | tuple) for value in gold)
    return "multi_label_classification" if has_lists else "single_label_classification"


def _label_order(name: str) -> tuple[float, str]:
    """Sort whole numbers by size and before words, words by alphabet."""
    return (int(name), name) if name.removeprefix("-").isdecimal() else (math.inf, name)


def _check_not_numbers(names: set[str], num_rows: int, source: str) -> None:
    """Refuse a column of measurements: each distinct number would become a class of its own."""
    if len(names) < 20 or len(names) < num_rows / 10:
        return
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return
    if any(number != int(number) for number in numbers if math.isfinite(number)):
        raise DataError(
            f"{source}: column 'label' holds {len(names)} different numbers in {num_rows} rows, which looks like a "
            "measurement. Set task.problem_type: regression, or name the classes in task.labels."
        )


def _texts(rows: Sequence[Row]) -> list[str | tuple[str, str]]:
    return [row["text"] if row.get("text_pair") is None else (row["text"], row["text_pair"]) for row in rows]
