"""Sentence embeddings: a text becomes a vector, and texts of like meaning lie near one another."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch.nn import functional

from headway.data.batching import pad
from headway.data.checks import check_tables
from headway.data.pairing import pairs_of_groups, pairs_of_turns
from headway.data.truncation import encode_text
from headway.errors import DataError, RecipeError
from headway.metrics import baselines, ranking, regression
from headway.models import sentence_folder
from headway.models.in_batch import in_batch_scores
from headway.models.pooling import pool
from headway.tasks.base import Limits, Task
from headway.types import Batch, Column, Criterion, Features, Outputs, Prediction, Row

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from headway.data.findings import Report, TokenLoss
    from headway.data.table import Table
    from headway.models.backbone import Backbone

Objective = Literal["cosine_similarity", "in_batch_negatives"]
DECIMALS = 6
"""Digits of a vector's numbers that a prediction keeps: float32 holds seven."""
NUM_WORST = 10
"""Queries that the report shows, those whose answer was found last."""


class SentenceEmbeddings(Task):
    """Turns a text into a vector; the cosine of two vectors says how near their texts are in meaning."""

    name: ClassVar[str] = "sentence-embeddings"

    type: str = "sentence-embeddings"
    """The task."""
    objective: Objective | None = None
    """What is learnt: `cosine_similarity` (the cosine of a pair is its label) or `in_batch_negatives` (a query is
    nearer to its positive than to those of the other rows of the batch); empty follows from the columns."""
    normalize: bool = True
    """Scale each vector to length 1. Similarity is the cosine either way."""
    scale: float = Field(20.0, gt=0)
    """In-batch negatives: what cosines are multiplied by before the softmax (1 / temperature)."""
    label_range: tuple[float, float] | None = None
    """Pairs with a label: the numbers that stand for nothing in common and the same meaning (0 and 5); empty takes the
    lowest and the highest of the training rows."""
    query_prefix: str = ""
    """Stands before each `query`, `text` and `text_pair` (`"query: "` for E5)."""
    passage_prefix: str = ""
    """Stands before each `positive` and each of the `negatives` (`"passage: "` for E5)."""
    turn_separator: str | None = None
    """For dialogues: what stands between two turns of a `text` (`__eou__`); a turn becomes the `query` of the next."""
    num_turns: int = Field(1, ge=1)
    """For dialogues: how many turns before a reply make its query."""

    @model_validator(mode="after")
    def _range_rises(self) -> Self:
        if self.label_range is not None and not self.label_range[0] < self.label_range[1]:
            raise ValueError("label_range: the first number must be the lower one")
        return self

    @property
    def columns(self) -> tuple[Column, ...]:
        """A text or a pair with its similarity; or a query, what answers it and what does not."""
        return (
            Column("text", "text", True, "The text.", unless="query"),
            Column("text_pair", "text", False, "The second text of a pair."),
            Column("query", "text", False, "What is searched for."),
            Column("positive", "text", False, "The text that should be found."),
            Column("negatives", "texts", False, "Texts that look right for the query and are not (hard negatives)."),
            Column("group", "text", False, "The same word for all texts that mean the same (an intent, a topic)."),
            Column("label", "label", False, "How similar the pair is, a number."),
        )

    @property
    def main_metric(self) -> str:
        """Spearman's correlation for pairs with labels, recall at 1 for queries."""
        return "spearman" if self.objective == "cosine_similarity" else "recall_at_1"

    @property
    def model_kind(self) -> str:
        """The plain backbone."""
        return "features"

    @property
    def default_loss(self) -> str:
        """Mean squared error of the cosine, or cross entropy over the texts of the batch."""
        return "mse" if self.objective == "cosine_similarity" else "cross_entropy"

    # --- before training -----------------------------------------------------------------------------------------

    def prepare(self, table: Table, seed: int) -> Table:
        """Draw pairs where the rows are dialogues, or texts with their group."""
        names = set(table.column_names)
        if "text" not in names:
            return table
        if self.turn_separator is not None:
            return pairs_of_turns(table, self.turn_separator, self.num_turns)
        return pairs_of_groups(table, seed) if "group" in names else table

    def resolve(self, train: Table) -> Self:
        """Fix what is learnt, and the range of the labels."""
        names = set(train.column_names)
        found: Objective | None = None
        if {"text", "text_pair", "label"} <= names:
            found = "cosine_similarity"
        elif {"query", "positive"} <= names:
            found = "in_batch_negatives"
        if found is None or ("query" in names and "text" in names):
            raise DataError(
                f"{train.name}: these rows hold {', '.join(map(repr, sorted(names)))}. To learn embeddings they need "
                "'text', 'text_pair' and 'label' (a number), or 'query' and 'positive', or 'text' and 'group'. Map the "
                "columns of the file in data.columns."
            )
        if self.objective not in (None, found):
            raise RecipeError(
                f"task.objective is {self.objective}, but the columns of {train.name} are those of {found}. Leave it "
                "empty, or map other columns in data.columns."
            )
        if found == "in_batch_negatives":
            return self.model_copy(update={"objective": found})
        # What is no number is named with its place when the rows are encoded.
        numbers = [number for value in train.column("label") if (number := _finite(value)) is not None]
        limits = self.label_range or (min(numbers, default=0.0), max(numbers, default=0.0))
        if numbers and limits[0] == limits[1]:
            raise DataError(
                f"{train.name}: column 'label' holds {limits[0]:g} in all rows, so there is nothing to learn. Check "
                "data.columns.label, or set task.label_range."
            )
        return self.model_copy(update={"objective": found, "label_range": limits})

    def check(self, tables: Mapping[str, Table], tokens_lost: Mapping[str, TokenLoss]) -> Report:
        """Return what is wrong, or suspicious, with texts and labels."""
        has_label = self.objective == "cosine_similarity"
        return check_tables(
            tables,
            text_columns=("text", "text_pair", "query", "positive"),
            label_column="label" if has_label else None,
            problem_type="regression",
            tokens_lost=tokens_lost,
        )

    # --- from row to batch ---------------------------------------------------------------------------------------

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> list[Features]:
        """Return one piece for each text of the row: the pair, or query, positive and negatives."""
        if "text" in row and "query" in row:
            raise DataError("a row holds 'text', or 'query' and 'positive', not both.")
        texts = [self.query_prefix + row[name] for name in ("text", "text_pair", "query") if name in row]
        answers = [row["positive"]] if "positive" in row else []
        answers += row.get("negatives", [])
        texts += [self.passage_prefix + text for text in answers]
        encoded = [encode_text(tokenizer, text, None, **limits.arguments) for text in texts]
        lost = sum(lost for _, lost in encoded)
        return [Features.of_pieces([inputs for inputs, _ in encoded], self._targets(row), {"tokens_lost": lost})]

    def collate(self, features: Sequence[Features], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Pad the pieces; targets are labels (batch,), or the identities of the texts, for those that occur twice."""
        held = [one.targets for one in features]
        targets: dict[str, Tensor] = {}
        if all("labels" in one for one in held):
            targets["labels"] = torch.tensor([one["labels"] for one in held])
        elif all("positive" in one for one in held):
            targets = {name: torch.tensor([one[name] for one in held]) for name in ("query", "positive", "group")}
            negatives = [number for one in held for number in one.get("negatives", [])]
            targets["negatives"] = torch.tensor(negatives, dtype=torch.int64)
        return Batch(pad(features, tokenizer), targets, tuple(features))

    # --- from batch to loss --------------------------------------------------------------------------------------

    def build_model(self, backbone: Backbone) -> nn.Module:
        """Return the plain backbone; its configuration says how tokens are pooled (``model.pooling``)."""
        return backbone.build(self.model_kind).model

    def companions(self, model: nn.Module, limits: Limits) -> Mapping[str, Any]:
        """Return what sentence-transformers reads, so that ``SentenceTransformer(folder)`` gives the same vectors."""
        config: Any = model.config
        return sentence_folder.companions(
            width=config.hidden_size,
            pooling=config.sentence_pooling,
            normalize=self.normalize,
            max_length=limits.max_length,
            query_prefix=self.query_prefix,
            passage_prefix=self.passage_prefix,
        )

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return the vectors of all pieces, (sequences, hidden)."""
        config: Any = model.config
        hidden = model(**batch.inputs).last_hidden_state  # (sequences, tokens, hidden)
        vectors = pool(hidden, batch.inputs.get("attention_mask"), how=config.sentence_pooling).float()
        return {"vectors": functional.normalize(vectors, dim=-1) if self.normalize else vectors}

    def loss(self, outputs: Outputs, batch: Batch, criterion: Criterion) -> Tensor:
        """Return the criterion of cosines and labels scaled to 0..1, or of each query's scores and its own answer.

        See `headway.models.in_batch` for the scores, (batch, answers).
        """
        vectors = functional.normalize(outputs["vectors"].float(), dim=-1)
        loss: Tensor
        if self.objective == "cosine_similarity":
            loss = criterion((vectors[::2] * vectors[1::2]).sum(-1), batch.targets["labels"])
        else:
            scores = in_batch_scores(vectors, batch.sizes, scale=self.scale, **batch.targets)
            loss = criterion(scores, torch.arange(len(scores), device=scores.device))
        return loss

    # --- from batch to score -------------------------------------------------------------------------------------

    def decode(
        self, outputs: Outputs, batch: Batch, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase
    ) -> list[Prediction]:
        """Return the vector of a lone text, or the cosine of the first two texts of a row."""
        vectors = outputs["vectors"].float().cpu().numpy()
        predictions, first = [], 0
        for row, size in zip(rows, batch.sizes, strict=True):
            if size == 1 or ("query" in row and "positive" not in row):
                predictions.append(Prediction([round(number, DECIMALS) for number in vectors[first].tolist()]))
            else:
                pair = vectors[first : first + 2]
                cosine = float(ranking.cosines(pair[:1], pair[1:])[0])
                # Arrays, for `finish` alone: as text they would fill the disk.
                predictions.append(Prediction(cosine, None, {"vectors": pair} if "query" in row else {}))
            first += size
        return predictions

    def finish(self, predictions: Sequence[Prediction], rows: Sequence[Row], *, is_split: bool) -> list[Prediction]:
        """Add to each query the place of its answer among all answers of the split, and the answer found first."""
        queries = [number for number, one in enumerate(predictions) if "vectors" in one.detail]
        finished = [Prediction(one.value, one.score) if "vectors" in one.detail else one for one in predictions]
        if not is_split or not queries:
            return finished
        chosen = [rows[number] for number in queries]
        asked = ranking.normalized(np.stack([predictions[number].detail["vectors"][0] for number in queries]))
        vector_of = {
            row["positive"]: predictions[n].detail["vectors"][1] for n, row in zip(queries, chosen, strict=True)
        }
        answers = ranking.normalized(np.stack(list(vector_of.values())))
        values = [predictions[number].value for number in queries]
        for number, one in zip(queries, _ranked(values, chosen, lambda part: asked[part] @ answers.T), strict=True):
            finished[number] = one
        return finished

    def evaluate(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> dict[str, float]:
        """Return the correlations with gold, or the shares of queries whose answer was found early."""
        if self.objective == "cosine_similarity":
            scores = regression.regression(*self._numbers(predictions, rows))
            return {name: scores[name] for name in ("spearman", "pearson") if name in scores}
        return ranking.from_ranks(_ranks(predictions))

    def scorer(
        self, predictions: Sequence[Prediction], rows: Sequence[Row]
    ) -> Callable[[NDArray[np.int64]], dict[str, float]]:
        """Return `evaluate` of chosen rows; a query keeps its place among the answers of the whole split."""
        if self.objective == "cosine_similarity":
            return super().scorer(predictions, rows)
        ranks = _ranks(predictions)
        return lambda chosen: ranking.from_ranks(ranks[chosen])

    # --- for the report ------------------------------------------------------------------------------------------

    def baselines(self, train: Sequence[Row], rows: Sequence[Row], seed: int) -> dict[str, list[Prediction]]:
        """Return what the cosine of weighted words (TF-IDF) says, with the words of the training rows."""
        names = ("text", "text_pair") if self.objective == "cosine_similarity" else ("query", "positive")
        known = [row[name] for row in train for name in names]
        left, right = baselines.tfidf_vectors(known, *([row[name] for row in rows] for name in names))
        values = np.asarray(left.multiply(right).sum(axis=1), dtype=np.float64).ravel().tolist()
        if self.objective == "cosine_similarity":
            return {"tfidf_cosine": [Prediction(value) for value in values]}
        last = {row["positive"]: number for number, row in enumerate(rows)}
        answers = right[list(last.values())].T.tocsr()
        return {"tfidf_cosine": _ranked(values, rows, lambda part: (left[part] @ answers).toarray())}

    def gold(self, row: Row) -> Any:
        """Return the label on the scale of the cosine."""
        number = _finite(row.get("label"))
        return None if number is None else self._scaled(number)

    def details(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> Mapping[str, Any]:
        """Return gold against cosine, or the queries whose answer was found last."""
        if self.objective == "cosine_similarity":
            gold, said = self._numbers(predictions, rows)
            return {"scatter": regression.details_regression(gold, said)["scatter"]}
        ranks = _ranks(predictions)
        last = [n for n in np.argsort(-ranks, kind="stable")[:NUM_WORST].tolist() if ranks[n] > 1]
        shown = [[rows[n]["query"], rows[n]["positive"], predictions[n].detail["best"], int(ranks[n])] for n in last]
        table = {
            "title": "Answers that were found last",
            "note": "The place of the answer among all answers of the split, and what was found first instead.",
            "columns": ["query", "answer", "found first", "place"],
            "rows": shown,
        }
        return {"tables": [table]} if shown else {}

    def is_collapsed(self, predictions: Sequence[Prediction]) -> bool:
        """Whether all rows have one cosine, up to a hundredth of a per cent, and one answer."""
        values = np.array([one.value for one in predictions], dtype=np.float64)
        is_constant = len(predictions) > 1 and bool((np.ptp(values, axis=0) <= 1e-4).all())
        return is_constant and len({one.detail.get("best") for one in predictions}) == 1

    # --- labels --------------------------------------------------------------------------------------------------

    def _targets(self, row: Row) -> dict[str, Any]:
        if "query" in row and "positive" in row:
            names = {name: _identity(row.get(name, "")) for name in ("query", "positive", "group")}
            negatives = [_identity(text) for text in row.get("negatives", [])]
            return names | ({"negatives": negatives} if negatives else {})
        if row.get("label") is None:
            return {}
        if "text_pair" not in row:
            raise DataError("there is a 'label', but no 'text_pair' that it could compare with 'text'.")
        if (number := _finite(row["label"])) is None:
            raise DataError(f"column 'label' holds {row['label']!r}, expected a finite number.")
        return {"labels": self._scaled(number)}

    def _scaled(self, number: float) -> float:
        low, high = self.label_range or (0.0, 1.0)
        return (number - low) / (high - low)

    def _numbers(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> tuple[list[float], list[float]]:
        gold = [number for row in rows if (number := self.gold(row)) is not None]
        if len(gold) < len(rows):
            raise DataError("To score similarity, every row needs 'text', 'text_pair' and a number as 'label'.")
        return gold, [one.value for one in predictions]


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _identity(text: str) -> int:
    """Return a number that stands for a text: two texts of a batch share one only if they are equal. 0 for none."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True) if text else 0


def _ranks(predictions: Sequence[Prediction]) -> NDArray[np.int64]:
    """Return the place of each row's answer, (rows,)."""
    if any("rank" not in one.detail for one in predictions):
        raise DataError("To score search, every row needs 'query' and 'positive' (or 'text' and 'group').")
    return np.array([one.detail["rank"] for one in predictions], dtype=np.int64)


def _ranked(
    values: Sequence[float], rows: Sequence[Row], score: Callable[[slice], NDArray[np.floating]]
) -> list[Prediction]:
    """Return the predictions of queries: the cosine with their own positive, and the place of their answer.

    Args:
        values: the cosine of each query and its own positive.
        rows: with the columns ``query``, ``positive`` and perhaps ``group``.
        score: from a slice of the rows to scores against the distinct positives, in the order in which they come.
    """
    texts, right, ignored = ranking.right_answers(
        [row["query"] for row in rows], [row["positive"] for row in rows], [row.get("group") for row in rows]
    )
    ranks, best = ranking.count_ranks(score, right, ignored)
    return [
        Prediction(value, None, {"rank": rank, "best": texts[found]})
        for value, rank, found in zip(values, ranks.tolist(), best.tolist(), strict=True)
    ]
