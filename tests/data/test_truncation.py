from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from headway.data import truncation
from headway.data.truncation import drop_tokens, encode_text, text_features

TEXT = "one two three good bad great poor fine"  # 8 tokens
PAIR = "red blue green old"  # 4 tokens


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_bert)
    return loaded


def words(
    tokenizer: PreTrainedTokenizerBase, text: str, pair: str | None, max_length: int, how: str
) -> tuple[str, int]:
    inputs, lost = encode_text(tokenizer, text, pair, max_length=max_length, truncation=how)
    assert {len(values) for values in inputs.values()} == {len(inputs["input_ids"])}
    assert len(inputs["input_ids"]) <= max_length
    return " ".join(tokenizer.convert_ids_to_tokens(inputs["input_ids"])), lost


@pytest.mark.parametrize(
    ("how", "max_length", "expected", "lost"),
    [
        ("head", 10, "[CLS] one two three good bad great poor fine [SEP]", 0),
        ("tail", 10, "[CLS] one two three good bad great poor fine [SEP]", 0),
        ("head+tail", 10, "[CLS] one two three good bad great poor fine [SEP]", 0),
        ("head", 7, "[CLS] one two three good bad [SEP]", 3),
        ("tail", 7, "[CLS] good bad great poor fine [SEP]", 3),
        ("head+tail", 7, "[CLS] one two three poor fine [SEP]", 3),
        ("head+tail", 6, "[CLS] one two poor fine [SEP]", 4),
        ("head", 3, "[CLS] one [SEP]", 7),
        ("tail", 3, "[CLS] fine [SEP]", 7),
        ("head+tail", 3, "[CLS] one [SEP]", 7),
        ("head", 2, "[CLS] [SEP]", 8),
    ],
)
def test_a_text(tokenizer: PreTrainedTokenizerBase, how: str, max_length: int, expected: str, lost: int) -> None:
    assert words(tokenizer, TEXT, None, max_length, how) == (expected, lost)


@pytest.mark.parametrize(
    ("how", "max_length", "expected", "lost"),
    [
        ("head", 15, "[CLS] one two three good bad great poor fine [SEP] red blue green old [SEP]", 0),
        # The longer text loses first.
        ("head", 12, "[CLS] one two three good bad [SEP] red blue green old [SEP]", 3),
        ("tail", 12, "[CLS] good bad great poor fine [SEP] red blue green old [SEP]", 3),
        ("head+tail", 12, "[CLS] one two three poor fine [SEP] red blue green old [SEP]", 3),
        # Then both in turn.
        ("head", 9, "[CLS] one two three [SEP] red blue green [SEP]", 6),
        ("tail", 9, "[CLS] great poor fine [SEP] blue green old [SEP]", 6),
        ("head+tail", 9, "[CLS] one two fine [SEP] red blue old [SEP]", 6),
        ("head", 4, "[CLS] one [SEP] [SEP]", 11),
        ("head", 3, "[CLS] [SEP] [SEP]", 12),
    ],
)
def test_a_pair(tokenizer: PreTrainedTokenizerBase, how: str, max_length: int, expected: str, lost: int) -> None:
    assert words(tokenizer, TEXT, PAIR, max_length, how) == (expected, lost)


def test_the_second_text_keeps_its_token_types(tokenizer: PreTrainedTokenizerBase) -> None:
    inputs, _ = encode_text(tokenizer, TEXT, PAIR, max_length=9, truncation="tail")
    assert inputs["token_type_ids"] == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert inputs["attention_mask"] == [1] * 9


@pytest.mark.parametrize(
    ("text", "pair", "expected"),
    [
        ("", None, "[CLS] [SEP]"),
        ("", "good", "[CLS] [SEP] good [SEP]"),
        # The tokenizer takes an empty second text for none.
        ("good", "", "[CLS] good [SEP]"),
    ],
)
def test_an_empty_text_is_its_special_tokens(
    tokenizer: PreTrainedTokenizerBase, text: str, pair: str | None, expected: str
) -> None:
    assert words(tokenizer, text, pair, 8, "head") == (expected, 0)


def test_the_cut_is_the_one_of_transformers(tokenizer: PreTrainedTokenizerBase) -> None:
    for max_length in range(4, 16):
        theirs = tokenizer(TEXT, truncation=True, max_length=max_length)
        assert encode_text(tokenizer, TEXT, None, max_length=max_length, truncation="head")[0] == dict(theirs)


