from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headway.data.options import DataOptions
from headway.data.table import Table
from headway.errors import DataError, RecipeError
from headway.types import Column

COLUMNS = (Column("text", "text", True, "The sentence."), Column("label", "label", True, "The relation."))
BLOCKS = (
    '1\t"The <e1>cat</e1> sat on the <e2>mat</e2>."\nEntity-Place(e1,e2)\nComment: easy\n\n'
    '2\t"He said ""no"" to the <e1>man</e1> in the <e2>moon</e2>"\nOther\nComment:\n\n'
)
CLEAN = '7\t"<e1>One</e1> and <e2>two</e2>."\n8\t"<e1>Three</e1> and <e2>four</e2>."\n'


def read(path: Any, *, need_gold: bool = True, **options: Any) -> Table:
    source = [str(one) for one in path] if isinstance(path, list) else str(path)
    reading = DataOptions(train=source, format="semeval", **options)
    return Table.read(source, options=reading, columns=COLUMNS, need_gold=need_gold)


def written(folder: Path, text: str, name: str = "TRAIN.TXT") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("tail", ["", "\n"])
def test_blocks_with_either_line_end(end: str, tail: str, tmp_path: Path) -> None:
    table = read(written(tmp_path, (BLOCKS.rstrip("\n") + tail).replace("\n", end)))
    assert list(table) == [
        {"text": "The <e1>cat</e1> sat on the <e2>mat</e2>.", "label": "Entity-Place(e1,e2)"},
        {"text": 'He said ""no"" to the <e1>man</e1> in the <e2>moon</e2>', "label": "Other"},
    ]
    assert table.where(1).endswith("TRAIN.TXT, line 5")


def test_a_file_without_relations_is_for_prediction_or_takes_a_key(tmp_path: Path) -> None:
    clean = written(tmp_path, CLEAN, "CLEAN.TXT")
    assert [row["text"][:7] for row in read(clean, need_gold=False)] == ["<e1>One", "<e1>Thr"]
    with pytest.raises(DataError) as refused:
        read(clean)
    assert "there is no column 'label'" in str(refused.value)
    assert "give both: [TEST_FILE_CLEAN.TXT, KEY.TXT]" in str(refused.value)
    key = written(tmp_path, "8\tOther\r\n7\tA(e2,e1)\r\n", "KEY.TXT")
    assert [row["label"] for row in read([clean, key])] == ["A(e2,e1)", "Other"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("7\tOther\n", "do not hold the same sentences; 1 numbers stand in one of them only (8)"),
        ("7\tOther\n7\tA\n8\tOther\n", "KEY.TXT: this number stands there before; found '7\\tA'"),
        ("7\tOther\nx\n8\tOther\n", "KEY.TXT: expected a number, a tab and a relation; found 'x'"),
    ],
)
def test_a_key_that_does_not_fit(key: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        read([written(tmp_path, CLEAN, "CLEAN.TXT"), written(tmp_path, key, "KEY.TXT")])
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BLOCKS + "3\tno quotes\nOther\n", "line 9: expected a number, a tab and a sentence in quotes"),
        (
            BLOCKS + '3\t"<e1>a</e1> <e2>b</e2>"\nComment:\n\n',
            "line 9: the sentence 3 has no relation in the line under",
        ),
        (BLOCKS.replace("Other\n", "Other\nOther\n"), "line 7: expected a number"),
        ("Other\n" + BLOCKS, "line 1: expected a number"),
    ],
)
def test_lines_that_do_not_belong_are_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        read(written(tmp_path, text))
    assert message in str(refused.value)


def test_the_names_of_columns_are_its_own(tmp_path: Path) -> None:
    path = written(tmp_path, BLOCKS)
    with pytest.raises(DataError, match="has its own columns"):
        read(path, column_names=["a", "b"])
    with pytest.raises(DataError, match="3 files"):
        read([path, path, path])
    with pytest.raises(RecipeError, match="no column 'txt'"):
        read(path, columns={"txt": "text"})


@pytest.mark.slow
def test_the_files_of_the_task(shared_data: Path) -> None:
    folder = shared_data / "semeval2010_task8"
    train, full = read(folder / "TRAIN_FILE.TXT"), read(folder / "TEST_FILE_FULL.TXT")
    clean = read(folder / "TEST_FILE_CLEAN.TXT", need_gold=False)
    keyed = read([folder / "TEST_FILE_CLEAN.TXT", folder / "TEST_FILE_KEY.TXT"])
    assert (len(train), len(full), len(clean), len(keyed)) == (8000, 2717, 2717, 2717)
    assert b"\r\n" in (folder / "TRAIN_FILE.TXT").read_bytes()
    assert b"\r" not in (folder / "TEST_FILE_FULL.TXT").read_bytes()
    assert not any("\r" in row["text"] + row["label"] for row in train)
    # The full file spells some words in the American way (harbor), the one without relations in the British (harbour).
    pairs = zip(clean.column("text"), full.column("text"), strict=True)
    assert sum(one != other for one, other in pairs) == 14
    assert (len(set(train.column("label"))), len(set(keyed.column("label")))) == (19, 10)
    assert train.column("label").count("Entity-Destination(e2,e1)") == 1
    # The key has no directions, and says the same otherwise.
    assert [label.partition("(")[0] for label in full.column("label")] == keyed.column("label")
