"""Core training: a model goes on learning a language by guessing hidden tokens, perhaps also which sentence is next.

What it learns stays in the core, for any task to start from.
Devlin et al. 2019 (arXiv:1810.04805); going on with it on the texts of a field before a task of that field helps the
task (Gururangan et al. 2020, arXiv:2004.10964).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from pydantic import Field
from torch.nn import functional

from headway.data.batching import pad
from headway.data.blocks import blocks_of, pair_of
from headway.data.masking import choose_positions, hide
from headway.data.sentence_pairs import IS_NEXT, IS_RANDOM, joined, sentence_pairs
from headway.errors import DataError, RecipeError
from headway.metrics import language_modelling
from headway.models.losses import IGNORED
from headway.models.masked_positions import logits_at
from headway.tasks.base import Limits, Task
from headway.types import Batch, Column, Criterion, Features, Outputs, Prediction, Row

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from headway.data.table import Table
    from headway.metrics.language_modelling import Guess
    from headway.models.backbone import Backbone

MAX_COUNTED = 20_000
"""Features from which the unigram model counts tokens; of more, every n-th is counted."""

POSITIONS_AT_ONCE = 1024
NUM_FILLINGS = 5


class Pretraining(Task):
    """Guesses hidden tokens of plain text, and on demand whether two sentences stand one after the other."""

    name: ClassVar[str] = "pretraining"

    type: str = "pretraining"
    """The task."""
    next_sentence: bool = False
    """Also learn whether one sentence follows another, as BERT did; for families with such a head (BERT)."""
    mlm_probability: float = Field(0.15, gt=0, lt=1)
    """Share of the tokens (with `whole_word`, of the words) that are to be guessed."""
    masking: Literal["bert", "always"] = "bert"
    """What stands in place of a token to be guessed: `bert`: the mask for 80 %, a random token for 10 %, itself for
    10 %; `always`: the mask."""
    whole_word: bool = False
    """Hide all tokens of a word together."""
    join_documents: int = Field(2000, ge=0)
    """Characters up to which short documents, one after another, are joined into one row with a separator between, so
    that blocks are full; 0 keeps each alone. Not with `next_sentence`."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The text; where next sentences are learnt, perhaps pairs and their labels."""
        text = Column("text", "text", True, "The text. For a token to be filled in, the tokenizer's mask stands.")
        if not self.next_sentence:
            return (text,)
        return (
            text,
            Column("text_pair", "text", False, "The second text of a given pair; without it, pairs are drawn."),
            Column("label", "label", False, "Of a given pair: 0 if the second text is the next one, 1 if not."),
        )

    @property
    def main_metric(self) -> str:
        """Perplexity of the hidden tokens."""
        return "perplexity"

    @property
    def lower_is_better(self) -> frozenset[str]:
        """The perplexity."""
        return frozenset({"perplexity"})

    @property
    def default_loss(self) -> str:
        """Cross entropy over the vocabulary."""
        return "cross_entropy"

    @property
    def model_kind(self) -> str:
        """The families' own `...ForMaskedLM`, or `...ForPreTraining` with both heads."""
        return "pretraining" if self.next_sentence else "masked-lm"

    def prepare(self, table: Table, seed: int) -> Table:
        """Return rows of joined documents, or pairs of sentences; pairs that are given stay as they are."""
        if not self.next_sentence:
            return joined(table, num_characters=self.join_documents)
        if "text_pair" not in table.column_names:
            return sentence_pairs(table, seed=seed)
        if "label" not in table.column_names:
            raise DataError(
                f"{table.name} has a second text in each row, but no column 'label' that says whether it is the next "
                "one (0) or not (1). Name it in data.columns.label, or leave 'text_pair' out to have pairs drawn."
            )
        return table

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> list[Features]:
        """Return a text as blocks, of which none is lost, or a pair as one input that may lose tokens."""
        if "text_pair" not in row:
            return blocks_of(row["text"], tokenizer, max_length=limits.max_length, keep_words=self.whole_word)
        features = pair_of(
            row["text"],
            row["text_pair"],
            tokenizer,
            max_length=limits.max_length,
            truncation=limits.truncation,
            keep_words=self.whole_word,
        )
        if row.get("label") is None:
            return [features]
        if str(row["label"]) not in (IS_NEXT, IS_RANDOM):
            raise DataError(f"column 'label' holds {row['label']!r:.60}, expected 0 (is next) or 1 (is not).")
        return [replace(features, targets={"next_sentence_label": int(row["label"])})]

    def refresh(self, features: Features, tokenizer: PreTrainedTokenizerBase, rng: np.random.Generator) -> Features:
        """Hide other tokens; where a mask stands in the text itself, it alone is asked about."""
        input_ids = np.asarray(features.inputs["input_ids"], dtype=np.int64)
        if (asked := np.flatnonzero(input_ids == tokenizer.mask_token_id)).size:
            return replace(features, extra={**features.extra, "positions": asked.tolist()})
        special = list(tokenizer.all_special_ids)
        words = np.asarray(features.extra["words"], dtype=np.int64) if self.whole_word else None
        positions = choose_positions(
            ~np.isin(input_ids, special), probability=self.mlm_probability, rng=rng, words=words
        )
        hidden = hide(
            input_ids,
            positions,
            mask_id=int(tokenizer.mask_token_id),
            num_tokens=len(tokenizer),
            special_ids=special,
            always=self.masking == "always",
            rng=rng,
        )
        return replace(
            features,
            inputs={**features.inputs, "input_ids": hidden.tolist()},
            targets={**features.targets, "labels": input_ids[positions].tolist()},
            extra={**features.extra, "positions": positions.tolist()},
        )

    def collate(self, features: Sequence[Features], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Pad the inputs; labels are the ids of all hidden tokens in order, (positions,), -100 where nobody knows."""
        targets = {}
        if any("labels" in one.targets for one in features):
            known = [one.targets.get("labels", [IGNORED] * len(_positions(one))) for one in features]
            targets["labels"] = torch.tensor([label for some in known for label in some], dtype=torch.long)
        if all("next_sentence_label" in one.targets for one in features):
            targets["next_sentence_label"] = torch.tensor([one.targets["next_sentence_label"] for one in features])
        return Batch(pad(features, tokenizer), targets, tuple(features))

    def build_model(self, backbone: Backbone) -> nn.Module:
        """Return the backbone under its family's head over the vocabulary, whose weights are the word embeddings."""
        family = backbone.config.model_type
        if backbone.tokenizer.mask_token_id is None:
            raise RecipeError(f"{backbone.name} has no mask token, so its hidden tokens cannot be guessed ({family}).")
        if self.next_sentence and type(backbone.config) not in transformers.MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING:
            raise RecipeError(
                f"task.next_sentence: {family} models have no head for it. Set it to false, or choose a BERT."
            )
        return backbone.build(self.model_kind).model

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return ``logits`` (positions, vocabulary) of the hidden tokens alone, and ``next_sentence`` (batch, 2)."""
        rows = [number for number, one in enumerate(batch.features) for _ in _positions(one)]
        columns = [position for one in batch.features for position in _positions(one)]
        device = batch.inputs["input_ids"].device
        outputs = logits_at(
            model, batch.inputs, torch.tensor(rows, dtype=torch.long, device=device),
            torch.tensor(columns, dtype=torch.long, device=device),
        )  # fmt: skip
        if not self.next_sentence:
            return {"logits": outputs["logits"][0]}
        return {"logits": outputs["prediction_logits"][0], "next_sentence": outputs["seq_relationship_logits"]}

    def loss(self, outputs: Outputs, batch: Batch, criterion: Criterion) -> Tensor:
        """Return the criterion over the hidden tokens, and cross entropy of the pairs added to it."""
        logits, labels = outputs["logits"], batch.targets.get("labels")
        is_known = None if labels is None else labels != IGNORED
        if labels is not None and is_known is not None and is_known.any():
            loss: Tensor = criterion(logits[is_known], labels[is_known])
        else:
            # Nothing to guess in this batch: no gradient, but a loss like any other.
            loss = logits.float().sum() * 0.0
        if "next_sentence_label" in batch.targets:
            loss = loss + functional.cross_entropy(
                outputs["next_sentence"].float(), batch.targets["next_sentence_label"]
            )
        return loss

    def decode(
        self, outputs: Outputs, batch: Batch, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase
    ) -> list[Prediction]:
        """Return how well each text's hidden tokens are guessed, or what fills its masks."""
        ends = np.cumsum([0, *(len(_positions(one)) for one in batch.features)])
        following: list[float | None] = [None] * len(rows)
        if self.next_sentence:
            shares = torch.softmax(outputs["next_sentence"].float(), dim=-1)[:, int(IS_NEXT)].tolist()
            following = [share if "text_pair" in row else None for share, row in zip(shares, rows, strict=True)]
        known = [
            label for one in batch.features for label in one.targets.get("labels", [IGNORED] * len(_positions(one)))
        ]
        nll, best = _judged(outputs["logits"], torch.tensor(known, dtype=torch.long))
        predictions = []
        for one, first, last, share in zip(batch.features, ends[:-1], ends[1:], following, strict=True):
            if last > first and "labels" not in one.targets:
                predictions.append(_filled([_fillings(logits, tokenizer) for logits in outputs["logits"][first:last]]))
                continue
            names = zip(
                tokenizer.convert_ids_to_tokens(known[first:last]),
                tokenizer.convert_ids_to_tokens(best[first:last]),
                nll[first:last],
                strict=True,
            )
            guesses = [{"token": token, "predicted": predicted, "nll": value} for token, predicted, value in names]
            predictions.append(_guessed(guesses, share))
        return predictions

    def merge(self, parts: Sequence[Prediction]) -> Prediction:
        """Join the blocks of a text: their guesses, or what fills the masks of any of them."""
        if filled := [one for one in parts if "masks" in one.detail]:
            return _filled([fillings for one in filled for fillings in one.detail["masks"]])
        return _guessed([guess for one in parts for guess in _guesses(one)], parts[0].detail.get("is_next"))

    def evaluate(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> dict[str, float]:
        """Return perplexity, accuracy over all hidden tokens, and accuracy of the pairs where they are labelled."""
        return self.scorer(predictions, rows)(np.arange(len(rows)))

    def scorer(
        self, predictions: Sequence[Prediction], rows: Sequence[Row]
    ) -> Callable[[NDArray[np.int64]], dict[str, float]]:
        """Return `evaluate` of chosen rows from sums that are made once."""
        follows = [
            (one.detail["is_next"], str(row["label"]) == IS_NEXT)
            if "is_next" in one.detail and "label" in row
            else None
            for one, row in zip(predictions, rows, strict=True)
        ]
        return language_modelling.guesses_evaluate([_guesses(one) for one in predictions], follows)

    def gold(self, row: Row) -> Any:
        """Return nothing: what is true was hidden by a draw, and stands in the prediction's detail."""
        return None

    def details(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> Mapping[str, Any]:
        """Return which tokens are guessed worst, and how accuracy depends on how common a token is."""
        return {"tables": language_modelling.tables([guess for one in predictions for guess in _guesses(one)])}

    def feature_baselines(
        self, train: Sequence[Features], features: Iterable[Features], tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, list[Prediction]]:
        """Return what the shares of the tokens in the training text say (unigram), and the commoner kind of pair."""
        counts = np.zeros(len(tokenizer), dtype=np.int64)
        labels: list[int] = []
        for number in range(0, len(train), max(1, len(train) // MAX_COUNTED)):
            counts += np.bincount(train[number].inputs["input_ids"], minlength=len(counts))
            labels += [
                train[number].targets[name] for name in ("next_sentence_label",) if name in train[number].targets
            ]
        counts[list(tokenizer.all_special_ids)] = 0
        nll = language_modelling.unigram_nll(counts)
        commonest = str(tokenizer.convert_ids_to_tokens(int(counts.argmax())))
        share = 1 - float(np.mean(labels)) if labels else None
        parts: dict[int, list[Prediction]] = {}
        for one in features:
            hidden = one.targets.get("labels", [])
            names = tokenizer.convert_ids_to_tokens(hidden)
            guesses = [
                {"token": token, "predicted": commonest, "nll": float(nll[number])}
                for token, number in zip(names, hidden, strict=True)
            ]
            parts.setdefault(one.row, []).append(_guessed(guesses, share))
        return {"unigram": [self.merge(some) for _, some in sorted(parts.items())]}


def _positions(features: Features) -> list[int]:
    """Return the positions the model is asked about: those of hidden tokens, or of masks in the text."""
    positions: list[int] = features.extra.get("positions", [])
    return positions


def _guesses(prediction: Prediction) -> list[Guess]:
    guesses: list[Guess] = prediction.detail.get("guesses", [])
    return guesses


def _guessed(guesses: list[Guess], is_next: float | None) -> Prediction:
    """Return the perplexity of a text's hidden tokens; the score is the geometric mean of their probabilities."""
    value = language_modelling.perplexity(sum(one["nll"] for one in guesses), len(guesses))
    detail: dict[str, Any] = {"guesses": guesses} if is_next is None else {"is_next": is_next, "guesses": guesses}
    return Prediction(value, None if value is None else 1 / value, detail)


def _filled(masks: list[list[dict[str, Any]]]) -> Prediction:
    """Return the likeliest token for each mask; the score is that of the least certain one."""
    detail: dict[str, Any] = {"masks": masks}
    if len(masks) == 1:
        detail["probabilities"] = {one["token"]: one["probability"] for one in reversed(masks[0])}
    return Prediction([one[0]["token"] for one in masks], min(one[0]["probability"] for one in masks), detail)


def _fillings(logits: Tensor, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    shares, ids = torch.softmax(logits.float(), dim=-1).topk(NUM_FILLINGS)
    return [
        {"token": tokenizer.decode([number]).strip(), "probability": share}
        for share, number in zip(shares.tolist(), ids.tolist(), strict=True)
    ]


def _judged(logits: Tensor, labels: Tensor) -> tuple[list[float], list[int]]:
    """Return minus the log probability of each label, 0 where it is unknown, and the likeliest token.

    Some positions at a time, for logits in float32 over a whole vocabulary take much memory.
    """
    nll: list[float] = []
    best: list[int] = []
    labels = labels.to(logits.device)
    for start in range(0, len(labels), POSITIONS_AT_ONCE):
        scores, true = logits[start : start + POSITIONS_AT_ONCE].float(), labels[start : start + POSITIONS_AT_ONCE]
        nll += functional.cross_entropy(scores, true, ignore_index=IGNORED, reduction="none").tolist()
        best += scores.argmax(dim=-1).tolist()
    # A share of 0 in float32 has no logarithm; it counts as worse than any perplexity that is told apart.
    return [value if math.isfinite(value) else 2 * language_modelling.MAX_EXPONENT for value in nll], best
