from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from headway.data.table import Table
from headway.errors import DataError, RecipeError
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.recipe import Recipe
from headway.tasks.base import Limits
from headway.tasks.relation_extraction import RelationExtraction
from headway.tokenising import encode_table
from headway.train import train
from headway.types import Row

TEXTS = [
    "the <e1>man</e1> made a <e2>chair</e2>", "a <e1>chair</e1> was made by the <e2>woman</e2>",
    "the <e1>cat</e1> and a <e2>dog</e2>", "a <e1>woman</e1> made the <e2>soup</e2>",
    "the <e1>soup</e1> made by a <e2>child</e2>", "this <e1>street</e1> or that <e2>city</e2>",
    "my <e1>child</e1> made <e2>bread</e2>", "the <e1>table</e1> that the <e2>man</e2> made",
]  # fmt: skip
LABELS = ["Makes(e1,e2)", "Makes(e2,e1)", "Other", "Makes(e1,e2)", "Makes(e2,e1)", "Other", "Makes(e1,e2)"]
LABELS.append("Makes(e2,e1)")
MARKED = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]


def with_spans(row: Row) -> Row:
    text, spans = row["text"], {}
    for name, tag in (("head", "e1"), ("tail", "e2")):
        start, end = text.index(f"<{tag}>"), text.index(f"</{tag}>") - len(f"<{tag}>")
        text = text.replace(f"<{tag}>", "").replace(f"</{tag}>", "")
        spans[name] = {"start": start, "end": end}
    return {"text": text, **spans, "label": row["label"]}


CASES: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "marks in the text": ({"markers": ["!", "?"]}, MARKED),
    "spans beside the text": ({"markers": ["!", "?"]}, [with_spans(row) for row in MARKED]),
    "labels without direction": (
        {"markers": ["!", "?"], "negative_label": "none"},
        [row | {"label": "makes" if "Makes" in row["label"] else "none"} for row in MARKED],
    ),
}


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def table_of(*labels: Any) -> Table:
    return Table.from_rows([{"text": TEXTS[n % 8], "label": label} for n, label in enumerate(labels)], name="a.csv")


@pytest.mark.parametrize(
    ("labels", "negative"),
    [
        (["b", "Other", "a"], "Other"),
        (["no_relation", "a"], "no_relation"),
        (["b", "a"], None),
        (["NA", "a"], "NA"),
    ],
)
def test_labels_and_the_negative_one_are_learnt(labels: list[str], negative: str | None) -> None:
    task = RelationExtraction().resolve(table_of(*labels))
    assert task.labels == tuple(sorted(labels))
    assert task.negative_label == negative
    assert task.main_metric == "f1_macro_official"


def test_options_that_cannot_serve() -> None:
    with pytest.raises(RecipeError, match=r"there is no label 'other'\. Did you mean 'Other'"):
        RelationExtraction(negative_label="other").resolve(table_of("Other", "a"))
    with pytest.raises(DataError, match="holds only 'a'; this task needs at least 2"):
        RelationExtraction().resolve(table_of("a", "a"))
    for markers in (["@", "@"], ["@", ""], ["@ ", "#"]):
        with pytest.raises(ValidationError, match="two different words are needed"):
            RelationExtraction(markers=markers)
    with pytest.raises(ValidationError, match="these stand twice: a"):
        RelationExtraction(labels=("a", "a"))
    with pytest.raises(RecipeError, match="does not read a text by 'tail'"):
        Recipe.from_dict({"task": "relation-extraction", "data": {"train": "a.csv", "truncation": "tail"}})


def test_bad_rows_are_named(tokenizer: Any) -> None:
    rows = [
        {"text": "no marks at all", "label": "a"},
        {"text": "<e1>cat</e1> <e1>cat</e1> <e2>dog</e2>", "label": "a"},
        {"text": "cat", "head": {"start": 0, "end": 3}, "tail": {"start": 1, "end": 9}, "label": "a"},
        {"text": "<e1>cat</e1> <e2>dog</e2>", "label": "aa"},
    ]
    task = RelationExtraction(labels=("a", "b"))
    with pytest.raises(DataError) as refused:
        list(encode_table(Table.from_rows(rows), task, tokenizer, Limits()))
    for part in ("row 1: the mark <e1> is missing", "row 2: the mark <e1> stands 2 times", "row 3: column 'tail'",
                 "row 4: column 'label' holds 'aa', which is not among the labels of this task (a, b)."):  # fmt: skip
        assert part in str(refused.value)


def test_marks_and_spans_give_one_input(tokenizer: Any) -> None:
    task = RelationExtraction(labels=tuple(sorted(set(LABELS))), markers=("!", "?"))
    for row in MARKED:
        (marked,), (spanned,) = (task.encode(one, tokenizer, Limits()) for one in (row, with_spans(row)))
        assert marked == spanned
        assert tokenizer.decode(marked.inputs["input_ids"]).count("!") == 2