@pytest.mark.parametrize(
    ("how", "expected"),
    [("head", "good good good"), ("tail", "bad bad bad"), ("head+tail", "good good bad")],
)
@pytest.mark.parametrize("pair", [None, "same"])
def test_an_immense_text_is_cut_at_the_right_end_and_its_loss_is_counted(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch, how: str, expected: str, pair: str | None
) -> None:
    monkeypatch.setattr(truncation, "MAX_CHARACTERS", 1000)
    text = "good " * 1000 + "bad " * 1000  # 2000 tokens
    second = None if pair is None else text
    kept, lost = words(tokenizer, text, second, 5 if pair is None else 9, how)
    sides = f"{expected} [SEP] {expected}" if pair else expected
    assert kept == f"[CLS] {sides} [SEP]"
    whole = 2000 if pair is None else 4000
    kept_tokens = 3 if pair is None else 6
    # What is never tokenised is estimated from the rest, whose words are a little longer or shorter.
    assert abs(lost - (whole - kept_tokens)) < 0.15 * whole


# --- windows ----------------------------------------------------------------------------------------------------------


def windows(
    tokenizer: PreTrainedTokenizerBase, text: str, pair: str | None, max_length: int, **options: int
) -> tuple[list[str], dict[str, int]]:
    features = text_features(tokenizer, text, pair, max_length=max_length, truncation="window", **options)
    assert len(features.pieces) == features.num_pieces == features.extra["num_windows"]
    assert max(features.pieces) <= max_length
    for values in features.inputs.values():
        assert len(values) == sum(features.pieces)
    ends = [sum(features.pieces[: number + 1]) for number in range(len(features.pieces))]
    ids = [features.inputs["input_ids"][end - size : end] for end, size in zip(ends, features.pieces, strict=True)]
    return [" ".join(tokenizer.convert_ids_to_tokens(one)) for one in ids], features.extra


def test_windows_of_a_text(tokenizer: PreTrainedTokenizerBase) -> None:
    found, numbers = windows(tokenizer, TEXT, None, 6)
    assert found == ["[CLS] one two three good [SEP]", "[CLS] bad great poor fine [SEP]"]
    assert numbers == {"tokens_lost": 0, "tokens_repeated": 2, "num_windows": 2}
    found, numbers = windows(tokenizer, TEXT, None, 7, doc_stride=2)
    # The last window is as full as the first.
    assert found == ["[CLS] one two three good bad [SEP]", "[CLS] good bad great poor fine [SEP]"]
    assert numbers["tokens_repeated"] == 4
    assert windows(tokenizer, TEXT, None, 10)[0] == ["[CLS] one two three good bad great poor fine [SEP]"]
    assert windows(tokenizer, "", None, 10)[0] == ["[CLS] [SEP]"]


def test_neighbours_share_at_most_half_of_the_room(tokenizer: PreTrainedTokenizerBase) -> None:
    found, _ = windows(tokenizer, TEXT, None, 4, doc_stride=3)
    assert found == [f"[CLS] {a} {b} [SEP]" for a, b in itertools.pairwise(TEXT.split())]


def test_windows_of_a_pair_repeat_the_shorter_text(tokenizer: PreTrainedTokenizerBase) -> None:
    found, numbers = windows(tokenizer, TEXT, PAIR, 11)
    assert found == [
        "[CLS] one two three good [SEP] red blue green old [SEP]",
        "[CLS] bad great poor fine [SEP] red blue green old [SEP]",
    ]
    assert numbers["tokens_lost"] == 0
    found, _ = windows(tokenizer, PAIR, TEXT, 11)
    assert found == [
        "[CLS] red blue green old [SEP] one two three good [SEP]",
        "[CLS] red blue green old [SEP] bad great poor fine [SEP]",
    ]
    # Both fit: nothing is parted.
    assert len(windows(tokenizer, PAIR, TEXT, 15)[0]) == 1


def test_the_shorter_text_of_a_pair_gives_way_only_beyond_half(tokenizer: PreTrainedTokenizerBase) -> None:
    found, numbers = windows(tokenizer, TEXT, PAIR, 7)
    assert found[0] == "[CLS] one two [SEP] red blue [SEP]"
    assert found[-1] == "[CLS] poor fine [SEP] red blue [SEP]"
    assert numbers["tokens_lost"] == 2


