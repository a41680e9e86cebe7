from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway.data.options import DataOptions
from headway.data.table import Table
from headway.errors import DataError, RecipeError
from headway.tasks.token_classification import TokenClassification

COLUMNS = TokenClassification().columns


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Table]:
    monkeypatch.chdir(tmp_path)

    def read(content: str | bytes, name: str = "rows.conll", *, need_gold: bool = True, **options: Any) -> Table:
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
        given = DataOptions(train=name, **options)
        return Table.read(given.train, options=given, columns=COLUMNS, need_gold=need_gold)

    return read


def test_blank_lines_part_sentences_and_the_last_column_is_the_tag(read: Callable[..., Table]) -> None:
    table = read("Rita NNP B-PER\nsang VBD O\n\n\nOslo NNP B-LOC\n")
    assert list(table) == [
        {"tokens": ["Rita", "sang"], "tags": ["B-PER", "O"]},
        {"tokens": ["Oslo"], "tags": ["B-LOC"]},
    ]
    assert table.where(1) == "rows.conll, line 5"


@pytest.mark.parametrize("separator", [" ", "   ", "\t", "\t\t", "\t "])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("blank", ["", "\t", "  ", " \t "])
@pytest.mark.parametrize("last", ["", "\n", "\n\n\n"])
def test_every_way_to_write_the_same(
    separator: str, end: str, blank: str, last: str, read: Callable[..., Table]
) -> None:
    lines = [f"Rita{separator}B-PER", f"sang{separator}O", blank, f"Oslo{separator}B-LOC"]
    table = read(end.join(lines) + last.replace("\n", end))
    assert [row["tokens"] for row in table] == [["Rita", "sang"], ["Oslo"]]
    assert [row["tags"] for row in table] == [["B-PER", "O"], ["B-LOC"]]
    assert [table.where(n) for n in (0, 1)] == ["rows.conll, line 1", "rows.conll, line 4"]


def test_four_columns_are_named(read: Callable[..., Table]) -> None:
    content = "Rita NNP B-NP B-PER\nsang VBD B-VP O\n"
    assert read(content)[0]["tags"] == ["B-PER", "O"]
    assert read(content, column_names=["tokens", "tags", "chunk", "ner"])[0]["tags"] == ["NNP", "VBD"]
    assert read(content, column_names=["word", "pos", "chunk", "ner"], columns={"tokens": "word", "tags": "chunk"})[
        0
    ] == {
        "tokens": ["Rita", "sang"],
        "tags": ["B-NP", "B-VP"],
    }


def test_documents_begin_without_a_row(read: Callable[..., Table]) -> None:
    table = read("-DOCSTART- -X- O O\n\nRita NNP I-NP I-PER\n\n-DOCSTART- -X- O O\nOslo NNP I-NP I-LOC\n-DOCSTART-\n")
    assert [row["tokens"] for row in table] == [["Rita"], ["Oslo"]]
    assert [table.where(n) for n in (0, 1)] == ["rows.conll, line 3", "rows.conll, line 6"]


def test_tabs_let_a_token_hold_blanks_and_a_no_break_space_is_a_token(read: Callable[..., Table]) -> None:
    assert read("New York\tB-LOC\n\u00a0\tO\n")[0] == {"tokens": ["New York", "\u00a0"], "tags": ["B-LOC", "O"]}
    assert read('#\tO\n"\tO\n')[0]["tokens"] == ["#", '"']


def test_a_delimiter_parts_alone(read: Callable[..., Table]) -> None:
    assert read("Rita|B-PER\nvan Dam|I-PER\n", delimiter="|")[0]["tokens"] == ["Rita", "van Dam"]
    with pytest.raises(DataError, match=r"rows\.conll, line 1: the column 'tokens' is empty"):
        read("|O\n", delimiter="|")


def test_gzip_under_another_name(read: Callable[..., Table]) -> None:
    table = read(gzip.compress(b"Rita B-PER\n\nOslo B-LOC\n"), "train.txt.gz", format="conll")
    assert len(table) == 2


