from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headway.data.formats.content import Complaints, as_list
from headway.data.label_names import load_names, named_labels
from headway.data.options import Source
from headway.errors import DataError


def named(values: list[Any], **options: Any) -> list[Any]:
    complaints = Complaints("rows.csv")
    labels = named_labels(
        values, "label", Source(path="rows.csv", **options), complaints, lambda row: f"line {row + 2}"
    )
    complaints.raise_errors()
    return as_list(labels)


def test_codes_become_names_whatever_their_type() -> None:
    names = {"0": "no", "1": "yes", "true": "right"}
    assert named(["0", "1"], label_names=names) == ["no", "yes"]
    assert named([1, 0], label_names=names) == ["yes", "no"]
    assert named([True], label_names=names) == ["right"]
    assert named([[0, 1], []], label_names=names) == [["no", "yes"], []]


def test_a_field_of_several_labels_becomes_a_list() -> None:
    assert named(["4,27", "4", ""], label_delimiter=",") == [["4", "27"], ["4"], []]
    assert named(["0|1"], label_delimiter="|", label_names={"0": "no", "1": "yes"}) == [["no", "yes"]]


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (["yes", "yess"], {"label_names": {"yes": "1"}}, r"line 3: column 'label': 'yess' is not among .* mean 'yes'"),
        (["a", ""], {}, "line 3: column 'label': the label is empty"),
        (["a,,b"], {"label_delimiter": ","}, "line 2: column 'label': the label is empty"),
        ([None], {}, "line 2: column 'label': the label is missing"),
        ([["a", None]], {}, "the label is missing"),
        (["1", 1], {}, "mixes kinds of values: text in line 2, a number in line 3"),
        ([["a"], "a"], {}, "mixes kinds"),
    ],
)
def test_a_label_that_cannot_serve_is_named(values: list[Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        named(values, **options)


def test_names_come_from_a_file_line_by_line_or_with_their_codes(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("joy\nfear of heights\n\n")
    assert load_names(str(path)) == {"0": "joy", "1": "fear of heights"}
    path.write_text("3\tjoy\n7\tfear\tof heights")
    assert load_names(str(path)) == {"3": "joy", "7": "fear\tof heights"}


@pytest.mark.parametrize(("content", "words"), [("joy\n\nfear\n", "line 2: blank"), ("1\tjoy\n1\tfear\n", "two names")])
def test_a_file_of_names_that_is_unclear_is_refused(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=words):
        load_names(str(path))


def test_a_missing_file_of_names_is_told() -> None:
    with pytest.raises(DataError, match=r"no folder nowhere"):
        load_names("nowhere/names.txt")
