"""Dialogue: the last turns of a talk to the next one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from headway.data.pairing import replies_of_turns
from headway.data.source_target import Encoded, encode_turns
from headway.errors import DataError
from headway.metrics import text_baselines, texts
from headway.tasks.base import Limits
from headway.tasks.generation import Generation, said, table, written
from headway.types import Column, Prediction, Row

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from headway.data.table import Table
    from headway.models.backbone import Backbone


class Dialogue(Generation):
    """Answers in a talk."""

    name: ClassVar[str] = "dialogue"
    target_column: ClassVar[str] = "response"
    truncations: ClassVar[tuple[str, ...]] = ("head",)

    type: str = "dialogue"
    """The task."""
    turn_separator: str | None = None
    """For rows that hold a whole dialogue in `text`: what stands between two turns (`__eou__`); each turn but the first
    becomes a reply to learn."""
    num_turns: int = Field(3, ge=1)
    """How many turns before a reply the model reads."""
    turn_token: str | None = None
    """What the model reads between two turns; empty takes the tokenizer's separator, or its end of text."""
    language: str = "en"
    """Language of the replies, by its code. ROUGE stems English words, and compares those of other languages as they
    are."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """What was said so far and the reply, or whole dialogues."""
        return (
            Column("history", "passage", True, "The turns so far, a line or an item of a list each.", unless="text"),
            Column("text", "text", False, "A whole dialogue, its turns parted by task.turn_separator."),
            Column("response", "references", False, "The reply; several in a list count as equally right."),
        )

    @property
    def main_metric(self) -> str:
        """F-score of the letters in a row, since replies are short and share few words."""
        return "chrf"

    # --- before training -----------------------------------------------------------------------------------------

    def prepare(self, table: Table, seed: int) -> Table:
        """Take dialogues apart into replies and what came before them."""
        names = set(table.column_names)
        if "text" in names and "history" not in names:
            if self.turn_separator is None:
                raise DataError(
                    f"{table.name}: the rows hold whole dialogues in 'text'. Say in task.turn_separator what stands "
                    "between two turns."
                )
            return replies_of_turns(table, self.turn_separator, self.num_turns)
        if "response" not in names:
            raise DataError(
                f"{table.name}: the rows hold a 'history' but no 'response' to learn or to be scored by. Map the "
                "column of the file in data.columns."
            )
        return table

    def resolve(self, train: Table) -> Self:
        """Check that there are replies to learn from."""
        if not any(train.column("response")):
            raise DataError(f"{train.name}: no row has a 'response' to learn from. Check data.columns.response.")
        return self

    # --- from row to batch ---------------------------------------------------------------------------------------

    def encode_row(self, row: Row, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> Encoded:
        """Return the last turns; where they are too long the oldest are left out first."""
        if "history" not in row:
            raise DataError("A row needs 'history', the turns so far; whole dialogues are for training and evaluation.")
        turns = [turn for line in row["history"].split("\n") if (turn := line.strip())]
        token = self.turn_token or tokenizer.sep_token or tokenizer.eos_token or ""
        return encode_turns(tokenizer, turns[-self.num_turns :], separator=f" {token} ", max_length=limits.max_length)

    def build_model(self, backbone: Backbone) -> nn.Module:
        """Return the encoder-decoder."""
        return self.build_generator(backbone, {})

    # --- scores --------------------------------------------------------------------------------------------------

    def scorer(
        self, predictions: Sequence[Prediction], rows: Sequence[Row]
    ) -> Callable[[NDArray[np.int64]], dict[str, float]]:
        """Return chrF and BLEU from 0 to 100, ROUGE from 0 to 1, and what the replies look like."""
        what, right = said(predictions), self.references(rows)
        return texts.joined(
            texts.overlap_scorer(texts.count_overlap(what, right)),
            texts.rouge_scorer(texts.rouge_rows(what, right, language=self.language)),
            texts.diagnosis_scorer(what, right),
        )

    def baselines(self, train: Sequence[Row], rows: Sequence[Row], seed: int) -> dict[str, list[Prediction]]:
        """Return the commonest reply, and that to the training row whose history is nearest by weighted words."""
        known, replies = [row["history"] for row in train], [row["response"][0] for row in train]
        nearest = text_baselines.nearest_replies(known, replies, [row["history"] for row in rows], seed=seed)
        commonest = text_baselines.commonest_reply(replies)
        return {
            "commonest_reply": [written(commonest) for _ in rows],
            "nearest_history": [written(reply) for reply in nearest],
        }

    def details(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> Mapping[str, Any]:
        """Return sacrebleu's signatures, how varied the replies are, and the worst ones."""
        if not rows:
            return {}
        what, right = said(predictions), self.references(rows)
        scores = texts.sentence_bleu(texts.count_overlap(what, right))
        varied = table(
            "Variety",
            "Different words, and different pairs of words in a row, over all words said (Li et al. 2016). A model "
            "that always says the same has little of both.",
            ["measure", "predicted", "true"],
            [
                [name, value, texts.distinct([one[0] for one in right])[name]]
                for name, value in texts.distinct(what).items()
            ],
        )
        return self.tables(predictions, rows, scores=scores, signatures=texts.signatures(right), further=[varied])
