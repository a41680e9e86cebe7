from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from typing import Any

import pytest

from headway.data.formats import documents
from headway.data.options import DataOptions
from headway.data.table import Table
from headway.errors import DataError
from headway.types import Column

COLUMNS = (Column("text", "text", True, "The text."),)


def read(path: Path | list[str], **options: Any) -> Table:
    data = DataOptions(train=str(path) if isinstance(path, Path) else path, format="text", **options)
    return Table.read(data.train, options=data, columns=COLUMNS, need_gold=True)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def test_a_line_is_a_document_and_blank_lines_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", " = Lobster = \n \nIt is blue .\r\n\n\nIt grows .\n")
    table = read(path, document="line")
    assert table.column("text") == ["= Lobster =", "It is blue .", "It grows ."]
    assert [table.where(row).removeprefix(str(path)) for row in range(3)] == [", line 1", ", line 3", ", line 6"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("document", [None, "paragraph"])
def test_a_paragraph_is_joined_from_its_lines(tmp_path: Path, document: str | None, end: str) -> None:
    path = write(tmp_path / "a.txt", end.join(["", "One line", "  and another.", " ", "", "Two.", "Three.", ""]))
    table = read(path, document=document)
    assert table.column("text") == ["One line and another.", "Two. Three."]
    assert [table.where(row).removeprefix(str(path)) for row in range(2)] == [", line 2", ", line 6"]


def test_a_last_line_needs_no_end(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.txt", "One\n\nTwo\nthree")).column("text") == ["One", "Two three"]
    assert read(write(tmp_path / "a.txt", "One\nTwo"), document="line").column("text") == ["One", "Two"]


def test_a_file_is_one_document_that_keeps_its_paragraphs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\nOne.\r\n\r\nTwo.\n\n")
    assert read(path, document="file").column("text") == ["One.\n\nTwo."]


def test_every_text_file_of_a_folder_is_a_document(tmp_path: Path) -> None:
    for name, text in (("b.txt", "B."), ("in/a.txt", "A.\n\nA again."), ("empty.txt", ""), ("notes.md", "no")):
        write(tmp_path / "texts" / name, text)
    table = read(tmp_path / "texts")
    assert table.column("text") == ["B.", "A.\n\nA again."]
    assert table.where(1) == f"{tmp_path / 'texts'}, in/a.txt"
    assert any("files that are no .txt are not read: notes.md" in warning for warning in table.warnings)
    by_paragraph = read(tmp_path / "texts", document="paragraph")
    assert by_paragraph.column("text") == ["B.", "A.", "A again."]
    assert by_paragraph.where(2).endswith("in/a.txt, line 3")


def test_zips_gzips_and_lists_are_read_as_they_are(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("b.txt", "B.")
        archive.writestr("a.txt", "A.\n\nA again.")
    assert read(tmp_path / "two.zip").column("text") == ["A.\n\nA again.", "B."]
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.writestr("a.txt", "A.\n\nA again.")
    assert read(tmp_path / "one.zip").column("text") == ["A.", "A again."]
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"C.\n\nD.\n"))
    assert read(tmp_path / "c.txt.gz").column("text") == ["C.", "D."]
    other = write(tmp_path / "e.txt", "E.")
    table = read([str(tmp_path / "c.txt.gz"), str(other)], document="line")
    assert table.column("text") == ["C.", "D.", "E."]
    assert table.where(1).endswith("c.txt.gz, line 3")


def test_another_encoding_and_another_name(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("caf\u00e9\n".encode("cp1252"))
    assert read(path, encoding="cp1252", column_names=["body"], columns={"text": "body"}).column("text") == [
        "caf\u00e9"
    ]
    with pytest.raises(DataError, match="looks like cp1252"):
        read(path)


def test_one_immense_paragraph_is_remarked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a line of words\n" * 7000)
    assert "set data.document: line" in read(path).warnings[0]
    assert not read(path, document="line").warnings


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda path: write(path / "a.txt", " \n\n"), {}, "holds no text: there is no paragraph that is not blank"),
        (lambda path: write(path / "a.txt", ""), {"document": "line"}, "there is no line that is not blank"),
        (lambda path: write(path / "d" / "a.md", "x").parent, {}, "holds no .txt file, only a.md"),
        (lambda path: write(path / "a.txt", "x"), {"column_names": ["a", "b"]}, "plain text gives one column"),
        (lambda path: write(path / "a.txt", "x"), {"columns": {"text": "body"}}, "there is no column 'body'"),
        (
            lambda path: [str(write(path / "d" / "a.txt", "x").parent), str(path / "d")],
            {},
            "is a folder. Name one folder alone",
        ),
        (lambda path: path / "none.txt", {}, "There is no file"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as refused:
        read(make(tmp_path), **options)
    assert message in str(refused.value)


def test_lines_are_read_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call reads a whole file, so its size does not matter beside the rows kept."""
    path = write(tmp_path / "a.txt", "one\n\ntwo\n")
    monkeypatch.setattr(documents, "read_text", None)
    assert read(path).column("text") == ["one", "two"]


@pytest.mark.slow
def test_the_public_texts(shared_data: Path) -> None:
    assert len(read(shared_data / "meditations" / "clean.txt", document="line")) == 507
    table = read(shared_data / "wikitext2" / "valid.txt.gz", document="line")
    assert table[0] == {"text": "= Homarus gammarus ="}
    assert all(text.strip() for text in table.column("text"))
