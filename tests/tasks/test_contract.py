"""What every task keeps to, whatever it predicts. A new task brings `CASES` in its own test file."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headway.data.table import Table
from headway.errors import DataError
from headway.importing import Choice, load_class
from headway.inference import Inference, LossMean
from headway.metrics.own import Metric
from headway.models.backbone import Backbone, load_backbone
from headway.models.losses import build_loss
from headway.models.options import KINDS, ModelOptions
from headway.models.precision import to_bfloat16
from headway.recipe import TASKS
from headway.tasks.base import Limits, Task
from headway.tokenising import encode_table
from headway.types import Batch, Prediction, Row

CASES: dict[str, dict[str, tuple[dict[str, Any], list[Row]]]] = {
    name: importlib.import_module(f"tests.tasks.test_{name.replace('-', '_')}").CASES for name in TASKS
}
"""Task -> what is tried -> (options of the task, eight rows), from the test file of each task."""


class RowsSeen(Metric):
    """How many different rows were scored, each beside its own prediction."""

    def __call__(self, predictions: Any, rows: Any) -> float:
        return len({(id(one), id(row)) for one, row in zip(predictions, rows, strict=True)})


@dataclass(frozen=True)
class Case:
    """A task that has learnt what it learns from its rows, and a model for it."""

    task: Task
    table: Table
    backbone: Backbone
    model: torch.nn.Module

    @property
    def rows(self) -> list[Row]:
        return list(self.table)

    @property
    def inference(self) -> Inference:
        return self.with_task(self.task)

    def with_task(self, task: Task, batch_size: int = 3) -> Inference:
        return Inference(task, self.model, self.backbone.tokenizer, Limits(max_length=32), batch_size)

    @property
    def of_split(self) -> list[Prediction]:
        """The predictions of all rows as one split."""
        return self.inference.predict(list(self.inference.encode(self.rows)), self.rows)

    @property
    def batch(self) -> Batch:
        tokenizer = self.backbone.tokenizer
        features = enumerate(encode_table(self.table, self.task, tokenizer, Limits(max_length=32)))
        seen = [self.task.refresh(one, tokenizer, np.random.default_rng([0, 0, number])) for number, one in features]
        return self.task.collate(seen, tokenizer)

    @property
    def criterion(self) -> torch.nn.Module:
        return build_loss(Choice(name=self.task.default_loss))


def build(name: str, kind: str, backbone: Backbone) -> Case:
    options, rows = CASES[name][kind]
    chosen = load_class(name, known=TASKS, option="task.type", base=Task)
    table = Table.from_rows(rows)
    task = chosen.model_validate({"type": name, **options}).resolve(table)
    torch.manual_seed(0)
    return Case(task, table, backbone, task.build_model(backbone))


@pytest.fixture(scope="module")
def backbone(tiny_bert: Path) -> Backbone:
    return load_backbone(ModelOptions(model_name_or_path=str(tiny_bert), dropout=0.0))


@pytest.fixture(
    scope="module",
    params=[pytest.param((name, kind), id=f"{name}: {kind}") for name, kinds in CASES.items() for kind in kinds],
)
def case(request: pytest.FixtureRequest, backbone: Backbone) -> Case:
    return build(*request.param, backbone)


def assert_close(left: Any, right: Any) -> None:
    """Two plain values hold the same, numbers up to rounding."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for name, value in left.items():
            assert_close(value, right[name])
    elif isinstance(left, list):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_close(one, other)
    else:
        assert left == (pytest.approx(right, rel=1e-4, abs=1e-4) if isinstance(left, float) else right)


def as_json(predictions: list[Prediction]) -> str:
    return json.dumps([dataclasses.asdict(one) for one in predictions], allow_nan=False)


def test_the_task_says_what_it_is(case: Case) -> None:
    task = case.task
    assert task.name in TASKS
    assert task.model_kind in KINDS
    assert any(not column.is_gold and column.required for column in task.columns)
    assert len({column.name for column in task.columns}) == len(task.columns)
    assert all(column.description for column in task.columns)
    assert all(field.description for field in type(task).model_fields.values())


