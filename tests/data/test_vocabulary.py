from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.conftest import WORDS

from headway.data.vocabulary import BYTES, SPECIAL, UNKNOWN, train_vocabulary
from headway.errors import DataError, RecipeError

GERMAN = (  # noqa: SIM905 - as in conftest
    "ein eine der die das ist war nicht sehr und oder gut schlecht groß klein schön grün rot Mann Frau Kind Hund Katze "
    "Haus Straße Stadt Sonne Regen Tür Fenster Tisch Stuhl Bücher Äpfel Öfen Übung läuft schläft sitzt steht"
).split()


def corpus(*, num_texts: int = 400) -> list[str]:
    """Return sentences of two languages, as many of each, the same each time."""
    chosen = random.Random(0)
    texts = []
    for number in range(num_texts):
        words = [chosen.choice(GERMAN if number % 2 else WORDS) for _ in range(chosen.randint(3, 9))]
        texts.append(" ".join(words) + ".")
    return texts


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_vocabulary(corpus(), vocab_size=600, max_length=64)


def test_the_vocabulary_has_the_size_that_was_asked_for_and_words_of_both_languages(tokenizer: Any) -> None:
    assert len(tokenizer) == 600
    names = tokenizer.convert_ids_to_tokens(range(600))
    assert tuple(names[:3]) == SPECIAL
    assert tuple(names[3:259]) == BYTES
    assert {"▁schläft", "▁lovely"} <= set(names)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer.model_max_length == 64


def test_a_text_becomes_its_pieces_and_the_end(tokenizer: Any) -> None:
    encoded = tokenizer("die Katze schläft.")
    assert set(encoded) == {"input_ids", "attention_mask"}
    pieces = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    assert pieces[-1] == "</s>"
    assert pieces[:-1] == ["▁die", "▁Katze", "▁schläft", "."]
    assert tokenizer(text_target="die Katze schläft.")["input_ids"] == encoded["input_ids"]
    pair = tokenizer("ein Haus", "a house")["input_ids"]
    assert pair == tokenizer("ein Haus")["input_ids"] + tokenizer("a house")["input_ids"]


@pytest.mark.parametrize(
    "text",
    [
        "Die grüne Tür ist groß",
        "Frau läuft , Mann steht .",
        "Don't! 1984 & T-Shirt (rot)",
        "漢字 und 😀",
        "<0x41> is no byte, <unk> not unknown and </s> no end",
        "\u200bx",
        "",
    ],
)
def test_a_text_comes_back_as_it_was(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


@settings(deadline=None)
@example(text="<unk>")
@given(text=st.text(st.characters(min_codepoint=0x21, exclude_characters="▁", exclude_categories=["Cs"])))
def test_no_text_holds_anything_unknown(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    back = tokenizer.decode(ids, skip_special_tokens=True)
    assert back == tokenizer.backend_tokenizer.normalizer.normalize_str(text)


def test_the_unicode_form_and_blanks_are_made_one(tokenizer: Any) -> None:
    plain = tokenizer("Die grüne Tür")["input_ids"]
    assert tokenizer("  Die\u00a0gru\u0308ne \t Tu\u0308r\n")["input_ids"] == plain
    assert tokenizer("ﬁne")["input_ids"] == tokenizer("fine")["input_ids"]


def test_punctuation_and_digits_are_no_part_of_a_word(tokenizer: Any) -> None:
    texts = [f"{word}. {number} {number}" for number, word in enumerate(WORDS * 9)]
    names = train_vocabulary(texts, vocab_size=500, max_length=64).convert_ids_to_tokens(range(500))
    assert "▁book" in names
    assert not [name for name in names[259:] if len(name.strip("▁")) > 1 and not name.strip("▁").isalpha()]


def test_rare_letters_become_bytes(tokenizer: Any) -> None:
    texts = [*corpus(), "漢字 ist hier"]
    rare = "".join(tokenizer.convert_ids_to_tokens(tokenizer("漢", add_special_tokens=False)["input_ids"]))
    assert rare == "▁<0xE6><0xBC><0xA2>"
    assert "漢" in train_vocabulary(texts, vocab_size=600, max_length=64, character_coverage=1.0).get_vocab()
    assert "漢" not in train_vocabulary(texts, vocab_size=600, max_length=64).get_vocab()


def test_small_letters_only_where_asked(tokenizer: Any) -> None:
    small = train_vocabulary(corpus(), vocab_size=500, max_length=64, lowercase=True)
    assert small("DIE TÜR")["input_ids"] == small("die tür")["input_ids"]
    assert tokenizer("Die Tür")["input_ids"] != tokenizer("die tür")["input_ids"]


def test_texts_without_blanks_give_a_vocabulary() -> None:
    text = "".join(random.Random(0).choices("一二三四五六七八九十", k=4000))
    learnt = train_vocabulary([text], vocab_size=320, max_length=64)
    ids = learnt("三四五")["input_ids"]
    assert learnt.decode(ids, skip_special_tokens=True) == "三四五"
    assert not set(ids) & set(range(2, 259))


def test_too_few_texts_say_how_many_pieces_there_are() -> None:
    with pytest.raises(DataError, match=r"asks for 8,000: nothing else occurs 2 times") as error:
        train_vocabulary(corpus(), vocab_size=8000, max_length=64)
    offered = int(str(error.value).rpartition("--vocab_size ")[2].split()[0])
    assert len(train_vocabulary(corpus(), vocab_size=offered, max_length=64)) == offered


def test_texts_without_any_pair_of_letters_ask_for_more() -> None:
    with pytest.raises(DataError, match=r"texts \(1\) give a vocabulary of 263, .* Give more texts\.$"):
        train_vocabulary(["abc"], vocab_size=8000, max_length=64)


def test_a_size_without_room_for_words_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"3 special tokens, 256 bytes and the \d+ letters of these texts are \d+"):
        train_vocabulary(corpus(), vocab_size=260, max_length=64)


def test_the_same_texts_give_the_same_vocabulary_in_another_process(tokenizer: Any, tmp_path: Path) -> None:
    # Hash tables of the library are seeded anew in each process.
    (tmp_path / "texts.json").write_text(json.dumps(corpus()))
    code = (
        "import json, sys; from headway.data.vocabulary import train_vocabulary; texts = json.load(open(sys.argv[1])); "
        "print(train_vocabulary(texts, vocab_size=600, max_length=64).backend_tokenizer.to_str())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "texts.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == tokenizer.backend_tokenizer.to_str()


@pytest.mark.slow
def test_captions_of_multi30k(shared_data: Path) -> None:
    texts: dict[str, list[str]] = {}
    for split in ("train", "val"):
        files = [shared_data / "multi30k" / f"{split}.{language}.gz" for language in ("de", "en")]
        whole = [gzip.decompress(path.read_bytes()).decode("utf-8") for path in files]
        texts[split] = [line for one in whole for line in one.rstrip("\n").split("\n")]
    learnt = train_vocabulary(texts["train"], vocab_size=8000, max_length=128)
    rows = learnt(texts["val"])["input_ids"]
    tokens = [number for row in rows for number in row]
    assert UNKNOWN not in learnt.convert_ids_to_tokens(tokens)
    assert sum(3 <= number < 259 for number in tokens) / len(tokens) < 0.002
    # SentencePiece's own byte pairs, version 0.2.3, cut the same texts into 14.94 pieces on average, without the end.
    assert len(tokens) / len(rows) - 1 == pytest.approx(14.94, abs=0.1)
    back = learnt.batch_decode(rows, skip_special_tokens=True)
    assert back == [" ".join(text.split()) for text in texts["val"]]
