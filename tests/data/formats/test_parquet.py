from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headway.data.table import Table
from headway.errors import DataError

Read = Callable[..., Table]


def test_values_keep_their_type(read: Read, tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": [1, 2, 3],
            "text": pa.array(["NA", "", "c"]).dictionary_encode(),
            "label": pa.array([0, 1, 1], pa.int8()),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    rows = read(name="rows.parquet")
    assert list(rows) == [{"text": "NA", "label": 0}, {"text": "", "label": 1}, {"text": "c", "label": 1}]
    assert rows.where(2) == "rows.parquet, row 3"
    assert read(name="rows.parquet", label_names={0: "no", 1: "yes"}).column("label") == ["no", "yes", "yes"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_any_kind_of_text_is_text(kind: pa.DataType, read: Read, tmp_path: Path) -> None:
    table = pa.table({"text": pa.array(["a"], pa.large_string() if kind == pa.string_view() else kind), "label": ["x"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    assert read(name="rows.parquet")[0] == {"text": "a", "label": "x"}


def test_a_compressed_file_is_looked_into(read: Read, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "label": ["x"]}), tmp_path / "rows")
    content = gzip.compress((tmp_path / "rows").read_bytes())
    assert len(read(content, "rows.parquet.gz")) == 1


def test_null_and_binary_texts_are_named(read: Read, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", None], "label": ["x", "y"]}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="row 2: the column 'text' is missing or null"):
        read(name="rows.parquet")
    pq.write_table(pa.table({"text": [b"a"], "label": ["x"]}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"row 1: .*b'a' \(bytes\)"):
        read(name="rows.parquet")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"text,label\n", "does not begin with PAR1"), (b"PAR1 and no more", "is damaged"), (b"", "is empty")],
)
def test_what_is_no_parquet_is_refused(content: bytes, words: str, read: Read) -> None:
    with pytest.raises(DataError, match=words):
        read(content, "rows.parquet")


def test_a_missing_column_is_named(read: Read, tmp_path: Path) -> None:
    pq.write_table(pa.table({"texts": ["a"], "label": ["x"]}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="Did you mean 'texts'"):
        read(name="rows.parquet")
