from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headway.data.cells import check_row
from headway.data.options import DataOptions
from headway.data.table import Table
from headway.errors import DataError
from headway.types import Column

TOKENS = Column("tokens", "tokens", True, "Words.", unless="text")
TEXT = Column("text", "text", True, "The text.", unless="tokens")
TAGS = Column("tags", "tags", True, "A tag for each word.")
QUESTION = Column("question", "text", True, "What is asked.")
CHOICES = Column("choices", "texts", True, "The answers to choose from.")
ANSWERS = Column("answers", "structure", True, "Where the answer stands.")


def read(path: Path, content: str, *columns: Column, **options: Any) -> list[dict[str, Any]]:
    path.write_text(content, encoding="utf-8")
    reading = DataOptions(train=str(path), **options)
    return list(Table.read(reading.train, options=reading, columns=columns, need_gold=True))


def test_tokens_and_tags_are_lists_or_text_apart_by_blanks(tmp_path: Path) -> None:
    rows = read(
        tmp_path / "a.jsonl",
        '{"tokens": ["New", "York"], "tags": ["B", "I"]}\n{"tokens": "  a  b ", "tags": " O  B "}\n',
        *(TOKENS, TAGS),
    )
    assert rows == [{"tokens": ["New", "York"], "tags": ["B", "I"]}, {"tokens": ["a", "b"], "tags": ["O", "B"]}]


def test_tags_given_as_codes_get_their_names(tmp_path: Path) -> None:
    content = '{"tokens": ["New", "York"], "tags": [1, 2]}\n'
    (row,) = read(tmp_path / "a.jsonl", content, TOKENS, TAGS, label_names={"0": "O", "1": "B-LOC", "2": "I-LOC"})
    assert row["tags"] == ["B-LOC", "I-LOC"]
    with pytest.raises(DataError, match=r"line 1.*'2' is not among data\.label_names"):
        read(tmp_path / "a.jsonl", content, TOKENS, TAGS, label_names={"0": "O", "1": "B-LOC"})


def test_several_columns_of_a_file_are_one_list_of_texts(tmp_path: Path) -> None:
    content = "question,a,b,c\nWhich?,one,two,three\nWhich?,one,two,\n"
    rows = read(tmp_path / "a.csv", content, QUESTION, CHOICES, columns={"choices": ["a", "b", "c"]})
    assert [row["choices"] for row in rows] == [["one", "two", "three"], ["one", "two"]]


@pytest.mark.parametrize("written", ['["one", "two"]', "['one', 'two']", '{"text": ["one", "two"], "label": [1, 2]}'])
def test_a_list_may_be_written_as_text(written: str, tmp_path: Path) -> None:
    content = json.dumps({"question": "Which?", "choices": written}) + "\n"
    assert read(tmp_path / "a.jsonl", content, QUESTION, CHOICES)[0]["choices"] == ["one", "two"]


def test_a_value_may_be_a_text_a_list_or_a_mapping(tmp_path: Path) -> None:
    column = Column("answers", "value", True, "Where the answer stands, or what it is.")
    answer = {"text": ["d'or"], "answer_start": [3]}
    for written, expected in ((answer, answer), (repr(answer), answer), ("[1]", [1]), ("1995", "1995"), ("", "")):
        content = json.dumps({"question": "Where?", "answers": written}) + "\n"
        assert read(tmp_path / "a.jsonl", content, QUESTION, column)[0]["answers"] == expected
    for written in ("null", "7"):
        with pytest.raises(DataError, match="a text, a list or a mapping is expected"):
            read(tmp_path / "a.jsonl", f'{{"question": "Where?", "answers": {written}}}\n', QUESTION, column)


def test_a_structure_may_be_written_as_json_or_as_python_prints_it(tmp_path: Path) -> None:
    answer = {"text": ["d'or"], "answer_start": [3]}
    for written in (json.dumps(answer), repr(answer), answer):
        content = json.dumps({"question": "Which?", "answers": written}) + "\n"
        assert read(tmp_path / "a.jsonl", content, QUESTION, ANSWERS)[0]["answers"] == answer


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (CHOICES, "one", "holds 'one', where a list of texts"),
        (CHOICES, [], "holds [], where a list of texts"),
        (CHOICES, ["one", None], "is missing or null; a text is expected"),
        (CHOICES, ["one", 2], "holds 2 (int), where a text is expected"),
        (CHOICES, ["one", "t\0wo"], "holds a NUL byte"),
        (TOKENS, " ", "holds [], where a list of tokens"),
        (TOKENS, 5, "holds 5, where a list of tokens"),
        (ANSWERS, "the first", "holds 'the first', where a list or a mapping is expected"),
        (ANSWERS, "__import__('os').getcwd()", "where a list or a mapping is expected"),
        (ANSWERS, None, "is missing or null; a list or a mapping is expected"),
    ],
)
def test_a_cell_that_cannot_serve_is_named(column: Column, value: Any, message: str, tmp_path: Path) -> None:
    good = {"tokens": ["a"], "choices": ["a"], "answers": {}}[column.name]
    lines = [json.dumps({"question": "Which?", column.name: one}) for one in (good, value)]
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.jsonl", "\n".join(lines), QUESTION, column)
    assert "line 2: the column" in str(caught.value)
    assert message in str(caught.value)


