from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.answers import Answer, answer_texts, read_answers, sentences_as_answers
from headway.errors import DataError

CONTEXT = "the old garden and the new room"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"text": ["old garden", "new"], "answer_start": [4, 23]}, [("old garden", 4), ("new", 23)]),
        ({"text": "new room", "answer_start": 23}, [("new room", 23)]),
        (
            [{"text": "new room", "answer_start": 23}, {"text": "the", "answer_start": 19}],
            [("new room", 23), ("the", 19)],
        ),
        ({"text": ["new room"], "answer_start": [23.0]}, [("new room", 23)]),
        ({"text": ["new room"]}, [("new room", 23)]),
        ({"text": "new room"}, [("new room", 23)]),
        (["new room", "old"], [("new room", 23), ("old", 4)]),
        ("new room", [("new room", 23)]),
        ("", []),
        ("  ", []),
        (None, []),
        ([], []),
        ({"text": [], "answer_start": []}, []),
        ({"text": [""], "answer_start": [-1]}, []),
    ],
)
def test_the_forms_of_a_cell(value: Any, expected: list[tuple[str, int]]) -> None:
    answers = read_answers(value, CONTEXT, repair=False)
    assert answers.spans == tuple(Answer(*one) for one in expected)
    assert answers.texts == answer_texts(value) == [text for text, _ in expected]
    assert answers.to_json() == {"text": answers.texts, "answer_start": [start for _, start in expected]}
    assert answers.repaired == ()


@pytest.mark.parametrize(
    "value",
    [
        7,
        {"start": 4},
        {"text": ["old"], "answer_start": [4, 5]},
        {"text": ["old"], "answer_start": 4},
        {"text": ["old"], "answer_start": ["4"]},
        {"text": "old", "answer_start": True},
        {"text": [7], "answer_start": [4]},
        [["old"]],
        [7],
    ],
)
def test_another_form_is_refused(value: Any) -> None:
    for read in (lambda: read_answers(value, CONTEXT, repair=True), lambda: answer_texts(value)):
        with pytest.raises(DataError, match="expected an answer's text"):
            read()


@pytest.mark.parametrize("start", [5, 0, -1, 1000])
def test_a_wrong_offset_is_repaired_where_the_text_stands_once(start: int) -> None:
    value = {"text": ["old garden"], "answer_start": [start]}
    answers = read_answers(value, CONTEXT, repair=True)
    assert answers.spans == (Answer("old garden", 4),)
    (what,) = answers.repaired
    assert f"does not stand at character {start}" in what
    assert "it stands at 4" in what
    with pytest.raises(DataError, match=r"task\.answer_repair"):
        read_answers(value, CONTEXT, repair=False)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"text": "the", "answer_start": 1}, "more than once: correct answer_start"),
        ("the", "'the' has no offset, and the context holds it more than once: add answer_start"),
        ("sun", "the context does not hold it"),
        ({"text": "Old garden", "answer_start": 4}, "where the context holds 'old garden', and the context does not"),
        ({"text": ["sun", "the"], "answer_start": [0, 1]}, "'sun' .*; the answer 'the'"),
    ],
)
def test_what_cannot_be_repaired_is_refused(value: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_answers(value, CONTEXT, repair=True)


def test_occurrences_may_overlap() -> None:
    with pytest.raises(DataError, match="more than once"):
        read_answers("anana", "bananana", repair=True)


@given(st.text(min_size=1, max_size=40), st.data())
def test_every_answer_stands_at_its_place_whatever_the_offset_said(context: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(context) - 1))
    text = context[start : data.draw(st.integers(start + 1, len(context)))]
    said = data.draw(st.integers(-5, len(context) + 5))
    try:
        answers = read_answers({"text": [text], "answer_start": [said]}, context, repair=True)
    except DataError:
        assert context.find(text) != context.rfind(text)
        assert not (said >= 0 and context.startswith(text, said))
        return
    for answer in answers.spans:
        assert context[answer.start : answer.end] == answer.text == text
    assert bool(answers.spans) == bool(text.strip())


def test_sentences_stand_where_they_say() -> None:
    context = " It is red. It is red.  Why?\n"
    found = list(sentences_as_answers(context))
    assert [one.text for one in found] == ["It is red.", "It is red.", "Why?"]
    assert [one.start for one in found] == [1, 12, 24]
    assert all(context[one.start : one.end] == one.text for one in found)
