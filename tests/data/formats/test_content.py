from __future__ import annotations

import pyarrow as pa
import pytest

from headway.data.formats.content import ROWS_PER_CHUNK, Complaints, ContentBuilder, Wanted
from headway.errors import DataError


def test_text_becomes_one_arrow_array_across_chunks() -> None:
    builder = ContentBuilder(["text", "number"], unit="line")
    for number in range(ROWS_PER_CHUNK + 2):
        builder.append([str(number), number], number + 1)
    content = builder.build()
    assert isinstance(content.columns["text"], pa.Array)
    assert content.columns["text"].to_pylist() == [str(number) for number in range(ROWS_PER_CHUNK + 2)]
    assert content.columns["number"] == list(range(ROWS_PER_CHUNK + 2))
    assert content.places[-1] == ROWS_PER_CHUNK + 2


def test_a_column_that_turns_from_text_to_numbers_keeps_both() -> None:
    builder = ContentBuilder(["label"], unit="line")
    values = ["x"] * ROWS_PER_CHUNK + [1]
    for number, value in enumerate(values):
        builder.append([value], number)
    assert builder.build().columns["label"] == values


def test_wanted_columns_are_chosen_and_missing_ones_named_together() -> None:
    wanted = Wanted({"text": ("title", "body"), "label": ("stars",)}, {"text_pair": ("text_pair",)})
    assert wanted.choose(["stars", "body", "id", "title"], source="x.csv") == ["title", "body", "stars"]
    with pytest.raises(DataError) as caught:
        wanted.choose(["star", "title"], source="x.csv")
    message = str(caught.value)
    assert "no column 'body' (data.columns.text)" in message
    assert "no column 'stars' (data.columns.label). Did you mean 'star'?" in message
    assert "The columns found are 'star', 'title'." in message


def test_no_complaint_raises_nothing() -> None:
    complaints = Complaints("x.csv")
    complaints.raise_errors()
    complaints.error("line 2", "wrong.")
    complaints.advise("Mend it.")
    with pytest.raises(DataError, match=r"^x\.csv, line 2: wrong\.\nMend it\.$"):
        complaints.raise_errors()
