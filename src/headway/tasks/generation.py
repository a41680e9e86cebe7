"""What tasks that write a text have in common: a source is encoded, a target is learnt token by token, and generated.

`Generation` is a contract of its own between `headway.tasks.base.Task` and the tasks: those say what a row's source is,
and how what is written is judged.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from headway.data.batching import pad
from headway.data.checks import check_tables
from headway.data.findings import MAX_EXAMPLES, Finding
from headway.data.source_target import Encoded, encode_target, nearest_windows, target_ids
from headway.models.generation import IGNORED, generate, target_logits
from headway.segmentation import lines_of
from headway.tasks.base import Limits, Task
from headway.types import Batch, Criterion, Features, Options, Outputs, Prediction, Row

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from headway.data.findings import Report, TokenLoss
    from headway.data.table import Table
    from headway.models.backbone import Backbone

logger = logging.getLogger(__name__)

NEEDS_PREFIX = ("t5", "mt5", "umt5")
"""Families that were pretrained to be told in words what to do."""

NUM_SHOWN = 10
MAX_SHOWN = 400
"""Characters of a text that the report shows."""

_OF_BEAMS = ("length_penalty", "early_stopping")
_OF_SAMPLING = ("temperature", "top_k", "top_p")


class GenerationSettings(Options):
    """How a text is written, by the names of transformers; what is left empty is as the model's own folder says."""

    num_beams: int | None = Field(None, ge=1)
    """Texts that are followed at once, of which the likeliest is taken in the end (beam search); 1 is greedy."""
    length_penalty: float | None = None
    """With beams: above 0 prefers longer texts, below 0 shorter ones."""
    early_stopping: bool | Literal["never"] | None = None
    """With beams: stop as soon as there are `num_beams` whole texts."""
    no_repeat_ngram_size: int | None = Field(None, ge=0)
    """No n-gram of this size is written twice; 0 allows it."""
    repetition_penalty: float | None = Field(None, gt=0)
    """Above 1 makes words that stand there already less likely."""
    min_new_tokens: int | None = Field(None, ge=0)
    """Fewest tokens of a text."""
    do_sample: bool | None = None
    """Draw the next token by its probability instead of taking the likeliest. The same batch gives the same draws."""
    temperature: float | None = Field(None, gt=0)
    """With sampling: below 1 bolder for the likely, above 1 for the unlikely."""
    top_k: int | None = Field(None, ge=0)
    """With sampling: draw among so many of the likeliest tokens only."""
    top_p: float | None = Field(None, gt=0, le=1)
    """With sampling: draw among the likeliest tokens that together have this probability."""

    @model_validator(mode="after")
    def _sets_what_is_used(self) -> GenerationSettings:
        for names, is_used, needed in (
            (_OF_BEAMS, self.num_beams is None or self.num_beams > 1, "num_beams above 1"),
            (_OF_SAMPLING, self.do_sample is not False and self.do_sample is not None, "do_sample: true"),
        ):
            for name in names:
                if getattr(self, name) is not None and not is_used:
                    raise ValueError(f"{name} does nothing without {needed}; set that, or leave {name} out")
        return self

    def arguments(self) -> dict[str, Any]:
        """Return what was set, by name."""
        return self.model_dump(exclude_none=True)


