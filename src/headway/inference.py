"""From features to predictions: the one loop that validation, evaluation, prediction and serving all run.

It imports no Lightning, so that a server installs without it.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from headway.data.batching import sorted_batches
from headway.models.blocked import sorted_weights
from headway.models.precision import in_float32
from headway.tasks.base import Limits, Task
from headway.types import Batch, Criterion, Features, Prediction, Row

logger = logging.getLogger(__name__)

ROWS_PER_CHUNK = 2048
GENERATED_ROWS_PER_CHUNK = 256
"""Of a task that generates: each row takes long, and whoever waits wants to see the first ones."""
TOKENS_PER_CHUNK = 1_000_000

SECURITY, SECURITY_OF_FEW = 2.0, 3.0
"""Float32 is asked again where an answer's lead is less than so many times what rounding was seen to move; of few rows,
others may move farther."""
UNKNOWN_MARGIN = 0.05
"""The least margin until `ROWS_AT_ONCE` were computed twice; most models move less."""
ROWS_AT_ONCE = 8
"""That are asked about again before the margin is set anew; twice as many are no longer few."""


@dataclass(slots=True)
class LossMean:
    """The mean loss over features that were predicted with their gold labels."""

    criterion: Criterion
    total: float = 0.0
    count: int = 0

    def add(self, loss: torch.Tensor, count: int) -> None:
        """Add the mean loss of ``count`` features."""
        self.total += loss.item() * count
        self.count += count

    @property
    def value(self) -> float | None:
        """The mean, or nothing where no feature had a target."""
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class Exact:
    """The model in float32 beside one in bfloat16, and how far rounding was seen to move what is answered.

    Models differ in that by more than tenfold, and so do the shares of rows that a margin of one and the same width
    holds: under a model that knows little, all answers are close.
    """

    load: Callable[[], nn.Module]
    """Called when the first row asks for it."""
    moved: float = 0.0
    """The farthest that a lead (`Task.lead`) was from the one in float32."""
    num_rows: int = 0
    """Rows that were computed in both."""

    @property
    def margin(self) -> float:
        """Answers with a smaller lead may be due to rounding."""
        seen = self.moved * (SECURITY if self.num_rows >= 2 * ROWS_AT_ONCE else SECURITY_OF_FEW)
        return seen if self.num_rows >= ROWS_AT_ONCE else max(seen, UNKNOWN_MARGIN)

    def note(self, lead: float, exact_lead: float, *, is_same: bool) -> None:
        """Note the lead of an answer in both, and whether the answers are the same."""
        self.moved = max(self.moved, abs(lead - exact_lead) if is_same else lead + exact_lead)
        self.num_rows += 1


@dataclass(frozen=True, slots=True)
class Inference:
    """A model ready to answer: everything between a row and its prediction, in evaluation mode."""

    task: Task
    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    limits: Limits
    batch_size: int = 64
    """Rows of 32 tokens in a batch; see `headway.data.batching.sorted_batches`."""
    stop_check: Callable[[], None] = field(default=lambda: None)
    """Called before each batch; raises where the process was asked to stop."""
    sort_weights: bool = False
    """Sort the weights anew for each split (`headway.models.blocked`), since they change between two of them."""
    exact: Exact | None = None
    """Where ``model`` is in bfloat16: it is asked again about answers that rounding may have chosen."""

    def encode(self, rows: Iterable[Row]) -> Iterator[Features]:
        """Return the features of all rows, each with the number of its row."""
        for number, row in enumerate(rows):
            for features in self.task.encode(row, self.tokenizer, self.limits):
                yield replace(features, row=number)

    def stream(self, rows: Iterable[Row]) -> Iterator[Prediction]:
        """Return the prediction of each row, in the order of the rows, holding a bounded number of them.

        At the end the log says how many rows were cut, and how many texts are empty or blank.
        """
        chunk: list[Row] = []
        features: list[Features] = []
        tokens = 0
        seen = _Seen(self)
        most = GENERATED_ROWS_PER_CHUNK if self.task.generates else ROWS_PER_CHUNK
        for row in rows:
            encoded = self.task.encode(row, self.tokenizer, self.limits)
            seen.add(row, encoded)
            for one in encoded:
                features.append(replace(one, row=len(chunk)))
                tokens += one.length
            chunk.append(row)
            if len(chunk) == most or tokens >= TOKENS_PER_CHUNK:
                yield from self._predict(features, chunk, loss=None, is_split=False)
                chunk, features, tokens = [], [], 0
        if chunk:
            yield from self._predict(features, chunk, loss=None, is_split=False)
        seen.say()

    def predict(
        self, features: Sequence[Features], rows: Sequence[Row], *, loss: LossMean | None = None
    ) -> list[Prediction]:
        """Return one prediction a row of a whole split, whatever the batch size.

        Args:
            features: of all rows; ``features[i].row`` is an index into ``rows``.
            rows: the rows themselves.
            loss: collects the mean loss, if the features hold targets.
        """
        return self._predict(features, rows, loss=loss, is_split=True)

    def _predict(
        self, features: Sequence[Features], rows: Sequence[Row], *, loss: LossMean | None, is_split: bool
    ) -> list[Prediction]:
        merged = self._merged(features, rows, loss=loss)
        if self.exact is not None:
            self._ask_again(self.exact, merged, features, rows)
        return self.task.finish(merged, rows, is_split=is_split)

    def _ask_again(
        self, exact: Exact, merged: list[Prediction], features: Sequence[Features], rows: Sequence[Row]
    ) -> None:
        """Replace what rounding may have chosen, the smallest leads first, as far as it is seen to reach."""
        leads = {row: lead for row, one in enumerate(merged) if (lead := self.task.lead(one)) is not None}
        nearest = sorted(leads, key=leads.__getitem__)
        while chosen := [row for row in nearest[:ROWS_AT_ONCE] if leads[row] < exact.margin]:
            nearest = nearest[len(chosen) :]
            place = {row: number for number, row in enumerate(chosen)}
            some = [replace(one, row=place[one.row]) for one in features if one.row in place]
            plain = replace(self, model=exact.load(), exact=None)
            again = plain._merged(some, [rows[row] for row in chosen], loss=None)
            for row, one in zip(chosen, again, strict=True):
                exact.note(leads[row], self.task.lead(one) or 0.0, is_same=one.value == merged[row].value)
                merged[row] = one

    def _merged(self, features: Sequence[Features], rows: Sequence[Row], *, loss: LossMean | None) -> list[Prediction]:
        """Return one prediction a row, each from its own features alone."""
        parts: list[list[tuple[int, Prediction]]] = [[] for _ in rows]
        lengths = [one.length for one in features]
        device = next(self.model.parameters()).device
        was_training = self.model.training
        # To set the mode of all parts costs much more than to look at it; a part may be in another one than the whole.
        is_training = any(module.training for module in self.model.modules())
        if is_training:
            self.model.eval()
        try:
            sort = sorted_weights(self.model) if self.sort_weights else contextlib.nullcontext()
            with sort, torch.inference_mode():
                for numbers in sorted_batches(lengths, batch_size=self.batch_size, factor=self.task.batch_factor):
                    self.stop_check()
                    batch = self._collate([(number, features[number]) for number in numbers]).to(device)
                    outputs = in_float32(self.task.infer(self.model, batch))
                    if loss is not None and batch.targets:
                        heard = in_float32(self.task.forward(self.model, batch)) if self.task.generates else outputs
                        loss.add(self.task.loss(heard, batch, loss.criterion), len(numbers))
                    decoded = self.task.decode(
                        outputs, batch, [rows[one.row] for one in batch.features], self.tokenizer
                    )
                    # Not `features[number]`, which would read and decode each of them from the disk once more.
                    for number, one, prediction in zip(numbers, batch.features, decoded, strict=True):
                        parts[one.row].append((number, prediction))
        finally:
            if is_training:
                self.model.train(was_training)
        # The windows of a row come back in the order of the text, not of their lengths.
        return [
            self.task.merge([prediction for _, prediction in sorted(some, key=lambda one: one[0])]) for some in parts
        ]

    def _collate(self, numbered: Sequence[tuple[int, Features]]) -> Batch:
        return self.task.collate([self._refreshed(number, one) for number, one in numbered], self.tokenizer)

    def refreshed(self, features: Iterable[Features]) -> Iterator[Features]:
        """Return the features of a split as every evaluation sees them: with the draws of epoch 0."""
        return itertools.starmap(self._refreshed, enumerate(features))

    def _refreshed(self, number: int, features: Features) -> Features:
        if type(self.task).refresh is Task.refresh:
            # A generator for each row would cost more than the rest of what is done to it here.
            return features
        return self.task.refresh(features, self.tokenizer, np.random.default_rng([0, 0, number]))


class _Seen:
    """What whoever reads the predictions of a stream should know of its rows."""

    def __init__(self, inference: Inference) -> None:
        self._max_length = inference.limits.max_length
        self._columns = [one.name for one in inference.task.columns if one.required and one.kind in ("text", "passage")]
        self._rows = self._cut = self._lost = self._blank = 0

    def add(self, row: Row, features: Sequence[Features]) -> None:
        """Count a row, and what of it the model does not see."""
        lost = sum(one.extra.get("tokens_lost", 0) for one in features)
        self._rows += 1
        self._cut += lost > 0
        self._lost += lost
        self._blank += any(isinstance(text := row.get(name), str) and not text.strip() for name in self._columns)

    def say(self) -> None:
        """Log what was counted."""
        if self._cut:
            logger.warning(
                "Rows longer than the %s tokens that the model reads at once: %s of %s. It did not see %s of their "
                "tokens.",
                *(f"{number:,}" for number in (self._max_length, self._cut, self._rows, self._lost)),
            )
        if self._blank:
            logger.warning(
                "Rows with an empty or blank text, answered all the same: %s of %s.",
                *(f"{number:,}" for number in (self._blank, self._rows)),
            )
