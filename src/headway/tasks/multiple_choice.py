"""Multiple choice: a context, a question or both, and two or more choices, of which one is right."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import field_validator

from headway.data.batching import collate
from headway.data.truncation import encode_text
from headway.errors import DataError
from headway.metrics import baselines, classification
from headway.tasks.base import Limits, Task, lead_of_likeliest
from headway.types import Batch, Column, Criterion, Features, Outputs, Prediction, Row

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from headway.data.table import Table
    from headway.models.backbone import Backbone

FirstChoice = Literal["0", "1", "A", "text"]

ABSENT = -1e4
"""The logit of a choice that a row does not have: finite, so that label smoothing multiplies it with no infinity, and
small enough that its probability is 0."""
SHOWN_ROWS = 5


class MultipleChoice(Task):
    """Chooses the right one of several answers or continuations; their number may differ from row to row."""

    name: ClassVar[str] = "multiple-choice"

    type: str = "multiple-choice"
    """The task."""
    first_choice: FirstChoice | None = None
    """How the label column names the first choice: `0` or `1` (choices are counted from there; letters are read too),
    `A` (letters), or `text` (the label repeats the choice itself); empty learns it from the training rows."""

    @field_validator("first_choice", mode="before")
    @classmethod
    def _as_word(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @property
    def columns(self) -> tuple[Column, ...]:
        """A context, a question or both, the choices, and which is right."""
        return (
            Column("context", "text", True, "What the choices continue, or what the question is about.", "question"),
            Column("question", "text", True, "The question, or the beginning that all choices share.", "context"),
            Column("choices", "texts", True, "The choices, two or more."),
            Column("label", "label", True, "The right choice: its letter, its number or its text."),
        )

    @property
    def main_metric(self) -> str:
        """The share of rows whose choice is right."""
        return "accuracy"

    @property
    def model_kind(self) -> str:
        """The model families' own `...ForMultipleChoice`."""
        return "multiple-choice"

    @property
    def default_loss(self) -> str:
        """Cross entropy over the choices of a row."""
        return "cross_entropy"

    # --- before training -----------------------------------------------------------------------------------------

    def resolve(self, train: Table) -> Self:
        """Learn from all rows together how the labels name the choices."""
        if self.first_choice is not None:
            return self
        return self.model_copy(update={"first_choice": _first_choice(train)})

    # --- from row to batch ---------------------------------------------------------------------------------------

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> list[Features]:
        """Return one piece for each choice: (context, question and choice), or (the one of both, choice).

        The layout is that of transformers' example `run_swag.py`. A text that is too long loses tokens from context,
        question and choice, the longest first, so no choice is cut away by what stands before it.
        """
        choices = row["choices"]
        if len(choices) < 2:
            raise DataError(f"column 'choices' holds only {choices[0]!r:.80}; a row needs at least two choices.")
        targets = {} if row.get("label") is None else {"labels": self._gold_index(row)}
        is_pair = row.get("context") is not None and row.get("question") is not None
        prefix = f"{row['question']} " if is_pair else ""
        first = row["question"] if row.get("context") is None else row["context"]
        encoded = [encode_text(tokenizer, first, choice, pair_prefix=prefix, **limits.arguments) for choice in choices]
        lost = sum(lost for _, lost in encoded)
        return [Features.of_pieces([inputs for inputs, _ in encoded], targets, {"tokens_lost": lost})]

    def collate(self, features: Sequence[Features], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Pad the pieces, (choices of all rows, tokens); labels are the numbers of the right choices, (batch,)."""
        return collate(features, tokenizer)

    # --- from batch to loss --------------------------------------------------------------------------------------

    def build_model(self, backbone: Backbone) -> nn.Module:
        """Return the backbone with one output, the score of a choice."""
        return backbone.build(self.model_kind).model

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return logits (batch, most choices of a row); where a row has fewer, they are `ABSENT`."""
        # Each choice is handed over as the only one of its row, so that rows may differ in their number.
        inputs = {name: values[:, None] for name, values in batch.inputs.items()}  # (pieces, 1, tokens)
        scores = model(**inputs)["logits"][:, 0]  # (pieces,)
        rows = list(scores.split(batch.sizes))
        return {"logits": torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=ABSENT)}

    def loss(self, outputs: Outputs, batch: Batch, criterion: Criterion) -> Tensor:
        """Return the mean criterion of the rows, each over the choices that it has."""
        logits, labels = outputs["logits"], batch.targets["labels"]
        sizes = torch.tensor(batch.sizes, device=logits.device)
        # Rows of one number of choices at a time: what smooths labels or asks of every class must not see absent ones.
        total = logits.new_zeros((), dtype=torch.float32)
        for size in sorted(set(batch.sizes)):
            chosen = sizes == size
            total = total + criterion(logits[chosen, :size], labels[chosen]) * chosen.sum()
        mean: Tensor = total / len(sizes)
        return mean

    # --- from batch to score -------------------------------------------------------------------------------------

    def decode(
        self, outputs: Outputs, batch: Batch, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase
    ) -> list[Prediction]:
        """Return the text of the likeliest choice, its number, and how a labelled file would write it."""
        logits = outputs["logits"].float().cpu()  # (batch, most choices)
        return [
            self._chosen(row["choices"], torch.softmax(some[:size], dim=-1).tolist())
            for row, some, size in zip(rows, logits, batch.sizes, strict=True)
        ]

    def lead(self, prediction: Prediction) -> float | None:
        """Return how far the likeliest choice is ahead of the next."""
        return lead_of_likeliest(prediction.detail["probabilities"])

    def evaluate(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> dict[str, float]:
        """Return accuracy, mean reciprocal rank, and the accuracy by the number of choices where it differs.

        A choice that stands twice in a row is right in either place.
        """
        return self.scorer(predictions, rows)(np.arange(len(rows)))

    def scorer(
        self, predictions: Sequence[Prediction], rows: Sequence[Row]
    ) -> Callable[[NDArray[np.int64]], dict[str, float]]:
        """Return `evaluate` of chosen rows, from the place of each row's right choice."""
        ranks = np.array([self._rank(one, row) for one, row in zip(predictions, rows, strict=True)], dtype=np.int64)
        sizes = np.array([len(row["choices"]) for row in rows], dtype=np.int64)

        def score(chosen: NDArray[np.int64]) -> dict[str, float]:
            if not len(chosen):
                return {}
            is_right = ranks[chosen] == 1
            scores = {"accuracy": float(is_right.mean()), "mean_reciprocal_rank": float((1 / ranks[chosen]).mean())}
            if len(numbers := np.unique(sizes)) > 1:
                for number in numbers.tolist():
                    if (of := sizes[chosen] == number).any():
                        scores[f"accuracy_of_{number}_choices"] = float(is_right[of].mean())
            return scores

        return score

    def gold(self, row: Row) -> Any:
        """Return the text of the right choice."""
        return None if row.get("label") is None else row["choices"][self._gold_index(row)]

    # --- for the report ------------------------------------------------------------------------------------------

    def baselines(self, train: Sequence[Row], rows: Sequence[Row], seed: int) -> dict[str, list[Prediction]]:
        """Return the commonest position, the longest choice, and the one nearest to the context by weighted words."""
        counts = Counter(self._gold_index(row) for row in train)
        asked = [" ".join(row[name] for name in ("context", "question") if row.get(name)) for row in rows]
        learnt = [text for row in train for text in (row.get("context"), row.get("question"), *row["choices"]) if text]
        sizes = [len(row["choices"]) for row in rows]
        left, right = baselines.tfidf_vectors(
            learnt,
            [text for text, size in zip(asked, sizes, strict=True) for _ in range(size)],
            [choice for row in rows for choice in row["choices"]],
        )
        cosines = np.asarray(left.multiply(right).sum(axis=1), dtype=np.float64).ravel()
        overlaps = np.split(cosines, np.cumsum(sizes)[:-1])
        shares: dict[str, list[list[float]]] = {
            "majority_position": [[counts[index] for index in range(size)] for size in sizes],
            "longest_choice": [_longest(row["choices"]) for row in rows],
            "tfidf_overlap": [some.tolist() for some in overlaps],
        }
        return {
            name: [self._chosen(row["choices"], _shares(some)) for row, some in zip(rows, weights, strict=True)]
            for name, weights in shares.items()
        }

    def details(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> Mapping[str, Any]:
        """Return the positions of right and predicted choices against each other, and the reliability."""
        if not len(rows):
            return {}
        gold = [self._gold_index(row) for row in rows]
        said = [one.detail["index"] for one in predictions]
        most = max(len(row["choices"]) for row in rows)
        counts = np.zeros((most, most), dtype=np.int64)
        np.add.at(counts, (gold, said), 1)
        confidence = np.array([one.score for one in predictions], dtype=np.float64)
        is_right = np.array([self._rank(one, row) == 1 for one, row in zip(predictions, rows, strict=True)])
        positions = [f"choice {number + 1}" for number in range(most)]
        rows_of = [
            [position, int(counts[index].sum()), int(counts[:, index].sum())]
            for index, position in enumerate(positions)
        ]
        table = {
            "title": "Positions",
            "note": "How often each place holds the right choice and is predicted. A model that leans to a place has "
            "learnt where answers stand, not what they say.",
            "columns": ["position", "right", "predicted"],
            "rows": rows_of,
        }
        return {
            "confusion": {"labels": positions, "counts": counts.tolist()},
            "reliability": classification.reliability(confidence, is_right),
            "tables": [table],
        }

    def is_collapsed(self, predictions: Sequence[Prediction]) -> bool:
        """Whether every row gets the choice at the same position."""
        return len(predictions) > 1 and len({one.detail["index"] for one in predictions}) == 1

    # --- labels --------------------------------------------------------------------------------------------------

    def _gold_index(self, row: Row) -> int:
        found = _readings(row["label"], row["choices"])
        forms = ("A", self.first_choice) if self.first_choice in ("0", "1") else (self.first_choice,)
        for form in forms:
            if form in found:
                return found[form]
        raise DataError(
            f"column 'label' holds {row['label']!r:.80}, which names none of the {len(row['choices'])} choices "
            f"({_EXPECTED[self.first_choice]}; task.first_choice)."
        )

    def _chosen(self, choices: Sequence[str], probabilities: Sequence[float]) -> Prediction:
        index = max(range(len(choices)), key=probabilities.__getitem__)
        match self.first_choice:
            case "text":
                label = choices[index]
            case "A":
                label = string.ascii_uppercase[index] if index < 26 else str(index)
            case first:
                label = str(index + int(first or 0))
        shares = dict(zip(_distinct(choices), probabilities, strict=True))
        return Prediction(
            choices[index], probabilities[index], {"index": index, "label": label, "probabilities": shares}
        )

    def _rank(self, prediction: Prediction, row: Row) -> int:
        """Return the place, counted from 1, of the right choice among the choices from the likeliest down."""
        probabilities = list(prediction.detail["probabilities"].values())
        order = sorted(range(len(probabilities)), key=lambda index: -probabilities[index])
        gold = self.gold(row)
        return 1 + next(place for place, index in enumerate(order) if row["choices"][index] == gold)


_EXPECTED: Mapping[FirstChoice | None, str] = {
    "0": "expected a letter, or a number counted from 0",
    "1": "expected a letter, or a number counted from 1",
    "A": "expected a letter",
    "text": "expected the text of a choice",
    None: "nothing says how labels name choices",
}


def _readings(label: Any, choices: Sequence[str]) -> dict[str, int]:
    """Return which choice a label names under each way of reading it; a reading that names none is left out."""
    number = int(label) if isinstance(label, float) and label.is_integer() else label
    word = str(number).strip()
    found: dict[str, int] = {}
    if str(label) in choices:
        found["text"] = choices.index(str(label))
    if len(word) == 1 and word.isascii() and word.isalpha():
        found["A"] = string.ascii_uppercase.index(word.upper())
    elif word.isascii() and word.isdecimal():
        found |= {"0": int(word), "1": int(word) - 1}
    return {form: index for form, index in found.items() if 0 <= index < len(choices)}


def _first_choice(train: Table) -> FirstChoice:
    """Return the one way of reading labels that fits every row.

    Raises:
        DataError: none does, or several do and they name different choices.
    """
    possible: dict[FirstChoice, list[int]] = {"A": [], "0": [], "1": [], "text": []}
    answers: dict[FirstChoice, list[int]] = {form: [] for form in possible}
    for number, row in enumerate(train):
        found = _readings(row.get("label"), row["choices"])
        for form, misfits in possible.items():
            # Beside numbers letters are read too: a file of the ARC set holds both.
            readings = [found[one] for one in (form, "A") if one in found and (one == form or form in ("0", "1"))]
            if readings:
                answers[form].append(readings[0])
            else:
                misfits.append(number)
    fitting: list[FirstChoice] = [form for form, misfits in possible.items() if not misfits]
    if "A" in fitting:
        # Letters only: where numbers would start makes no difference.
        fitting = [form for form in fitting if form not in ("0", "1")]
    if fitting and all(answers[form] == answers[fitting[0]] for form in fitting):
        return fitting[0]
    if fitting:
        shown = _shown(train, range(min(SHOWN_ROWS, len(train))))
        meant = " or ".join(f"{form} ({_EXPECTED[form].removeprefix('expected ')})" for form in fitting)
        raise DataError(
            f"{train.name}: the labels can be read in more than one way: task.first_choice could be {meant}. Set the "
            f"one that is meant. For example {shown}."
        )
    nearest = min(possible, key=lambda form: len(possible[form]))
    misfits = possible[nearest]
    raise DataError(
        f"{train.name}: no one way of reading the labels fits all rows: a letter, a number counted from 0, one counted "
        f"from 1, or the text of a choice. The nearest is {nearest!r} ({_EXPECTED[nearest]}), which does not fit "
        f"{len(misfits)} of {len(train)} rows: {_shown(train, misfits[:SHOWN_ROWS])}. Correct these rows, or "
        "data.columns."
    )


def _shown(train: Table, rows: Sequence[int]) -> str:
    return ", ".join(
        f"{train.where(number)} ({train[number].get('label')!r:.40} of {len(train[number]['choices'])} choices)"
        for number in rows
    )


def _distinct(choices: Sequence[str]) -> list[str]:
    """Return the choices as keys of a mapping: one that stands twice gets its number, as in ``yes (2)``."""
    names: list[str] = []
    for choice in choices:
        name, number = choice, 2
        while name in names:
            name, number = f"{choice} ({number})", number + 1
        names.append(name)
    return names


def _longest(choices: Sequence[str]) -> list[float]:
    longest = max(range(len(choices)), key=lambda index: len(choices[index]))
    return [float(index == longest) for index in range(len(choices))]


def _shares(weights: Sequence[float]) -> list[float]:
    """Return weights as shares of their sum, all equal where there is none."""
    total = sum(weights)
    return [weight / total if total else 1 / len(weights) for weight in weights]
