from __future__ import annotations

import pytest

from headway.data.table import Table
from headway.data.tagging import Tagging
from headway.errors import DataError

IOB2 = Tagging("IOB2", "parts", "refuse")
PLAIN = Tagging("none", "whole", "refuse")


def test_words_have_a_place_in_the_joined_tokens_or_the_text() -> None:
    assert IOB2.words({"tokens": ["New York", "", "is"]}) == ("New York  is", [(0, 8), (9, 9), (10, 12)])
    assert IOB2.words({"text": "It's"}) == ("It's", [(0, 2), (2, 3), (3, 4)])
    assert PLAIN.words({"text": "It's"}) == ("It's", [(0, 2), (2, 4)])


def test_tags_of_both_kinds_of_rows() -> None:
    assert IOB2.gold_tags({"tokens": ["a", "b"], "tags": ["O", "I-x"]}) == ["O", "B-x"]
    assert PLAIN.gold_tags({"tokens": ["a"], "tags": [3]}) == ["3"]
    assert IOB2.gold_tags({"text": "in New-York", "spans": [[3, 11, "x"]]}) == ["O", "B-x", "I-x", "I-x"]
    assert IOB2.gold_tags({"text": "a"}) is None
    with pytest.raises(DataError, match="every row needs 'tags' beside its 'tokens'"):
        IOB2.needed_tags({"text": "a"})


def test_said_spans_become_tags() -> None:
    assert IOB2.said_tags({"text": "in Oslo"}, [{"start": 3, "end": 7, "label": "x"}]) == ["O", "B-x"]


def test_a_plain_tag_marks_its_word() -> None:
    assert PLAIN.entities(["NN", "O"]) == [("NN", 0, 1), ("O", 1, 2)]
    assert IOB2.entities(["B-x", "I-x", "O"]) == [("x", 0, 2)]


def test_types_in_a_cell() -> None:
    assert IOB2.kinds_in(["O", "B-b", "I-b", "B-a"]) == ["b", "a"]
    assert PLAIN.kinds_in(["VB", "NN", "NN"]) == ["NN", "VB"]
    assert IOB2.kinds_in([{"start": 0, "end": 1, "label": "z"}, [1, 2, "y"]][:1]) == ["z"]
    assert IOB2.kinds_in([[1, 2, "y"]]) == ["y"]
    assert IOB2.kinds_in([]) == []


def test_wrong_spans_have_no_labels_here() -> None:
    assert IOB2.labels_of_spans({"text": "ab", "spans": [[0, 9, "x"]]}) == []
    assert IOB2.labels_of_spans({"text": "ab", "spans": [[0, 2, "x"]]}) == ["x"]


def test_findings_name_the_rows_once() -> None:
    rows = [{"text": "abc def", "spans": [[1, 2, "x"], [4, 6, "x"]]}, {"text": "abc", "spans": [[0, 3, "x"]]}]
    (finding,) = IOB2.check("train", Table.from_rows(rows, name="rows.jsonl"))
    assert (finding.name, finding.split, finding.count) == ("span_within_word", "train", 2)
    assert finding.examples == [{"where": "rows.jsonl, row 1", "value": "abc def"}]
    tagged = [{"tokens": ["a", "b"], "tags": ["O", "I-x"]}]
    assert [one.name for one in IOB2.check("test", Table.from_rows(tagged))] == ["entity_without_beginning"]
    assert list(Tagging("IOB1", "parts", "refuse").check("test", Table.from_rows(tagged))) == []
