from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from headway.data.answers import read_answers
from headway.data.table import Table
from headway.errors import DataError, RecipeError
from headway.inference import Inference
from headway.models.backbone import load_backbone
from headway.models.losses import CrossEntropy
from headway.models.options import ModelOptions
from headway.tasks.base import Limits
from headway.tasks.question_answering import QuestionAnswering
from headway.tokenising import encode_table
from headway.types import Batch, Features, Prediction, Row

FACTS = [
    ("where is the cat", "the cat sat in the old garden and the dog in the house", "the old garden"),
    ("who liked the soup", "a man liked the soup but the woman liked bread", "a man"),
    ("what was red", "the door was red and the window was blue", "the door"),
    ("when was the train slow", "the train was slow at night and fast in the day", "night"),
    ("what did the actor like", "the music was sad and the actor loved the bright room", "the bright room"),
    ("how was the book", "my book was good , your film was dull", "good"),
    ("who found the garden", "a child found the garden and a dog found bread", "a child"),
    ("what is in the street", "a small table is in the street and a chair is in the room", "a small table"),
]


def row(question: str, context: str, *answers: str) -> Row:
    starts = [context.index(answer) for answer in answers]
    return {"question": question, "context": context, "answers": {"text": list(answers), "answer_start": starts}}


ROWS = [row(*fact) for fact in FACTS]
UNANSWERABLE: Row = {"question": "who made bread", "context": FACTS[2][1], "answers": []}
LONG = [
    row(question, f"{context} . {' '.join(FACTS[i - 1][1].split() * 2)}", a)
    for i, (question, context, a) in enumerate(FACTS)
]

CASES: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "one window": ({"n_best": 5}, ROWS),
    "some without answer": (
        {"n_best": 5},
        [*ROWS[:6], UNANSWERABLE, {"question": "where is the sun", "context": FACTS[4][1], "answers": []}],
    ),
    "windows": ({"n_best": 5, "max_answer_length": 6}, LONG),
}


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def windows_of(tokenizer: Any, one: Row, *, max_length: int = 32, doc_stride: int = 8) -> list[Features]:
    return QuestionAnswering().encode(one, tokenizer, Limits(max_length=max_length, doc_stride=doc_stride))


def logits_for(
    batch: Batch, best: list[tuple[int, int]], null: list[float], sure: list[float]
) -> dict[str, torch.Tensor]:
    """Return logits under which the span given is the best of its window, and it and "no answer" score as given."""
    shape = (len(batch.features), max(one.length for one in batch.features))
    start, end = torch.zeros(shape), torch.zeros(shape)
    for number, (one, (first, last), score) in enumerate(zip(batch.features, best, null, strict=True)):
        start[number, first] = end[number, last] = sure[number] / 2
        start[number, one.extra["cls"]] = end[number, one.extra["cls"]] = score / 2
    return {"start_logits": start, "end_logits": end}


# --- windows and targets ----------------------------------------------------------------------------------------------


def test_the_targets_are_the_tokens_of_the_first_answer(tokenizer: Any) -> None:
    one = row("where is the cat", "the cat sat in the old garden . the cat", "the old garden", "garden")
    (features,) = windows_of(tokenizer, one)
    tokens = tokenizer.convert_ids_to_tokens(features.inputs["input_ids"])
    first, last = features.targets["start_positions"], features.targets["end_positions"]
    assert tokens[first : last + 1] == ["the", "old", "garden"]
    assert (tokens[0], tokens.count("[SEP]"), features.extra["cls"]) == ("[CLS]", 2, 0)


def test_an_answer_within_a_word_is_the_whole_token(tokenizer: Any) -> None:
    (features,) = windows_of(tokenizer, row("what", "the oldest room", "est roo"))
    said = tokenizer.convert_ids_to_tokens(features.inputs["input_ids"])[features.targets["start_positions"] :]
    assert said[0] in ("##e", "##es", "##est")
    assert features.extra["ends"][features.targets["end_positions"] - features.extra["first"]] == len("the oldest room")


def test_a_window_without_the_whole_answer_points_at_the_classification_token(tokenizer: Any) -> None:
    one = row(
        "who liked it", "the film was good and the food was bad " * 4 + "but a happy woman liked it", "a happy woman"
    )
    windows = windows_of(tokenizer, one, max_length=20, doc_stride=4)
    held = [features.targets["start_positions"] != 0 for features in windows]
    assert len(windows) > 3
    assert held == [False] * (len(windows) - 1) + [True]
    for features, is_held in zip(windows, held, strict=True):
        first = features.extra["first"]
        if is_held:
            start = features.extra["starts"][features.targets["start_positions"] - first]
            end = features.extra["ends"][features.targets["end_positions"] - first]
            assert one["context"][start:end] == "a happy woman"
        else:
            assert (features.targets["start_positions"], features.targets["end_positions"]) == (0, 0)


