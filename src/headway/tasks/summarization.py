"""Summarization: a text, or a dialogue, to the few sentences that say what is in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headway.data.source_target import Encoded, encode_source
from headway.data.truncation import CUTS
from headway.metrics import text_baselines, texts
from headway.tasks.base import Limits
from headway.tasks.generation import Generation, said, warn_of_prefix, written
from headway.types import Column, Prediction, Row

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from headway.models.backbone import Backbone

LEAD = 3
"""Sentences of the simple summary that takes the beginning of a text (See et al. 2017, arXiv:1704.04368)."""


class Summarization(Generation):
    """Writes what a text says in fewer words."""

    name: ClassVar[str] = "summarization"
    target_column: ClassVar[str] = "target"
    truncations: ClassVar[tuple[str, ...]] = (*CUTS, "window")
    joins_windows: ClassVar[bool] = True

    type: str = "summarization"
    """The task."""
    source_prefix: str = ""
    """Stands before each source and is never cut; T5 wants `"summarize: "`."""
    language: str = "en"
    """Language of the summaries, by its code. ROUGE stems English words, and compares those of other languages as they
    are."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """What is summarised, and one summary or several that would be right."""
        return (
            Column("source", "passage", True, "The text, the dialogue, or the list of its sentences or turns."),
            Column("target", "references", True, "The summary; several in a list count as equally right."),
        )

    @property
    def main_metric(self) -> str:
        """F1 of the longest common subsequence of words."""
        return "rougeL"

    def encode_row(self, row: Row, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> Encoded:
        """Return the source, cut or in windows as ``data.truncation`` says."""
        return encode_source(tokenizer, row["source"], prefix=self.source_prefix, **limits.arguments)

    def build_model(self, backbone: Backbone) -> nn.Module:
        """Return the encoder-decoder."""
        warn_of_prefix(backbone, self.source_prefix)
        return self.build_generator(backbone, {})

    def scorer(
        self, predictions: Sequence[Prediction], rows: Sequence[Row]
    ) -> Callable[[NDArray[np.int64]], dict[str, float]]:
        """Return ROUGE from 0 to 1, BLEU and chrF from 0 to 100, and what the summaries look like."""
        what, right = said(predictions), self.references(rows)
        return texts.joined(
            texts.rouge_scorer(texts.rouge_rows(what, right, language=self.language)),
            texts.overlap_scorer(texts.count_overlap(what, right)),
            texts.diagnosis_scorer(what, right, sources=[row["source"] for row in rows]),
        )

    def baselines(self, train: Sequence[Row], rows: Sequence[Row], seed: int) -> dict[str, list[Prediction]]:
        """Return the beginning of each text, and one of its sentences at random."""
        return {
            f"lead_{LEAD}": [written(text_baselines.lead_sentences(row["source"], LEAD)) for row in rows],
            "random_sentence": [
                written(text_baselines.random_sentence(row["source"], seed=seed, row=number))
                for number, row in enumerate(rows)
            ],
        }

    def details(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> Mapping[str, Any]:
        """Return how the summaries scored were made comparable, and the worst ones beside what was expected."""
        if not rows:
            return {}
        what, right = said(predictions), self.references(rows)
        scores = texts.rouge_rows(what, right, language=self.language)[self.main_metric]
        return self.tables(predictions, rows, scores=scores, signatures=texts.signatures(right))
