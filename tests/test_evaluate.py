from __future__ import annotations

import json
from pathlib import Path

import pytest

from headway.data.table import Table
from headway.errors import DataError
from headway.evaluate import evaluate, prediction_lines, score
from headway.tasks.text_classification import TextClassification
from headway.types import Prediction

TASK = TextClassification(problem_type="single_label_classification", labels=("bad", "good"))


def says(*labels: str, sure: float = 0.8) -> list[Prediction]:
    return [
        Prediction(one, sure, {"probabilities": {label: sure if label == one else 1 - sure for label in TASK.labels}})
        for one in labels
    ]


def table_of(*labels: str) -> Table:
    return Table.from_rows([{"text": f"text {n}", "label": label} for n, label in enumerate(labels)], name="a.csv")


def test_every_metric_of_the_task_has_its_interval() -> None:
    table, predictions = table_of(*["good", "bad"] * 20), says(*["good"] * 30, *["bad"] * 10)
    scored = score(TASK, predictions, table, loss=0.5)
    assert {name: one["value"] for name, one in scored.metrics.items()} == pytest.approx(
        TASK.evaluate(predictions, list(table))
    )
    assert scored.metrics["accuracy"]["value"] == 0.5
    assert all(one["low"] <= one["value"] <= one["high"] for one in scored.metrics.values())
    assert scored.metrics["accuracy"]["low"] < scored.metrics["accuracy"]["high"]
    assert (scored.loss, scored.is_collapsed) == (0.5, False)
    assert scored.details["confusion"]["counts"] == [[5, 15], [5, 15]]


def test_a_model_that_always_says_the_same_is_collapsed() -> None:
    assert score(TASK, says("good", "good"), table_of("good", "bad")).is_collapsed
    assert not score(TASK, says("good"), table_of("good")).is_collapsed


def test_one_line_for_each_row() -> None:
    table = Table.from_rows([{"text": "Zoë \u2028", "label": "good"}, {"text": "b", "label": "bad"}], name="a.csv")
    lines = list(prediction_lines(TASK, says("good", "good"), table))
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    assert json.loads(lines[0]) == {
        "row": 0,
        "where": "a.csv, row 1",
        "input": {"text": "Zoë \u2028"},
        "gold": "good",
        "value": "good",
        "score": 0.8,
        "detail": {"probabilities": {"bad": pytest.approx(0.2), "good": 0.8}},
    }
    unlabelled = Table.from_rows([{"text": "a"}])
    assert json.loads(next(prediction_lines(TASK, says("good"), unlabelled)))["gold"] is None


def test_a_run_on_a_labelled_file(finished_run: Path, reviews_csv: Path, tmp_path: Path) -> None:
    result = evaluate(finished_run, str(reviews_csv), output_dir=tmp_path / "out")
    own = json.loads((finished_run / "metrics.json").read_text())["metrics"]["test"]
    assert result["metrics"]["data"] == own
    assert (result["rows"], result["main_metric"], result["collapsed"]) == (40, "accuracy", False)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == result
    lines = (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    theirs = (finished_run / "predictions" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["value"] for line in lines] == [json.loads(line)["value"] for line in theirs]
    assert json.loads(lines[0])["where"] == f"{reviews_csv}, line 2"


def test_reading_options_and_tokens_lost(finished_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.tsv"
    path.write_text("review\tlabel\n" + "".join(f"{'good ' * (10 * n)}\tgood\n" for n in (1, 2)))
    result = evaluate(finished_run, str(path), reading={"columns": {"text": "review"}})
    assert result["rows"] == 2
    assert result["tokens_lost"] == 2 + 20 - 14 - 2  # of 20 tokens and two special ones, 16 are seen


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\n", "holds no rows"),
        ("text\ngood\n", "label"),
        ("text,label\na,good\nb,goood\nc,bad\n", r"1 of 3 rows .*\n.*other\.csv, line 3: column 'label' holds 'goood'"),
    ],
)
def test_a_file_that_cannot_be_scored(finished_run: Path, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "other.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        evaluate(finished_run, str(path), output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()
