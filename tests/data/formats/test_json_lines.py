from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.data.options import DataOptions
from headway.data.table import Table
from headway.errors import DataError
from headway.types import Column

Read = Callable[..., Table]


def test_values_keep_their_type_and_lines_their_number(read: Read) -> None:
    content = '{"text": "a", "label": 1}\r\n\r\n{"label": 2.5, "text": "b", "id": 7}\n'
    table = read(content, "rows.jsonl")
    assert list(table) == [{"text": "a", "label": 1}, {"text": "b", "label": 2.5}]
    assert [type(label) for label in table.column("label")] == [int, float]
    assert table.where(1) == "rows.jsonl, line 3"


def test_lists_of_labels_are_kept(read: Read) -> None:
    table = read('{"text": "a", "label": ["x", "y"]}\n{"text": "b", "label": []}\n', "rows.jsonl")
    assert table.column("label") == [["x", "y"], []]


REFUSED = {
    "bad line": ('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"\n', ["line 2", "column 27", "','"]),
    "two values on a line": ('{"text": "a", "label": "x"} {"text": "b", "label": "y"}\n', ["line 1", "Extra data"]),
    "not an object": ('{"text": "a", "label": "x"}\n"b"\n3\n', ["line 2", "a text found", "line 3", "a number found"]),
    "key twice": ('{"text": "a", "label": "x", "label": "y"}\n', ["line 1", "'label' stands twice"]),
    "not a number": ('{"text": "a", "label": NaN}\n', ["line 1", "NaN is not a JSON value"]),
    "too deep": ('{"text": "a", "label": ' + "[" * 100_000 + "\n", ["line 1", "nested too deeply"]),
    "a number of 5,000 digits": ('{"text": "a", "label": ' + "9" * 5000 + "}\n", ["line 1", "not usable as JSON"]),
    "half a surrogate pair": ('{"text": "\\ud800", "label": "x"}\n', ["line 1", "'text'", "surrogate"]),
    "null text": ('{"text": "a", "label": "x"}\n{"text": null, "label": "x"}\n', ["line 2", "missing or null"]),
    "text missing": ('{"text": "a", "label": "x"}\n{"label": "x"}\n', ["line 2", "missing or null"]),
    "label missing": ('{"text": "a", "label": "x"}\n{"text": "b"}\n', ["line 2", "label is missing"]),
    "number for a text": ('{"text": 5, "label": "x"}\n', ["line 1", "5 (int)"]),
    "mixed kinds": ('{"text": "a", "label": "1"}\n{"text": "b", "label": 1}\n', ["line 2", "mixes kinds"]),
    "truth and numbers": ('{"text": "a", "label": 1}\n{"text": "b", "label": true}\n', ["line 2", "mixes kinds"]),
    "key misspelt": ('{"txt": "a", "label": "x"}\n', ["no column 'text'", "Did you mean 'txt'?"]),
    "one list": ('[{"text": "a", "label": "x"}]\n', ["data.format: json"]),
    "an object over lines": ('{\n"data": []\n}\n', ["data.format: json"]),
    "blank": ("\n\n", ["no rows"]),
    "pair in some rows": (
        '{"text": "a", "text_pair": "b", "label": "x"}\n{"text": "a", "label": "x"}\n',
        ["line 2", "'text_pair' is missing"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_named_with_its_line(name: str, read: Read) -> None:
    content, words = REFUSED[name]
    with pytest.raises(DataError) as caught:
        read(content, "rows.jsonl")
    assert [word for word in words if word not in str(caught.value)] == []


def test_an_optional_column_that_is_null_everywhere_is_absent(read: Read) -> None:
    table = read('{"text": "a", "text_pair": null, "label": "x"}\n', "rows.jsonl")
    assert table.column_names == ["text", "label"]


OBJECT = {"version": 2, "train": [["a", "x"], ["b", "y"]], "test": [["c", "x"]], "data": {"text": 1}}


def test_a_dotted_name_reaches_into_a_mapping(read: Read) -> None:
    lines: list[dict[str, Any]] = [
        {"translation": {"en": "a dog", "de": "ein Hund"}, "about": {"kind": {"name": "animal"}}},
        {"translation": {"en": "a cow", "de": "eine Kuh"}, "about.kind.name": "farm", "about": 3},
    ]
    columns = {"text": "translation.en", "text_pair": "translation.de", "label": "about.kind.name"}
    expected = [
        {"text": "a dog", "text_pair": "ein Hund", "label": "animal"},
        {"text": "a cow", "text_pair": "eine Kuh", "label": "farm"},
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    assert list(read(content, "rows.jsonl", columns=columns)) == expected
    assert list(read(json.dumps(lines), "rows.json", columns=columns)) == expected
    lines[1]["translation"] = {"en": "a cow", "fr": "une vache"}
    content = "".join(json.dumps(line) + "\n" for line in lines)
    with pytest.raises(DataError, match=r"line 2.*text_pair|text_pair.*line 2"):
        read(content, "rows.jsonl", columns=columns)


def test_a_list_under_a_key_is_read(read: Read) -> None:
    table = read(json.dumps(OBJECT), "rows.json", field="test", column_names=["text", "label"])
    assert list(table) == [{"text": "c", "label": "x"}]
    assert table.where(0) == "rows.json, item 1"


def test_the_only_list_needs_no_key(read: Read) -> None:
    content = json.dumps({"version": 2, "data": [{"text": "a", "label": "x"}]}, indent=1)
    assert list(read(content, "rows.json")) == [{"text": "a", "label": "x"}]
    assert list(read('[{"text": "a", "label": "x"}]', "rows.json")) == [{"text": "a", "label": "x"}]


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (json.dumps(OBJECT), {}, "'train', 'test'"),
        (json.dumps(OBJECT), {"field": "tset"}, "Did you mean 'test'?"),
        (json.dumps(OBJECT), {"field": "data"}, "is not a list"),
        (json.dumps(OBJECT), {"field": "test"}, "data.column_names"),
        (json.dumps(OBJECT), {"field": "test", "column_names": ["text"]}, "1 values expected, 2 found"),
        ("[1]", {"field": "test"}, "Remove data.field"),
        ("3", {}, "a number"),
        ('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n', {}, "data.format: jsonl"),
        ("[", {}, "not valid JSON"),
        ("[]", {}, "no rows"),
    ],
)
def test_a_json_file_without_rows_is_refused(content: str, options: dict[str, Any], words: str, read: Read) -> None:
    with pytest.raises(DataError, match=words.replace("?", r"\?")):
        read(content, "rows.json", **options)


text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
label = text.filter(str.strip)
number = st.integers(-(10**25), 10**25) | st.floats(allow_nan=False, allow_infinity=False)
COLUMNS = (Column("text", "text", True, ""), Column("label", "label", True, ""))


@settings(deadline=None)
@given(
    texts=st.lists(text, min_size=1, max_size=8),
    labels=st.one_of(
        st.lists(label, min_size=8, max_size=8),
        st.lists(number, min_size=8, max_size=8),
        st.lists(st.lists(label, max_size=3), min_size=8, max_size=8),
    ),
    ascii_only=st.booleans(),
    format=st.sampled_from(["json", "jsonl"]),
)
def test_what_json_writes_is_read_back(
    texts: list[str], labels: list[Any], ascii_only: bool, format: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=False)]
    path = tmp_path_factory.getbasetemp() / f"round.{format}"
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    content = "\n".join(lines) if format == "jsonl" else f"[{','.join(lines)}]"
    path.write_text(content, encoding="utf-8", newline="")
    table = Table.read(str(path), options=DataOptions(train=str(path)), columns=COLUMNS, need_gold=True)
    assert list(table) == rows
    assert table.where(len(rows) - 1).endswith(f" {len(rows)}")
