from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from headway.data.word_windows import MAX_WORD, word_windows


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def tokens_of(tokenizer: Any, ids: list[int]) -> list[str]:
    return list(tokenizer.convert_ids_to_tokens(ids))


def test_a_word_stands_for_its_first_token(tokenizer: Any) -> None:
    (window,) = word_windows(tokenizer, ["the", "garden's", "story"], max_length=20, doc_stride=0)
    assert tokens_of(tokenizer, window.inputs["input_ids"]) == ["[CLS]", "the", "garden", "'", "s", "story", "[SEP]"]
    assert (window.words, window.positions) == ([0, 1, 2], [1, 2, 5])
    assert set(window.inputs) == {"input_ids", "token_type_ids", "attention_mask"}
    assert window.inputs["attention_mask"] == [1] * 7
    assert (window.tokens_lost, window.tokens_repeated) == (0, 0)


def test_the_tokens_are_those_of_the_tokenizer_for_split_words(tokenizer: Any) -> None:
    words = ["the", "U.N.", "don't", "qxz", "New York", "Été"]
    (window,) = word_windows(tokenizer, words, max_length=64, doc_stride=0)
    expected = tokenizer(words, is_split_into_words=True)
    assert window.inputs["input_ids"] == expected["input_ids"]
    firsts = [expected.word_ids().index(number) for number in range(len(words))]
    assert window.positions == firsts


@pytest.mark.parametrize("words", [[], [""], ["\u200b"], ["\x01", ""]])
def test_nothing_to_read_still_is_an_input(words: list[str], tokenizer: Any) -> None:
    (window,) = word_windows(tokenizer, words, max_length=10, doc_stride=2)
    assert tokens_of(tokenizer, window.inputs["input_ids"]) == ["[CLS]", "[SEP]"]
    assert (window.words, window.positions) == ([], [])
    assert window.tokens_lost == len(words)


def test_words_that_give_no_token_are_counted_and_move_no_other(tokenizer: Any) -> None:
    (window,) = word_windows(tokenizer, ["the", "\x01", "", "cat", "\u200b", "sad"], max_length=10, doc_stride=0)
    assert (window.words, window.positions) == ([0, 3, 5], [1, 2, 3])
    assert window.tokens_lost == 3


def test_each_word_belongs_to_the_window_with_most_context(tokenizer: Any) -> None:
    # 8 tokens a window, neighbours share 4: windows from 0, 4, 8 and, as full as the others, 9.
    words = ["cat"] * 17
    windows = word_windows(tokenizer, words, max_length=10, doc_stride=4)
    assert [window.words for window in windows] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9], [10, 11, 12], [13, 14, 15, 16]]
    assert [window.positions[0] for window in windows] == [1, 3, 3, 5]
    assert all(len(window.inputs["input_ids"]) == 10 for window in windows)
    # With the special tokens of each window but the first.
    assert [window.tokens_repeated for window in windows] == [0, 6, 6, 9]
    assert sum(window.tokens_lost for window in windows) == 0


def test_what_stands_behind_the_last_window_is_counted(tokenizer: Any) -> None:
    windows = word_windows(tokenizer, ["cat"] * 17, max_length=10, doc_stride=4, max_windows=2)
    assert [word for window in windows for word in window.words] == list(range(12))
    assert sum(window.tokens_lost for window in windows) == 5


def test_an_immense_word_is_read_from_its_beginning(tokenizer: Any) -> None:
    windows = word_windows(tokenizer, ["the", "." * (MAX_WORD * 3), "cat"], max_length=34, doc_stride=8)
    assert sorted(word for window in windows for word in window.words) == [0, 1, 2]
    assert len(windows) < 100
    assert sum(window.tokens_lost for window in windows) == pytest.approx(2 * MAX_WORD, rel=0.02)


def test_long_texts_are_tokenised_in_parts(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["the", "garden's", "\x01", "story"] * 50
    whole = word_windows(tokenizer, words, max_length=20, doc_stride=5)
    monkeypatch.setattr("headway.data.word_windows.CHARACTERS_AT_ONCE", 40)
    assert word_windows(tokenizer, words, max_length=20, doc_stride=5) == whole


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=40),
    max_length=st.integers(3, 20),
    doc_stride=st.integers(0, 30),
)
def test_every_word_is_answered_once_or_counted(
    words: list[str], max_length: int, doc_stride: int, tokenizer: Any
) -> None:
    windows = word_windows(tokenizer, words, max_length=max_length, doc_stride=doc_stride)
    answered = [word for window in windows for word in window.words]
    assert len(answered) == len(set(answered))
    assert len(answered) + sum(window.tokens_lost for window in windows) == len(words)
    for window in windows:
        assert len(window.inputs["input_ids"]) <= max_length
        assert window.positions == sorted(window.positions)
        assert all(0 < position < len(window.inputs["input_ids"]) - 1 for position in window.positions)
