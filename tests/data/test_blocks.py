from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from headway.data import blocks
from headway.data.blocks import blocks_of, pair_of
from headway.errors import RecipeError
from headway.types import Features

WORDS = ["film", "foods", "the", "old", "unknowable", "!", "great-aunt", "Émile", "1234", "\u200b"]


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def ordinary(tokenizer: Any, some: list[Features]) -> list[int]:
    frame = {tokenizer.cls_token_id, tokenizer.sep_token_id}
    return [one for block in some for one in block.inputs["input_ids"] if one not in frame]


TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join), min_size=1, max_size=6).map("\n\n".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=TEXTS, max_length=st.integers(3, 40))
def test_nothing_of_a_text_is_lost_or_doubled(tokenizer: Any, text: str, max_length: int) -> None:
    some = blocks_of(text, tokenizer, max_length=max_length, keep_words=True)
    assert ordinary(tokenizer, some) == tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    for one in some:
        ids = one.inputs["input_ids"]
        assert len(ids) <= max_length
        assert {len(values) for values in (*one.inputs.values(), one.extra["words"])} == {len(ids)}
        assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert set(one.inputs["attention_mask"]) == {1}
        assert set(one.inputs["token_type_ids"]) == {0}
        # No separator where it parts nothing.
        assert tokenizer.sep_token_id not in (ids[1:2] if len(ids) > 2 else [])
        assert len(ids) < 4 or ids[-2] != tokenizer.sep_token_id


def test_short_documents_share_a_block_with_a_separator_between(tokenizer: Any) -> None:
    (one,) = blocks_of("a film\n\nthe book\n \n\nold", tokenizer, max_length=16)
    words = tokenizer.convert_ids_to_tokens(one.inputs["input_ids"])
    assert words == ["[CLS]", "a", "film", "[SEP]", "the", "book", "[SEP]", "old", "[SEP]"]


def test_blocks_are_full_but_the_last(tokenizer: Any) -> None:
    some = blocks_of("film " * 100, tokenizer, max_length=32)
    assert [one.length for one in some] == [32, 32, 32, 12]


def test_a_single_block_is_what_the_tokenizer_makes(tokenizer: Any) -> None:
    (one,) = blocks_of("the old film", tokenizer, max_length=16)
    assert one.inputs == {name: list(values) for name, values in tokenizer("the old film").items()}


def test_word_numbers_tell_words_apart(tokenizer: Any) -> None:
    (one,) = blocks_of("films the\n\nfoods", tokenizer, max_length=16, keep_words=True)
    assert tokenizer.convert_ids_to_tokens(one.inputs["input_ids"]) == (
        ["[CLS]", "film", "##s", "the", "[SEP]", "food", "##s", "[SEP]"]
    )
    assert one.extra["words"] == [-1, 0, 0, 1, -1, 2, 2, -1]


@pytest.mark.parametrize("text", ["", " \n\n \n", "\u200b"])
def test_a_text_without_tokens_is_an_empty_block(tokenizer: Any, text: str) -> None:
    (one,) = blocks_of(text, tokenizer, max_length=16, keep_words=True)
    assert one.inputs["input_ids"] == [tokenizer.cls_token_id, tokenizer.sep_token_id]
    assert one.extra["words"] == [-1, -1]


def test_an_immense_document_is_tokenised_in_parts_without_loss(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "the old films and\nfoods, " * 300
    whole = blocks_of(text, tokenizer, max_length=32, keep_words=True)
    monkeypatch.setattr(blocks, "MAX_CHARACTERS", 100)
    assert blocks_of(text, tokenizer, max_length=32, keep_words=True) == whole
    unbroken = blocks_of("a" * 1000, tokenizer, max_length=32)
    assert unbroken


def test_parts_hold_every_character() -> None:
    for text in ("word " * 30_000, "x" * 200_001, "x" * 60_000 + " y " * 100_000):
        parts = list(blocks._parts(text))
        assert "".join(parts) == text
        assert max(map(len, parts)) <= 2 * blocks.MAX_CHARACTERS


def test_byte_pairs_are_cut_without_loss(tiny_roberta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_roberta)
    text = "the old  garden was\nbright, " * 50
    expected = tokenizer(text.strip(), add_special_tokens=False, verbose=False)["input_ids"]
    monkeypatch.setattr(blocks, "MAX_CHARACTERS", 60)
    some = blocks_of(text, tokenizer, max_length=20)
    assert ordinary(tokenizer, some) == expected
    assert "token_type_ids" not in some[0].inputs or set(some[0].inputs["token_type_ids"]) == {0}


def test_no_room_beside_the_special_tokens(tokenizer: Any) -> None:
    with pytest.raises(RecipeError, match="special tokens alone are that many"):
        blocks_of("a", tokenizer, max_length=2)


def test_a_pair_that_fits_is_what_the_tokenizer_makes(tokenizer: Any) -> None:
    one = pair_of("old films", "the foods", tokenizer, max_length=32, truncation="head", keep_words=True)
    assert one.inputs == {name: list(values) for name, values in tokenizer("old films", "the foods").items()}
    assert one.extra == {"tokens_lost": 0, "words": [-1, 0, 1, 1, -1, 2, 3, 3, -1]}


@pytest.mark.parametrize(("truncation", "kept"), [("head", "a b c d e"), ("tail", "f g h i j")])
def test_a_pair_that_does_not_fit_loses_from_the_longer(tokenizer: Any, truncation: str, kept: str) -> None:
    text = "a b c d e f g h i j"
    one = pair_of(text, "the book", tokenizer, max_length=10, truncation=truncation, keep_words=True)
    assert tokenizer.decode(one.inputs["input_ids"]) == f"[CLS] {kept} [SEP] the book [SEP]"
    assert one.extra["tokens_lost"] == 5
    assert len(one.extra["words"]) == 10