class Generation(Task):
    """A task whose answer is a text that the model writes."""

    generates: ClassVar[bool] = True
    # Each token that is written costs a pass over all weights, for however many rows.
    batch_factor: ClassVar[int] = 8
    answer_options: ClassVar[tuple[str, ...]] = ("generation", "max_target_length")
    target_column: ClassVar[str]
    """The column with the texts that would be right."""

    max_target_length: int = Field(128, ge=2)
    """Tokens of a text that is written or learnt; what is cut of a target counts as tokens lost."""
    generation: GenerationSettings = GenerationSettings()
    """How texts are written: `num_beams`, `length_penalty`, `no_repeat_ngram_size`, `do_sample`, ..."""

    @property
    def model_kind(self) -> str:
        """An encoder-decoder; of an encoder alone one is made (`headway.models.warm_start`)."""
        return "seq2seq"

    @property
    def default_loss(self) -> str:
        """Cross entropy over the vocabulary, for each token of the target."""
        return "cross_entropy"

    # --- what the tasks say --------------------------------------------------------------------------------------

    @abstractmethod
    def encode_row(self, row: Row, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> Encoded:
        """Return the ids of what the model reads of a row."""

    # --- before training -----------------------------------------------------------------------------------------

    def check(self, tables: Mapping[str, Table], tokens_lost: Mapping[str, TokenLoss]) -> Report:
        """Return what is wrong, or suspicious, with what is read, and which targets are empty."""
        read = [column.name for column in self.columns if not column.is_gold]
        report = check_tables(tables, text_columns=read, label_column=None, tokens_lost=tokens_lost)
        return replace(report, warnings=(*report.warnings, *self._check_targets(tables)))

    def _check_targets(self, tables: Mapping[str, Table]) -> Iterator[Finding]:
        for split, rows in tables.items():
            if self.target_column not in rows.column_names:
                continue
            references = rows.column(self.target_column)
            empty = [number for number, texts in enumerate(references) if texts and not any(map(str.strip, texts))]
            if empty:
                yield Finding(
                    "empty_target",
                    split,
                    len(empty),
                    f"Rows of {split} whose {self.target_column} is empty: {len(empty):,}.",
                    "From such rows a model learns to say nothing. Write what is expected, or remove them.",
                    [{"where": rows.where(number), "value": ""} for number in empty[:MAX_EXAMPLES]],
                )

    # --- from row to batch ---------------------------------------------------------------------------------------

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> list[Features]:
        """Return the source, in one piece or in windows, and the ids of the first of its targets.

        Of a source in windows each window learns those sentences of the target that are most likely made of it.
        """
        source = self.encode_row(row, tokenizer, limits)
        references: Sequence[str] | None = row.get(self.target_column)
        targets: list[tuple[dict[str, Any], int]] = [({}, 0) for _ in source.windows]
        if references is not None:
            targets = self._targets(references[0], source.windows, tokenizer)
        return [
            Features(
                {"input_ids": ids, "attention_mask": [1] * len(ids)},
                target,
                {"tokens_lost": (0 if number else source.tokens_lost) + lost, "tokens_repeated": repeated},
            )
            for number, (ids, repeated, (target, lost)) in enumerate(
                zip(source.windows, source.tokens_repeated, targets, strict=True)
            )
        ]

    def _targets(
        self, reference: str, windows: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase
    ) -> list[tuple[dict[str, Any], int]]:
        parts = [reference]
        if len(windows) > 1:
            sentences = lines_of(reference)
            places = nearest_windows(windows, [target_ids(tokenizer, one) for one in sentences])
            parts = [
                " ".join(one for one, place in zip(sentences, places, strict=True) if place == number)
                for number in range(len(windows))
            ]
        encoded = [encode_target(tokenizer, part, max_target_length=self.max_target_length) for part in parts]
        return [({"labels": ids}, lost) for ids, lost in encoded]

    def collate(self, features: Sequence[Features], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Pad the sources, and the targets with -100: ``labels`` (batch, longest target)."""
        targets = {}
        if all(one.targets for one in features):
            labels = [torch.tensor(one.targets["labels"]) for one in features]
            targets["labels"] = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED)
        return Batch(pad(features, tokenizer), targets, tuple(features))

    # --- from batch to loss --------------------------------------------------------------------------------------

    def build_generator(self, backbone: Backbone, settings: Mapping[str, Any]) -> nn.Module:
        """Return the encoder-decoder; its ``generation_config`` says how this task writes, for other tools, too.

        Args:
            backbone: an encoder-decoder, or an encoder.
            settings: further ones of generation that follow from the model (a forced first token).
        """
        model: Any = backbone.build(self.model_kind).model
        model.generation_config.update(**settings, **self._settings(), max_length=None)
        built: nn.Module = model
        return built

    def _settings(self) -> dict[str, Any]:
        return {"max_new_tokens": self.max_target_length, **self.generation.arguments()}

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return the logits of all tokens of the targets, and which tokens these are."""
        return target_logits(model, batch.inputs, batch.targets["labels"])

    def loss(self, outputs: Outputs, batch: Batch, criterion: Criterion) -> Tensor:
        """Return the criterion over all tokens of the batch's targets."""
        loss: Tensor = criterion(outputs["logits"], outputs["labels"])
        return loss

    # --- from batch to score -------------------------------------------------------------------------------------

    def infer(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return the texts that the model writes, as ids."""
        return generate(model, batch.inputs, self._settings())

    def decode(
        self, outputs: Outputs, batch: Batch, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase
    ) -> list[Prediction]:
        """Return each text, and whether it came to its end within ``max_target_length``."""
        texts = tokenizer.batch_decode(outputs["sequences"], skip_special_tokens=True)
        finished = outputs["is_finished"].tolist()
        return [written(text.strip(), is_finished=one) for text, one in zip(texts, finished, strict=True)]

    def merge(self, parts: Sequence[Prediction]) -> Prediction:
        """Join what was written of the windows of a source, in their order."""
        said = " ".join(part.value for part in parts if part.value)
        return written(said, is_finished=all(part.detail["is_finished"] for part in parts))

    def evaluate(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> dict[str, float]:
        """Return every metric of the task's scorer over all rows."""
        return self.scorer(predictions, rows)(np.arange(len(rows)))

    @abstractmethod
    def scorer(
        self, predictions: Sequence[Prediction], rows: Sequence[Row]
    ) -> Callable[[NDArray[np.int64]], dict[str, float]]:
        """Return the metrics of chosen rows, from what is counted once of each row."""

    def gold(self, row: Row) -> Any:
        """Return the texts that would be right."""
        references = row.get(self.target_column)
        return None if references is None else {"references": references}

    def tables(
        self,
        predictions: Sequence[Prediction],
        rows: Sequence[Row],
        *,
        scores: NDArray[np.float64],
        signatures: Mapping[str, str],
        further: Sequence[dict[str, Any]] = (),
    ) -> dict[str, Any]:
        """Return what the report shows of texts: how they were scored, the worst ones, and some at random.

        Args:
            predictions: of a whole split.
            rows: of the split.
            scores: (rows,) of each text alone, higher is better.
            signatures: of metrics that have one, by name.
            further: tables of the task's own.
        """
        right = self.references(rows)
        unfinished = sum(not one.detail["is_finished"] for one in predictions)
        how = table(
            "How texts were written and scored",
            "The signatures let others measure the same. A text that reached task.max_target_length was cut off there.",
            ["what", "value"],
            [
                *(["signature of " + name, text] for name, text in signatures.items()),
                ["rows with several references", sum(len(one) > 1 for one in right)],
                ["texts cut off at max_target_length", unfinished],
                *([f"generation.{name}", str(value)] for name, value in self.generation.arguments().items()),
            ],
        )
        first = self.columns[0].name
        worst = np.argsort(scores, kind="stable")[:NUM_SHOWN]
        others = np.linspace(0, len(rows) - 1, min(NUM_SHOWN, len(rows))).astype(np.int64)
        columns = [first, "expected", "predicted", "score"]

        def shown(chosen: NDArray[np.int64]) -> list[list[Any]]:
            return [
                [cut(rows[i][first]), cut(" | ".join(right[i])), cut(predictions[i].value), float(scores[i])]
                for i in chosen.tolist()
            ]

        return {
            "tables": [
                how,
                *further,
                table("Worst texts", "Scored one by one.", columns, shown(worst)),
                table("Examples", "Evenly spread over the split.", columns, shown(others)),
            ]
        }

    def references(self, rows: Sequence[Row]) -> list[list[str]]:
        """Return the texts that would be right, of each row."""
        return [list(row[self.target_column]) for row in rows]


def written(text: str, *, is_finished: bool = True) -> Prediction:
    """Return a text as a prediction; it has no score, for a text is no label that is right or wrong."""
    return Prediction(text, None, {"is_finished": is_finished})


def said(predictions: Sequence[Prediction]) -> list[str]:
    """Return the texts of predictions."""
    return [one.value for one in predictions]


def cut(text: str) -> str:
    """Return the beginning of a text, with the number of characters left off."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} ... ({len(text) - MAX_SHOWN:,} characters more)"


def warn_of_prefix(backbone: Backbone, prefix: str) -> None:
    """Tell the user that a model was pretrained with words before each source, where there are none."""
    if backbone.config.model_type in NEEDS_PREFIX and not prefix:
        logger.warning(
            "task.source_prefix is empty, but T5 models were pretrained with words that say what to do, such as "
            "'summarize: ' or 'translate English to German: '. mT5 and T5 1.1 need none."
        )


def table(title: str, note: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Return a table in the form in which the report finds it."""
    return {"title": title, "note": note, "columns": list(columns), "rows": [list(row) for row in rows]}
