from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss, MultipleNegativesRankingLoss

from headway.data.table import Table
from headway.errors import DataError, RecipeError
from headway.evaluate import evaluate
from headway.importing import Choice
from headway.inference import Inference
from headway.models.backbone import load_backbone
from headway.models.losses import build_loss
from headway.models.options import ModelOptions
from headway.predictor import Predictor
from headway.preparation import check_recipe
from headway.recipe import Recipe
from headway.tasks.base import Limits
from headway.tasks.sentence_embeddings import SentenceEmbeddings
from headway.tokenising import encode_table
from headway.train import train
from headway.types import Batch, Features, Prediction, Row

TEXTS = [
    "a great film", "the food was awful and the room very small", "lovely", "dull book", "happy people in a garden",
    "a sad song", "bright and fine", "no plot and poor actors",
]  # fmt: skip
ANSWERS = ["cat", "old house", "the red dog", "street", "rain and sun", "new window", "bread", "night train"]

CASES: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "pairs with a number": (
        {},
        [{"text": t, "text_pair": a, "label": str(i)} for i, (t, a) in enumerate(zip(TEXTS, ANSWERS, strict=True))],
    ),
    "queries": (
        {"query_prefix": "who: ", "normalize": False},
        [{"query": t, "positive": a} for t, a in zip(TEXTS, ANSWERS, strict=True)],
    ),
    "queries with hard negatives": (
        {"scale": 30.0},
        [
            {"query": t, "positive": a, "negatives": [f"{a} s", "the table"][: 1 + i % 2]}
            for i, (t, a) in enumerate(zip(TEXTS, ANSWERS, strict=True))
        ],
    ),
    "queries in groups": (
        {},
        [{"query": t, "positive": ANSWERS[i], "group": "abcd"[i % 4]} for i, t in enumerate(TEXTS)],
    ),
}


def batch_of(rows: list[Row], width: int = 4) -> Batch:
    """A batch whose pieces are one token each: only targets and sizes matter to the loss."""
    task = SentenceEmbeddings()
    features = []
    for row in rows:
        num_pieces = len({"text", "text_pair", "query", "positive"} & set(row)) + len(row.get("negatives", []))
        pieces = (1,) * num_pieces
        features.append(Features({"input_ids": [1] * num_pieces}, task._targets(row), {}, pieces))
    tokenizer: Any = type("Tokenizer", (), {"pad_token_id": 0})()
    return task.collate(features, tokenizer)


def theirs(vectors: list[torch.Tensor], labels: torch.Tensor, kind: type) -> torch.Tensor:
    """The loss of sentence-transformers for columns of vectors."""
    loss: Any = kind(lambda column: {"sentence_embedding": column["vectors"]})
    return loss([{"vectors": one} for one in vectors], labels)


@pytest.mark.parametrize("num_negatives", [0, 2])
def test_the_ranking_loss_is_that_of_sentence_transformers(num_negatives: int) -> None:
    torch.manual_seed(0)
    columns = [torch.randn(5, 4) for _ in range(2 + num_negatives)]
    rows = [
        {"query": f"q{n}", "positive": f"p{n}", "negatives": [f"n{n}{k}" for k in range(num_negatives)]}
        for n in range(5)
    ]
    # Ours stand row by row, theirs column by column.
    ours = torch.stack(columns, dim=1).reshape(-1, 4)
    loss = SentenceEmbeddings(objective="in_batch_negatives").loss(
        {"vectors": ours}, batch_of(rows), build_loss(Choice(name="cross_entropy"))
    )
    assert loss.item() == pytest.approx(theirs(columns, torch.zeros(5), MultipleNegativesRankingLoss).item(), rel=1e-5)


