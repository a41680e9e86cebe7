from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from headway.data.entity_markers import MarkedText, marked_features
from headway.errors import DataError

MARKERS = ("!", "?")


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def words(tokenizer: Any, marked: MarkedText, max_length: int = 64, markers: tuple[str, str] = MARKERS) -> str:
    inputs, _ = marked_features(tokenizer, marked, markers=markers, max_length=max_length)
    return str(tokenizer.decode(inputs["input_ids"][1:-1]))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the <e1>cat</e1> sat in the <e2>sun</e2>.", "the! cat! sat in the? sun?."),
        ("<e2>cat</e2> and <e1>dog</e1>", "? cat? and! dog!"),
        ("a<e1>cat</e1><e2>dog</e2>b", "a! cat!? dog? b"),
    ],
)
def test_marks_become_punctuation_of_their_own(text: str, shown: str, tokenizer: Any) -> None:
    assert words(tokenizer, MarkedText.of(text)) == shown


def test_markers_stand_apart_from_their_neighbours(tokenizer: Any) -> None:
    seen = []

    class Tokenizer:
        def __call__(self, text: str, **_: Any) -> Any:
            seen.append(text)
            return tokenizer(text)

    for text in ("x<e1>cat</e1>, (<e2>dog</e2>)", "<e1> cat </e1> <e2>dog</e2>"):
        marked_features(Tokenizer(), MarkedText.of(text), markers=("@", "#"), max_length=64)  # type: ignore[arg-type]
    assert seen == ["x @ cat @ , ( # dog # )", "@  cat  @ # dog #"]


def test_spans_and_marks_say_the_same() -> None:
    text = "the cat and the dog"
    marked = MarkedText.of("the <e1>cat</e1> and the <e2>dog</e2>")
    assert MarkedText.of(text, {"start": 4, "end": 7}, {"start": 16, "end": 19}) == marked
    turned = MarkedText.of(text, {"start": 16, "end": 19}, {"start": 4, "end": 7})
    assert turned == MarkedText.of("the <e2>cat</e2> and the <e1>dog</e1>")
    assert (turned.first, turned.is_reversed, marked.is_reversed) == ("cat", True, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no marks", "the mark <e1> is missing in 'no marks'"),
        ("<e1>a</e1> <e2>b", "the mark </e2> is missing"),
        ("<e1>a</e1> <e2>b</e2> <e1>c</e1>", "the mark <e1> stands 2 times"),
        ("<e1>a <e2>b</e2></e1>", "lie in one another"),
        ("</e1>a<e1> <e2>b</e2>", "end before they begin"),
        ("<e1> </e1> <e2>b</e2>", "nothing stands between <e1> and its end"),
    ],
)
def test_marks_that_cannot_serve(text: str, message: str) -> None:
    with pytest.raises(DataError) as refused:
        MarkedText.of(text)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("head", "tail", "message"),
    [
        ((0, 3), None, "the row holds 'head' alone"),
        (None, (0, 3), "the row holds 'tail' alone"),
        ((0, 3), (4, 20), "column 'tail' holds the span 4 to 20, but the text has 7 characters"),
        ((0, 5), (4, 7), "overlap"),
        ((4, 7), (4, 7), "overlap"),
    ],
)
def test_spans_that_cannot_serve(head: Any, tail: Any, message: str) -> None:
    spans = [None if one is None else {"start": one[0], "end": one[1]} for one in (head, tail)]
    with pytest.raises(DataError) as refused:
        MarkedText.of("one two", *spans)
    assert message in str(refused.value)


def test_a_long_sentence_keeps_what_is_near_its_entities(tokenizer: Any) -> None:
    text = "film " * 30 + "red <e1>cat</e1> blue " + "soup " * 20 + "old <e2>dog</e2> new " + "rain " * 30
    whole = len(tokenizer(words(tokenizer, MarkedText.of(text), 500))["input_ids"])
    inputs, lost = marked_features(tokenizer, MarkedText.of(text), markers=MARKERS, max_length=14)
    assert tokenizer.decode(inputs["input_ids"]) == "[CLS] film red! cat! blue soup old? dog? new [SEP]"
    assert len(inputs["input_ids"]) == len(inputs["attention_mask"]) == 14
    assert lost == whole - 14


def test_near_entities_keep_both_sides(tokenizer: Any) -> None:
    text = "film " * 30 + "<e1>cat</e1> and <e2>dog</e2>" + " rain" * 30
    assert words(tokenizer, MarkedText.of(text), 13) == "film film! cat! and? dog? rain rain"


def test_entities_too_long_for_themselves_keep_their_marks(tokenizer: Any) -> None:
    text = f"a <e1>{'cat ' * 40}</e1> b <e2>dog</e2> c"
    inputs, lost = marked_features(tokenizer, MarkedText.of(text), markers=MARKERS, max_length=12)
    assert tokenizer.decode(inputs["input_ids"]) == "[CLS]! cat cat cat cat cat!? dog? [SEP]"
    assert lost == 35 + 3


def test_an_immense_text_is_not_tokenised_whole(tokenizer: Any) -> None:
    text = "film " * 200_000 + "<e1>cat</e1> and <e2>dog</e2>"
    inputs, lost = marked_features(tokenizer, MarkedText.of(text), markers=MARKERS, max_length=16)
    assert tokenizer.decode(inputs["input_ids"]) == f"[CLS] {'film ' * 6}film! cat! and? dog? [SEP]"
    assert lost == pytest.approx(200_000 - 7, rel=0.01)