def test_one_column_may_stand_in_for_another(tmp_path: Path) -> None:
    assert read(tmp_path / "a.jsonl", '{"text": "New York"}\n', TOKENS, TEXT) == [{"text": "New York"}]
    assert read(tmp_path / "a.jsonl", '{"tokens": ["New"]}\n', TOKENS, TEXT) == [{"tokens": ["New"]}]
    with pytest.raises(DataError, match="there is no column 'tokens'"):
        read(tmp_path / "a.jsonl", '{"words": ["New"]}\n', TOKENS, TEXT)


def test_a_row_is_held_to_the_same_rules() -> None:
    columns = (TOKENS, TEXT, CHOICES, ANSWERS)
    assert check_row({"tokens": "New York", "choices": '["a"]'}, columns) == {
        "tokens": ["New", "York"],
        "choices": ["a"],
    }
    for row, message in (
        ({"choices": ["a"]}, "A row needs 'tokens' or 'text'"),
        ({"text": "a"}, "A row needs 'choices'"),
        ({"text": "a", "choices": "a"}, "The column 'choices' holds 'a', where a list of texts"),
        ({"text": "a", "choices": ["a"], "answer": []}, "There is no column 'answer' in this task"),
    ):
        with pytest.raises(DataError) as caught:
            check_row(row, columns)
        assert message in str(caught.value)


def test_a_lone_row_may_hold_a_nul_byte_and_gold_of_any_form() -> None:
    row = {"text": "a\0b", "choices": ["a"], "answers": "anything"}
    assert check_row(row, (TEXT, CHOICES, ANSWERS)) == row


HEAD = Column("head", "span", False, "Where the first entity stands.")


@pytest.mark.parametrize("cell", [{"start": 4, "end": 9}, [4, 9], (4, 9), "4 9", "[4, 9]", '{"start": 4, "end": 9}'])
def test_a_span_however_it_is_written(cell: Any) -> None:
    assert check_row({"question": "x", "head": cell}, (QUESTION, HEAD))["head"] == {"start": 4, "end": 9}


@pytest.mark.parametrize("cell", [{"start": 4}, [9, 4], [4, 4], [-1, 3], [1, 2, 3], "4", "four nine", 4, {}])
def test_what_is_no_span_is_refused(cell: Any) -> None:
    with pytest.raises(DataError, match="where the start and the end of a span of characters"):
        check_row({"question": "x", "head": cell}, (QUESTION, HEAD))


def test_two_columns_of_a_file_make_a_span(tmp_path: Path) -> None:
    columns = {"question": "q", "head": ["from", "to"]}
    rows = read(tmp_path / "a.csv", "q,from,to\nwho,4,9\n", QUESTION, HEAD, columns=columns)
    assert rows == [{"question": "who", "head": {"start": 4, "end": 9}}]


SOURCE = Column("source", "passage", True, "What is summarised.")
TARGET = Column("target", "references", True, "The summaries.")


def test_a_list_of_sentences_is_a_passage_of_lines_and_a_text_stays_as_it_is(tmp_path: Path) -> None:
    lines = [{"source": ["One.", "Two."], "target": "a"}, {"source": "[1] One, two.", "target": ["b", "c"]}]
    rows = read(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)), SOURCE, TARGET)
    # What looks like a list in a text is a text: an article may begin with a bracket.
    assert rows == [{"source": "One.\nTwo.", "target": ["a"]}, {"source": "[1] One, two.", "target": ["b", "c"]}]


def test_several_columns_are_several_references_as_far_as_they_are_filled(tmp_path: Path) -> None:
    content = "source,a,b,c\nx,one,two,\ny,one,,\n"
    rows = read(tmp_path / "a.csv", content, SOURCE, TARGET, columns={"target": ["a", "b", "c"]})
    assert [row["target"] for row in rows] == [["one", "two"], ["one"]]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("source", [], r"'source' holds \[\], where a text, or a list of texts"),
        ("source", {"a": 1}, "where a text, or a list of texts"),
        ("source", None, "'source' is missing or null; a text, or a list of texts"),
        ("source", ["one", 2], r"holds 2 \(int\), where a text is expected"),
        ("source", ["one\0"], "holds a NUL byte"),
        ("target", [], r"'target' holds \[\], where a text, or a list of texts \(\[\"one answer\""),
        ("target", ["one", None], "is missing or null; a text is expected"),
        ("target", 5, "holds 5, where a text, or a list of texts"),
        ("target", None, "'target' is missing or null"),
    ],
)
def test_what_is_no_passage_and_no_reference_is_named(column: str, value: Any, message: str, tmp_path: Path) -> None:
    lines = [{"source": ["x"], "target": "y"}, {"source": ["x"], "target": "y", column: value}]
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)), SOURCE, TARGET)
    assert "line 2: the column" in str(caught.value)


def test_a_lone_row_may_hold_its_turns_as_a_list() -> None:
    assert check_row({"source": ["Hello.", "Yes?"]}, (SOURCE, TARGET)) == {"source": "Hello.\nYes?"}
    with pytest.raises(DataError, match="The column 'source' holds 3, where a text, or a list of texts"):
        check_row({"source": 3}, (SOURCE, TARGET))