def test_the_cosine_loss_is_that_of_sentence_transformers() -> None:
    torch.manual_seed(0)
    columns, labels = [torch.randn(6, 4) for _ in range(2)], torch.rand(6)
    rows = [{"text": "a", "text_pair": "b", "label": float(label)} for label in labels]
    loss = SentenceEmbeddings(objective="cosine_similarity").loss(
        {"vectors": torch.stack(columns, dim=1).reshape(-1, 4)}, batch_of(rows), build_loss(Choice(name="mse"))
    )
    assert loss.item() == pytest.approx(theirs(columns, labels, CosineSimilarityLoss).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("rows", "counted"),
    [
        # Row by row: which answers count against the row, its own first.
        ([{"query": "a", "positive": "x"}, {"query": "b", "positive": "y"}], [[1, 1], [1, 1]]),
        ([{"query": "a", "positive": "x"}, {"query": "b", "positive": "x"}], [[1, 0], [0, 1]]),
        ([{"query": "a", "positive": "x"}, {"query": "a", "positive": "y"}], [[1, 0], [0, 1]]),
        ([{"query": "a", "positive": "x"}, {"query": "b", "positive": "a"}], [[1, 0], [1, 1]]),
        (
            [{"query": "a", "positive": "x", "group": "1"}, {"query": "b", "positive": "y", "group": "1"}],
            [[1, 0], [0, 1]],
        ),
        (
            [{"query": "a", "positive": "x", "negatives": ["y"]}, {"query": "b", "positive": "y", "negatives": ["z"]}],
            [[1, 1, 1, 1], [1, 1, 0, 1]],
        ),
    ],
)
def test_what_is_right_too_does_not_count_as_wrong(rows: list[Row], counted: list[list[int]]) -> None:
    batch, seen = batch_of(rows), []
    task = SentenceEmbeddings(objective="in_batch_negatives")

    def criterion(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append(torch.isfinite(scores).int().tolist())
        assert targets.tolist() == list(range(len(rows)))
        return scores[0, 0]

    task.loss({"vectors": torch.ones(sum(batch.sizes), 3)}, batch, criterion)
    assert seen == [counted]


@pytest.mark.parametrize(
    ("rows", "objective", "metric"),
    [
        ([{"text": "a", "text_pair": "b", "label": "1"}, {"text": "a", "text_pair": "b", "label": "5"}],
         "cosine_similarity", "spearman"),
        ([{"query": "a", "positive": "b"}], "in_batch_negatives", "recall_at_1"),
    ],
)  # fmt: skip
def test_the_objective_follows_from_the_columns(rows: list[Row], objective: str, metric: str) -> None:
    task = SentenceEmbeddings().resolve(Table.from_rows(rows))
    assert (task.objective, task.main_metric) == (objective, metric)
    assert task.label_range == ((1.0, 5.0) if objective == "cosine_similarity" else None)


@pytest.mark.parametrize(
    ("row", "options", "kind", "message"),
    [
        ({"text": "a"}, {}, DataError, "these rows hold 'text'. To learn embeddings they need"),
        ({"text": "a", "query": "b", "positive": "c"}, {}, DataError, "these rows hold 'positive', 'query', 'text'"),
        ({"query": "a", "positive": "b"}, {"objective": "cosine_similarity"}, RecipeError, "those of in_batch_neg"),
        ({"text": "a", "text_pair": "b", "label": "3"}, {}, DataError, "column 'label' holds 3 in all rows"),
    ],
)
def test_rows_that_cannot_serve(row: Row, options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as refused:
        SentenceEmbeddings(**options).resolve(Table.from_rows([row, row], name="pairs.csv"))
    assert message in str(refused.value)


def test_a_range_that_falls() -> None:
    with pytest.raises(ValidationError, match="the first number must be the lower one"):
        SentenceEmbeddings(label_range=(5, 0))


def test_a_label_that_is_no_number_is_named_with_its_place(tiny_bert: Path) -> None:
    rows = [{"text": "a", "text_pair": "b", "label": label} for label in ("1", "much", "3")]
    table = Table.from_rows(rows, name="pairs.csv")
    tokenizer = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert))).tokenizer
    with pytest.raises(DataError, match=r"pairs\.csv, row 2: column 'label' holds 'much', expected a finite number"):
        list(encode_table(table, SentenceEmbeddings().resolve(table), tokenizer, Limits()))


# --- predictions and search over a split ------------------------------------------------------------------------------


def found(rows: list[Row], vectors: list[list[list[float]]], **options: Any) -> list[Prediction]:
    task = SentenceEmbeddings(objective="in_batch_negatives", **options)
    made = [Prediction(0.0, None, {"vectors": np.array(pair, dtype=np.float32)}) for pair in vectors]
    return task.finish(made, rows, is_split=True)


