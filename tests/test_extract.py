from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from headway.errors import RecipeError
from headway.extract import Entity, check_runs, extract
from headway.predictor import Predictor
from headway.tasks.relation_extraction import RelationExtraction
from headway.tasks.text_classification import TextClassification
from headway.types import Prediction, Row

NAMES = {"Ann": "PER", "Bob": "PER", "Acme": "ORG", "Rome": "LOC"}


class Tags(TextClassification):
    """Stands for a task that finds entities."""

    model_kind: ClassVar[str] = "token-classification"


@dataclass(frozen=True, slots=True)
class Names(Predictor):
    """Finds the names of a list, the last one of a text first."""

    def stream(self, rows: Iterable[Any]) -> Iterator[Prediction]:
        for text in rows:
            found = [
                {"start": at, "end": at + len(name), "label": label, "text": name, "score": 0.9}
                for name, label in NAMES.items()
                for at in range(len(text))
                if text.startswith(name, at)
            ]
            yield Prediction(found[::-1], None, {"tags": []})


@dataclass(frozen=True, slots=True)
class Links(Predictor):
    """Answers by the word between two entities, and keeps what it was asked."""

    asked: list[Row]

    def stream(self, rows: Iterable[Any]) -> Iterator[Prediction]:
        for row in rows:
            self.asked.append(row)
            first, second = sorted((row["head"], row["tail"]), key=lambda one: one["start"])
            between = row["text"][first["end"] : second["start"]].split()
            is_reversed = row["tail"]["start"] < row["head"]["start"]
            for word, label in (("founded", "Founded(e1,e2)"), ("by", "Founded(e2,e1)"), ("likes", "likes")):
                if word in between and not (label == "likes" and is_reversed):
                    yield Prediction(label, 0.4 if "maybe" in between else 0.8)
                    break
            else:
                yield Prediction("Other", 0.99)


DIRECTED = RelationExtraction(labels=("Founded(e1,e2)", "Founded(e2,e1)", "Other"), negative_label="Other")
PLAIN = RelationExtraction(labels=("Other", "likes"), negative_label="Other")


def runs(task: RelationExtraction = DIRECTED) -> tuple[Names, Links]:
    return Names(Tags(), None, None), Links(task, None, None, [])


def triples(text: str, task: RelationExtraction = DIRECTED, **options: Any) -> list[tuple[str, str, str]]:
    (found,) = extract(*runs(task), [text], **options)
    return [(one.head.text, one.relation, one.tail.text) for one in found.triples]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ann founded Acme.", [("Ann", "Founded", "Acme")]),
        ("Acme was set up by Ann.", [("Ann", "Founded", "Acme")]),
        ("Ann saw Acme.", []),
        ("Ann slept. Bob founded Acme.", [("Bob", "Founded", "Acme")]),
        ("Bob founded Acme. It is by Ann.", [("Bob", "Founded", "Acme")]),
        ("nothing here", []),
        ("", []),
        ("Ann", []),
    ],
)
def test_a_relation_runs_the_way_its_label_says(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert triples(text) == expected


def test_places_are_those_in_the_whole_text() -> None:
    text = "Nobody came. In Rome, Bob founded Acme."
    tagger, linker = runs()
    (found,) = extract(tagger, linker, [text])
    assert [one.text for one in found.entities] == ["Rome", "Bob", "Acme"]
    assert all(text[one.start : one.end] == one.text for one in found.entities)
    # What the relation model was shown is the sentence alone, with places in it.
    assert {row["text"] for row in linker.asked} == {"In Rome, Bob founded Acme."}
    for row in linker.asked:
        assert {row["text"][row[name]["start"] : row[name]["end"]] for name in ("head", "tail")} <= set(NAMES)
    assert len(linker.asked) == 3
    assert [one.head for one in found.triples] == [
        Entity("Rome", 16, 20, "LOC", 0.9),
        Entity("Bob", 22, 25, "PER", 0.9),
    ]


def test_labels_without_direction_are_asked_in_either_order() -> None:
    tagger, linker = runs(PLAIN)
    (found,) = extract(tagger, linker, ["Ann likes Bob"])
    assert [(one.head.text, one.relation, one.tail.text) for one in found.triples] == [("Ann", "likes", "Bob")]
    assert [(row["head"]["start"], row["tail"]["start"]) for row in linker.asked] == [(0, 10), (10, 0)]


def test_the_threshold_and_the_distance() -> None:
    text = "Ann maybe founded Acme."
    assert triples(text) == []
    assert triples(text, threshold=0.4) == [("Ann", "Founded", "Acme")]
    assert triples(text, threshold=0.4, max_distance=2) == [("Ann", "Founded", "Acme")]
    assert triples(text, threshold=0.4, max_distance=1) == []


def test_many_texts_come_back_in_their_order() -> None:
    texts = [f"{n}: Ann founded Acme." if n % 3 else "nothing" for n in range(600)]
    found = list(extract(*runs(), iter(texts)))
    assert [one.text for one in found] == texts
    assert [len(one.triples) for one in found] == [int(n % 3 > 0) for n in range(600)]


def test_what_cannot_serve_is_refused_before_any_text_is_read() -> None:
    def unread() -> Iterator[str]:
        raise AssertionError("a text was read")
        yield ""

    tagger, linker = runs()
    for options, message in (({"threshold": 1.5}, "threshold"), ({"max_distance": -1}, "max_distance")):
        with pytest.raises(RecipeError, match=message):
            extract(tagger, linker, unread(), **options)
    with pytest.raises(RecipeError, match="The first run must find entities"):
        extract(linker, linker, unread())
    with pytest.raises(RecipeError, match=r"The second run must relate entities .* is of text-classification"):
        check_runs(tagger, tagger)
