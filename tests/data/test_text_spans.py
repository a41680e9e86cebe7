from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.text_spans import Span, entities_on_words, read_spans, words_of
from headway.errors import DataError


def cut(text: str, split: Any) -> list[str]:
    return [text[start:end] for start, end in words_of(text, split)]


@pytest.mark.parametrize(
    ("text", "whole", "parts"),
    [
        ("The U.N. met.", ["The", "U.N.", "met", "."], ["The", "U", ".", "N", ".", "met", "."]),
        ("German-born O'Brien's dog", ["German-born", "O'Brien", "'s", "dog"], None),
        ("don't", ["don", "'t"], ["don", "'", "t"]),
        ("('London', 1,000.5 at 10:30)", ["(", "'", "London", "'", ",", "1,000.5", "at", "10:30", ")"], None),
        ("Paris,Rome: ok", ["Paris", ",", "Rome", ":", "ok"], ["Paris", ",", "Rome", ":", "ok"]),
        ("see a.b.com/x--y", ["see", "a.b.com/x", "-", "-", "y"], None),
        ("北京 in e\u0301te\u0301", ["北", "京", "in", "e\u0301te\u0301"], ["北", "京", "in", "e\u0301te\u0301"]),
        ("हिन्दी\u200b\U0001f600", ["हिन्दी", "\u200b", "\U0001f600"], ["हिन्दी", "\u200b", "\U0001f600"]),
        (" \n\t", [], []),
    ],
)
def test_words(text: str, whole: list[str], parts: list[str] | None) -> None:
    assert cut(text, "whole") == whole
    if parts is not None:
        assert cut(text, "parts") == parts


@pytest.mark.parametrize("split", ["whole", "parts"])
@given(text=st.text())
def test_every_character_but_blanks_is_in_one_word(split: Any, text: str) -> None:
    words = words_of(text, split)
    assert all(0 <= start < end for start, end in words)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(words))
    inside = {place for start, end in words for place in range(start, end)}
    assert all(re.fullmatch(r"\s", text[place]) for place in set(range(len(text))) - inside)


TEXT = "Anna left Oslo."


def test_spans_are_read_in_order_from_mappings_and_lists() -> None:
    given = [{"start": 10, "end": 14, "label": "place", "text": "Oslo", "id": 7}, [0, 4, "person"]]
    assert read_spans(TEXT, given, overlaps="refuse") == [Span(0, 4, "person"), Span(10, 14, "place")]
    assert read_spans(TEXT, [], overlaps="refuse") == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"start": 1}, "expected a list of spans"),
        (["Anna"], "span 1 is 'Anna'; expected start and end"),
        ([[0, 4]], r"span 1 is \[0, 4\]"),
        ([[0.0, 4, "x"]], "two whole numbers"),
        ([[True, 4, "x"]], "two whole numbers"),
        ([[0, 4, ""]], "a label"),
        ([[0, 4, "x"], [10, 16, "place"]], r"span 2 \(place\) goes from 10 to 16, and the text has 15 characters"),
        ([[-1, 4, "x"]], "goes from -1 to 4"),
        ([[4, 4, "x"]], "goes from 4 to 4"),
        (
            [{"start": 1, "end": 5, "label": "x", "text": "Anna"}],
            r"span 1 \(x, 1 to 5\) says 'Anna', but there the text holds 'nna '",
        ),
        ([[0, 9, "x"], [5, 14, "y"]], r"'Anna left' \(x, 0 to 9\) and 'left Oslo' \(y, 5 to 14\) overlap"),
        ([[0, 4, "x"], [0, 4, "y"]], "overlap"),
    ],
)
def test_a_wrong_span_is_named(given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_spans(TEXT, given, overlaps="refuse")


def test_of_spans_that_overlap_the_longest_counts() -> None:
    given = [[0, 4, "short"], [0, 9, "long"], [5, 14, "second"], [10, 14, "free"]]
    assert read_spans(TEXT, given, overlaps="longest") == [Span(0, 9, "long"), Span(10, 14, "free")]


def test_spans_take_the_words_they_touch() -> None:
    words = [(0, 4), (5, 9), (10, 14), (14, 15)]
    assert entities_on_words([Span(0, 4, "a"), Span(10, 15, "b")], words) == ([("a", 0, 1), ("b", 2, 4)], 0)
    # Within a word, over a blank at the end, two in one word, and on a blank alone.
    assert entities_on_words([Span(1, 3, "a")], words) == ([("a", 0, 1)], 1)
    assert entities_on_words([Span(0, 5, "a")], words) == ([("a", 0, 1)], 1)
    assert entities_on_words([Span(0, 2, "a"), Span(2, 9, "b")], words) == ([("a", 0, 1), ("b", 1, 2)], 2)
    assert entities_on_words([Span(4, 5, "a")], words) == ([], 1)