def test_ragged_lines_are_named(read: Callable[..., Table]) -> None:
    with pytest.raises(DataError) as refused:
        read("Rita B-PER\nsang\n\nOslo B-LOC\nis VBZ O\n")
    assert "rows.conll, line 2: 1 columns, where the first line of the file has 2: 'sang'" in str(refused.value)
    assert "rows.conll, line 5: 3 columns, where the first line of the file has 2: 'is VBZ O'" in str(refused.value)


def test_several_tags_are_refused_or_the_first_counts(read: Callable[..., Table]) -> None:
    content = "Oslo\tB-place\n\nThe\tO\nThe\tB-creative-work,B-person\nend\tI-person,I-creative-work\n,\t,\n"
    with pytest.raises(DataError) as refused:
        read(content)
    assert "rows.conll, line 4: the token has several tags ('B-creative-work,B-person')" in str(refused.value)
    assert "rows.conll, line 5" in str(refused.value)
    assert "Set data.label_delimiter: ','" in str(refused.value)
    assert read(content, label_delimiter=",")[1]["tags"] == ["O", "B-creative-work", "I-person", ","]


def test_rows_to_predict_may_hold_tokens_alone(read: Callable[..., Table]) -> None:
    assert list(read("Rita\nsang\n", need_gold=False)) == [{"tokens": ["Rita", "sang"]}]
    assert list(read("Rita NNP B-PER\n", need_gold=False)) == [{"tokens": ["Rita"]}]
    with pytest.raises(DataError, match="there is no column 'tags'"):
        read("Rita\nsang\n")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("\n\t\n", {}, "rows.conll holds no tokens, only blank lines"),
        ("Rita B-PER\n", {"column_names": ["tokens", "pos", "tags"]}, "line 1 has 2 columns, and data.column_names"),
        ("", {}, "is empty"),
    ],
)
def test_what_cannot_be_read(content: str, options: dict[str, Any], message: str, read: Callable[..., Table]) -> None:
    with pytest.raises((DataError, RecipeError), match=message):
        read(content, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "sentences", "tokens"),
    [
        ("conll2003/train.txt.gz", {"format": "conll"}, 14041, 203621),
        ("conll2003/dev.txt", {"format": "conll"}, 3250, 51362),
        ("conll2003/test.txt", {"format": "conll"}, 3453, 46435),
        ("wnut17/wnut17train.conll", {}, 3394, 62730),
        ("wnut17/emerging.dev.conll", {}, 1009, 15733),
        ("wnut17/emerging.test.conll", {"label_delimiter": ","}, 1287, 23394),
    ],
)
def test_the_real_files_have_the_published_counts(
    name: str, options: dict[str, Any], sentences: int, tokens: int, shared_data: Path
) -> None:
    given = DataOptions(train=str(shared_data / name), **options)
    table = Table.read(given.train, options=given, columns=COLUMNS, need_gold=True)
    assert len(table) == sentences
    assert sum(len(row["tokens"]) for row in table) == tokens
    assert all(len(row["tokens"]) == len(row["tags"]) for row in table)


@pytest.mark.slow
def test_the_multi_tags_of_wnut17_are_refused_by_line(shared_data: Path) -> None:
    given = DataOptions(train=str(shared_data / "wnut17/emerging.test.conll"))
    with pytest.raises(DataError, match=r"emerging\.test\.conll, line \d+: the token has several tags .*,.*label_del"):
        Table.read(given.train, options=given, columns=COLUMNS, need_gold=True)


@pytest.mark.slow
@pytest.mark.parametrize(("split", "rows"), [("train", 13084), ("valid", 700), ("test", 700)])
def test_the_slots_of_snips_align_in_every_row(split: str, rows: int, shared_data: Path) -> None:
    end = ".gz" if split == "train" else ""
    files = [str(shared_data / "snips" / split / f"{name}{end}") for name in ("seq.in", "seq.out")]
    given = DataOptions(train=files, format="lines", column_names=["tokens", "tags"])
    table = Table.read(given.train, options=given, columns=COLUMNS, need_gold=True)
    assert len(table) == rows
    assert [n for n, row in enumerate(table) if len(row["tokens"]) != len(row["tags"])] == []
