import random

import numpy as np
import pytest

from headway.data.near_duplicates import THRESHOLD, NearDuplicates, _pieces, _similarity

WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in ("lt", "mpo", "nk", "rsi")]


def sentences(count, seed):
    chosen = random.Random(seed)
    return [" ".join(chosen.choice(WORDS) for _ in range(12)) for _ in range(count)]


def pairs(first, second):
    found = NearDuplicates([(text,) for text in first]).find([(text,) for text in second])
    return [(pair.first, pair.second) for pair in found]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The train to the north leaves at nine.", "the train to the NORTH leaves at nine"),
        ("The train to the north leaves at nine.", "The  train\tto the north, leaves at nine!"),
        (
            "The train to the north of the country leaves at nine.",
            "The train to the north of the country leaves at ten.",
        ),
        ("Ｔｈｅ train ﬁnally left", "The train finally left"),
        ("oh", "Oh!"),
        ("列車は北へ九時に出発します、お急ぎください", "列車は北へ九時に出発します。お急ぎください"),
    ],
)
def test_alike(one, other):
    assert pairs(["something else entirely", one], [other]) == [(1, 0)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The train to the north leaves at nine.", "The bus to the south arrives at ten."),
        ("yes", "no"),
        ("", ""),
        ("?!", "?!"),
    ],
)
def test_not_alike(one, other):
    assert pairs([one], [other]) == []


def test_both_texts_of_a_pair_must_be_alike():
    passage = "The station was built in the year of the great flood and burnt down twice since. " * 3
    known = NearDuplicates([(passage, "When was it built?")])
    assert known.find([(passage, "How often did it burn?")]) == []
    (found,) = known.find([(passage.upper(), "when was it built")])
    assert (found.first, found.second, found.similarity) == (0, 0, 1.0)


def test_finds_what_comparing_all_with_all_finds():
    first, chosen = sentences(300, seed=1), random.Random(2)
    second = []
    for text in first:
        words = text.split()
        for _ in range(chosen.randint(0, 2)):
            words[chosen.randrange(len(words))] = chosen.choice(WORDS)
        second.append(" ".join(words))
    found = {
        pair.second: pair.similarity for pair in NearDuplicates([(t,) for t in first]).find([(t,) for t in second])
    }
    known, asked = [_pieces((text,)) for text in first], [_pieces((text,)) for text in second]
    best = [max(_similarity(one, other) for one in known) for other in asked]
    expected = {row: similarity for row, similarity in enumerate(best) if similarity >= THRESHOLD}
    assert 50 < len(expected) < 250
    assert found.items() <= expected.items()
    assert len(found) >= 0.97 * len(expected)


def test_pieces_are_the_letters_in_order():
    (pieces,) = _pieces(("abcdef",))
    assert len(pieces) == 2
    assert len(np.intersect1d(pieces, _pieces(("bcdefg",))[0])) == 1
    assert len(np.intersect1d(pieces, _pieces(("x", "abcdef"))[1])) == 0


def test_templated_rows_are_still_found():
    first = [
        (f"Your order {number:05d} of last week has been sent to the address that you gave us",)
        for number in range(200)
    ]
    found = NearDuplicates(first).find(
        [("Your order 99999 of last week has been sent to the address that you gave us",)]
    )
    assert [pair.second for pair in found] == [0]


def test_empty_splits():
    assert NearDuplicates([]).find([("a text",)]) == []
    assert NearDuplicates([("a text",)]).find([]) == []
