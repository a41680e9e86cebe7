"""Token classification: a tag for each word, and the entities that the tags mark, as spans of characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import field_validator

from headway.data.batching import pad
from headway.data.checks import check_tables
from headway.data.findings import MAX_EXAMPLES
from headway.data.tag_schemes import (
    OUTSIDE,
    Entity,
    Scheme,
    forbidden_transitions,
    guess_scheme,
    kinds_of,
    likeliest_tags,
    parse,
    to_iob2,
)
from headway.data.tagging import Tagging
from headway.data.text_spans import WordSplit
from headway.data.word_windows import word_windows
from headway.errors import DataError, RecipeError
from headway.metrics import spans
from headway.models import losses
from headway.models.losses import IGNORED
from headway.tasks.base import Labels, Limits, Task, label_id
from headway.types import Batch, Column, Criterion, Features, Outputs, Prediction, Row

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from headway.data.findings import Report, TokenLoss
    from headway.data.table import Table
    from headway.models.backbone import Backbone


class TokenClassification(Task):
    """Tags each word of a text: names and other entities, slots, parts of speech."""

    name: ClassVar[str] = "token-classification"
    truncations: ClassVar[tuple[str, ...]] = ("head", "window")
    joins_windows: ClassVar[bool] = True

    type: str = "token-classification"
    """The task."""
    scheme: Scheme | None = None
    """How the tags of the rows mark entities: `IOB1`, `IOB2`, `BIOES` (also called IOBES or BILOU), or `none` for
    plain tags, such as parts of speech; empty follows from the training rows. The model always learns IOB2."""
    labels: Labels = ()
    """The tags in their order, stored with the model; empty learns them from the training rows: `O`, then `B-` and
    `I-` of every type, by alphabet (of plain tags, those that occur)."""
    constrained: bool = True
    """Take the likeliest sequence of tags in which no `I-` stands behind `O` or another type, and not the likeliest
    tag of each word for itself."""
    words: WordSplit | None = None
    """What a word of raw text is: `whole` keeps what points, hyphens and apostrophes join (`U.S.`, `German-born`),
    `parts` cuts at every sign; empty: `parts` if the training rows hold `spans`, `whole` if they hold `tokens`."""
    overlaps: Literal["refuse", "longest"] = "refuse"
    """Spans that share characters: `refuse` names the rows; with `longest` the longest counts, of equal ones the
    first."""

    @field_validator("scheme", mode="before")
    @classmethod
    def _other_names(cls, value: Any) -> Any:
        return {"IOBES": "BIOES", "BILOU": "BIOES", "BIO": "IOB2", "IOB": "IOB1"}.get(value, value)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Words and their tags, or a text and its spans."""
        return (
            Column("tokens", "tokens", True, "The words of a sentence, a list.", unless="text"),
            Column("text", "text", True, "Raw text; not read where there are tokens.", unless="tokens"),
            Column("tags", "tags", True, "A tag for each token.", unless="spans"),
            Column("spans", "structure", True, "The start, end and label of each span of the text.", unless="tags"),
        )

    @property
    def main_metric(self) -> str:
        """F1 of the entities; accuracy for plain tags."""
        return "accuracy" if self.scheme == "none" else "f1"

    @property
    def default_loss(self) -> str:
        """Cross entropy over the words."""
        return "cross_entropy"

    @property
    def model_kind(self) -> str:
        """The model families' own `...ForTokenClassification`."""
        return "token-classification"

    # --- before training -----------------------------------------------------------------------------------------

    def prepare(self, table: Table, seed: int) -> Table:
        """Return the rows as they are, if all of them or none hold their gold column.

        Raises:
            DataError: some rows have no spans, which could mean that there are none, or that no one looked.
        """
        if "spans" in table.column_names:
            missing = [row for row, value in enumerate(table.column("spans")) if value is None]
            if missing:
                shown = "; ".join(table.where(row) for row in missing[:MAX_EXAMPLES])
                raise DataError(
                    f"{table.name}: {len(missing):,} rows have no 'spans' ({shown}). A text without entities has an "
                    "empty list, []."
                )
        return table

    def resolve(self, train: Table) -> Self:
        """Fix scheme, labels, and what a word is."""
        names = set(train.column_names)
        if {"tokens", "tags"} <= names:
            found = [[str(tag) for tag in row] for row in train.column("tags")]
            scheme, odd = guess_scheme(found)
            if self.scheme is None and all(tag.isdecimal() for row in found for tag in row):
                raise DataError(
                    f"{train.name}: all tags are numbers. Name them in data.label_names ({{0: O, 1: B-person, ...}}), "
                    "or set task.scheme: none if the numbers are plain tags."
                )
            if odd and self.scheme is None:
                raise DataError(
                    f"{train.name}: the tags keep to no scheme: {odd}. Correct them, or name the scheme in task.scheme "
                    "(IOB1, IOB2, BIOES, or none for plain tags)."
                )
            scheme = self.scheme or scheme
            tags = {tag for row in found for tag in to_iob2(row, scheme)}
        elif {"text", "spans"} <= names:
            if self.scheme == "none":
                raise RecipeError("task.scheme: spans mark entities, which 'none' has not. Leave it empty.")
            scheme = "IOB2"
            tags = {f"B-{one}" for row in train for one in self._tagging.labels_of_spans(row)}
        else:
            raise DataError(
                f"{train.name}: these rows hold {', '.join(map(repr, sorted(names)))}. To learn tags they need "
                "'tokens' and 'tags', or 'text' and 'spans'. Map the columns of the file in data.columns."
            )
        if scheme != "none":
            tags = {OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds_of(tags) for prefix in "BI")}
        labels = self.labels or tuple(sorted(tags, key=lambda tag: (tag != OUTSIDE, tag)))
        if scheme != "none" and (OUTSIDE not in labels or any(parse(label) is None for label in labels)):
            raise RecipeError(
                "task.labels: the tags of entities are O, and B- and I- of each type (O, B-place, I-place). For plain "
                "tags set task.scheme: none."
            )
        if len(labels) < 2:
            raise DataError(
                f"{train.name}: all words have the tag {labels[0]!r}; this task needs at least 2. Check data.columns, "
                "or add rows with others."
            )
        words = self.words or ("whole" if "tokens" in names else "parts")
        return self.model_copy(update={"scheme": scheme, "labels": labels, "words": words})

    def check(self, tables: Mapping[str, Table], tokens_lost: Mapping[str, TokenLoss]) -> Report:
        """Return what is wrong, or suspicious, with texts, types and spans."""
        is_tagged = "tokens" in tables["train"].column_names
        report = check_tables(
            tables,
            text_columns=("tokens",) if is_tagged else ("text",),
            label_column="tags" if is_tagged else "spans",
            problem_type="multi_label_classification",
            labels_of=self._tagging.kinds_in,
            tokens_lost=tokens_lost,
            listed_labels=kinds_of(self.labels) if self.scheme != "none" else self.labels,
        )
        more = [finding for name, table in tables.items() for finding in self._tagging.check(name, table)]
        return replace(report, warnings=(*report.warnings, *more))

    def class_weights(self, train: Table, weights: Literal["balanced"] | Mapping[str, float]) -> list[float]:
        """Return a weight for each tag, balanced by the number of words that have it."""
        gold = (tag for row in train for tag in self._tagging.gold_tags(row) or ())
        return losses.class_weights(weights, labels=self.labels, gold=gold)

    # --- from row to batch ---------------------------------------------------------------------------------------

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> list[Features]:
        """Return a window or several; a word's target stands at its first token, in the window that answers for it."""
        text, words = self._tagging.words(row)
        tags = self._tagging.gold_tags(row)
        ids = None if tags is None else self._label_ids(tags)
        windows = word_windows(
            tokenizer,
            [text[start:end] for start, end in words],
            max_length=limits.max_length,
            doc_stride=limits.doc_stride,
            max_windows=limits.max_windows,
        )
        features = []
        for window in windows:
            targets = {}
            if ids is not None:
                labels = [IGNORED] * len(window.inputs["input_ids"])
                for word, position in zip(window.words, window.positions, strict=True):
                    labels[position] = ids[word]
                targets["labels"] = labels
            extra = asdict(window)
            features.append(Features(extra.pop("inputs"), targets, extra))
        return features

    def collate(self, features: Sequence[Features], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Pad the inputs; labels are (batch, tokens), -100 where no word begins."""
        inputs = pad(features, tokenizer)
        targets = {}
        if all("labels" in one.targets for one in features):
            width = max(one.length for one in features)
            rows = [[*one.targets["labels"], *[IGNORED] * (width - one.length)] for one in features]
            targets["labels"] = torch.tensor(rows)
        return Batch(inputs, targets, tuple(features))

    # --- from batch to loss --------------------------------------------------------------------------------------

    def build_model(self, backbone: Backbone) -> nn.Module:
        """Return the backbone with one output for each tag at each token."""
        return backbone.build(self.model_kind, labels=self.labels, num_labels=len(self.labels)).model

    def loss(self, outputs: Outputs, batch: Batch, criterion: Criterion) -> Tensor:
        """Return the criterion of logits (words, labels) and labels (words,), for the words of the whole batch."""
        labels = batch.targets["labels"]  # (batch, tokens)
        is_word = labels != IGNORED
        logits: Tensor = outputs["logits"][is_word]
        # A mean over no words would be NaN.
        loss: Tensor = criterion(logits, labels[is_word]) if len(logits) else outputs["logits"].sum() * 0.0
        return loss

    # --- from batch to score -------------------------------------------------------------------------------------

    def decode(
        self, outputs: Outputs, batch: Batch, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase
    ) -> list[Prediction]:
        """Return the log probabilities of the words of each window, for `merge`, which sees the whole row."""
        shares = outputs["logits"].float().log_softmax(dim=-1).cpu().numpy()  # (batch, tokens, labels)
        return [
            Prediction(
                None,
                None,
                {"row": row, "words": one.extra.get("words", []), "shares": of_window[one.extra.get("positions", [])]},
            )
            for one, row, of_window in zip(batch.features, rows, shares, strict=True)
        ]

    def merge(self, parts: Sequence[Prediction]) -> Prediction:
        """Return the tags of all words of a row, each from its window, and the spans they mark.

        A word that no window answers for (it gave no token, or stands behind the last window) has the tag ``O``.
        """
        row: Row = parts[0].detail["row"]
        shares = np.full((len(self._tagging.words(row)[1]), len(self.labels)), -np.inf, dtype=np.float32)
        shares[:, self._outside] = 0.0
        for part in parts:
            if part.detail["words"]:
                shares[part.detail["words"]] = part.detail["shares"]
        is_bound = self.constrained and self.scheme != "none"
        best = likeliest_tags(shares, forbidden_transitions(self.labels) if is_bound else None)
        scores = np.exp(shares[np.arange(len(best)), best]).tolist()
        return self._prediction(row, [self.labels[number] for number in best.tolist()], scores)

    def evaluate(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> dict[str, float]:
        """Return the scores of `headway.metrics.spans`; those of tagged words by seqeval, strict, in IOB2."""
        if self.scheme == "none" or any("tags" not in one.detail for one in predictions):
            return self.scorer(predictions, rows)(np.arange(len(rows)))
        gold = [self._tagging.needed_tags(row) for row in rows]
        return spans.strict_scores(gold, [one.detail["tags"] for one in predictions])

    def scorer(
        self, predictions: Sequence[Prediction], rows: Sequence[Row]
    ) -> Callable[[NDArray[np.int64]], dict[str, float]]:
        """Return `evaluate` of chosen rows from counts that are made once."""
        counts = self._counts(predictions, rows)
        return spans.evaluate_tags(counts) if self.scheme == "none" else spans.evaluate_entities(counts)

    def gold(self, row: Row) -> Any:
        """Return the true spans of a row, with their text."""
        tags = self._tagging.gold_tags(row)
        if tags is None:
            return None
        if "tokens" not in row:
            return [_shown(row["text"], *one) for one in self._tagging.spans(row)]
        return self._prediction(row, tags, [1.0] * len(tags)).value

    # --- for the report ------------------------------------------------------------------------------------------

    def details(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> Mapping[str, Any]:
        """Return the scores of each type (or plain tag), and of entities what became of them."""
        counts = self._counts(predictions, rows)
        details: dict[str, Any] = {"per_class": spans.per_class(counts)}
        if self.scheme != "none":
            sides = [self._sides(row, one) for row, one in zip(rows, predictions, strict=True)]

            def text_of(number: int, entity: Entity) -> str:
                row, (_, first, end) = rows[number], entity
                return " ".join(row["tokens"][first:end]) if "tokens" in row else row["text"][first:end]

            details["tables"] = spans.diagnosis([gold for gold, _ in sides], [said for _, said in sides], text_of)
        return details

    def baselines(self, train: Sequence[Row], rows: Sequence[Row], seed: int) -> dict[str, list[Prediction]]:
        """Return what the commonest tag says, and the commonest tag of each word in train (of others, that of all)."""
        of_word: dict[str, Counter[str]] = {}
        commonest: Counter[str] = Counter()
        for row in train:
            text, words = self._tagging.words(row)
            for (start, end), tag in zip(words, self._tagging.needed_tags(row), strict=True):
                of_word.setdefault(text[start:end], Counter())[tag] += 1
                commonest[tag] += 1
        usual = OUTSIDE if self.scheme != "none" else commonest.most_common(1)[0][0]
        best = {word: counts.most_common(1)[0][0] for word, counts in of_word.items()}
        found: dict[str, list[Prediction]] = {"majority": [], "majority_of_word": []}
        for row in rows:
            text, words = self._tagging.words(row)
            tags = [best.get(text[start:end], usual) for start, end in words]
            scores = [1.0] * len(words)
            found["majority"].append(self._prediction(row, [usual] * len(words), scores))
            # Joined word by word, an I- may follow nothing; it then begins an entity.
            repaired = to_iob2(tags, self.scheme or "IOB2")
            found["majority_of_word"].append(self._prediction(row, repaired, scores))
        return found

    def is_collapsed(self, predictions: Sequence[Prediction]) -> bool:
        """Whether all rows get the same spans (none, as a rule), or all words one plain tag."""
        tags = {span["label"] for one in predictions for span in one.value}
        is_one_tag = self.scheme == "none" and len(predictions) > 1 and len(tags) <= 1
        return is_one_tag or super().is_collapsed(predictions)

    # --- words, tags and spans -----------------------------------------------------------------------------------

    @property
    def _tagging(self) -> Tagging:
        return Tagging(self.scheme or "IOB2", self.words or "whole", self.overlaps)

    @property
    def _outside(self) -> int:
        return self.labels.index(OUTSIDE) if OUTSIDE in self.labels else 0

    def _label_ids(self, tags: Sequence[str]) -> list[int]:
        # A tag is looked up once, for a long text has thousands of words and few tags.
        places = {tag: place for place, tag in reversed(list(enumerate(tags, 1)))}
        numbers = {
            tag: label_id(tag, self.labels, found=f"the tag of word {place} is") for tag, place in places.items()
        }
        return [numbers[tag] for tag in tags]

    def _prediction(self, row: Row, tags: list[str], scores: Sequence[float]) -> Prediction:
        """Return the spans of tags, each with the mean probability of its words' tags; of tokens also the tags."""
        text, words = self._tagging.words(row)
        value = [
            _shown(text, words[first][0], words[end - 1][1], kind) | {"score": float(np.mean(scores[first:end]))}
            for kind, first, end in self._tagging.entities(tags)
        ]
        return Prediction(value, None, {"tags": tags} if "tokens" in row else {})

    def _sides(self, row: Row, prediction: Prediction) -> tuple[list[Entity], list[Entity]]:
        """Return the entities of a row in gold and as predicted: in words of tokens, in characters of a text."""
        if "tags" in prediction.detail:
            sides = self._tagging.needed_tags(row), prediction.detail["tags"]
            return self._tagging.entities(sides[0]), self._tagging.entities(sides[1])
        gold = [(one.label, one.start, one.end) for one in self._tagging.spans(row)] if "spans" in row else []
        return gold, [(one["label"], one["start"], one["end"]) for one in prediction.value]

    def _counts(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> spans.Counts:
        sides = [self._sides(row, one) for row, one in zip(rows, predictions, strict=True)]
        words = []
        for row, prediction in zip(rows, predictions, strict=True):
            gold, said = self._tagging.needed_tags(row), prediction.detail.get("tags")
            said = self._tagging.said_tags(row, prediction.value) if said is None else said
            words.append((sum(one == other for one, other in zip(gold, said, strict=True)), len(gold)))
        kinds = self.labels if self.scheme == "none" else kinds_of(self.labels)
        return spans.count([gold for gold, _ in sides], [said for _, said in sides], words, kinds)


def _shown(text: str, start: int, end: int, label: str) -> dict[str, Any]:
    return {"start": start, "end": end, "label": label, "text": text[start:end]}
