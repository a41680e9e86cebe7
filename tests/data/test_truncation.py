from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from headway.data import truncation
from headway.data.truncation import encode_text

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