def test_a_marker_unknown_to_the_model_is_said(tiny_bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert)))
    with caplog.at_level(logging.WARNING, logger="headway"):
        RelationExtraction(labels=("a", "b"), markers=("!", "§")).build_model(backbone)
    assert [record.getMessage() for record in caplog.records] == [
        "task.markers: '§' is no token of this model, which reads it as an unknown character. Choose punctuation that "
        "its vocabulary holds."
    ]


def test_the_baseline_reads_what_stands_between() -> None:
    rows = [
        {"text": f"<e1>x{n}</e1> {word} <e2>y{n}</e2> {['good', 'bad'][n % 3 == 0]}", "label": word}
        for n, word in enumerate(["makes", "eats"] * 10)
    ]
    task = RelationExtraction(labels=("eats", "makes"))
    found = task.baselines(rows, rows[:4], seed=0)
    assert [one.value for one in found["tfidf_logistic_regression"]] == ["makes", "eats", "makes", "eats"]
    assert {one.value for one in found["majority"]} == {"eats"}


def test_details_name_relations_and_turned_ones() -> None:
    task = RelationExtraction(labels=tuple(sorted(set(LABELS))), negative_label="Other")
    predictions = [task._one([0.8, 0.1, 0.1]) for _ in MARKED]
    details = task.details(predictions, MARKED)
    assert details["tables"][0]["rows"] == [["Makes", 3 / 8, 3 / 6, 6 / 14, 6, 3]]
    assert len(details["per_class"]) == 3
    plain = RelationExtraction(labels=("a", "b"))
    rows = [{"text": TEXTS[0], "label": "a"}]
    assert "tables" not in plain.details([plain._one([1.0, 0.0])], rows)


def test_weights_follow_the_labels() -> None:
    task = RelationExtraction(labels=("a", "b"))
    assert task.class_weights(table_of("a", "a", "a", "b"), "balanced") == pytest.approx([4 / 6, 4 / 2])
    assert task.class_weights(table_of("a"), {"b": 3}) == [1.0, 3.0]
    with pytest.raises(RecipeError, match="there is no label 'c'"):
        task.class_weights(table_of("a"), {"c": 1.0})


def test_the_saved_model_is_the_one_of_transformers(tiny_bert: Path, tmp_path: Path) -> None:
    data = tmp_path / "made.csv"
    data.write_text("text,label\n" + "".join(f'"{row["text"]}","{row["label"]}"\n' for row in MARKED * 2))
    recipe = {
        "task": {"type": "relation-extraction", "markers": ["!", "?"]},
        "data": {"train": str(data), "validation": str(data), "max_length": 32},
        "model": {"model_name_or_path": str(tiny_bert)},
        "training": {"max_steps": 2, "bf16": False, "baselines": False},
    }
    metrics = train(Recipe.from_dict(recipe), output_dir=tmp_path / "run")
    assert metrics["main_metric"] == "f1_macro_official"
    from headway.predictor import Predictor

    found = Predictor.load(tmp_path / "run").predict("the <e1>man</e1> made a <e2>chair</e2>")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model").eval()
    tokens = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")(
        "the ! man ! made a ? chair ?", return_tensors="pt"
    )
    with torch.no_grad():
        shares = model(**tokens).logits[0].softmax(-1).tolist()
    assert list(found.detail["probabilities"]) == list(model.config.id2label.values()) == sorted(set(LABELS))
    assert list(found.detail["probabilities"].values()) == pytest.approx(shares, abs=1e-5)


@pytest.mark.slow
def test_semeval_beats_the_words_between(shared_data: Path, tmp_path: Path) -> None:
    blocks = (shared_data / "semeval2010_task8" / "TRAIN_FILE.TXT").read_bytes().split(b"\r\n\r\n")
    data, test = tmp_path / "train.txt", tmp_path / "test.txt"
    data.write_bytes(b"\r\n\r\n".join(blocks[:1500]))
    test.write_bytes(b"\r\n\r\n".join(blocks[1500:2000]))
    recipe = {
        "task": "relation-extraction",
        "data": {"train": str(data), "validation": str(test), "format": "semeval", "max_length": 64},
        # minilm was made for the mean of its vectors; its first vector alone learns too slowly for so few rows.
        "model": {"model_name_or_path": "minilm", "head": "linear", "pooling": "mean"},
        "optimization": {"learning_rate": 5e-4, "warmup_ratio": 0.1},
        "training": {"num_train_epochs": 4, "per_device_train_batch_size": 16},
    }
    metrics = train(Recipe.from_dict(recipe), output_dir=tmp_path / "run")
    scores = {name: one["value"] for name, one in metrics["metrics"]["validation"].items()}
    baseline = metrics["baselines"]["tfidf_logistic_regression"]["validation"]["f1_macro_official"]["value"]
    assert scores["f1_macro_official"] > baseline
    # Nine relations without Other; a turned one is wrong in either score.
    details = metrics["details"]["validation"]
    table = details["tables"][0]["rows"]
    assert len(table) == 9
    assert scores["f1_macro_official"] == pytest.approx(sum(row[3] for row in table) / 9)