def test_a_question_without_answer_points_at_the_classification_token(tokenizer: Any) -> None:
    (features,) = windows_of(tokenizer, UNANSWERABLE)
    assert features.targets == {"start_positions": 0, "end_positions": 0}


def test_an_answer_without_a_token_is_refused(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="makes no token"):
        windows_of(tokenizer, row("what", "the old \u200b room", "\u200b"))


def test_the_loss_of_a_window_does_not_hang_on_its_neighbours(tiny_bert: Path) -> None:
    task = QuestionAnswering(has_unanswerable=False)
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert), dropout=0.0))
    model = task.build_model(backbone)
    features = list(encode_table(Table.from_rows([*ROWS, *LONG]), task, backbone.tokenizer, Limits(max_length=32)))
    for criterion in (CrossEntropy(), CrossEntropy(label_smoothing_factor=0.1)):
        with torch.no_grad():
            batches = [task.collate(some, backbone.tokenizer) for some in ([one] for one in features)]
            alone = [task.loss(task.forward(model, one), one, criterion).item() for one in batches]
            batch = task.collate(features, backbone.tokenizer)
            together = task.loss(task.forward(model, batch), batch, criterion).item()
        assert together == pytest.approx(np.mean(alone), abs=1e-5)


def test_the_loss_is_that_of_transformers(tiny_bert: Path) -> None:
    task = QuestionAnswering(has_unanswerable=False)
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert), dropout=0.0))
    model = task.build_model(backbone)
    features = task.encode(ROWS[0], backbone.tokenizer, Limits(max_length=32))
    batch = task.collate(features, backbone.tokenizer)
    with torch.no_grad():
        ours = task.loss(task.forward(model, batch), batch, CrossEntropy())
        theirs = model(**batch.inputs, **batch.targets).loss
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)


# --- predictions ------------------------------------------------------------------------------------------------------


def test_windows_are_merged_and_no_answer_wins_only_if_every_window_prefers_it(tokenizer: Any) -> None:
    task = QuestionAnswering(has_unanswerable=True, n_best=4)
    one = row(
        "who liked it", "the film was good and the food was bad " * 3 + "but a happy woman liked it", "a happy woman"
    )
    batch = task.collate(task.encode(one, tokenizer, Limits(max_length=20, doc_stride=4)), tokenizer)
    spans = [
        (f.targets["start_positions"] or f.extra["first"], f.targets["end_positions"] or f.extra["first"])
        for f in batch.features
    ]
    num = len(spans)
    assert num > 2
    sure = [3.0] * (num - 1) + [10.0]
    # All windows but the last are sure that they lack the answer.
    parts = task.decode(logits_for(batch, spans, [20.0] * (num - 1) + [4.0], sure), batch, [one] * num, tokenizer)
    found = task.merge(parts)
    assert found.value == "a happy woman"
    assert found.detail["null_score_difference"] == pytest.approx(4.0 - 10.0)
    assert found.value == one["context"][found.detail["start"] : found.detail["end"]]
    assert found.score == pytest.approx(found.detail["n_best"][0]["score"])
    # Now the last one, too.
    parts = task.decode(logits_for(batch, spans, [20.0] * num, sure), batch, [one] * num, tokenizer)
    found = task.merge(parts)
    assert (found.value, found.detail["start"], found.detail["end"]) == ("", None, None)
    assert found.detail["null_score_difference"] == pytest.approx(10.0)
    assert found.score == pytest.approx(1 - sum(one["score"] for one in found.detail["n_best"]))
    assert found.detail["n_best"][0]["text"]
    # A threshold above the difference lets it answer after all.
    assert task.model_copy(update={"null_threshold": 10.5}).merge(parts).value == "a happy woman"
    # Without unanswerable questions there always is an answer, and the n best share all probability.
    always = QuestionAnswering(has_unanswerable=False, n_best=4).merge(parts)
    assert always.value == "a happy woman"
    assert sum(one["score"] for one in always.detail["n_best"]) == pytest.approx(1.0)


def test_the_n_best_of_a_row_are_different_spans_from_the_best_down(tiny_bert: Path) -> None:
    task = QuestionAnswering(has_unanswerable=True, n_best=7, max_answer_length=3)
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert)))
    torch.manual_seed(0)
    inference = Inference(task, task.build_model(backbone), backbone.tokenizer, Limits(max_length=20, doc_stride=8))
    for one, prediction in zip(LONG, inference.stream(LONG), strict=True):
        n_best = prediction.detail["n_best"]
        spans = [(answer["start"], answer["end"]) for answer in n_best]
        scores = [answer["score"] for answer in n_best]
        assert len(n_best) == len(set(spans)) == 7
        assert scores == sorted(scores, reverse=True)
        assert 0 < sum(scores) < 1
        for answer in n_best:
            assert one["context"][answer["start"] : answer["end"]] == answer["text"]
            assert len(backbone.tokenizer(answer["text"], add_special_tokens=False)["input_ids"]) <= 3


