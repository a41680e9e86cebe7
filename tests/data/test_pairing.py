from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.pairing import pairs_of_groups, pairs_of_turns, replies_of_turns
from headway.data.table import Table
from headway.errors import DataError


def grouped(*rows: tuple[str, str]) -> Table:
    return Table.from_rows([{"text": text, "group": group} for text, group in rows], name="intents.csv")


def test_every_text_meets_another_one_of_its_group() -> None:
    table = grouped(*((f"text {n}", "abc"[n % 3]) for n in range(30)))
    pairs = list(pairs_of_groups(table, seed=0))
    assert [pair["query"] for pair in pairs] == table.column("text")
    group_of = {row["text"]: row["group"] for row in table}
    assert all(pair["positive"] != pair["query"] for pair in pairs)
    assert all(group_of[pair["positive"]] == pair["group"] == group_of[pair["query"]] for pair in pairs)
    assert list(pairs_of_groups(table, seed=0)) == pairs
    assert list(pairs_of_groups(table, seed=1)) != pairs


def test_every_partner_is_as_likely_as_another() -> None:
    table = grouped(("a", "g"), ("b", "g"), ("c", "g"))
    drawn = [pairs_of_groups(table, seed=seed)[1]["positive"] for seed in range(200)]
    assert 70 < drawn.count("a") < 130
    assert set(drawn) == {"a", "c"}


def test_who_is_alone_is_left_out_with_a_word(caplog: pytest.LogCaptureFixture) -> None:
    table = grouped(("a", "1"), ("b", "2"), ("c", "1"), ("d", "3"), ("d", "3"))
    with caplog.at_level(logging.WARNING, logger="headway"):
        pairs = pairs_of_groups(table, seed=0)
    assert [pair["query"] for pair in pairs] == ["a", "c"]
    assert pairs.where(1) == "intents.csv, row 3"
    assert "intents.csv: 3 rows are alone in their group" in caplog.text


def test_groups_of_one() -> None:
    with pytest.raises(DataError, match=r"intents\.csv: no two rows with different texts share a 'group'"):
        pairs_of_groups(grouped(("a", "1"), ("b", "2")), seed=0)


def test_turns_become_query_and_reply() -> None:
    table = Table.from_rows(
        [{"text": "Hi . __eou__ Hello ! __eou__ Tea ? __eou__"}, {"text": "Alone"}], name="talk.txt"
    )
    assert list(pairs_of_turns(table, "__eou__", 1)) == [
        {"query": "Hi .", "positive": "Hello !"},
        {"query": "Hello !", "positive": "Tea ?"},
    ]
    longer = pairs_of_turns(table, "__eou__", 2)
    assert [pair["query"] for pair in longer] == ["Hi .", "Hi . Hello !"]
    assert longer.where(1) == "talk.txt, row 1"


def test_texts_without_turns() -> None:
    with pytest.raises(DataError, match="no text holds two turns with '__eou__' between them"):
        pairs_of_turns(Table.from_rows([{"text": "one"}], name="talk.txt"), "__eou__", 1)


def test_every_turn_but_the_first_is_a_reply_to_those_before() -> None:
    table = Table.from_rows([{"text": "a | b |  | c\nd | e |"}, {"text": "alone"}, {"text": "f|g"}], name="talk.txt")
    found = replies_of_turns(table, "|", 2)
    assert [(row["history"], row["response"]) for row in found] == [
        ("a", ["b"]),
        ("a\nb", ["c\nd"]),
        # A turn is one line of the history, whatever lines it had.
        ("b\nc d", ["e"]),
        ("f", ["g"]),
    ]
    assert [found.where(number) for number in range(4)] == ["talk.txt, row 1"] * 3 + ["talk.txt, row 3"]


@given(st.lists(st.lists(st.sampled_from(["yes", "no no", "why"]), max_size=6), max_size=5), st.integers(1, 4))
def test_no_turn_is_lost(talks: list[list[str]], num_turns: int) -> None:
    table = Table.from_rows([{"text": " | ".join(talk)} for talk in talks] + [{"text": "a | b"}])
    found = list(replies_of_turns(table, "|", num_turns))
    assert [row["response"][0] for row in found] == [turn for talk in talks for turn in talk[1:]] + ["b"]
    assert all(1 <= len(row["history"].split("\n")) <= num_turns for row in found)


def test_dialogues_without_a_reply() -> None:
    with pytest.raises(DataError, match=r"no text holds two turns with '\|' between them"):
        replies_of_turns(Table.from_rows([{"text": "one"}], name="talk.txt"), "|", 1)
