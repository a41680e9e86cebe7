from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from headway.data.table import Table
from headway.errors import DataError

Read = Callable[..., Table]
REVIEWS = {
    "reviews/pos/b.txt": "good\r\n",
    "reviews/pos/a.txt": "great",
    "reviews/neg/a.txt": "",
    "reviews/README": "not a row",
    "reviews/pos/.hidden": "not a row",
    "__MACOSX/reviews/pos/a.txt": "not a row",
}
ROWS = [
    {"text": "", "label": "neg"},
    {"text": "great", "label": "pos"},
    {"text": "good\r\n", "label": "pos"},
]


def write_folder(files: Mapping[str, str], root: str = "data") -> str:
    for name, content in files.items():
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
    return root


def write_zip(files: Mapping[str, str]) -> str:
    with zipfile.ZipFile("data.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return "data.zip"


@pytest.mark.parametrize("write", [write_folder, write_zip])
def test_each_file_in_a_folder_of_a_label_is_a_row(write: Callable[..., str], read: Read) -> None:
    source = write(REVIEWS)
    table = read(source=source)
    assert list(table) == ROWS
    assert table.where(1) == f"{source}, reviews/pos/a.txt"
    assert table.warnings == (
        f"{source}: what lies beside the folders of the labels is no row: reviews/README (1 in all).",
    )


def test_the_folder_with_the_labels_can_be_named(read: Read) -> None:
    write_folder(REVIEWS)
    assert list(read(source="data/reviews")) == ROWS


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.txt": "x"}, "a folder for each label"),
        ({}, "a folder for each label"),
        ({"train/pos/a.txt": "x", "test/pos/a.txt": "y"}, r"several places \(test, train\)"),
        ({"pos/a.txt": "x", "pos/more/b.txt": "y", "neg/a.txt": "z"}, "neg/a.txt lies at another depth"),
        ({"all/pos/a.txt": "x", "neg/a.txt": "z"}, "neg/a.txt lies at another depth"),
    ],
)
def test_folders_whose_labels_are_unclear_are_refused(files: dict[str, str], words: str, read: Read) -> None:
    Path("data").mkdir()
    write_folder(files)
    with pytest.raises(DataError, match=words):
        read(source="data")


def test_a_lone_label_is_warned_of(read: Read) -> None:
    assert "one folder of files only, pos" in read(source=write_folder({"pos/a.txt": "x"})).warnings[0]


def test_a_wrong_byte_is_named_with_its_file(read: Read) -> None:
    write_folder({"neg/a.txt": "x"})
    Path("data/neg/b.txt").write_bytes("caf\u00e9".encode("cp1252"))
    with pytest.raises(DataError, match=r"data/neg/b\.txt, line 1, byte 3"):
        read(source="data")
