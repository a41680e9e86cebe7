"""Translation: a text to the same in another language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headway.data.source_target import Encoded, encode_source
from headway.errors import RecipeError
from headway.metrics import text_baselines, texts
from headway.tasks.base import Limits
from headway.tasks.generation import Generation, said, warn_of_prefix, written
from headway.types import Column, Prediction, Row

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from headway.models.backbone import Backbone

MULTILINGUAL = ("MBartTokenizer", "MBart50Tokenizer", "M2M100Tokenizer", "NllbTokenizer")
"""Tokenizers that mark each text with its language; their fast twins end in `Fast`."""


class Translation(Generation):
    """Says in one language what a text says in another."""

    name: ClassVar[str] = "translation"
    target_column: ClassVar[str] = "target"

    type: str = "translation"
    """The task."""
    source_prefix: str = ""
    """Stands before each source and is never cut; T5 wants `"translate English to German: "`."""
    source_lang: str | None = None
    """For models of many languages: the code of the source's, as the tokenizer spells it (`en_XX`, `eng_Latn`)."""
    target_lang: str | None = None
    """For models of many languages: the code of the target's."""
    forced_bos_token: str | None = None
    """First token of every translation; empty takes that of `target_lang` where the model has many languages."""
    bleu_tokenize: texts.BleuTokenizer = "13a"
    """What cuts the words that BLEU counts, by sacrebleu's names: `13a`, `intl`, `zh`, `char` (Japanese, Thai and
    others without blanks), `none`. It stands in the signature."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """What is translated, and one translation or several that would be right."""
        return (
            Column("source", "passage", True, "The text to be translated."),
            Column("target", "references", True, "The translation; several in a list count as equally right."),
        )

    @property
    def main_metric(self) -> str:
        """BLEU of the whole split, by sacrebleu."""
        return "bleu"

    def encode_row(self, row: Row, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> Encoded:
        """Return the source, cut as ``data.truncation`` says, marked with its language where the model wants that."""
        self._say_languages(tokenizer)
        return encode_source(tokenizer, row["source"], prefix=self.source_prefix, **limits.arguments)

    def build_model(self, backbone: Backbone) -> nn.Module:
        """Return the encoder-decoder, which is told the language to write in."""
        warn_of_prefix(backbone, self.source_prefix)
        self._say_languages(backbone.tokenizer)
        return self.build_generator(backbone, self._first_token(backbone.tokenizer))

    def _say_languages(self, tokenizer: Any) -> None:
        if not _is_multilingual(tokenizer):
            return
        for option, attribute in (("source_lang", "src_lang"), ("target_lang", "tgt_lang")):
            code = getattr(self, option)
            if code is None:
                raise RecipeError(
                    f"task.{option} is empty, but this model translates between many languages. Name the code of the "
                    "language as the model spells it, such as en_XX (mBART), en (M2M100) or eng_Latn (NLLB)."
                )
            if getattr(tokenizer, attribute) != code:
                setattr(tokenizer, attribute, code)

    def _first_token(self, tokenizer: Any) -> dict[str, Any]:
        token, option, place = self.forced_bos_token, "forced_bos_token", "forced_bos_token_id"
        if token is None and _is_multilingual(tokenizer):
            option = "target_lang"
            family = type(tokenizer).__name__.removesuffix("Fast")
            token = f"__{self.target_lang}__" if family == "M2M100Tokenizer" else self.target_lang
            # The first mBART starts its decoder with the language; later ones write it as the first token.
            place = "decoder_start_token_id" if family == "MBartTokenizer" else place
        if token is None:
            return {}
        number = tokenizer.convert_tokens_to_ids(token)
        if number is None or number == tokenizer.unk_token_id:
            raise RecipeError(f"task.{option}: the model has no token {token!r}.")
        return {place: number}

    def scorer(
        self, predictions: Sequence[Prediction], rows: Sequence[Row]
    ) -> Callable[[NDArray[np.int64]], dict[str, float]]:
        """Return BLEU and chrF from 0 to 100, and what the translations look like."""
        what, right = said(predictions), self.references(rows)
        return texts.joined(
            texts.overlap_scorer(texts.count_overlap(what, right, tokenizer=self.bleu_tokenize)),
            texts.diagnosis_scorer(what, right, sources=[row["source"] for row in rows]),
        )

    def baselines(self, train: Sequence[Row], rows: Sequence[Row], seed: int) -> dict[str, list[Prediction]]:
        """Return the source as it is: names, numbers and loan words are right already."""
        return {"copy_source": [written(text_baselines.copy_source(row["source"])) for row in rows]}

    def details(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> Mapping[str, Any]:
        """Return sacrebleu's signatures, and the worst translations beside what was expected."""
        if not rows:
            return {}
        what, right = said(predictions), self.references(rows)
        scores = texts.sentence_bleu(texts.count_overlap(what, right, tokenizer=self.bleu_tokenize))
        signatures = texts.signatures(right, tokenizer=self.bleu_tokenize)
        return self.tables(predictions, rows, scores=scores, signatures=signatures)


def _is_multilingual(tokenizer: Any) -> bool:
    return type(tokenizer).__name__.removesuffix("Fast") in MULTILINGUAL