def test_from_rows_to_scores(case: Case) -> None:
    task, rows = case.task, case.rows
    batch = case.batch
    outputs = task.forward(case.model, batch)
    loss = task.loss(outputs, batch, case.criterion)
    assert loss.shape == ()
    assert torch.isfinite(loss)
    loss.backward()
    moved = [parameter for parameter in case.model.parameters() if parameter.grad is not None and parameter.grad.any()]
    case.model.zero_grad()
    assert len(moved) > len(list(case.model.parameters())) / 2

    predictions = case.inference.predict(list(case.inference.encode(rows)), rows)
    assert len(predictions) == len(rows)
    assert json.loads(as_json(predictions))
    scores = task.evaluate(predictions, rows)
    assert task.main_metric in scores
    assert all(isinstance(value, float) and np.isfinite(value) for value in scores.values())
    assert json.dumps(dict(task.details(predictions, rows)), allow_nan=False)


def test_the_scorer_of_chosen_rows_is_evaluate_of_these_rows(case: Case) -> None:
    predictions = case.of_split
    scorer = case.task.scorer(predictions, case.rows)
    for chosen in (np.arange(len(case.rows)), np.array([0, 1, 1, 5, 2, 2, 7, 4])):
        expected = case.task.evaluate([predictions[i] for i in chosen], [case.rows[i] for i in chosen])
        assert scorer(chosen) == pytest.approx(expected, abs=1e-6)


def test_a_metric_of_the_users_own_needs_no_word_of_the_task(case: Case) -> None:
    predictions, rows = case.of_split, case.rows
    task = case.task.model_copy(update={"metrics": (Choice(name=f"{__name__}.RowsSeen"),)})
    assert task.measure(predictions, rows) == task.evaluate(predictions, rows) | {"rows_seen": 8.0}
    measurer, scorer = task.measurer(predictions, rows), task.scorer(predictions, rows)
    for chosen, seen in ((np.arange(8), 8.0), (np.array([0, 1, 1, 5, 2, 2, 7, 4]), 6.0)):
        assert measurer(chosen) == scorer(chosen) | {"rows_seen": seen}


def test_rows_without_gold_have_the_same_inputs_and_no_targets(case: Case) -> None:
    gold = {column.name for column in case.task.columns if column.is_gold} & set(case.table.column_names)
    bare = [{name: value for name, value in row.items() if name not in gold} for row in case.rows]
    with_gold, without = list(case.inference.encode(case.rows)), list(case.inference.encode(bare))
    assert [one.inputs for one in with_gold] == [one.inputs for one in without]
    if gold:
        assert all(one.targets for one in with_gold)
        assert not any(one.targets for one in without)
        assert case.task.collate(without, case.backbone.tokenizer).targets == {}
    assert as_json(case.inference.predict(without, bare)) == as_json(case.inference.predict(with_gold, case.rows))


def test_a_saved_task_is_rebuilt_whole(case: Case) -> None:
    saved = json.loads(json.dumps(case.task.model_dump(mode="json")))
    rebuilt = load_class(saved["type"], known=TASKS, option="task.type", base=Task).model_validate(saved)
    assert rebuilt == case.task
    assert rebuilt.resolve(case.table) == case.task
    assert as_json(list(case.with_task(rebuilt).stream(case.rows))) == as_json(list(case.inference.stream(case.rows)))


