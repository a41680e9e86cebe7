import json

import pytest

from headway.data.findings import Finding, Report, SplitView, as_names, list_names, number, pairs_finding, shorten
from headway.data.table import Table


def view(rows, name="train", problem_type="single_label_classification"):
    return SplitView(name, Table.from_rows(rows, name=f"{name}.csv"), ("text",), "label", problem_type, as_names)


def test_report_is_plain_json():
    finding = Finding("leak", "train, test", 2, "Rows: 2.", "Remove them.", [{"where": "a", "value": "b"}])
    report = json.loads(json.dumps(Report((finding,), ()).to_json()))
    assert report == {
        "problems": [
            {"name": "leak", "split": "train, test", "count": 2, "message": "Rows: 2.", "mend": "Remove them."}
            | {"examples": [{"where": "a", "value": "b"}]}
        ],
        "warnings": [],
    }


def test_finding_counts_all_and_shows_five():
    split = view([{"text": str(row), "label": "x"} for row in range(1200)])
    (finding,) = split.finding("empty_text", range(1200), "Empty rows", "Fill them.")
    assert finding.message == "Empty rows: 1,200."
    assert [example["value"] for example in finding.examples] == ["0", "1", "2", "3", "4"]
    assert list(split.finding("empty_text", [], "Empty rows", "Fill them.")) == []


def test_pairs_name_both_places_and_both_answers():
    split = view([{"text": "one", "label": "x"}, {"text": "one", "label": "y"}])
    (finding,) = pairs_finding("contradicting_labels", split, split, [(0, 1)], "Rows", "Decide.")
    assert finding.examples == [{"where": "train.csv, row 1 and train.csv, row 2", "value": "x / y: one"}]
    assert list(pairs_finding("leak", split, split, [], "Rows", "Remove.")) == []


def test_gold_that_counts_as_missing():
    assert view([{"text": "a", "label": "x"}]).lacks_gold("  ")
    assert view([{"text": "a", "label": "x"}]).lacks_gold(None)
    several = view([{"text": "a", "label": []}], problem_type="multi_label_classification")
    assert not several.lacks_gold([])
    assert several.answers == [()]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("3.25", 3.25), (2, 2.0), ("1e3", 1000.0), ("nan", None), ("inf", None), ("3,5", None), (True, None), ([], None)],
)
def test_numbers(value, expected):
    assert number(value) == expected


def test_values_are_shown_on_one_line_whatever_they_hold():
    assert shorten("a\nb\x00\ud800é") == r"a\nb\x00\ud800é"
    assert shorten("x" * 2000) == "x" * 120 + "… (2,000 characters)"
    assert list_names([str(number) for number in range(8)]) == "0, 1, 2, 3, 4 and 3 more"
