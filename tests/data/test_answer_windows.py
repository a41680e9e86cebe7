from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from transformers import AutoTokenizer

from headway.data.answer_windows import build_passage
from headway.errors import ModelError, RecipeError

QUESTION = "where was the old table"
CONTEXT = "the old table was in the garden , and the new chair was in the house"


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def test_one_window_is_what_the_tokenizer_makes_of_the_pair(tokenizer: Any) -> None:
    passage = build_passage(tokenizer, QUESTION, CONTEXT, max_length=64, doc_stride=8)
    (window,) = passage.windows
    encoding = tokenizer(QUESTION, CONTEXT, return_offsets_mapping=True)
    offsets = encoding.pop("offset_mapping")
    assert window.inputs == dict(encoding)
    assert list(zip(passage.starts, passage.ends, strict=True)) == offsets[window.first : -1]
    assert (window.begin, window.end, window.cls, window.num_repeated) == (0, len(passage.starts), 0, 0)


def test_windows_are_those_of_transformers_but_for_the_last_which_is_as_full_as_the_others(tokenizer: Any) -> None:
    passage = build_passage(tokenizer, QUESTION, CONTEXT, max_length=16, doc_stride=3)
    theirs = tokenizer(
        QUESTION, CONTEXT, truncation="only_second", max_length=16, stride=3, return_overflowing_tokens=True
    )
    assert len(passage.windows) == len(theirs["input_ids"]) > 2
    for number, window in enumerate(passage.windows[:-1]):
        assert window.inputs["input_ids"] == theirs["input_ids"][number]
        assert window.inputs["token_type_ids"] == theirs["token_type_ids"][number]
    assert {len(window.inputs["input_ids"]) for window in passage.windows} == {16}
    assert passage.windows[-1].end == len(passage.starts)


def test_a_long_question_keeps_its_beginning_and_half_of_the_room(tokenizer: Any) -> None:
    passage = build_passage(tokenizer, "red " * 10 + "blue " * 30, CONTEXT, max_length=23, doc_stride=2)
    assert passage.tokens_lost == 30
    asked = passage.windows[0].inputs["input_ids"][1 : passage.windows[0].first - 1]
    assert tokenizer.decode(asked) == "red " * 9 + "red"
    assert all(window.end - window.begin == 10 for window in passage.windows)


@pytest.mark.parametrize(("question", "context"), [(" ", "a"), ("a", "\u200b"), ("", "the house")])
def test_an_empty_side_leaves_the_special_tokens_where_they_are(question: str, context: str, tokenizer: Any) -> None:
    (window,) = build_passage(tokenizer, question, context, max_length=16, doc_stride=3).windows
    assert window.inputs == dict(tokenizer(question, context))


def test_the_tokens_of_a_span_are_those_that_share_a_character_with_it(tokenizer: Any) -> None:
    passage = build_passage(tokenizer, "what", "the  old room", max_length=16, doc_stride=3)
    assert passage.starts == [0, 5, 9]
    assert passage.tokens_of(5, 8) == (1, 1)
    assert passage.tokens_of(7, 10) == (1, 2)
    assert passage.tokens_of(0, 13) == (0, 2)
    assert passage.tokens_of(3, 5) is None


def test_what_cannot_be_done_is_refused(tokenizer: Any) -> None:
    with pytest.raises(RecipeError, match=r"data.max_length: 4 tokens"):
        build_passage(tokenizer, "a", "b", max_length=4, doc_stride=0)
    with pytest.raises(ModelError, match="fast tokenizer"):
        build_passage(cast(Any, SimpleNamespace(is_fast=False)), "a", "b", max_length=16, doc_stride=0)
