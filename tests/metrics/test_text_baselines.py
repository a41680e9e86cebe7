from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from headway.metrics import baselines
from headway.metrics.text_baselines import (
    commonest_reply,
    copy_source,
    lead_sentences,
    nearest_replies,
    random_sentence,
)
from headway.metrics.texts import rouge_rows

ARTICLE = "Dr. Hill closed the bridge at 5 p.m. on Monday. It is old. Repairs take weeks. Buses go round."
DIALOGUE = """#Person1#: Is the bridge open? I must get to work.
#Person2#: No. It is closed.

Ms. Dawson: Take the ferry! It is free.
#Person1#: Thanks."""


def test_lead_is_the_first_sentences() -> None:
    assert lead_sentences(ARTICLE) == ARTICLE.removesuffix(" Buses go round.")
    assert lead_sentences(ARTICLE, 1) == "Dr. Hill closed the bridge at 5 p.m. on Monday."
    assert lead_sentences("One only") == "One only"
    assert lead_sentences(" \n ") == lead_sentences("") == ""


def test_lead_of_a_dialogue_is_its_first_turns() -> None:
    assert lead_sentences(DIALOGUE) == "\n".join(line for line in DIALOGUE.splitlines()[:-1] if line)
    assert lead_sentences("A：晴れ。暑い。\nB：はい。", 1) == "A：晴れ。暑い。"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Paragraphs hold several sentences, and a headline has no full stop.
        ("Bridge closed\nIt is old. It is rusty.\nRepairs take weeks.", "Bridge closed It is old. It is rusty."),
        # One line of three with a colon is no dialogue, and one line alone is none.
        ("He said: no. It is.\nIt was old. It fell.\nThey left.", "He said: no. It is. It was old."),
        ("Note: it is old. It is rusty. It is red. It fell.", "Note: it is old. It is rusty. It is red."),
    ],
)
def test_lead_of_text_with_line_breaks(text: str, expected: str) -> None:
    assert lead_sentences(text) == expected


def test_a_random_sentence_is_one_of_the_text_and_repeatable() -> None:
    sentences = [lead_sentences(ARTICLE, 1), "It is old.", "Repairs take weeks.", "Buses go round."]
    drawn = [random_sentence(ARTICLE, seed=0, row=row) for row in range(400)]
    assert drawn == [random_sentence(ARTICLE, seed=0, row=row) for row in range(400)]
    assert drawn != [random_sentence(ARTICLE, seed=1, row=row) for row in range(400)]
    counts = Counter(drawn)
    assert set(counts) == set(sentences)
    assert min(counts.values()) > 60
    assert random_sentence(DIALOGUE, seed=0, row=0) in DIALOGUE.splitlines()
    assert random_sentence("  ", seed=0, row=0) == ""


def test_the_source_is_copied() -> None:
    assert copy_source(" Ein Hund.\n") == "Ein Hund."


def test_the_commonest_reply() -> None:
    assert commonest_reply(["No.", "Yes.", " Yes. ", "No.", "Maybe."]) == "No."  # met first
    assert commonest_reply(["", "", "Yes."]) == "Yes."
    assert commonest_reply([]) == commonest_reply([" "]) == ""


CONTEXTS = ["Is the bridge open?", "Where is the ferry?", "What do you eat?", "Is the bridge open?"]
REPLIES = ["No, it is closed.", "By the mill.", "Soup.", "Soup."]


def test_the_reply_to_the_nearest_context() -> None:
    asked = ["the FERRY, where?", "is that bridge open", "what will you eat", "unheard"]
    assert nearest_replies(CONTEXTS, REPLIES, asked, seed=0) == [
        "By the mill.",
        "No, it is closed.",  # of two equal contexts the first counts
        "Soup.",
        "Soup.",  # no word in common: the commonest
    ]


def test_nearest_replies_are_the_same_in_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [*CONTEXTS, "ferry", "bridge", "eat"] * 3
    whole = nearest_replies(CONTEXTS, REPLIES, asked, seed=0)
    monkeypatch.setattr("headway.metrics.text_baselines.BLOCK", 2)
    assert nearest_replies(CONTEXTS, REPLIES, asked, seed=0) == whole


def test_nearest_replies_where_there_is_nothing_to_search() -> None:
    assert nearest_replies([], [], ["a"], seed=0) == [""]
    assert nearest_replies(["!", "?"], ["Yes.", "Yes."], ["a", "!"], seed=0) == ["Yes.", "Yes."]
    assert nearest_replies(CONTEXTS, REPLIES, [], seed=0) == []


def test_a_long_train_is_sampled_and_replies_stay_with_their_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MAX_TRAIN_ROWS", 5)
    words = [f"word{number}" for number in range(30)]
    answers = nearest_replies(words, [f"reply {word}" for word in words], words, seed=0)
    known = [word for word, answer in zip(words, answers, strict=True) if answer == f"reply {word}"]
    assert len(known) >= 5
    assert {answer for word, answer in zip(words, answers, strict=True) if word not in known} <= {"reply word0"}


@pytest.mark.slow
def test_the_lead_of_dialogsum_beats_a_random_turn(shared_data: Path) -> None:
    with (shared_data / "dialogsum" / "dialogsum.test.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    true = [[row[f"summary{number}"] for number in (1, 2, 3)] for row in rows]
    dialogues = [row["dialogue"] for row in rows]
    assert lead_sentences(dialogues[0]).count("\n") == 2
    lead = rouge_rows([lead_sentences(text) for text in dialogues], true)
    drawn = rouge_rows([random_sentence(text, seed=0, row=row) for row, text in enumerate(dialogues)], true)
    assert all(lead[name].mean() > drawn[name].mean() + 0.02 for name in lead)
