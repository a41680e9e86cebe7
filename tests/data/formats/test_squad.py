from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway.data.answers import read_answers
from headway.data.options import DataOptions
from headway.data.table import Table
from headway.errors import DataError
from headway.tasks.question_answering import QuestionAnswering
from headway.types import Column

COLUMNS = QuestionAnswering().columns
CONTEXT = "The café opened in 1921."
SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Café",
            "paragraphs": [
                {
                    "context": CONTEXT,
                    "qas": [
                        {
                            "id": "a1",
                            "question": "When did it open?",
                            "answers": [{"text": "1921", "answer_start": 19}] * 2,
                        },
                        {
                            "id": "a2",
                            "question": "Who closed it?",
                            "answers": [],
                            "plausible_answers": [{"text": "1921", "answer_start": 19}],
                            "is_impossible": True,
                        },
                    ],
                },
                {"context": "Nothing.", "qas": []},
            ],
        },
        {"title": "B", "paragraphs": [{"context": "It is red.", "qas": [{"question": "What?", "answers": []}]}]},
    ],
}


def read(content: Any, folder: Path, *, need_gold: bool = True, columns: Any = COLUMNS, **options: Any) -> Table:
    path = folder / "questions.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    data = DataOptions(train=str(path), format="squad", **options)
    return Table.read(str(path), options=data, columns=columns, need_gold=need_gold)


def test_articles_become_a_row_for_each_question(tmp_path: Path) -> None:
    table = read(SQUAD, tmp_path)
    assert list(table) == [
        {
            "question": "When did it open?",
            "context": CONTEXT,
            "answers": {"text": ["1921"] * 2, "answer_start": [19, 19]},
        },
        {"question": "Who closed it?", "context": CONTEXT, "answers": {"text": [], "answer_start": []}},
        {"question": "What?", "context": "It is red.", "answers": {"text": [], "answer_start": []}},
    ]
    assert table.where(1) == f"{tmp_path / 'questions.json'}, article 1, paragraph 1, question 2 (a2)"
    assert table.where(2).endswith("article 2, paragraph 1, question 1")


def test_gzip_and_title(tmp_path: Path) -> None:
    path = tmp_path / "questions.json.gz"
    path.write_bytes(gzip.compress(json.dumps(SQUAD).encode()))
    columns = (Column("question", "text", True, "x"), Column("title", "text", True, "x"))
    options = DataOptions(train=str(path), format="squad")
    table = Table.read(str(path), options=options, columns=columns, need_gold=False)
    assert list(table) == [
        {"question": "When did it open?", "title": "Café"},
        {"question": "Who closed it?", "title": "Café"},
        {"question": "What?", "title": "B"},
    ]


def test_the_flat_layout(tmp_path: Path) -> None:
    flat = {"id": "x1", "question": "When?", "context": CONTEXT, "answers": {"text": ["1921"], "answer_start": [19]}}
    table = read({"version": 2.0, "data": [flat, {**flat, "id": None, "is_impossible": True}]}, tmp_path)
    assert [one["answers"] for one in table] == [flat["answers"], {"text": [], "answer_start": []}]
    assert table.where(0).endswith("question 1 (x1)")
    assert table.where(1).endswith("question 2")


def test_questions_without_answers_can_be_read_to_be_predicted(tmp_path: Path) -> None:
    bare = {"data": [{"paragraphs": [{"context": CONTEXT, "qas": [{"question": "When?"}]}]}]}
    assert list(read(bare, tmp_path, need_gold=False)) == [{"question": "When?", "context": CONTEXT}]
    with pytest.raises(DataError, match="there is no column 'answers'"):
        read(bare, tmp_path)


def test_a_question_that_lacks_answers_where_others_have_them_is_named(tmp_path: Path) -> None:
    qas = [{"question": "When?", "answers": [{"text": "1921", "answer_start": 19}]}, {"question": "Who?"}]
    with pytest.raises(DataError, match="paragraph 1, question 2: the column 'answers' is missing"):
        read({"data": [{"paragraphs": [{"context": CONTEXT, "qas": qas}]}]}, tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON"),
        ("[1]", "expected {\"data\": "),
        ({"data": 1}, "expected {\"data\": "),
        ({"data": [{"rows": []}]}, "item 1: neither an article"),
        ({"data": [{"paragraphs": 1}]}, "article 1, paragraph 1: expected 'context' and a list 'qas'"),
        ({"data": [{"paragraphs": [{"context": "x", "qas": 1}]}]}, "article 1, paragraph 1: expected 'context'"),
        ({"data": [{"paragraphs": [{"context": "x", "qas": [{"answers": []}]}]}]}, "question 1: expected an object"),
        ({"data": [{"paragraphs": [{"context": 5, "qas": [{"question": "x", "answers": []}]}]}]}, "holds 5"),
        ({"data": []}, "holds no rows"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(content: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        read(content, tmp_path)


def test_column_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names its columns itself"):
        read(SQUAD, tmp_path, column_names=["a", "b"])


# --- real files -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_articles", "num_contexts", "num_rows"),
    [
        ("dev-v1.1.json.gz", 48, 2067, 10_570),
        ("du_dev-v1.1.json.gz", 24, None, 4_961),
        ("du_test-v1.1.json.gz", 24, None, 5_609),
    ],
)
def test_the_squad_files_have_the_known_counts_and_no_wrong_offset(
    name: str, num_articles: int, num_contexts: int | None, num_rows: int, shared_data: Path
) -> None:
    path = str(shared_data / "squad" / name)
    options = DataOptions(train=path, format="squad")
    table = Table.read(path, options=options, columns=(*COLUMNS, Column("title", "text", True, "x")), need_gold=True)
    assert len(table) == num_rows
    assert len(set(table.column("title"))) == num_articles
    assert num_contexts is None or len({(row["title"], row["context"]) for row in table}) == num_contexts
    assert max(map(len, table.column("context"))) <= 4_063
    for row in table:
        answers = read_answers(row["answers"], row["context"], repair=False)
        assert len(answers.spans) >= 1
        assert answers.repaired == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "given", "num_rows"),
    [
        ("squad/train_sample_1000.csv", {}, 1_000),
        ("tiny_samples/squad_sample.json", {"format": "squad"}, 14),
        ("tiny_samples/squad_sample.json", {}, 14),
    ],
)
def test_the_flat_files_have_the_known_counts(
    name: str, given: dict[str, Any], num_rows: int, shared_data: Path
) -> None:
    path = str(shared_data / name)
    table = Table.read(path, options=DataOptions(train=path, **given), columns=COLUMNS, need_gold=True)
    assert len(table) == num_rows
    task = QuestionAnswering(answer_repair=False)
    golds = [task.gold(row) for row in table]
    assert all(set(gold) == {"text", "answer_start"} for gold in golds)
    assert sum(bool(gold["text"]) for gold in golds) >= num_rows / 3


def test_the_fixture_of_formats_reads_it_too(read: Callable[..., Table]) -> None:
    with pytest.raises(DataError, match="there is no column 'text'"):
        read(json.dumps(SQUAD), "rows.json", format="squad")
