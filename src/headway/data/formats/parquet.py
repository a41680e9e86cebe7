"""Parquet files. Values keep their type."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from headway.data.formats.archive import check_kind, opened, single_file
from headway.data.formats.content import Complaints, Content, Values, Wanted
from headway.data.options import Source
from headway.errors import DataError


def read(source: Source, *, wanted: Wanted, complaints: Complaints) -> Content:
    """Return the wanted columns of a Parquet file.

    Raises:
        DataError: the file is damaged, or lacks a column.
    """
    file = single_file(source.path)
    check_kind(file, is_parquet=True)
    with opened(file) as stream:
        # A compressed stream cannot be read from its end, where Parquet keeps its table of contents.
        is_plain = file.member is None and not file.path.name.endswith(".gz")
        try:
            parquet = pq.ParquetFile(stream if is_plain else io.BytesIO(stream.read()))
            chosen = wanted.choose(parquet.schema_arrow.names, source=file.name)
            table = parquet.read(columns=chosen)
        except pa.ArrowException as error:
            raise DataError(f"{file.name} is damaged, or not Parquet. Fetch or write it again. ({error})") from error
    return from_arrow(table.select(chosen))


def from_arrow(table: pa.Table) -> Content:
    """Return the columns of an Arrow table; rows are counted from 1."""
    columns = dict(zip(table.column_names, map(_values, table.columns), strict=True))
    return Content(columns, range(1, table.num_rows + 1), "row")


def _values(column: pa.ChunkedArray) -> Values:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(kind).cast(pa.large_string()).combine_chunks()
    values: list[object] = column.to_pylist()
    return values
