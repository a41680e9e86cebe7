from __future__ import annotations

from typing import Any

import pytest

from headway.report import wording
from headway.report.reading import Score


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.8804, "0.880"),
        (-0.5, "−0.500"),
        (0.0, "0.000"),
        (2.1e-05, "2.1e-05"),
        (123.456, "123.5"),
        (12345.6, "12,346"),
        (None, "–"),
        (float("nan"), "undefined"),
        (float("inf"), "∞"),
        (float("-inf"), "−∞"),
        ("as it is", "as it is"),
    ],
)
def test_number(value: Any, text: str) -> None:
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.0 %"), (0.0001, "< 0.1 %"), (0.123, "12.3 %"), (1.0, "100.0 %"), (None, "–")]
)
def test_percent(value: float | None, text: str) -> None:
    assert wording.percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (0.0001, "< 0.001"), (0.98, "0.980"), (0.9999, "> 0.999"), (1.0, "1.000"), (None, "–")],
)
def test_probability(value: float | None, text: str) -> None:
    assert wording.probability(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(4.25, "4.2 s"), (283.4, "4 min 43 s"), (7260.0, "2 h 1 min"), (None, "–")]
)
def test_duration(value: float | None, text: str) -> None:
    assert wording.duration(value) == text


def test_date() -> None:
    assert wording.date("2026-03-05T14:02:31+00:00") == "5 March 2026, 14:02"
    assert wording.date("yesterday") == "yesterday"
    assert wording.date(None) == ""


def test_interval() -> None:
    assert wording.interval(Score(value=0.5, low=0.4, high=0.6)) == "0.400 to 0.600"
    assert wording.interval(Score(value=0.5)) == ""


@pytest.mark.parametrize(
    ("key", "words"), [("f1_macro", "F1 macro"), ("mcc", "Matthews correlation"), ("my_own_score", "my own score")]
)
def test_metric_name(key: str, words: str) -> None:
    assert wording.metric_name(key) == words


def test_file_name_tells_no_folder() -> None:
    assert wording.file_name("/home/ada/data/train.csv") == "train.csv"
    assert wording.file_name("C:\\data\\train.csv") == "train.csv"
    assert wording.file_name("train.csv") == "train.csv"
    assert wording.origin("the folder /home/ada/models/base") == "the folder base"
    assert wording.origin("the Hugging Face hub, a/b@main") == "the Hugging Face hub, a/b@main"


def test_cut_splits_no_combined_character() -> None:
    assert wording.cut("short", 10) == ("short", 0)
    assert wording.cut("x" * 10 + "e\u0301" * 10, 21) == ("x" * 10 + "e\u0301" * 5, 10)
    assert wording.cut("x" * 100, 20) == ("x" * 20, 80)


def test_clean_leaves_nothing_that_cannot_be_written() -> None:
    cleaned = wording.clean("a\ud800b\x00c\x1bd\te\nf\u202eg")
    assert cleaned == "a\ufffdb\u2400c\u241bd\te\nf\u202eg"
    cleaned.encode("utf-8")


@pytest.mark.parametrize(
    ("label", "shown"),
    [("joy", "joy"), ("", "(empty)"), (" ", "U+0020"), ("\u200b\u202e", "U+200B U+202E"), ("😀", "😀"), (" a", " a")],
)
def test_label_that_cannot_be_seen_is_spelled(label: str, shown: str) -> None:
    assert wording.label_name(label) == shown


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ({}, "--text '...'"),
        ({"text": "A film.", "text_pair": "A book."}, "--text '...' --text_pair '...'"),
        ({"tokens": ["A", "film"]}, "--text '...'"),
        ({"context": "It rained.", "choices": ["a", "b"]}, """--context '...' --choices '["...", "..."]'"""),
        ({"text": "<e1>Ada</e1> of <e2>Bonn</e2>."}, "--text '...<e1>...</e1>...<e2>...</e2>...'"),
        ({"text": "Ada of Bonn", "head": [0, 3], "tail": [7, 11]}, "--text '...' --head '[0, 3]' --tail '[7, 11]'"),
    ],
)
def test_the_command_that_predicts_shows_the_shape_of_a_row(columns: dict[str, Any], options: str) -> None:
    assert wording.predict_command("runs/a", columns, has_own_code=False) == f"headway predict runs/a {options}"
