"""What a table seems to hold: how it is read, and in which form its labels come."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headway.data.guessing import Guess, guess
from headway.data.options import DataOptions
from headway.data.table import Table
from headway.errors import DataError
from headway.types import Column

COLUMNS = (
    Column("text", "text", True, ""),
    Column("text_pair", "text", False, ""),
    Column("label", "label", True, ""),
)


def texts(count: int) -> list[str]:
    return [f"this is the long text of number {number}, and it ends here" for number in range(count)]


def file_of(folder: Path, name: str, lines: list[str], encoding: str = "utf-8") -> str:
    path = folder / name
    content = ("\n".join(lines) + "\n").encode(encoding)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return str(path)


def guessed(path: str, **reading: Any) -> tuple[Guess, Table]:
    """Return the guess, and the table that a recipe with it reads."""
    found = guess(path, reading=reading)
    options = DataOptions(train=path, **found.reading)
    return found, Table.read(path, options=options, columns=COLUMNS, need_gold=True)


def test_a_header_with_the_fields_own_names(tmp_path: Path) -> None:
    lines = ["text,label", *(f'"{text}",{"ab"[number % 2]}' for number, text in enumerate(texts(20)))]
    found, table = guessed(file_of(tmp_path, "rows.csv", lines))
    assert found.reading == {}
    assert found.labels == {"a": 10, "b": 10}
    assert found.problem_type == "single_label_classification"
    assert [(row["text"],) for row in table] == found.texts


def test_names_are_mapped(tmp_path: Path) -> None:
    lines = ["Id;Review Text;Stars"] + [f"{n + 100};{text};{n % 5 + 1}" for n, text in enumerate(texts(30))]
    found, table = guessed(file_of(tmp_path, "rows.csv", lines))
    assert found.reading == {"delimiter": ";", "columns": {"text": "Review Text", "label": "Stars"}}
    assert set(found.labels) == set("12345")
    assert table[0]["label"] == "1"


@pytest.mark.parametrize("name", ["rows.tsv", "rows.tsv.gz", "rows", "rows.txt"])
def test_no_header(name: str, tmp_path: Path) -> None:
    found, table = guessed(file_of(tmp_path, name, [f"{text}\t{n % 2}" for n, text in enumerate(texts(20))]))
    assert found.reading.pop("format", None) == (None if ".tsv" in name else "tsv")
    assert found.reading == {"column_names": ["text", "label"]}
    assert "not like a header" in found.notes[0]
    assert len(table) == 20


def test_a_pair_without_header_and_a_number_to_predict(tmp_path: Path) -> None:
    lines = [f'"{text}","{text[8:]}",{n / 10}' for n, text in enumerate(texts(40))]
    found, table = guessed(file_of(tmp_path, "rows.csv", lines))
    assert found.reading == {"column_names": ["text", "text_pair", "label"]}
    assert found.problem_type == "regression"
    assert found.labels == {}
    assert len(found.texts[0]) == 2
    assert table[1] == {"text": texts(2)[1], "text_pair": texts(2)[1][8:], "label": "0.1"}


def test_several_labels_in_a_field(tmp_path: Path) -> None:
    labels = ["joy", "joy,fear", "fear", "fear,anger", "anger", "joy,anger", "joy,fear,anger"]
    lines = [f"{text}\t{labels[n % 7]}" for n, text in enumerate(texts(70))]
    found, table = guessed(file_of(tmp_path, "rows.tsv", lines))
    assert found.problem_type == "multi_label_classification"
    assert found.reading["label_delimiter"] == ","
    assert found.labels == {"joy": 40, "fear": 40, "anger": 40}
    assert table[1]["label"] == ["joy", "fear"]


def test_a_comma_in_a_label_is_no_list(tmp_path: Path) -> None:
    lines = ["text\tlabel"] + [f"{text}\t{['Sports', 'News, weather'][n % 2]}" for n, text in enumerate(texts(20))]
    found, _ = guessed(file_of(tmp_path, "rows.tsv", lines))
    assert set(found.labels) == {"Sports", "News, weather"}


def test_quotes_that_are_characters(tmp_path: Path) -> None:
    lines = ["sentence\tlabel"] + [f'"{text}\t{n % 2}' for n, text in enumerate(texts(20))]
    found, table = guessed(file_of(tmp_path, "rows.tsv", lines))
    assert found.reading == {"quoting": "none", "columns": {"text": "sentence"}}
    assert len(table) == 20


@pytest.mark.parametrize("name", ["rows.jsonl", "rows"])
def test_json_lines(name: str, tmp_path: Path) -> None:
    lines = [json.dumps({"body": text, "tags": ["a", "b"][: n % 3]}) for n, text in enumerate(texts(20))]
    found, _ = guessed(file_of(tmp_path, name, lines))
    assert found.reading["columns"] == {"text": "body", "label": "tags"}
    assert found.problem_type == "multi_label_classification"


def test_json_with_splits_of_pairs(tmp_path: Path) -> None:
    rows = [[text, ["yes", "no"][n % 2]] for n, text in enumerate(texts(20))]
    found, table = guessed(file_of(tmp_path, "rows.json", [json.dumps({"test": rows[:2], "train": rows})]))
    assert found.reading == {"field": "train", "column_names": ["text", "label"]}
    assert len(table) == 20


def test_parquet_and_folder(tmp_path: Path) -> None:
    table = pa.table({"premise": texts(20), "hypothesis": texts(20)[::-1], "gold_label": [n % 3 for n in range(20)]})
    pq.write_table(table, tmp_path / "rows.parquet")
    found, _ = guessed(str(tmp_path / "rows.parquet"))
    assert found.reading["columns"] == {"text": "premise", "text_pair": "hypothesis", "label": "gold_label"}
    for number, text in enumerate(texts(4)):
        folder = tmp_path / "reviews" / ["good", "bad"][number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text(text)
    found, _ = guessed(str(tmp_path / "reviews"))
    assert found.reading == {}
    assert found.labels == {"bad": 2, "good": 2}


def test_trees(tmp_path: Path) -> None:
    lines = [f"({n % 3} (2 a) ({n % 2} film))" for n in range(20)]
    found, _ = guessed(file_of(tmp_path, "rows.txt", lines))
    assert found.reading == {"format": "trees"}


def test_what_is_told_is_not_guessed(tmp_path: Path) -> None:
    plain = [text.replace(",", "") for text in texts(20)]
    lines = ["text,note,label,kind"] + [f"{text},{text[::-1]},{n % 2},{n % 3}" for n, text in enumerate(plain)]
    found, _ = guessed(file_of(tmp_path, "rows.csv", lines), columns={"text": "note", "label": "kind"})
    assert found.reading["columns"] == {"text": "note", "label": "kind"}
    with pytest.raises(DataError, match=r"no column 'knd' \(data\.columns\.label\)\. Did you mean 'kind'"):
        guess(str(tmp_path / "rows.csv"), reading={"columns": {"label": "knd"}})


def test_another_encoding_is_named_not_guessed(tmp_path: Path) -> None:
    lines = ["text,label"] + [f"déjà vu {n},{'ab'[n % 2]}" for n in range(20)]
    path = file_of(tmp_path, "rows.csv", lines, encoding="cp1252")
    with pytest.raises(DataError, match=r"Set data\.encoding|set data\.encoding"):
        guess(path)
    found, _ = guessed(path, encoding="cp1252")
    assert found.texts[0] == ("déjà vu 0",)


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("rows.csv", [], "holds blank lines only|holds no rows"),
        ("rows.csv", ["text,label"], "no rows"),
        ("rows.csv", ["only a text", "and another one"], "one column is found"),
        ("rows.csv", ["id,text", *(f"{n + 7},a text {n}" for n in range(30))], "no column looks like a label"),
        ("rows.csv", ["label,size", *(f"{'ab'[n % 2]},{n}" for n in range(30))], "no column holds texts"),
        ("rows.csv", ["text,label", "a,b,c", "d,e"], "2 fields expected, 3 found"),
        ("rows.txt", ["a line", "another line"], "lines of text without labels"),
        ("rows", ["a line", "another line"], "the name does not tell the format"),
        ("rows.jsonl", ['{"text": "a", "label": '], "not valid JSON|not a whole JSON value"),
        ("rows.json", ["[1, 2"], "not valid JSON"),
        ("rows.parquet", ["text"], "is not a Parquet file"),
    ],
)
def test_what_cannot_be_used_is_a_message(name: str, lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        guess(file_of(tmp_path, name, lines))


def test_no_file_and_no_file_system(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        guess(str(tmp_path / "nowhere.csv"))
    with pytest.raises(DataError, match="only files can be looked at"):
        guess("hub:glue/sst2[train]")


def test_a_field_beyond_the_csv_modules_limit(tmp_path: Path) -> None:
    lines = ["text,label", *(f"{'word ' * 40_000},{'ab'[n % 2]}" for n in range(4)), *(f"t {n},a" for n in range(10))]
    found, table = guessed(file_of(tmp_path, "rows.csv", lines))
    assert found.labels == {"a": 12, "b": 2}
    assert len(table) == 14
