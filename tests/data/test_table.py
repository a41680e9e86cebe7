from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headway.data.options import DataOptions, Source
from headway.data.table import FORMATS, ROWS_AT_ONCE, SUFFIXES, Table, format_of
from headway.errors import DataError, RecipeError
from headway.types import Column

COLUMNS = (
    Column("text", "text", True, "the text"),
    Column("text_pair", "text", False, "the second text"),
    Column("label", "label", True, "the label"),
)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text("stars,review,title\n5,good,A\n1,bad,B\n3,fair,C\n")
    return path


def read(path: Path, **options: object) -> Table:
    data = DataOptions.model_validate({"train": path, **options})
    return Table.read(data.train, options=data, columns=COLUMNS, need_gold=True)


def test_columns_bear_the_names_of_the_task_in_its_order(reviews: Path) -> None:
    table = read(reviews, columns={"label": "stars", "text": "review"})
    assert table.column_names == ["text", "label"]
    assert list(table) == [{"text": t, "label": s} for t, s in [("good", "5"), ("bad", "1"), ("fair", "3")]]
    assert table.name == str(reviews)
    assert table.where(1) == f"{reviews}, line 3"
    assert [table[0], table[-1]] == [{"text": "good", "label": "5"}, {"text": "fair", "label": "3"}]


def test_one_column_of_the_file_may_serve_twice_and_several_may_be_joined(reviews: Path) -> None:
    table = read(reviews, columns={"label": "stars", "text": ["title", "review"], "text_pair": "review"})
    assert table[0] == {"text": "A good", "text_pair": "good", "label": "5"}


def test_a_column_that_the_task_does_not_have_is_a_mistake_in_the_recipe(reviews: Path) -> None:
    with pytest.raises(RecipeError, match=r"no column 'labels'\. Did you mean 'label'"):
        read(reviews, columns={"labels": "stars", "text": "review"})


def test_an_optional_column_that_the_recipe_names_must_be_there(reviews: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'hypothesis' \(data\.columns\.text_pair\)"):
        read(reviews, columns={"label": "stars", "text": "review", "text_pair": "hypothesis"})


def test_texts_and_labels_are_complained_of_together(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na\0,x\nb,\n")
    with pytest.raises(DataError) as caught:
        read(path)
    assert [line.split(":")[0].rpartition(" ")[2] for line in str(caught.value).splitlines()] == ["2", "3"]


def test_rows_that_are_chosen_keep_their_places(reviews: Path) -> None:
    table = read(reviews, columns={"label": "stars", "text": "review"})
    chosen = table.select(np.array([2, 0]))
    assert chosen.column("text") == ["fair", "good"]
    assert chosen.where(0) == f"{reviews}, line 4"
    assert list(table[1:]) == list(table)[1:]
    assert len(table.select([])) == 0
    assert list(table.select([])) == []
    with pytest.raises(IndexError):
        table[3]


def test_the_fingerprint_is_of_the_content_alone(reviews: Path, tmp_path: Path) -> None:
    table = read(reviews, columns={"label": "stars", "text": "review"})
    rows = list(table)
    assert Table.from_rows(rows, name="elsewhere").fingerprint == table.fingerprint
    assert len(table.fingerprint) == 64
    others = [
        rows[::-1],
        rows[:2],
        [{**row, "label": int(row["label"])} for row in rows],
        [{"text": row["label"], "label": row["text"]} for row in rows],
        [{"text_pair": row["text"], "label": row["label"]} for row in rows],
        [{**row, "text": row["text"] + " "} for row in rows],
    ]
    assert len({Table.from_rows(other).fingerprint for other in others} | {table.fingerprint}) == len(others) + 1


def test_rows_in_memory_lack_what_they_lacked() -> None:
    rows = [{"text": "a", "label": ["x"]}, {"text": "b"}, {"text": "c", "label": []}]
    table = Table.from_rows(rows)
    assert list(table) == [table[0], table[1], table[2]] == rows
    assert table.where(2) == "rows, row 3"
    assert table.column("label") == [["x"], None, []]
    assert len(Table.from_rows([])) == 0


def test_more_rows_than_one_portion_come_in_order() -> None:
    rows = [{"text": str(number), "label": number} for number in range(ROWS_AT_ONCE * 2 + 1)]
    assert list(Table.from_rows(rows)) == rows


def test_an_unknown_column_is_told(reviews: Path) -> None:
    table = read(reviews, columns={"label": "stars", "text": "review"})
    with pytest.raises(DataError, match=r"no column 'txt'\. Did you mean 'text'"):
        table.column("txt")


def test_a_file_that_grows_while_it_is_read_is_warned_of(reviews: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reads_and_appends(*arguments: object, **named: object) -> object:
        content = original(*arguments, **named)
        with reviews.open("a") as file:
            file.write("2,late,D\n")
        return content

    original = FORMATS["csv"]
    monkeypatch.setitem(FORMATS, "csv", reads_and_appends)
    table = read(reviews, columns={"label": "stars", "text": "review"})
    assert len(table) == 3
    assert "changed while it was read" in table.warnings[0]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Source(path="hub:owner/name[train]"), "hub"),
        (Source(path="hub:owner/name[train]", format="csv"), "hub"),
        (Source(path="anything", format="csv"), "csv"),
        (Source(path=["a.gz", "b", "c.txt"]), "lines"),
        (Source(path=["a.csv", "b.csv"]), "csv"),
    ],
)
def test_the_format_follows_from_the_name(source: Source, expected: str) -> None:
    assert format_of(source) == expected


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_ending_names_a_format_that_exists(suffix: str, tmp_path: Path) -> None:
    for name in (f"rows{suffix}", f"rows{suffix.upper()}", f"rows{suffix}.gz"):
        (tmp_path / name).touch()
        assert format_of(Source(path=str(tmp_path / name))) == SUFFIXES[suffix]
    assert SUFFIXES[suffix] in FORMATS


