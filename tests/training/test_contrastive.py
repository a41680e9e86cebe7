"""Pairs of one label: every row gives as many, no label lends a text to another, and the seed alone decides."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from headway.data.table import Table
from headway.errors import DataError, HeadwayError, RecipeError
from headway.importing import Choice
from headway.models.options import ModelOptions
from headway.tasks.base import Task
from headway.tasks.sentence_embeddings import SentenceEmbeddings
from headway.tasks.text_classification import TextClassification
from headway.training.contrastive import check_contrastive, labelled_pairs
from headway.training.options import Contrastive


def table(**labels: list[str]) -> Table:
    return Table.from_rows([{"text": text, "label": label} for label, texts in labels.items() for text in texts])


def pairs_of(train: Table, number: int = 3, seed: int = 0) -> list[tuple[str, str, str]]:
    found = labelled_pairs(train, pairs_per_row=number, seed=seed)
    return [(row["query"], row["positive"], row["group"]) for row in found]


def test_each_row_is_paired_with_others_of_its_label() -> None:
    train = table(a=["a1", "a2", "a3", "a4"], b=["b1", "b2"])
    pairs = pairs_of(train)
    assert Counter(query for query, _, _ in pairs) == dict.fromkeys(train.column("text"), 3)
    for query, positive, group in pairs:
        assert query != positive
        assert query[0] == positive[0] == group
    # Three others of four: each comes once. One other of two: it comes three times.
    assert {positive for query, positive, _ in pairs if query == "a2"} == {"a1", "a3", "a4"}
    assert [positive for query, positive, _ in pairs if query == "b1"] == ["b2"] * 3


def test_every_partner_comes_equally_often() -> None:
    drawn = Counter(pair[:2] for seed in range(300) for pair in pairs_of(table(a=["1", "2", "3", "4"]), 1, seed))
    assert len(drawn) == 12
    assert min(drawn.values()) > 70
    again = Counter(pair[:2] for pair in pairs_of(table(a=["1", "2", "3", "4"]), 7))
    assert set(again.values()) == {2, 3}


def test_a_text_without_others_is_its_own_positive() -> None:
    pairs = pairs_of(table(a=["a1", "a2"], b=["b1"], c=["c1", "c1"]), 2)
    assert [pair for pair in pairs if pair[2] != "a"] == [("b1", "b1", "b")] * 2 + [("c1", "c1", "c")] * 4


def test_the_seed_decides() -> None:
    train = table(a=[f"a{number}" for number in range(9)])
    assert pairs_of(train, 2, seed=5) == pairs_of(train, 2, seed=5)
    assert pairs_of(train, 2, seed=5) != pairs_of(train, 2, seed=6)


ONE_LABEL = TextClassification(problem_type="single_label_classification")
ROWS: list[dict[str, Any]] = [{"text": "one", "label": "a"}, {"text": "two", "label": "a"}]


@pytest.mark.parametrize(
    ("task", "rows", "model", "error", "message"),
    [
        (SentenceEmbeddings(), ROWS, {}, RecipeError, "sentence-embeddings has no single label"),
        (TextClassification(problem_type="regression"), ROWS, {}, RecipeError, "regression has no single label"),
        (
            TextClassification(problem_type="multi_label_classification"), ROWS, {}, RecipeError,
            "multi_label_classification has no single label",
        ),
        (ONE_LABEL, [{**row, "text_pair": "x"} for row in ROWS], {}, RecipeError, r"these rows are pairs"),
        (ONE_LABEL, ROWS, {"adapter": Choice(name="lora")}, RecipeError, "Leave one of the two out"),
        (ONE_LABEL, [ROWS[0], ROWS[0], {"text": "one", "label": "b"}], {}, DataError, "no label has two different"),
    ],
)  # fmt: skip
def test_what_gives_no_pairs_is_refused(
    task: Task, rows: list[dict[str, Any]], model: dict[str, Any], error: type[HeadwayError], message: str
) -> None:
    train, options = Table.from_rows(rows), ModelOptions(**model)
    check_contrastive(None, options, task, train)
    with pytest.raises(error, match=message):
        check_contrastive(Contrastive(), options, task, train)


def test_one_pair_is_enough() -> None:
    check_contrastive(Contrastive(), ModelOptions(), ONE_LABEL, table(a=["one", "two"], b=["three"]))
