from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.scheme import IOB2, IOBES, Entities

from headway.data.tag_schemes import (
    Entity,
    entities_of,
    forbidden_transitions,
    guess_scheme,
    kinds_of,
    likeliest_tags,
    parse,
    tags_of,
    to_iob2,
)


@pytest.mark.parametrize(
    ("tag", "parts"),
    [
        ("B-PER", ("B", "PER")),
        ("I-creative-work", ("I", "creative-work")),
        ("O", ("O", "")),
        ("NN", None),
        ("-LRB-", None),
        ("B-", None),
        ("X-PER", None),
        ("BB-PER", None),
        (",", None),
    ],
)
def test_a_tag_has_a_prefix_and_a_type(tag: str, parts: tuple[str, str] | None) -> None:
    assert parse(tag) == parts


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["O B-X I-X O B-Y", "B-X B-X"], "IOB2"),
        (["O I-X I-X O I-Y", "I-X B-X I-X"], "IOB1"),
        (["I-X O I-Y"], "IOB1"),
        (["B-X O O B-Y"], "IOB2"),
        (["O S-X B-Y E-Y", "B-Y I-Y E-Y"], "BIOES"),
        (["U-X O B-Y L-Y"], "BIOES"),
        (["NN VBZ , .", "O NN"], "none"),
    ],
)
def test_the_scheme_shows_in_the_tags(tags: list[str], scheme: str) -> None:
    assert guess_scheme([one.split() for one in tags]) == (scheme, "")


def test_tags_that_keep_to_no_scheme_are_shown() -> None:
    _, odd = guess_scheme([["O", "B-X"], ["O", "I-X", "O"]])
    assert "'B-X' follows no X (word 2 of 'O B-X')" in odd
    assert "'I-X' begins an entity (word 2 of 'O I-X O')" in odd
    scheme, odd = guess_scheme([["B-X", "PER"]])
    assert (scheme, odd) == ("none", "'PER' is a plain tag beside those with B-")


@pytest.mark.parametrize(
    ("scheme", "tags", "expected"),
    [
        ("IOB1", "I-X I-X B-X I-Y I-X O I-X", "B-X I-X B-X B-Y B-X O B-X"),
        ("IOB2", "B-X I-X B-X O I-X I-Y", "B-X I-X B-X O B-X B-Y"),
        ("BIOES", "S-X S-X B-X E-X B-X I-X E-X O", "B-X B-X B-X I-X B-X I-X I-X O"),
        ("BIOES", "U-X B-Y L-Y I-Y", "B-X B-Y I-Y B-Y"),
        ("none", "NN B-X O", "NN B-X O"),
    ],
)
def test_every_scheme_becomes_iob2(scheme: str, tags: str, expected: str) -> None:
    assert to_iob2(tags.split(), scheme) == expected.split()  # type: ignore[arg-type]


@st.composite
def entities_in_a_sentence(draw: st.DrawFn) -> tuple[list[Entity], int]:
    num_words = draw(st.integers(0, 12))
    borders = sorted(draw(st.lists(st.integers(0, num_words), max_size=8)))
    found = [
        (draw(st.sampled_from("XY")), begin, end)
        for begin, end in itertools.pairwise(borders)
        if begin < end and draw(st.booleans())
    ]
    return found, num_words


def written(entities: list[Entity], num_words: int, scheme: str) -> list[str]:
    """Write entities in a scheme, from its definition alone."""
    tags = ["O"] * num_words
    for number, (kind, begin, end) in enumerate(entities):
        middle = [f"I-{kind}"] * (end - begin)
        if scheme == "BIOES":
            middle[0], middle[-1] = f"B-{kind}", f"E-{kind}"
            middle = [f"S-{kind}"] if end - begin == 1 else middle
        elif scheme == "IOB2" or (number and entities[number - 1][::2] == (kind, begin)):
            middle[0] = f"B-{kind}"
        tags[begin:end] = middle
    return tags


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "BIOES"])
@given(drawn=entities_in_a_sentence())
def test_there_and_back_gives_the_same_entities(scheme: str, drawn: tuple[list[Entity], int]) -> None:
    entities, num_words = drawn
    tags = to_iob2(written(entities, num_words, scheme), scheme)  # type: ignore[arg-type]
    assert entities_of(tags) == entities
    assert tags == tags_of(entities, num_words)
    assert guess_scheme([tags]) == ("IOB2", "")


@given(tags=st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), max_size=12))
def test_any_tags_of_iob2_hold_the_entities_that_seqeval_sees(tags: list[str]) -> None:
    expected = [one.to_tuple()[1:] for one in Entities([tags], scheme=IOB2).entities[0]]
    assert entities_of(tags) == expected


@given(tags=st.lists(st.sampled_from(["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "E-Y", "S-Y"]), max_size=12))
def test_whatever_seqeval_sees_in_bioes_is_kept(tags: list[str]) -> None:
    expected = {one.to_tuple()[1:] for one in Entities([tags], scheme=IOBES).entities[0]}
    found = entities_of(to_iob2(tags, "BIOES"))
    assert expected <= set(found)
    assert sum(end - begin for _, begin, end in found) == sum(tag != "O" for tag in tags)


def test_types_in_their_order() -> None:
    assert kinds_of(["O", "I-b", "B-a", "B-b", "NN"]) == ["b", "a"]


LABELS = ("O", "B-X", "I-X", "B-Y", "I-Y")


def test_what_may_not_follow_what() -> None:
    forbidden = forbidden_transitions(LABELS)
    pairs = {(before, after) for before in range(6) for after in range(5) if forbidden[before, after]}
    names = (*LABELS, "start")
    assert {(names[a], names[b]) for a, b in pairs} == {
        ("O", "I-X"), ("O", "I-Y"), ("start", "I-X"), ("start", "I-Y"),
        ("B-X", "I-Y"), ("I-X", "I-Y"), ("B-Y", "I-X"), ("I-Y", "I-X"),
    }  # fmt: skip


@pytest.mark.parametrize("num_words", [0, 1, 2, 4])
def test_the_likeliest_allowed_sequence_is_the_best_of_all(num_words: int) -> None:
    rng = np.random.default_rng(num_words)
    forbidden = forbidden_transitions(LABELS)
    for _ in range(20):
        scores = np.log(rng.dirichlet(np.ones(5), size=num_words)).reshape(num_words, 5)
        allowed = [
            path
            for path in itertools.product(range(5), repeat=num_words)
            if not any(forbidden[a, b] for a, b in itertools.pairwise((5, *path)))
        ]
        best = max(allowed, key=lambda path: sum(scores[word, tag] for word, tag in enumerate(path)))
        assert tuple(likeliest_tags(scores, forbidden)) == best
        assert likeliest_tags(scores, None).tolist() == [int(one.argmax()) for one in scores]


def test_a_word_that_can_only_be_outside_parts_an_entity() -> None:
    outside = np.array([0.0, -np.inf, -np.inf, -np.inf, -np.inf])
    inside = np.log(np.array([0.01, 0.3, 0.67, 0.01, 0.01]))
    begin = np.log(np.array([0.01, 0.96, 0.01, 0.01, 0.01]))
    path = likeliest_tags(np.stack([begin, outside, inside]), forbidden_transitions(LABELS))
    assert [LABELS[number] for number in path] == ["B-X", "O", "B-X"]