def test_token_types_of_a_pair_in_windows(tokenizer: PreTrainedTokenizerBase) -> None:
    features = text_features(tokenizer, PAIR, TEXT, max_length=11, truncation="window")
    assert features.inputs["token_type_ids"] == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1] * 2
    assert features.inputs["attention_mask"] == [1] * 22


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.tuples(st.integers(0, 60), st.integers(-1, 60)),
    max_length=st.integers(2, 20),
    doc_stride=st.integers(0, 20),
)
def test_every_token_is_in_a_window_or_counted(
    tokenizer: PreTrainedTokenizerBase, sizes: tuple[int, int], max_length: int, doc_stride: int
) -> None:
    letters = [chr(97 + number % 26) for number in range(60)]
    text, pair = " ".join(letters[: sizes[0]]), None if sizes[1] < 0 else " ".join(letters[: sizes[1]])
    special = len(text_features(tokenizer, "", pair and "a", max_length=9, truncation="head").inputs["input_ids"])
    special -= 1 if pair else 0
    if max_length < special:
        return
    features = text_features(tokenizer, text, pair, max_length=max_length, truncation="window", doc_stride=doc_stride)
    numbers = features.extra
    total = special + sizes[0] + max(sizes[1], 0)
    assert features.length + numbers["tokens_lost"] - numbers["tokens_repeated"] == total
    assert max(features.pieces) <= max_length
    if pair is None and max_length > special:
        assert numbers["tokens_lost"] == 0
        seen = set(tokenizer.convert_ids_to_tokens(features.inputs["input_ids"]))
        assert set(letters[: sizes[0]]) <= seen
    whole = text_features(tokenizer, text, pair, max_length=1000, truncation="head")
    assert numbers["num_windows"] > 1 or numbers["tokens_lost"] or features.inputs == whole.inputs


def test_windows_beyond_the_limit_are_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    found, numbers = windows(tokenizer, TEXT, None, 5, max_windows=2)
    assert found == ["[CLS] one two three [SEP]", "[CLS] good bad great [SEP]"]
    assert (numbers["tokens_lost"], numbers["num_windows"]) == (2, 2)


@pytest.mark.parametrize("gap", [" ", "\n", ""])
def test_an_immense_text_is_read_whole_in_windows(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch, gap: str
) -> None:
    text = gap.join(["good" + " bad" * 10] * 200) + " " * 500 + "fine"
    expected, _ = windows(tokenizer, text, None, 64, doc_stride=8)
    monkeypatch.setattr(truncation, "MAX_CHARACTERS", 97)
    found, numbers = windows(tokenizer, text, None, 64, doc_stride=8)
    assert numbers["tokens_lost"] == 0
    assert found == expected
    pairs, _ = windows(tokenizer, "red blue", text, 64)
    assert pairs[-1].startswith("[CLS] red blue [SEP] ")
    assert pairs[-1].endswith(" fine [SEP]")


def test_a_cut_has_no_windows(tokenizer: PreTrainedTokenizerBase) -> None:
    limits = {"max_length": 7, "doc_stride": 3, "max_windows": 1}
    features = text_features(tokenizer, TEXT, None, truncation="tail", **limits)
    assert (features.inputs, 3) == encode_text(tokenizer, TEXT, None, truncation="tail", **limits)
    assert (features.pieces, features.extra) == ((), {"tokens_lost": 3})
    with pytest.raises(ValueError, match="text_features makes windows"):
        encode_text(tokenizer, TEXT, None, truncation="window", **limits)


@pytest.mark.parametrize(
    ("excess", "truncation", "dropped"),
    [
        (0, "head", set()),
        (2, "head", {3, 4}),
        (2, "tail", {0, 1}),
        (3, "head", {3, 4, 7}),
        (2, "head+tail", {2, 3}),
        (8, "head", {1, 2, 3, 4, 6, 7, 8, 9}),
    ],
)
def test_the_longest_part_loses_first_and_of_equal_ones_the_last(
    excess: int, truncation: str, dropped: set[int]
) -> None:
    parts = [[0, 1, 2, 3, 4], [5, 6, 7], [8, 9]]
    assert drop_tokens(parts, excess, truncation) == dropped