def test_a_batch_of_one_says_what_a_batch_of_eight_says(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    eight = list(case.with_task(case.task, 8).stream(case.rows))
    monkeypatch.setattr("headway.data.batching.TOKENS_PER_ROW", 1)
    one = list(case.with_task(case.task, 1).stream(case.rows))
    for left, right in zip(one, eight, strict=True):
        assert_close(dataclasses.asdict(left), dataclasses.asdict(right))


def test_in_bfloat16_it_answers_in_the_same_form(case: Case) -> None:
    low = dataclasses.replace(case, model=copy.deepcopy(case.model))
    to_bfloat16(low.model)
    assert {one.dtype for one in low.model.parameters()} == {torch.bfloat16}
    for found, exact in zip(low.of_split, case.of_split, strict=True):
        assert type(found.value) is type(exact.value)
        assert found.detail.keys() == exact.detail.keys()
        assert found.score == (None if exact.score is None else pytest.approx(exact.score, abs=0.05))
    as_json(low.of_split)


def test_every_text_has_features(case: Case) -> None:
    gold = {column.name for column in case.task.columns if column.is_gold}
    first = {name: value for name, value in case.rows[0].items() if name not in gold}
    kinds = {column.name: column.kind for column in case.task.columns if column.name in first}

    def filled(text: str) -> Row:
        said = {"text": text, "passage": text, "tokens": text.split() or ["a"]}
        return {name: said.get(kinds[name], value) for name, value in first.items()}

    def accepted(text: str) -> Row:
        try:
            list(case.inference.encode([filled(text)]))
        except DataError:
            # What such a text must hold (marks, spans) stands in the row's own, which the other then follows.
            own = next(first[name] for name, kind in kinds.items() if kind in ("text", "passage"))
            return filled(f"{own} {text}")
        return filled(text)

    rows = [accepted(text) for text in ("", " ", "film " * 500, "\u200b\U0001f600")]
    features = list(case.inference.encode(rows))
    assert {one.row for one in features} == {0, 1, 2, 3}
    assert max(length for one in features for length in (one.pieces or (one.length,))) <= 32
    # A long text is read in several pieces, or what is left out of it is counted.
    long = [one for one in features if one.row == 2]
    assert sum(one.num_pieces for one in long) > 1 or sum(one.extra["tokens_lost"] for one in long) > 0
    assert len(case.inference.predict(features, rows)) == 4


def test_refreshing_with_the_same_draws_gives_the_same(case: Case) -> None:
    for one in case.inference.encode(case.rows):
        first, second = (
            case.task.refresh(one, case.backbone.tokenizer, np.random.default_rng([1, 2, 3])) for _ in range(2)
        )
        assert first == second


def test_the_baselines_answer_every_row_in_the_form_of_the_task(case: Case) -> None:
    own = case.of_split
    features = list(case.inference.encode(case.rows))
    asked = [one for one in case.inference.refreshed(features) if one.row < 5]
    found = case.task.baselines(case.rows, case.rows[:5], seed=0)
    found |= case.task.feature_baselines(features, asked, case.backbone.tokenizer)
    assert found
    for predictions in found.values():
        assert len(predictions) == 5
        assert {type(one.value) for one in predictions} == {type(own[0].value)}
        assert predictions[0].detail.keys() == own[0].detail.keys()
        assert case.task.evaluate(predictions, case.rows[:5])
        assert json.loads(as_json(predictions))


def test_a_constant_answer_is_a_collapse(case: Case) -> None:
    one = next(iter(case.inference.stream(case.rows)))
    assert case.task.is_collapsed([one] * 5)
    assert not case.task.is_collapsed([one])


def test_it_learns_eight_rows_by_heart(case: Case, request: pytest.FixtureRequest) -> None:
    learner = build(*request.node.callspec.params["case"], case.backbone)
    optimizer = torch.optim.AdamW(learner.model.parameters(), lr=3e-3)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.05, total_iters=20)
    batch, criterion = learner.batch, learner.criterion
    learner.model.eval()  # without dropout, which would blur what was learnt by heart
    for _ in range(300):
        optimizer.zero_grad()
        loss = learner.task.loss(learner.task.forward(learner.model, batch), batch, criterion)
        if loss < 0.02:
            break
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.model.parameters(), 0.1)
        optimizer.step()
        rise.step()
    mean = LossMean(criterion)
    features = list(learner.inference.encode(learner.rows))
    predictions = learner.inference.predict(features, learner.rows, loss=mean)
    score = learner.task.evaluate(predictions, learner.rows)[learner.task.main_metric]
    # 0 is the best mean error, 1 the best perplexity.
    assert score > 0.95 if learner.task.higher_is_better else score < 1.1
    assert mean.value is not None
    assert mean.value < 0.05
