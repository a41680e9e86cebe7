from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.data.sentence_pairs import joined, sentence_pairs
from headway.data.table import Table
from headway.errors import DataError
from headway.segmentation import sentences_of

NOUNS = ["bee", "hive", "queen", "frame", "swarm", "lime", "mite", "comb"]


def table(*texts: str) -> Table:
    return Table.from_rows([{"text": text} for text in texts], name="bees.txt")


def folded(text: str) -> str:
    return " ".join(text.casefold().split())


DOCUMENTS = st.lists(
    st.lists(st.sampled_from(NOUNS), min_size=1, max_size=6).map(lambda some: " ".join(f"The {one}." for one in some)),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(DOCUMENTS, st.integers(0, 3))
def test_a_wrong_second_sentence_is_never_the_true_one_nor_its_like(documents: list[str], seed: int) -> None:
    documents = [*documents, "A stone lies here. A cloud goes by."]
    truth = [sentences_of(text) for text in documents]
    following = [pair for some in truth for pair in itertools.pairwise(some)]
    pairs = list(sentence_pairs(table(*documents), seed=seed))
    assert [pair["text"] for pair in pairs] == [first for first, _ in following]
    everything = {one for some in truth for one in some}
    for pair, (first, true_next) in zip(pairs, following, strict=True):
        if pair["label"] == "0":
            assert pair["text_pair"] == true_next
        else:
            assert pair["text_pair"] in everything
            assert folded(pair["text_pair"]) not in (folded(true_next), folded(first))
    labels = Counter(pair["label"] for pair in pairs)
    assert abs(labels["0"] - labels["1"]) <= 1


def test_wrong_ones_come_from_other_documents() -> None:
    documents = [" ".join(f"This is {number} of the {name}." for number in range(9)) for name in NOUNS[:5]]
    pairs = list(sentence_pairs(table(*documents), seed=0))
    assert len(pairs) == 40
    wrong = [pair for pair in pairs if pair["label"] == "1"]
    assert len(wrong) == 20
    assert all(pair["text"].split()[-1] != pair["text_pair"].split()[-1] for pair in wrong)
    assert len({pair["text_pair"] for pair in wrong}) > 10


def test_one_document_gives_its_own_wrong_ones() -> None:
    pairs = sentence_pairs(table(" ".join(f"This is number {number} here." for number in range(9))), seed=0)
    assert Counter(pairs.column("label")) == {"0": 4, "1": 4}


def test_equal_seeds_draw_equal_pairs() -> None:
    documents = [f"The {one} is here. The {one} is there. The {one} is gone." for one in NOUNS]
    first, second, other = (list(sentence_pairs(table(*documents), seed=seed)) for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_documents_of_one_sentence_are_counted_and_serve_as_wrong_ones() -> None:
    pairs = sentence_pairs(table("A title", "One is. Two is. Three is.", "Another title"), seed=0)
    assert "2 of 3 documents hold one sentence only" in pairs.warnings[-1]
    assert {pair["text_pair"] for pair in pairs if pair["label"] == "1"} <= {"A title", "Another title"}
    assert pairs.where(0) == "bees.txt, row 2"
    assert not sentence_pairs(table("One. Two.", "Three. Four."), seed=0).warnings


def test_what_gives_no_pairs() -> None:
    with pytest.raises(DataError, match="no document holds two sentences"):
        sentence_pairs(table("One.", "Two."), seed=0)
    with pytest.raises(DataError, match="no sentence that could stand as a wrong second one beside"):
        sentence_pairs(table("It is. It is. It  is. IT IS."), seed=0)


def test_short_documents_are_joined_and_none_is_lost() -> None:
    texts = ["a" * 30, "", "b" * 30, "c" * 30, " ", "d" * 500, "e" * 10, "f" * 10]
    rows = joined(table(*texts), num_characters=64)
    assert rows.column("text") == [
        "a" * 30 + "\n\n" + "b" * 30, "c" * 30, "d" * 500, "e" * 10 + "\n\n" + "f" * 10
    ]  # fmt: skip
    assert [rows.where(number) for number in range(4)] == [f"bees.txt, row {row}" for row in (1, 4, 6, 7)]


def test_nothing_is_joined_without_room() -> None:
    assert joined(table("a", "b"), num_characters=0).column("text") == ["a", "b"]
    with pytest.raises(DataError, match="no row holds text to learn from"):
        joined(table("", " "), num_characters=100)
