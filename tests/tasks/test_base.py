"""What a task gets without writing it: the defaults of the contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from headway.data.findings import TokenLoss
from headway.data.table import Table
from headway.errors import RecipeError
from headway.importing import Choice
from headway.metrics.own import Metric
from headway.tasks.base import Limits, Task
from headway.types import Batch, Column, Features, Prediction, Row


class Echo(Task):
    """Answers each text with itself."""

    name = "echo"

    @property
    def columns(self) -> tuple[Column, ...]:
        return (Column("text", "text", True, "The text."), Column("echo", "label", True, "The same."))

    @property
    def main_metric(self) -> str:
        return "distance"

    @property
    def default_loss(self) -> str:
        return "mse"

    @property
    def model_kind(self) -> str:
        return "features"

    def encode(self, row: Row, tokenizer: Any, limits: Limits) -> list[Features]:
        return [Features({"input_ids": [1]})]

    def collate(self, features: Any, tokenizer: Any) -> Batch:
        return Batch({}, {}, tuple(features))

    def build_model(self, backbone: Any) -> Any:
        return None

    def loss(self, outputs: Any, batch: Any, criterion: Any) -> Any:
        return criterion(outputs, batch)

    def decode(self, outputs: Any, batch: Any, rows: Any, tokenizer: Any) -> list[Prediction]:
        return [Prediction(row["text"]) for row in rows]

    def evaluate(self, predictions: Any, rows: Any) -> dict[str, float]:
        wrong = sum(one.value != row["echo"] for one, row in zip(predictions, rows, strict=True))
        return {"distance": wrong / len(rows)}


class Farther(Echo):
    """The same, judged by how near it is."""

    @property
    def lower_is_better(self) -> frozenset[str]:
        return frozenset({"distance"})


class Kinds(Metric):
    """How many answers there are; undefined where there is only one row."""

    lower_is_better = True

    def __call__(self, predictions: Any, rows: Any) -> float:
        return len({one.value for one in predictions}) if len(rows) > 1 else float("nan")


OWN = {"type": "echo", "metrics": (Choice(name=f"{__name__}.Kinds"),)}

ROWS = [{"text": f"text {n}", "echo": f"text {n % 3}"} for n in range(6)]


def test_a_task_must_write_the_steps_that_have_no_default() -> None:
    missing: Any = type("Missing", (Task,), {"name": "missing", "__annotations__": {}})
    with pytest.raises(TypeError, match="abstract method"):
        missing(type="missing")
    assert Echo(type="echo")


def test_a_task_is_closed_and_frozen() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Echo(type="echo", volume=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="frozen"):
        Echo(type="echo").type = "other"


def test_the_direction_follows_from_the_metric() -> None:
    assert Echo(type="echo").higher_is_better
    assert not Farther(type="echo").higher_is_better


def test_what_is_left_as_it_is() -> None:
    task, table, features = Echo(type="echo"), Table.from_rows(ROWS), Features({"input_ids": [1]})
    assert task.prepare(table, 0) is table
    assert task.resolve(table) is task
    assert task.refresh(features, None, np.random.default_rng(0)) is features
    assert task.merge([Prediction("a")]) == Prediction("a")
    assert (task.baselines(ROWS, ROWS, 0), task.details([], []), task.stratify_by) == ({}, {}, None)


def test_windows_need_a_merge_of_their_own() -> None:
    with pytest.raises(ValueError, match="too many values"):
        Echo(type="echo").merge([Prediction("a"), Prediction("b")])


def test_inference_is_the_forward_pass() -> None:
    batch = Batch({"input_ids": "tokens"}, {}, ())  # type: ignore[dict-item]
    task = Echo(type="echo")
    said: Any = lambda **inputs: {"logits": inputs}  # noqa: E731
    assert task.infer(said, batch) == task.forward(said, batch) == {"logits": {"input_ids": "tokens"}}


def test_the_scorer_evaluates_the_chosen_rows() -> None:
    task = Echo(type="echo")
    predictions = [Prediction(row["text"]) for row in ROWS]
    scorer = task.scorer(predictions, ROWS)
    assert scorer(np.array([0, 1, 2])) == {"distance": 0.0}
    assert scorer(np.array([0, 3, 4, 5])) == {"distance": 0.75}


def test_the_recipes_own_metrics_stand_beside_those_of_the_task() -> None:
    predictions = [Prediction(row["text"]) for row in ROWS]
    task = Echo(**OWN)
    assert task.evaluate(predictions, ROWS) == {"distance": 0.5}
    assert task.measure(predictions, ROWS) == {"distance": 0.5, "kinds": 6.0}
    measurer = task.measurer(predictions, ROWS)
    assert measurer(np.arange(6)) == {"distance": 0.5, "kinds": 6.0}
    assert measurer(np.array([0, 0, 3])) == {"distance": pytest.approx(1 / 3), "kinds": 2.0}
    assert measurer(np.array([3])) == {"distance": 1.0}
    with pytest.raises(RecipeError, match="'kinds' returned nan, expected a finite number"):
        task.measurer(predictions[:1], ROWS[:1])
    plain = Echo(type="echo")
    assert plain.measure(predictions, ROWS) == plain.measurer(predictions, ROWS)(np.arange(6)) == {"distance": 0.5}


def test_the_direction_of_every_metric_is_known() -> None:
    names = ("distance", "kinds", "loss")
    assert [Echo(**OWN).is_lower_better(name) for name in names] == [False, True, True]
    assert [Farther(type="echo").is_lower_better(name) for name in names] == [True, False, True]


def test_own_metrics_travel_with_the_task() -> None:
    task = Echo.model_validate({"type": "echo", "metrics": [{"name": "a.B", "weight": 2}, "c.D"]})
    assert task.model_dump(mode="json")["metrics"] == [{"name": "a.B", "weight": 2}, "c.D"]
    assert Echo.model_validate_json(task.model_dump_json()) == task
    with pytest.raises(RecipeError, match=r"cannot import 'a\.B'"):
        task.own_metrics()


def test_the_texts_are_checked() -> None:
    table = Table.from_rows([*ROWS, {"text": "", "echo": ""}])
    lost = {"train": TokenLoss(rows=7, tokens=100, tokens_lost=50, rows_truncated=7, max_length=8)}
    report = Echo(type="echo").check({"train": table}, lost)
    names = {one.name for one in (*report.problems, *report.warnings)}
    assert {"empty_text", "tokens_lost"} <= names


def test_classes_are_weighed_only_where_there_are_some() -> None:
    with pytest.raises(RecipeError, match=r"optimization\.class_weights: echo has no classes to weigh"):
        Echo(type="echo").class_weights(Table.from_rows(ROWS), "balanced")


def test_one_answer_for_all_is_a_collapse() -> None:
    task = Echo(type="echo")
    assert task.is_collapsed([Prediction("a"), Prediction("a")])
    assert not task.is_collapsed([Prediction("a"), Prediction("b")])
    assert not task.is_collapsed([Prediction("a")])
    assert not task.is_collapsed([])