def test_a_context_without_a_token_has_no_answer(tiny_bert: Path) -> None:
    task = QuestionAnswering(has_unanswerable=False)
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert)))
    inference = Inference(task, task.build_model(backbone), backbone.tokenizer, Limits(max_length=32))
    (found,) = inference.stream([{"question": "what", "context": "  "}])
    assert found == Prediction("", None, {"start": None, "end": None, "n_best": [], "null_score_difference": 0.0})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=st.text(max_size=30), context=st.text(max_size=120), seed=st.integers(0, 2**32 - 1))
def test_every_predicted_span_stands_in_the_context(
    question: str, context: str, seed: int, tiny_bert: Path, tiny_roberta: Path
) -> None:
    task = QuestionAnswering(has_unanswerable=False)
    for folder in (tiny_bert, tiny_roberta):
        tokenizer = TOKENIZERS.setdefault(folder, AutoTokenizer.from_pretrained(folder))
        one = {"question": question, "context": context}
        features = task.encode(one, tokenizer, Limits(max_length=16, doc_stride=3))
        batch = task.collate(features, tokenizer)
        generator = torch.Generator().manual_seed(seed)
        shape = batch.inputs["input_ids"].shape
        outputs = {f"{side}_logits": torch.randn(shape, generator=generator) for side in ("start", "end")}
        found = task.merge(task.decode(outputs, batch, [one] * len(features), tokenizer))
        for answer in found.detail["n_best"]:
            assert context[answer["start"] : answer["end"]] == answer["text"]
            assert answer["text"].strip() == answer["text"] != ""
        if found.detail["n_best"]:
            assert found.value == context[found.detail["start"] : found.detail["end"]]


TOKENIZERS: dict[Path, Any] = {}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=25), data=st.data())
def test_every_gold_span_is_within_the_tokens_that_are_its_target(
    words: list[str], data: st.DataObject, tiny_bert: Path, tiny_roberta: Path
) -> None:
    context = " ".join(words)
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    answer = context[start:end]
    if not answer.strip():
        return
    (span,) = read_answers({"text": [answer], "answer_start": [start]}, context, repair=False).spans
    assert context[span.start : span.end] == answer
    one = {"question": "what", "context": context, "answers": {"text": [answer], "answer_start": [start]}}
    for folder in (tiny_bert, tiny_roberta):
        tokenizer = TOKENIZERS.setdefault(folder, AutoTokenizer.from_pretrained(folder))
        try:
            windows = windows_of(tokenizer, one, max_length=64, doc_stride=8)
        except DataError:
            # Nothing but characters of which this tokenizer makes no token.
            assert not tokenizer(answer, add_special_tokens=False)["input_ids"]
            continue
        for features in windows:
            if features.targets["start_positions"] == features.extra["cls"]:
                continue
            first, last = (features.targets[f"{side}_positions"] - features.extra["first"] for side in ("start", "end"))
            places = zip(features.extra["starts"], features.extra["ends"], strict=True)
            touching = [number for number, (begin, stop) in enumerate(places) if begin < end and stop > start]
            # The target runs from the first to the last token that shares a character with the answer.
            assert (first, last) == (touching[0], touching[-1])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    question=st.text(max_size=40),
    context=st.text(max_size=200),
    max_length=st.integers(6, 40),
    doc_stride=st.integers(0, 50),
)
def test_every_token_of_the_context_is_in_some_window(
    question: str, context: str, max_length: int, doc_stride: int, tiny_bert: Path, tiny_roberta: Path
) -> None:
    one = {"question": question, "context": context}
    for folder in (tiny_bert, tiny_roberta):
        tokenizer = TOKENIZERS.setdefault(folder, AutoTokenizer.from_pretrained(folder))
        windows = windows_of(tokenizer, one, max_length=max_length, doc_stride=doc_stride)
        whole = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
        expected = list(zip(whole["input_ids"], whole["offset_mapping"], strict=True))
        seen = []
        for features in windows:
            assert features.length <= max_length
            first, starts = features.extra["first"], features.extra["starts"]
            ids = features.inputs["input_ids"][first : first + len(starts)]
            held = list(zip(ids, zip(starts, features.extra["ends"], strict=True), strict=True))
            new = len(held) - (features.extra["tokens_repeated"] - (features.length - len(held)) if seen else 0)
            assert held == expected[len(seen) + new - len(held) : len(seen) + new]
            seen += held[len(held) - new :] if new else []
        assert seen == expected


def test_no_room_for_question_and_context(tokenizer: Any) -> None:
    with pytest.raises(RecipeError, match="leave no room"):
        windows_of(tokenizer, ROWS[0], max_length=4)
