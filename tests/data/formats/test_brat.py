from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway.data.options import DataOptions
from headway.data.table import Table
from headway.errors import DataError
from headway.tasks.token_classification import TokenClassification


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Table]:
    monkeypatch.chdir(tmp_path)

    def read(files: dict[str, str], *, as_zip: bool = False, need_gold: bool = True, **options: Any) -> Table:
        Path("notes").mkdir()
        for name, content in files.items():
            Path("notes", name).write_bytes(content.encode())
        source = "notes"
        if as_zip:
            source = "notes.zip"
            with zipfile.ZipFile(source, "w") as archive:
                for name in files:
                    archive.write(Path("notes", name), name)
        given = DataOptions(train=source, format="brat", **options)
        columns = TokenClassification().columns
        return Table.read(given.train, options=given, columns=columns, need_gold=need_gold)

    return read


ANNA = {"a.txt": "Anna left Oslo.\r\nThen Bo.", "a.ann": "T2\tplace 10 14\tOslo\nT1\tperson 0 4\tAnna\n"}


@pytest.mark.parametrize("as_zip", [False, True])
def test_each_text_has_its_spans(as_zip: bool, read: Callable[..., Table]) -> None:
    table = read({**ANNA, "b.txt": "Nothing.", "b.ann": ""}, as_zip=as_zip)
    assert list(table) == [
        {
            "text": "Anna left Oslo.\r\nThen Bo.",
            "spans": [
                {"start": 0, "end": 4, "label": "person", "text": "Anna"},
                {"start": 10, "end": 14, "label": "place", "text": "Oslo"},
            ],
        },
        {"text": "Nothing.", "spans": []},
    ]
    assert table.where(1).endswith("b.txt")


def test_a_line_end_in_a_span_is_a_blank_in_the_annotation(read: Callable[..., Table]) -> None:
    table = read({"a.txt": "New\r\nYork", "a.ann": "T1\tplace 0 9\tNew  York\n"})
    assert table[0]["spans"][0]["text"] == "New\r\nYork"


def test_what_is_no_span_is_told(read: Callable[..., Table]) -> None:
    table = read({**ANNA, "a.ann": ANNA["a.ann"] + "R1\tLives Arg1:T1 Arg2:T2\n#1\tNote T1\twhy\nA1\tSure T1\n"})
    assert len(table[0]["spans"]) == 2
    assert "only spans (T) are read of the annotation, not the lines that begin with # (1), A (1), R (1)" in str(
        table.warnings
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("T1\tperson 0 4;10 14\tAnna Oslo", "T1 is a discontinuous span (0 4;10 14)"),
        ("T1\tperson 0 400\tAnna", "T1 goes from 0 to 400, and the text has 25 characters"),
        ("T1\tperson 4 4\t", "T1 goes from 4 to 4"),
        ("T1\tperson 1 5\tAnna", "T1 (1 to 5) says 'Anna', but there the text holds 'nna '"),
        ("T1 person 0 4 Anna", "not a span such as"),
    ],
)
def test_a_wrong_span_is_named(line: str, message: str, read: Callable[..., Table]) -> None:
    with pytest.raises(DataError) as refused:
        read({**ANNA, "a.ann": f"T2\tplace 10 14\tOslo\n\n{line}\n"})
    assert "notes, a.ann, line 3: " in str(refused.value)
    assert message in str(refused.value)


def test_files_come_in_pairs(read: Callable[..., Table]) -> None:
    with pytest.raises(DataError) as refused:
        read({"a.txt": "Anna", "b.ann": ""})
    assert "there is no b.txt beside it" in str(refused.value)
    assert "there is no a.ann beside it. A text without spans has an empty one" in str(refused.value)


def test_texts_alone_can_be_predicted(read: Callable[..., Table]) -> None:
    assert list(read({"a.txt": "Anna"}, need_gold=False)) == [{"text": "Anna"}]


def test_a_folder_without_texts(read: Callable[..., Table]) -> None:
    with pytest.raises(DataError, match=r"notes holds no \.txt file, only a\.csv"):
        read({"a.csv": "Anna"})