def test_each_query_is_ranked_against_all_distinct_answers() -> None:
    rows = [
        {"query": "a", "positive": "x"},
        {"query": "b", "positive": "y"},
        {"query": "c", "positive": "x"},
        {"query": "a", "positive": "z"},
    ]
    x, y, z = [1.0, 0.0], [0.6, 0.8], [0.0, 1.0]
    predictions = found(rows, [[[1, 0], x], [[2, 0.1], y], [[0, 3], x], [[1, 0], z]])
    # The query "a" has two answers; the one that is found counts for both of its rows.
    assert [one.detail for one in predictions] == [
        {"rank": 1, "best": "x"}, {"rank": 2, "best": "x"}, {"rank": 3, "best": "z"}, {"rank": 1, "best": "x"},
    ]  # fmt: skip
    task = SentenceEmbeddings(objective="in_batch_negatives")
    scores = task.evaluate(predictions, rows)
    assert scores == {
        "recall_at_1": 0.5, "recall_at_5": 1.0, "recall_at_10": 1.0, "mrr_at_10": pytest.approx((2 + 1 / 2 + 1 / 3) / 4)
    }  # fmt: skip
    (table,) = task.details(predictions, rows)["tables"]
    assert table["rows"] == [["c", "x", "z", 3], ["b", "y", "x", 2]]


def test_a_text_does_not_find_itself_and_its_group_is_right() -> None:
    rows = [
        {"query": "a", "positive": "b", "group": "1"},
        {"query": "b", "positive": "a", "group": "1"},
        {"query": "c", "positive": "d", "group": "2"},
    ]
    a, b, c, d = [1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, 0.0]
    predictions = found(rows, [[a, b], [b, a], [c, d]])
    assert [one.detail["rank"] for one in predictions] == [1, 1, 3]
    assert [one.detail["best"] for one in predictions] == ["b", "a", "b"]


def test_scoring_search_without_answers_is_refused() -> None:
    task = SentenceEmbeddings(objective="in_batch_negatives")
    with pytest.raises(DataError, match="every row needs 'query' and 'positive'"):
        task.evaluate([Prediction([0.1, 0.2])], [{"text": "a"}])
    with pytest.raises(DataError, match="every row needs 'text', 'text_pair' and a number"):
        SentenceEmbeddings(objective="cosine_similarity").evaluate([Prediction(0.3)], [{"text": "a"}])


def test_predictions_of_a_text_a_pair_and_a_query(tiny_bert: Path) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert)))
    task = SentenceEmbeddings(query_prefix="who ", passage_prefix="the ")
    inference = Inference(task, task.build_model(backbone), backbone.tokenizer, Limits())
    rows: list[Row] = [
        {"text": "good book"}, {"query": "good book"}, {"positive": "dog"}, {"query": "good book", "positive": "dog"},
        {"text": "good book", "text_pair": "bad book"}, {"text": "bad book"},
    ]  # fmt: skip
    text, query, answer, found, pair, other = (one.value for one in inference.stream(rows))
    assert text == query
    assert len(text) == 32
    assert np.linalg.norm(text) == pytest.approx(1, abs=1e-5)
    assert found == pytest.approx(np.dot(query, answer), abs=1e-5)
    assert pair == pytest.approx(np.dot(text, other), abs=1e-5)
    assert all(one.detail == {} for one in inference.stream(rows))


# --- elsewhere --------------------------------------------------------------------------------------------------------


def recipe(path: Path, tiny_bert: Path, *, columns: dict[str, str], task: dict[str, Any], **model: Any) -> Recipe:
    return Recipe.from_dict(
        {
            "task": {"type": "sentence-embeddings", **task},
            "data": {"train": str(path), "validation": 0.25, "max_length": 12, "columns": columns},
            "model": {"model_name_or_path": str(tiny_bert), **model},
            "training": {"max_steps": 2, "per_device_train_batch_size": 8, "bf16": False},
        }
    )


