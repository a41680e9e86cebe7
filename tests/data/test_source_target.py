from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.data import truncation
from headway.data.source_target import (
    Encoded,
    Frame,
    encode_source,
    encode_target,
    encode_turns,
    nearest_windows,
    target_ids,
)
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions

TEN = "one two three red blue green dog cat sun rain"
TOKENS = st.lists(st.sampled_from(TEN.split()), max_size=40)


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return load_backbone(ModelOptions(model_name_or_path=str(tiny_bert))).tokenizer


def words(tokenizer: Any, encoded: Encoded) -> list[str]:
    return [tokenizer.decode(window) for window in encoded.windows]


class Twofold:
    """A tokenizer of letters that opens a source with 8 and a target with 9, and closes both with 0."""

    def __call__(
        self, text: str | None = None, *, text_target: str | None = None, add_special_tokens: bool, **_: Any
    ) -> dict[str, list[int]]:
        ids = [ord(letter) for letter in (text_target if text is None else text)]
        opening = 9 if text is None else 8
        return {"input_ids": [opening, *ids, 0] if add_special_tokens else ids}


def test_a_frame_is_what_the_tokenizer_puts_around_a_text(tokenizer: Any, tiny_roberta: Path) -> None:
    frame = Frame.of(tokenizer)
    assert frame == Frame((tokenizer.cls_token_id,), (tokenizer.sep_token_id,))
    assert frame.around([7, 8]) == [tokenizer.cls_token_id, 7, 8, tokenizer.sep_token_id]
    assert [frame.room(length) for length in (10, 3, 2, 1)] == [8, 1, 0, 0]
    roberta = load_backbone(ModelOptions(model_name_or_path=str(tiny_roberta))).tokenizer
    assert Frame.of(roberta) == Frame((0,), (2,))


def test_a_target_may_have_a_frame_of_its_own() -> None:
    twofold: Any = Twofold()
    assert Frame.of(twofold) == Frame((8,), (0,))
    assert Frame.of(twofold, is_target=True) == Frame((9,), (0,))
    assert encode_target(twofold, "ab", max_target_length=8) == ([9, 97, 98, 0], 0)
    assert target_ids(twofold, "ab") == [97, 98]


@pytest.mark.parametrize(
    ("cut", "kept"),
    [("head", "one two three red"), ("tail", "dog cat sun rain"), ("head+tail", "one two sun rain")],
)
def test_a_long_source_is_cut_and_what_is_lost_counted(cut: str, kept: str, tokenizer: Any) -> None:
    encoded = encode_source(tokenizer, TEN, max_length=6, truncation=cut)
    assert words(tokenizer, encoded) == [f"[CLS] {kept} [SEP]"]
    assert (encoded.tokens_lost, encoded.tokens_repeated) == (6, [0])


def test_windows_share_their_borders_and_open_with_the_prefix(tokenizer: Any) -> None:
    encoded = encode_source(tokenizer, TEN, prefix="my ", max_length=7, truncation="window", doc_stride=1)
    assert words(tokenizer, encoded) == [
        "[CLS] my one two three red [SEP]",
        "[CLS] my red blue green dog [SEP]",
        "[CLS] my dog cat sun rain [SEP]",
    ]
    # A word that two windows share, and the three tokens around each text.
    assert (encoded.tokens_lost, encoded.tokens_repeated) == (0, [0, 4, 4])


def test_what_stands_behind_the_last_window_is_lost(tokenizer: Any) -> None:
    encoded = encode_source(tokenizer, TEN, max_length=5, truncation="window", max_windows=2)
    assert words(tokenizer, encoded) == ["[CLS] one two three [SEP]", "[CLS] red blue green [SEP]"]
    assert encoded.tokens_lost == 4


@settings(max_examples=60, deadline=None)
@given(
    text=TOKENS, max_length=st.integers(4, 20), doc_stride=st.integers(0, 8),
    cut=st.sampled_from(["head", "tail", "head+tail", "window"]),
)  # fmt: skip
def test_every_token_is_read_or_counted_as_lost(
    text: list[str], max_length: int, doc_stride: int, cut: str, tokenizer: Any
) -> None:
    encoded = encode_source(tokenizer, " ".join(text), max_length=max_length, truncation=cut, doc_stride=doc_stride)
    assert all(2 <= len(window) <= max_length for window in encoded.windows)
    read = sum(map(len, encoded.windows)) - sum(encoded.tokens_repeated)
    assert read - 2 + encoded.tokens_lost == len(text)
    if cut == "window":
        assert encoded.tokens_lost == 0
        joined: list[int] = []
        for number, (window, repeated) in enumerate(zip(encoded.windows, encoded.tokens_repeated, strict=True)):
            joined += window[1:-1][max(repeated - 2, 0) if number else 0 :]
        assert joined == target_ids(tokenizer, " ".join(text))


def test_a_text_of_many_parts_is_read_whole(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encode_source(tokenizer, TEN, prefix="my ", max_length=7, truncation="window")
    monkeypatch.setattr(truncation, "MAX_CHARACTERS", 12)
    assert len(truncation.text_parts(tokenizer, TEN)) > 3
    assert encode_source(tokenizer, TEN, prefix="my ", max_length=7, truncation="window") == whole


def test_an_empty_source_is_the_frame_alone(tokenizer: Any) -> None:
    for cut in ("head", "window"):
        encoded = encode_source(tokenizer, "", max_length=8, truncation=cut)
        assert words(tokenizer, encoded) == ["[CLS] [SEP]"]
        assert (encoded.tokens_lost, encoded.tokens_repeated) == (0, [0])


def test_whole_turns_are_left_out_before_one_is_cut(tokenizer: Any) -> None:
    turns = ["one two three", "red blue", "dog cat sun"]
    for max_length, said, lost in (
        (12, "one two three [SEP] red blue [SEP] dog cat sun", 0),
        (11, "red blue [SEP] dog cat sun", 4),
        (7, "dog cat sun", 7),
        (4, "cat sun", 8),
    ):
        encoded = encode_turns(tokenizer, turns, separator=" [SEP] ", max_length=max_length)
        assert (words(tokenizer, encoded), encoded.tokens_lost) == ([f"[CLS] {said} [SEP]"], lost)


def test_a_target_is_cut_at_its_end(tokenizer: Any) -> None:
    ids, lost = encode_target(tokenizer, TEN, max_target_length=5)
    assert (tokenizer.decode(ids), lost) == ("[CLS] one two three [SEP]", 7)
    assert encode_target(tokenizer, TEN, max_target_length=12)[1] == 0


def test_a_sentence_goes_to_the_window_that_holds_most_of_it() -> None:
    windows = [[1, 2, 3], [4, 5, 6], [1, 2, 6]]
    assert nearest_windows(windows, [[4, 5], [2, 6, 1], [3], [9], [], [1, 1, 4]]) == [1, 2, 0, 0, 0, 0]


@given(st.lists(st.lists(st.integers(0, 9), min_size=1), min_size=1, max_size=4), st.lists(st.lists(st.integers(0, 9))))
def test_every_sentence_has_a_window_and_one_that_stands_in_it_whole_if_there_is_such(
    windows: list[list[int]], sentences: list[list[int]]
) -> None:
    places = nearest_windows(windows, sentences)
    for sentence, place in zip(sentences, places, strict=True):
        if sentence and any(set(sentence) <= set(window) for window in windows):
            assert set(sentence) <= set(windows[place])
