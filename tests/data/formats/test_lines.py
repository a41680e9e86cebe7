from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from headway.data.table import Table
from headway.errors import DataError

Read = Callable[..., Table]


def write(**files: str) -> list[str]:
    for name, content in files.items():
        Path(name).write_bytes(content.encode())
    return list(files)


def test_line_n_of_each_file_is_row_n(read: Read) -> None:
    files = write(words="one \r\n\r\nthree", labels="a\nb\nc\n")
    table = read(source=files, column_names=["text", "label"])
    assert list(table) == [{"text": "one ", "label": "a"}, {"text": "", "label": "b"}, {"text": "three", "label": "c"}]
    assert table.where(1) == "words + labels, line 2"


def test_compressed_and_plain_files_go_together(read: Read) -> None:
    write(labels="a\n")
    Path("words.gz").write_bytes(gzip.compress(b"one\n"))
    assert read(source=["words.gz", "labels"], column_names=["text", "label"])[0] == {"text": "one", "label": "a"}


def test_files_of_unequal_length_are_refused_with_both_counts(read: Read) -> None:
    files = write(words="one\ntwo\n", labels="a\nb\nc\n")
    with pytest.raises(DataError, match="words has 2, labels has 3"):
        read(source=files, column_names=["text", "label"])


def test_each_file_needs_a_name(read: Read) -> None:
    files = write(words="one\n", labels="a\n")
    with pytest.raises(DataError, match=r"2 line files need 2 names in data\.column_names"):
        read(source=files)


def test_one_text_file_is_one_column(read: Read) -> None:
    assert read("one\ntwo\n", "rows.txt", need_gold=False).column("text") == ["one", "two"]
    with pytest.raises(DataError, match=r"no column 'label'[\s\S]*data\.format: tsv"):
        read("one\ta\n", "rows.txt")


def test_an_empty_label_line_is_named(read: Read) -> None:
    files = write(words="one\ntwo\n", labels="a\n\n")
    with pytest.raises(DataError, match="line 2: column 'label': the label is empty"):
        read(source=files, column_names=["text", "label"])


def test_a_list_of_tables_is_refused(read: Read) -> None:
    write(**{"a.csv": "text,label\nx,a\n", "b.csv": "text,label\ny,b\n"})
    with pytest.raises(DataError, match="Join tables"):
        read(source=["a.csv", "b.csv"])