@pytest.mark.parametrize(
    ("task", "model"),
    [
        ({}, {}),
        ({"normalize": False}, {"pooling": "cls"}),
        ({"normalize": False, "query_prefix": "who: ", "passage_prefix": "the "}, {"pooling": "max"}),
    ],
)
def test_a_run_loads_in_sentence_transformers(
    task: dict[str, Any], model: dict[str, Any], reviews_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    made = recipe(reviews_csv, tiny_bert, columns={"text": "text", "group": "label"}, task=task, **model)
    metrics = train(made, output_dir=tmp_path / "run")
    assert set(metrics["metrics"]["validation"]) == {"recall_at_1", "recall_at_5", "recall_at_10", "mrr_at_10"}
    assert set(metrics["baselines"]) == {"untrained", "tfidf_cosine"}
    loaded = SentenceTransformer(str(tmp_path / "run" / "model"), device="cpu")
    predictor = Predictor.load(tmp_path / "run")
    texts = [*TEXTS, "", "film " * 40]
    for name, encode in (("text", loaded.encode), ("query", loaded.encode_query), ("positive", loaded.encode_document)):
        ours = np.array([one.value for one in predictor.inference.stream({name: text} for text in texts)])
        np.testing.assert_allclose(ours, encode(texts), atol=1e-5)


def test_texts_with_their_group_are_scored_as_search(reviews_csv: Path, tiny_bert: Path, tmp_path: Path) -> None:
    made = recipe(reviews_csv, tiny_bert, columns={"text": "text", "group": "label"}, task={})
    train(made, output_dir=tmp_path / "run")
    result = evaluate(tmp_path / "run", str(reviews_csv), output_dir=tmp_path / "scores")
    assert result["rows"] == 40
    assert 0 <= result["metrics"]["data"]["recall_at_5"]["value"] <= 1
    lines = (tmp_path / "scores" / "predictions.jsonl").read_text().splitlines()
    # No vectors: a row of the file is as long as its texts.
    assert max(map(len, lines)) < 1000
    assert '"rank"' in lines[0]


def test_the_check_reads_the_texts(tmp_path: Path, tiny_bert: Path) -> None:
    path = tmp_path / "pairs.csv"
    lines = [f"question {n},answer {n}" for n in range(40)] + ["question 1,answer 1"]
    path.write_text("\n".join(["ask,say", *lines]))
    made = recipe(path, tiny_bert, columns={"query": "ask", "positive": "say"}, task={})
    rows, report = check_recipe(made, load_backbone(made.model).tokenizer)
    assert sum(rows.values()) == 41
    assert not report.problems
    assert {"duplicate", "leak"} & {one.name for one in report.warnings}


@pytest.mark.slow
def test_similarity_on_real_sentences_is_kept_or_gained(shared_data: Path, tmp_path: Path) -> None:
    """STS-B: the backbone was tuned for similarity already; an epoch must not lose what it has."""
    folder = shared_data / "stsb"
    lines = (folder / "stsb-en-train.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "train.csv").write_text("".join(lines[:2000]), encoding="utf-8")
    made = Recipe.load("stsb-embeddings", {
        "data.train": str(tmp_path / "train.csv"), "data.validation": None,
        "data.test": str(folder / "stsb-en-test.csv"),
        "data.column_names": ["sentence1", "sentence2", "label"], "training.num_train_epochs": 1,
    })  # fmt: skip
    metrics = train(made, output_dir=tmp_path / "run")
    before = {name: splits["test"]["spearman"]["value"] for name, splits in metrics["baselines"].items()}
    after = metrics["metrics"]["test"]["spearman"]["value"]
    logging.getLogger("headway").info("STS-B test, Spearman: %s; after 2,000 rows: %.4f", before, after)
    assert before["untrained"] == pytest.approx(0.82, abs=0.01)
    # A hundredth is what another seed changes here.
    assert after > before["untrained"] - 0.01
    assert after > before["tfidf_cosine"] + 0.05


@pytest.mark.slow
def test_real_questions_find_their_intent(shared_data: Path, tmp_path: Path) -> None:
    for name in ("train", "test"):
        with (shared_data / "banking77" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows[::3]])
    made = Recipe.load("banking77-search", {
        "data.train": str(tmp_path / "train.csv"), "data.test": str(tmp_path / "test.csv"), "data.validation": None,
        "data.columns": {"text": "text", "group": "category"}, "training.num_train_epochs": 1,
    })  # fmt: skip
    metrics = train(made, output_dir=tmp_path / "run")
    scores = {name: value["value"] for name, value in metrics["metrics"]["test"].items()}
    before = {name: splits["test"]["recall_at_1"]["value"] for name, splits in metrics["baselines"].items()}
    logging.getLogger("headway").info("BANKING77 as search: %s; recall at 1 before: %s", scores, before)
    assert scores["recall_at_1"] > before["untrained"]
    assert scores["recall_at_1"] > before["tfidf_cosine"] + 0.1
    assert scores["recall_at_5"] > 0.9