def test_rows_without_a_label_are_left_out_only_if_asked_for_and_never_silently(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,stars\na,1\nb,\nc,2\nd, \n")
    with pytest.raises(DataError, match="line 3"):
        read(path, columns={"label": "stars"})
    table = read(path, columns={"label": "stars"}, unlabelled="leave_out")
    assert list(table) == [{"text": "a", "label": "1"}, {"text": "c", "label": "2"}]
    assert [table.where(number) for number in range(2)] == [f"{path}, line 2", f"{path}, line 4"]
    assert ["2 of 4 rows have no label; they are left out" in one for one in table.warnings] == [True]
    data = DataOptions.model_validate({"train": path, "columns": {"label": "stars"}, "unlabelled": "leave_out"})
    assert len(Table.read(path, options=data, columns=COLUMNS, need_gold=False)) == 4
    path.write_text("text,label\na,1\n")
    assert read(path, unlabelled="leave_out").warnings == ()


def test_a_message_may_name_the_column_of_the_file(reviews: Path) -> None:
    table = read(reviews, columns={"text": ["title", "review"], "label": "stars"})
    said = "column 'label' ('stars' in the file) and column 'text' ('title + review' in the file)"
    assert table.in_file_terms("column 'label' and column 'text'") == said
    assert table[:1].in_file_terms("column 'label' and column 'text'") == said
    assert table.in_file_terms("column 'stars'") == "column 'stars'"


def test_other_columns_keep_the_places_of_their_rows() -> None:
    table = Table.from_rows([{"text": "a"}, {"text": "b"}], name="rows.csv")
    other = table.select([1, 1]).with_columns({"query": ["b", "c"]})
    assert list(other) == [{"query": "b"}, {"query": "c"}]
    assert [other.where(row) for row in (0, 1)] == ["rows.csv, row 2"] * 2


def test_a_bad_cell_is_named_as_the_file_names_its_column(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"pair": {"long": "a b", "sum": "a"}}\n{"pair": {"long": "c d"}}\n')
    columns = (Column("source", "text", True, ""), Column("target", "references", True, ""))
    options = DataOptions(train=str(path), columns={"source": "pair.long", "target": "pair.sum"})
    with pytest.raises(DataError, match=r"line 2: the column 'target' \('pair\.sum' in the file\) is missing"):
        Table.read(str(path), options=options, columns=columns, need_gold=True)
