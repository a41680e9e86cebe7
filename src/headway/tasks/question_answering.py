"""Extractive question answering: a question and a context to the span of the context that answers it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from headway.data.answer_windows import Passage, Window, build_passage
from headway.data.answers import Answers, answer_texts, read_answers, sentences_as_answers
from headway.data.batching import collate
from headway.data.checks import check_tables
from headway.data.findings import MAX_EXAMPLES, Finding, shorten
from headway.errors import DataError, ModelError
from headway.metrics import answers as metrics
from headway.metrics import baselines
from headway.models.answer_spans import best_spans
from headway.tasks.base import Limits, Task
from headway.types import Batch, Column, Criterion, Features, Outputs, Prediction, Row

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from headway.data.findings import Report, TokenLoss
    from headway.data.table import Table
    from headway.models.backbone import Backbone

NO_ANSWER = ""
OTHER_HEADS = ("xlnet", "xlm", "flaubert")
"""Families whose own head searches in beams instead of giving a start and an end logit to each token."""


class QuestionAnswering(Task):
    """Finds the words of a text that answer a question, or says that it has no answer."""

    name: ClassVar[str] = "question-answering"
    truncations: ClassVar[tuple[str, ...]] = ("head",)
    joins_windows: ClassVar[bool] = True
    answer_options: ClassVar[tuple[str, ...]] = ("max_answer_length", "n_best", "null_threshold")

    type: str = "question-answering"
    """The task."""
    max_answer_length: int = Field(30, ge=1)
    """Most tokens of an answer."""
    n_best: int = Field(20, ge=1)
    """How many answers are considered of each window, and kept in a prediction's detail."""
    has_unanswerable: bool | None = None
    """Whether a question may have no answer in its context, as in SQuAD 2.0; empty learns it from the training rows."""
    null_threshold: float | None = None
    """A question counts as having no answer if "no answer" scores higher than the best answer by more than this;
    empty learns it from the validation rows after training (and is 0 without such rows)."""
    answer_repair: bool = True
    """Put an answer whose `answer_start` is wrong where its text stands, if that is one place of the context only;
    `headway check` counts such rows. Other wrong offsets are refused."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """A question, the text it is about, and the answers."""
        return (
            Column("question", "text", True, "The question."),
            Column("context", "text", True, "The text that holds the answer, of any length."),
            Column("answers", "value", True, "The true answers and where they start; empty: there is none."),
        )

    @property
    def main_metric(self) -> str:
        """F1 of the words of the answer."""
        return "f1"

    @property
    def group_by(self) -> tuple[str, ...]:
        """The context, so that no text is seen in training whose questions are held out."""
        return ("context",)

    @property
    def model_kind(self) -> str:
        """The model families' own `...ForQuestionAnswering`."""
        return "question-answering"

    @property
    def default_loss(self) -> str:
        """Cross entropy over the tokens, for the start and for the end."""
        return "cross_entropy"

    # --- before training -----------------------------------------------------------------------------------------

    def resolve(self, train: Table) -> Self:
        """Fix whether questions may have no answer."""
        empty = [number for number, value in enumerate(train.column("answers")) if _is_empty(value)]
        if self.has_unanswerable is False and empty:
            shown = ", ".join(train.where(number) for number in empty[:MAX_EXAMPLES])
            raise DataError(
                f"task.has_unanswerable is false, but {len(empty):,} of {len(train):,} rows have no answer ({shown}"
                f"{', ...' if len(empty) > MAX_EXAMPLES else ''}). Leave the option out, or remove these rows."
            )
        if len(empty) == len(train):
            raise DataError(f"{train.name}: no row has an answer. Check data.columns.answers.")
        return self.model_copy(update={"has_unanswerable": self.has_unanswerable or bool(empty)})

    def check(self, tables: Mapping[str, Table], tokens_lost: Mapping[str, TokenLoss]) -> Report:
        """Return what is wrong, or suspicious, with questions, contexts and the offsets of answers."""
        report = check_tables(tables, text_columns=("question", "context"), label_column=None, tokens_lost=tokens_lost)
        return replace(report, warnings=(*report.warnings, *self._check_answers(tables)))

    def _check_answers(self, tables: Mapping[str, Table]) -> Iterator[Finding]:
        for split, table in tables.items():
            if "answers" not in table.column_names:
                continue
            found = [(number, self._answers(row)) for number, row in enumerate(table)]
            repaired = [(number, one.repaired[0]) for number, one in found if one.repaired]
            if repaired:
                yield Finding(
                    "wrong_answer_offset",
                    split,
                    len(repaired),
                    f"Rows whose answer_start is wrong, put where the answer's text stands: {len(repaired):,}.",
                    "Correct the offsets. They count characters, not bytes, from 0, in the context as it is.",
                    [{"where": table.where(row), "value": shorten(what)} for row, what in repaired[:MAX_EXAMPLES]],
                )
            empty = [number for number, one in found if not one.spans]
            if empty and not self.has_unanswerable:
                yield Finding(
                    "unanswerable_not_in_train",
                    split,
                    len(empty),
                    f"Rows of {split} that have no answer, which no row of train lacks: {len(empty):,}.",
                    "The model always gives an answer, so these count as wrong. Add such rows to train.",
                    [{"where": table.where(n), "value": shorten(table[n]["question"])} for n in empty[:MAX_EXAMPLES]],
                )

    # --- from row to batch ---------------------------------------------------------------------------------------

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> list[Features]:
        """Return the windows over the context, each behind the question.

        The targets of a window are the tokens of the first true answer, or, in a window without the whole of it, the
        classification token, as in transformers' run_qa.py.
        """
        passage = build_passage(
            tokenizer, row["question"], row["context"], max_length=limits.max_length, doc_stride=limits.doc_stride
        )
        tokens: tuple[int, int] | None = None
        if has_gold := row.get("answers") is not None:
            tokens = _gold_tokens(self._answers(row), passage)
        return [
            Features(
                window.inputs,
                _targets(window, tokens) if has_gold else {},
                {
                    "first": window.first,
                    "cls": window.cls,
                    "starts": passage.starts[window.begin : window.end],
                    "ends": passage.ends[window.begin : window.end],
                    "tokens_lost": 0 if number else passage.tokens_lost,
                    "tokens_repeated": window.num_repeated,
                },
            )
            for number, window in enumerate(passage.windows)
        ]

    def collate(self, features: Sequence[Features], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Pad the inputs; start and end positions are token numbers, (batch,)."""
        return collate(features, tokenizer)

    # --- from batch to loss --------------------------------------------------------------------------------------

    def build_model(self, backbone: Backbone) -> nn.Module:
        """Return the backbone with two outputs for each token."""
        if backbone.config.model_type in OTHER_HEADS:
            raise ModelError(
                f"{backbone.name}: {backbone.config.model_type} models answer questions by a beam search of their own, "
                "which headway does not train. Use another family, such as BERT, RoBERTa, DistilBERT or DeBERTa."
            )
        return backbone.build(self.model_kind, labels=("start", "end"), num_labels=2).model

    def loss(self, outputs: Outputs, batch: Batch, criterion: Criterion) -> Tensor:
        """Return the mean criterion of start and end, each over the tokens of its own window."""
        lengths = [one.length for one in batch.features]
        total = outputs["start_logits"].new_zeros((), dtype=torch.float32)
        # Windows of one length at a time, so that padding is no class and no window's loss hangs on its neighbours.
        for length in sorted(set(lengths)):
            chosen = [number for number, one in enumerate(lengths) if one == length]
            for side in ("start", "end"):
                logits = outputs[f"{side}_logits"][chosen, :length]  # (windows, tokens)
                total = total + criterion(logits, batch.targets[f"{side}_positions"][chosen]) * len(chosen) / 2
        loss: Tensor = total / len(lengths)
        return loss

    # --- from batch to score -------------------------------------------------------------------------------------

    def decode(
        self, outputs: Outputs, batch: Batch, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase
    ) -> list[Prediction]:
        """Return the best spans of each window with their logits, and as score that of "no answer" (its `[CLS]`)."""
        start, end = (outputs[f"{side}_logits"].float().cpu() for side in ("start", "end"))  # (batch, tokens)
        firsts = torch.tensor([one.extra["first"] for one in batch.features])
        sizes = torch.tensor([len(one.extra["starts"]) for one in batch.features])
        cls = torch.tensor([one.extra["cls"] for one in batch.features])
        place = (
            torch.arange(start.shape[1])[None] - firsts[:, None]
        )  # (batch, tokens), in the window's part of the context
        found = best_spans(
            start,
            end,
            (place >= 0) & (place < sizes[:, None]),
            max_answer_length=self.max_answer_length,
            n_best=self.n_best,
        )
        null = (start + end).gather(1, cls[:, None])[:, 0].tolist()
        return [
            Prediction(
                None,
                null[number],
                {"n_best": list(_spans(row["context"], one.extra, *(part[number].tolist() for part in found)))},
            )
            for number, (one, row) in enumerate(zip(batch.features, rows, strict=True))
        ]

    def merge(self, parts: Sequence[Prediction]) -> Prediction:
        """Keep the best answers among the windows of one context.

        "No answer" scores what it scores in the window that doubts it most: a window that lacks the answer always
        prefers it, so any other rule would drown the right one.
        """
        null = min(part.score or 0.0 for part in parts)
        best: dict[tuple[int, int], dict[str, Any]] = {}
        for one in sorted((one for part in parts for one in part.detail["n_best"]), key=lambda one: -one["score"]):
            best.setdefault((one["start"], one["end"]), one)
        ranked = list(best.values())[: self.n_best]
        if not ranked:
            return Prediction(NO_ANSWER, None, _detail(None, [], 0.0))
        scores = [one["score"] for one in ranked]
        # "No answer" is one of the possibilities only where there is such a thing.
        shares = _softmax([*scores, null] if self.has_unanswerable else scores)
        n_best = [{**one, "score": share} for one, share in zip(ranked, shares, strict=False)]
        difference = null - scores[0]
        if self.has_unanswerable and difference > (self.null_threshold or 0.0):
            return Prediction(NO_ANSWER, shares[-1], _detail(None, n_best, difference))
        return Prediction(n_best[0]["text"], shares[0], _detail(n_best[0], n_best, difference))

    def calibrate(self, predict: Callable[[], Sequence[Prediction]], rows: Sequence[Row]) -> Self:
        """Set the threshold of "no answer" to the one with the best F1 on the validation rows, unless it was given."""
        golds = [answer_texts(row["answers"]) for row in rows]
        if not self.has_unanswerable or self.null_threshold is not None or all(golds) or not any(golds):
            return self
        predictions = predict()
        spans, differences = _spans_said(predictions)
        threshold = metrics.best_threshold(*metrics.span_scores(spans, golds), np.asarray(differences))
        return self.model_copy(update={"null_threshold": threshold})

    def evaluate(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> dict[str, float]:
        """Return the metrics of `headway.metrics.answers`, from 0 to 1."""
        return self.scorer(predictions, rows)(np.arange(len(rows)))

    def scorer(
        self, predictions: Sequence[Prediction], rows: Sequence[Row]
    ) -> Callable[[NDArray[np.int64]], dict[str, float]]:
        """Return `evaluate` of chosen rows, from the score of each row."""
        said, golds = [one.value for one in predictions], [answer_texts(row["answers"]) for row in rows]
        if not self.has_unanswerable:
            return metrics.scorer(said, golds)
        spans, differences = _spans_said(predictions)
        return metrics.scorer(said, golds, spans=spans, differences=differences)

    def gold(self, row: Row) -> Any:
        """Return the texts of the true answers, and where they start."""
        return None if row.get("answers") is None else self._answers(row).to_json()

    # --- for the report ------------------------------------------------------------------------------------------

    def baselines(self, train: Sequence[Row], rows: Sequence[Row], seed: int) -> dict[str, list[Prediction]]:
        """Return the sentence nearest to the question by weighted words, and, where that may be right, no answer."""
        sentences = {context: list(sentences_as_answers(context)) for context in {row["context"] for row in rows}}
        known = [*dict.fromkeys(row["context"] for row in train), *(row["question"] for row in train)]
        left, right = baselines.tfidf_vectors(
            known,
            [row["question"] for row in rows for _ in sentences[row["context"]]],
            [sentence.text for row in rows for sentence in sentences[row["context"]]],
        )
        cosines = np.asarray(left.multiply(right).sum(axis=1), dtype=np.float64).ravel()
        sizes = [len(sentences[row["context"]]) for row in rows]
        nearest = []
        for row, some in zip(rows, np.split(cosines, np.cumsum(sizes)[:-1]), strict=True):
            if not len(some):
                nearest.append(Prediction(NO_ANSWER, None, _detail(None, [], 0.0)))
                continue
            best = sentences[row["context"]][int(some.argmax())]
            span = {"text": best.text, "start": best.start, "end": best.end, "score": 1.0}
            nearest.append(Prediction(best.text, None, _detail(span, [span], 0.0)))
        if not self.has_unanswerable:
            return {"tfidf_sentence": nearest}
        return {
            "tfidf_sentence": nearest,
            "no_answer": [Prediction(NO_ANSWER, None, _detail(None, [], 0.0)) for _ in rows],
        }

    def details(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> Mapping[str, Any]:
        """Return scores by question word and by length of the answer, and the worst answers."""
        if not len(rows):
            return {}
        golds = [answer_texts(row["answers"]) for row in rows]
        tables = metrics.tables(
            [row["question"] for row in rows],
            [one.value for one in predictions],
            golds,
            [one.score for one in predictions],
        )
        if self.has_unanswerable:
            spans, differences = _spans_said(predictions)
            best = metrics.best_threshold(*metrics.span_scores(spans, golds), np.asarray(differences))
            tables.append({
                "title": "Threshold of no answer",
                "note": "A question is not answered if no answer scores higher than the best answer by more than the "
                "threshold. The best one is that of these very rows, so the score it gives is too good.",
                "columns": ["threshold", "value"],
                "rows": [["in use", self.null_threshold or 0.0], ["best for F1 on these rows", best]],
            })  # fmt: skip
        return {"tables": tables}

    def _answers(self, row: Row) -> Answers:
        return read_answers(row["answers"], row["context"], repair=self.answer_repair)


def _is_empty(value: Any) -> bool:
    """Whether a cell says that there is no answer; of a form that cannot be read, `encode` complains by row."""
    try:
        return not answer_texts(value)
    except DataError:
        return False


def _gold_tokens(answers: Answers, passage: Passage) -> tuple[int, int] | None:
    """Return the first and last token of the first answer that has any, or None where there is no answer."""
    for answer in answers.spans:
        if (tokens := passage.tokens_of(answer.start, answer.end)) is not None:
            return tokens
    if answers.spans:
        raise DataError(
            f"column 'answers' holds {answers.texts[0]!r:.60}, of which the model's tokenizer makes no token, as of "
            "control characters. Correct the answer, or remove the row."
        )
    return None


def _targets(window: Window, tokens: tuple[int, int] | None) -> dict[str, int]:
    if tokens is None or tokens[0] < window.begin or tokens[1] >= window.end:
        return {"start_positions": window.cls, "end_positions": window.cls}
    shift = window.first - window.begin
    return {"start_positions": tokens[0] + shift, "end_positions": tokens[1] + shift}


def _spans(
    context: str, extra: Mapping[str, Any], scores: Sequence[float], firsts: Sequence[int], lasts: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Yield the spans that tokens of a window stand for, without blanks at their ends; none that is empty."""
    for score, first, last in zip(scores, firsts, lasts, strict=True):
        if score == -math.inf:
            return
        start, end = extra["starts"][first - extra["first"]], extra["ends"][last - extra["first"]]
        text = context[start:end]
        if said := text.strip():
            start += len(text) - len(text.lstrip())
            yield {"text": said, "start": start, "end": start + len(said), "score": score}


def _spans_said(predictions: Sequence[Prediction]) -> tuple[list[str], list[float]]:
    """Return the best answer of each row that is not "no answer", and by how much that scores higher."""
    spans = [one.detail["n_best"][0]["text"] if one.detail["n_best"] else NO_ANSWER for one in predictions]
    return spans, [one.detail["null_score_difference"] for one in predictions]


def _detail(span: Mapping[str, Any] | None, n_best: Sequence[Mapping[str, Any]], difference: float) -> dict[str, Any]:
    return {
        "start": None if span is None else span["start"],
        "end": None if span is None else span["end"],
        "n_best": [dict(one) for one in n_best],
        "null_score_difference": difference,
    }


def _softmax(scores: Sequence[float]) -> list[float]:
    weights = np.exp(np.asarray(scores) - max(scores))
    shares: list[float] = (weights / weights.sum()).tolist()
    return shares
