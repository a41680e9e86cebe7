"""Relation extraction: a sentence with two marked entities to the relation between them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import field_validator

from headway.data.batching import collate
from headway.data.checks import check_tables
from headway.data.entity_markers import MarkedText, marked_features
from headway.errors import DataError, RecipeError, did_you_mean
from headway.metrics import baselines, classification, relations
from headway.models import losses
from headway.tasks.base import Labels, Limits, Task, label_id, lead_of_likeliest
from headway.types import Batch, Column, Criterion, Features, Outputs, Prediction, Row

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from headway.data.findings import Report, TokenLoss
    from headway.data.table import Table
    from headway.models.backbone import Backbone

logger = logging.getLogger(__name__)

NEGATIVE_LABELS = ("Other", "no_relation", "NA")
"""What the public sets call "no relation of those asked for" (SemEval-2010, TACRED, NYT)."""


class RelationExtraction(Task):
    """Says how two entities that are marked in a sentence are related, and which way the relation runs."""

    name: ClassVar[str] = "relation-extraction"
    truncations: ClassVar[tuple[str, ...]] = ("head",)

    type: str = "relation-extraction"
    """The task."""
    labels: Labels = ()
    """The relations in their order, stored with the model; empty learns them from the training rows, in alphabetical
    order. A label may say its direction: `Cause-Effect(e1,e2)` and `Cause-Effect(e2,e1)`."""
    negative_label: str | None = None
    """The label that says that there is no relation (of those asked for); it is left out of the F1 scores. Empty takes
    `Other`, `no_relation` or `NA` if it is among the labels."""
    markers: tuple[str, str] = ("@", "#")
    """What stands on both sides of the first and of the second entity when the model reads the sentence; each should
    be a token of the model's own vocabulary."""

    @field_validator("markers")
    @classmethod
    def _two_markers(cls, markers: tuple[str, str]) -> tuple[str, str]:
        if markers[0] == markers[1] or not all(marker.strip() == marker != "" for marker in markers):
            raise ValueError("two different words are needed, without blanks around them")
        return markers

    @property
    def columns(self) -> tuple[Column, ...]:
        """A sentence with marks in it, or with two spans beside it, and the relation."""
        return (
            Column(
                "text", "text", True, "The sentence; without head and tail, its entities are marked by <e1> and <e2>."
            ),
            Column("head", "span", False, "Where the first entity (e1) stands in the text."),
            Column("tail", "span", False, "Where the second entity (e2) stands in the text."),
            Column("label", "label", True, "The relation."),
        )

    @property
    def main_metric(self) -> str:
        """Macro F1 by the official rule of SemEval-2010 task 8."""
        return "f1_macro_official"

    @property
    def stratify_by(self) -> str | None:
        """The relation."""
        return "label"

    @property
    def model_kind(self) -> str:
        """The model families' own `...ForSequenceClassification`."""
        return "sequence-classification"

    @property
    def default_loss(self) -> str:
        """Cross entropy over the relations."""
        return "cross_entropy"

    # --- before training -----------------------------------------------------------------------------------------

    def resolve(self, train: Table) -> Self:
        """Fix the labels, and which of them says that there is no relation."""
        found = {_name(value) for value in train.column("label") if value is not None}
        labels = self.labels or tuple(sorted(found))
        if len(labels) < 2:
            raise DataError(
                f"{train.name}: column 'label' holds {'only ' + repr(labels[0]) if labels else 'no label'}; this task "
                "needs at least 2. Check data.columns.label, or add rows of another relation."
            )
        negative = self.negative_label
        if negative is None:
            negative = next((label for label in NEGATIVE_LABELS if label in labels), None)
        elif negative not in labels:
            raise RecipeError(f"task.negative_label: there is no label {negative!r}.{did_you_mean(negative, labels)}")
        return self.model_copy(update={"labels": labels, "negative_label": negative})

    def check(self, tables: Mapping[str, Table], tokens_lost: Mapping[str, TokenLoss]) -> Report:
        """Return what is wrong, or suspicious, with sentences and relations.

        A sentence may stand in several rows, with other entities marked in each: where they stand counts as text.
        """
        return check_tables(
            tables,
            text_columns=("text", "head", "tail"),
            label_column="label",
            tokens_lost=tokens_lost,
            listed_labels=self.labels,
        )

    def class_weights(self, train: Table, weights: Literal["balanced"] | Mapping[str, float]) -> list[float]:
        """Return a weight for each relation."""
        return losses.class_weights(weights, labels=self.labels, gold=map(_name, train.column("label")))

    # --- from row to batch ---------------------------------------------------------------------------------------

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> list[Features]:
        """Return the sentence with punctuation marks around both entities.

        Source: Zhou and Chen 2021, "An Improved Baseline for Sentence-level Relation Extraction" (arXiv:2102.01373),
        "entity marker (punct)". Of a sentence that is too long, the tokens farthest from the entities are left out.
        """
        marked = MarkedText.of(row["text"], row.get("head"), row.get("tail"))
        inputs, lost = marked_features(tokenizer, marked, markers=self.markers, max_length=limits.max_length)
        targets = {} if row.get("label") is None else {"labels": self._label_id(row["label"])}
        return [Features(inputs, targets, {"tokens_lost": lost})]

    def collate(self, features: Sequence[Features], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Pad the inputs; labels are ids, (batch,)."""
        return collate(features, tokenizer)

    # --- from batch to loss --------------------------------------------------------------------------------------

    def build_model(self, backbone: Backbone) -> nn.Module:
        """Return the backbone with one output for each label."""
        for marker in self.markers:
            _warn_if_unknown(marker, backbone.tokenizer)
        return backbone.build(
            self.model_kind,
            labels=self.labels,
            num_labels=len(self.labels),
            problem_type="single_label_classification",
        ).model

    def loss(self, outputs: Outputs, batch: Batch, criterion: Criterion) -> Tensor:
        """Return the criterion of logits (batch, labels) and labels."""
        loss: Tensor = criterion(outputs["logits"], batch.targets["labels"])
        return loss

    # --- from batch to score -------------------------------------------------------------------------------------

    def decode(
        self, outputs: Outputs, batch: Batch, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase
    ) -> list[Prediction]:
        """Return the likeliest relation."""
        return [self._one(some) for some in torch.softmax(outputs["logits"].float().cpu(), dim=-1).tolist()]

    def lead(self, prediction: Prediction) -> float | None:
        """Return how far the likeliest relation is ahead of the next."""
        return lead_of_likeliest(prediction.detail["probabilities"])

    def evaluate(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> dict[str, float]:
        """Return the metrics of `headway.metrics.relations`."""
        return self.scorer(predictions, rows)(np.arange(len(rows)))

    def scorer(
        self, predictions: Sequence[Prediction], rows: Sequence[Row]
    ) -> Callable[[NDArray[np.int64]], dict[str, float]]:
        """Return `evaluate` of chosen rows from counts that are made once."""
        gold, predicted = self._sides(predictions, rows)
        return relations.scorer(gold, predicted, labels=self.labels, negative_label=self.negative_label)

    # --- for the report ------------------------------------------------------------------------------------------

    def baselines(self, train: Sequence[Row], rows: Sequence[Row], seed: int) -> dict[str, list[Prediction]]:
        """Return the commonest relation, and a linear model over the words of, and between, the entities."""
        gold = [_name(row["label"]) for row in train]
        commonest = baselines.majority(gold, len(rows), labels=self.labels)
        linear = baselines.tfidf_logistic_regression(
            [_words(row) for row in train], gold, [_words(row) for row in rows], labels=self.labels, seed=seed
        )
        return {
            "majority": [self._one(one) for one in commonest.tolist()],
            "tfidf_logistic_regression": [self._one(one) for one in linear.tolist()],
        }

    def details(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> Mapping[str, Any]:
        """Return scores by label and by relation, confusion matrix and reliability."""
        gold, predicted = self._sides(predictions, rows)
        probabilities = np.asarray([list(one.detail["probabilities"].values()) for one in predictions])
        details = classification.details_single_label(gold, predicted, probabilities, self.labels)
        entries = relations.per_relation(gold, predicted, labels=self.labels, negative_label=self.negative_label)
        if not any(relations.relation_of(label)[1] is not None for label in self.labels):
            return details
        table = {
            "title": "Relations",
            "note": "By the official rule: both directions of a relation together, and the right relation with the "
            "wrong direction is wrong.",
            "columns": ["relation", "precision", "recall", "F1", "rows", "wrong direction"],
            "rows": [list(entry.values()) for entry in entries],
        }
        return details | {"tables": [table]}

    # --- labels --------------------------------------------------------------------------------------------------

    def _label_id(self, value: Any) -> int:
        return label_id(_name(value), self.labels, found="column 'label' holds")

    def _one(self, probabilities: list[float]) -> Prediction:
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        shares = dict(zip(self.labels, probabilities, strict=True))
        return Prediction(self.labels[best], probabilities[best], {"probabilities": shares})

    def _sides(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> tuple[list[str], list[str]]:
        return [_name(row["label"]) for row in rows], [prediction.value for prediction in predictions]


def _name(value: Any) -> str:
    if isinstance(value, list | dict):
        raise DataError(f"column 'label' holds {value!r:.80}, expected one relation.")
    return str(value)


def _words(row: Row) -> str:
    """Return what stands between the entities, and the entities, by whose order a linear model sees the direction."""
    marked = MarkedText.of(row["text"], row.get("head"), row.get("tail"))
    return f"{marked.first} {marked.between} {marked.second}"


def _warn_if_unknown(marker: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Say so if the model cannot tell the marker from other characters it does not know."""
    ids = tokenizer(f"a {marker} b", add_special_tokens=False)["input_ids"]
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
        logger.warning(
            "task.markers: %r is no token of this model, which reads it as an unknown character. Choose punctuation "
            "that its vocabulary holds.",
            marker,
        )
