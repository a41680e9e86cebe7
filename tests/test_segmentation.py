from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.segmentation import lines_of, sentences_of, words_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Hill came at 5 p.m. on a Monday. He left.", ["Dr. Hill came at 5 p.m. on a Monday.", "He left."]),
        ("It cost $3.50 (approx.). See Fig. 2 for more!", ["It cost $3.50 (approx.).", "See Fig. 2 for more!"]),
        ('She cried "Stop!" and ran. Why?', ['She cried "Stop!" and ran.', "Why?"]),
        ("No end", ["No end"]),
        ("  ", []),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences_of(text) == expected


@given(st.text(max_size=200))
def test_sentences_hold_every_character_but_blanks(text: str) -> None:
    assert "".join("".join(sentences_of(text)).split()) == "".join(text.split())


def test_a_line_break_ends_a_sentence_too() -> None:
    assert lines_of("A headline\nIt rained. It\n\n snowed ") == ["A headline", "It rained.", "It", "snowed"]
    assert lines_of(" \n") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("L'Été, it's 3.5 kg_ok!", ["l", "été", "it", "s", "3", "5", "kg", "ok"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("e\u0301te\u0301 \uff21\uff11", ["\u00e9t\u00e9", "a1"]),
        ("हिन्दी में समाचार।", ["हिन्दी", "में", "समाचार"]),
        ("今日は晴れ。Tokyo", ["今", "日", "は", "晴", "れ", "tokyo"]),
        ("한국어 뉴스", ["한국어", "뉴스"]),
        ("Новости, дня", ["новости", "дня"]),
        ("... ,", []),
    ],
)
def test_words_of_any_script(text: str, expected: list[str]) -> None:
    assert words_of(text) == expected


@given(st.text(), st.text())
def test_words_do_not_reach_over_blanks(left: str, right: str) -> None:
    assert words_of(f"{left} {right}") == words_of(left) + words_of(right)
