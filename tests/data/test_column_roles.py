"""Which column is which, told by names and values."""

from typing import Any

import pytest

from headway.data.column_roles import gold, is_number, numbered_pair, problem_type, roles, word, written_pair
from headway.errors import DataError

LONG = [f"a text of some length, number {number}" for number in range(40)]
SHORT = [f"title {number}" for number in range(40)]
CLASSES = ["yes", "no"] * 20


def roles_of(**columns: list[Any]) -> dict[str, str]:
    return roles(columns, {}, path="rows.csv", notes=[])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"x": LONG, "y": CLASSES}, {"text": "x", "label": "y"}),
        ({"category": CLASSES, "message": LONG}, {"text": "message", "label": "category"}),
        ({"q": SHORT, "foo": LONG, "bar": CLASSES}, {"text": "foo", "label": "bar"}),
        ({"id": list(range(40)), "Tweet": LONG, "Sentiment": CLASSES}, {"text": "Tweet", "label": "Sentiment"}),
        ({"qid1": SHORT, "qid2": SHORT, "question1": LONG, "question2": LONG, "is_duplicate": CLASSES},
         {"text": "question1", "text_pair": "question2", "label": "is_duplicate"}),
        ({"premise": LONG, "hypothesis": SHORT, "label": CLASSES},
         {"text": "premise", "text_pair": "hypothesis", "label": "label"}),
        ({"text_a": LONG, "text_b": LONG, "kind": CLASSES}, {"text": "text_a", "text_pair": "text_b", "label": "kind"}),
        # A column that bears a label's name and holds texts is none.
        ({"text": SHORT, "target": LONG, "class": CLASSES}, {"text": "text", "label": "class"}),
    ],
)  # fmt: skip
def test_roles(columns: dict[str, list[Any]], expected: dict[str, str]) -> None:
    assert roles_of(**columns) == expected


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"document": LONG, "summary": SHORT}, ("summarization", {"source": "document", "target": "summary"})),
        ({"id": SHORT, "article": LONG, "highlights": LONG},
         ("summarization", {"source": "article", "target": "highlights"})),
        ({"fname": SHORT, "dialogue": LONG, "summary": SHORT, "topic": SHORT},
         ("summarization", {"source": "dialogue", "target": "summary"})),
        ({"note": SHORT, "paper": LONG, "TLDR": SHORT}, ("summarization", {"source": "paper", "target": "TLDR"})),
        ({"target": SHORT, "source": LONG}, ("translation", {"source": "source", "target": "target"})),
        ({"en": LONG, "ro": SHORT}, ("translation", {"source": "en", "target": "ro"})),
        ({"de_DE": LONG, "en_XX": SHORT, "id": SHORT},
         ("translation", {"source": "de_DE", "target": "en_XX"})),
        # A label beside them is what is to be told; three languages leave doubt; a summary of nothing is a text.
        ({"text": LONG, "summary": SHORT, "stars": CLASSES}, None),
        ({"en": LONG, "de": SHORT, "fr": SHORT}, None),
        ({"summary": LONG, "size": list(range(40))}, None),
        ({"source": CLASSES, "text": LONG}, None),
        ({"text": LONG, "target": CLASSES, "source": SHORT}, None),
    ],
)  # fmt: skip
def test_texts_to_be_written(columns: dict[str, list[Any]], expected: Any) -> None:
    assert written_pair(columns) == expected


def test_what_is_uncertain_is_noted() -> None:
    notes: list[str] = []
    roles({"one": LONG, "other": LONG, "a": CLASSES, "b": CLASSES}, {}, path="rows.csv", notes=notes)
    assert any("label may also be 'a'" in note for note in notes)
    assert any("text may also be 'other'" in note for note in notes)


def test_no_label_and_no_text() -> None:
    with pytest.raises(DataError, match=r"'text' \(40 different values\)\. Say which is meant: --data\.columns\.label"):
        roles_of(text=LONG)
    with pytest.raises(DataError, match=r"no column holds texts beside the label 'label'"):
        roles_of(label=CLASSES, size=list(range(40)))


@pytest.mark.parametrize(
    ("names", "pair"),
    [
        (["sentence1", "sentence2"], ("sentence1", "sentence2")),
        (["#1 ID", "#2 ID", "#1 String", "#2 String"], ("#1 String", "#2 String")),
        (["left_text", "right_text"], ("left_text", "right_text")),
        (["answer0", "answer1", "answer2", "answer3"], None),
        (["text", "title"], None),
        (["data", "dbta"], None),
    ],
)
def test_numbered_pair(names: list[str], pair: tuple[str, str] | None) -> None:
    assert numbered_pair(names) == pair


@pytest.mark.parametrize(
    ("values", "name", "kind"),
    [
        (["a", "b"], "label", "single_label_classification"),
        ([0, 1, 1], "label", "single_label_classification"),
        (["1", "2", "3", "4", "5"], "stars", "single_label_classification"),
        (["-1", "0", "1"], "polarity", "single_label_classification"),
        (["0.5", "1", "2"], "label", "regression"),
        ([str(number) for number in range(101)], "score", "regression"),
        ([str(number) for number in range(77)], "intent", "single_label_classification"),
        ([str(number**3) for number in range(20)], "price", "regression"),
        (["0", "2", "4"], "sentiment", "single_label_classification"),
        ([["a"], []], "label", "multi_label_classification"),
    ],
)
def test_problem_type(values: list[Any], name: str, kind: str) -> None:
    assert problem_type(values, name) == kind


def test_gold_is_taken_apart_only_where_parts_recur() -> None:
    assert gold(["a", "b"] * 5, None) == (["a", "b"] * 5, None)
    several = ["a|b", "b|c", "a", "c", "a|b|c", "a|c"] * 3
    assert gold(several, None) == ([one.split("|") for one in several], "|")
    assert gold(["a;b", "c"], ";") == ([["a", "b"], ["c"]], None)


def test_words_and_numbers() -> None:
    assert word(" Review Text ") == "review_text"
    assert [is_number(one) for one in ("1", "-.5", "1e5", " 2 ", "", "one", "nan", "1,5")] == [True] * 4 + [False] * 4
