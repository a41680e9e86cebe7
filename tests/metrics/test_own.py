"""Metrics of the user's own: how they are found, named and called, and what is said of those that will not do."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headway.errors import DataError, RecipeError
from headway.importing import Choice
from headway.metrics.own import Metric, load_metrics, with_own
from headway.types import Prediction, Row

PREDICTIONS = [Prediction("a"), Prediction("b"), Prediction("b")]
ROWS = [{"label": "a"}, {"label": "a"}, {"label": "b"}]


class WrongShare(Metric):
    """The share of wrong answers."""

    lower_is_better = True

    def __call__(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> float:
        return sum(one.value != row["label"] for one, row in zip(predictions, rows, strict=True)) / len(rows)


@dataclass
class Returns(Metric):
    """Whatever it is told to."""

    value: Any
    called: str = "returned"

    def __post_init__(self) -> None:
        self.name = self.called

    def __call__(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> float:
        found: float = self.value
        return found


class Accuracy(WrongShare):
    """Bears a name that a task may have."""


class Loss(WrongShare):
    """Bears a name that every task has."""


class MRRAt10(WrongShare):
    """Bears a name with an abbreviation."""


class Unreadable(WrongShare):
    """Bears a name that is no word."""

    name = "wrong/share"


class Raises(Metric):
    """Fails two calls deep."""

    def __call__(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> float:
        return self.first(predictions)

    def first(self, predictions: Sequence[Prediction]) -> float:
        return float(predictions[0].detail["certainty"])


class Refuses(Metric):
    """Complains of the data in headway's own way."""

    def __call__(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> float:
        raise DataError("no row is labelled")


class TakesOne(Metric):
    """Forgot the rows."""

    def __call__(self, predictions: Sequence[Prediction]) -> float:  # type: ignore[override]
        return 1.0


class Sorts(Metric):
    """Would leave the predictions in another order than their rows."""

    def __call__(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> float:
        predictions.sort()  # type: ignore[attr-defined]
        return 1.0


class Silent(Metric):
    """Has no `__call__`."""


class NoMetric:
    """A class of another kind."""


def own(name: str, **options: Any) -> Choice:
    return Choice(name=f"{__name__}.{name}", options=options)


def test_they_are_called_after_their_classes_or_as_they_say() -> None:
    choices = [own("WrongShare"), own("MRRAt10"), own("Returns", value=1, called="one"), own("Returns", value=2)]
    metrics = load_metrics(choices)
    assert list(metrics) == ["wrong_share", "mrr_at10", "one", "returned"]
    assert [one.lower_is_better for one in metrics.values()] == [True, True, False, False]


def test_they_stand_after_those_of_the_task() -> None:
    metrics = load_metrics([own("WrongShare"), own("Returns", value=np.float32(0.5))])
    scores = with_own({"accuracy": 2 / 3}, metrics, PREDICTIONS, ROWS)
    assert list(scores.items()) == [("accuracy", 2 / 3), ("wrong_share", 1 / 3), ("returned", 0.5)]
    assert all(type(one) is float for one in scores.values())


def test_no_rows_have_no_scores() -> None:
    assert with_own({}, load_metrics([own("WrongShare")]), [], []) == {}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_undefined_on_drawn_rows_is_left_out_there(value: float) -> None:
    metrics = load_metrics([own("Returns", value=value), own("WrongShare")])
    assert with_own({}, metrics, PREDICTIONS, ROWS, is_drawn=True) == {"wrong_share": 1 / 3}
    with pytest.raises(RecipeError, match=rf"task\.metrics: 'returned' returned {value}, expected a finite number\."):
        with_own({}, metrics, PREDICTIONS, ROWS)


@pytest.mark.parametrize("value", [None, "0.5", [0.5], 1j])
@pytest.mark.parametrize("is_drawn", [False, True])
def test_what_is_no_number_is_refused(value: Any, is_drawn: bool) -> None:
    metrics = load_metrics([own("Returns", value=value)])
    message = re.escape(f"task.metrics: 'returned' returned {value!r}, expected a finite number.")
    with pytest.raises(RecipeError, match=message):
        with_own({}, metrics, PREDICTIONS, ROWS, is_drawn=is_drawn)


@pytest.mark.parametrize(
    ("name", "message", "line"),
    [
        ("Raises", "'raises' failed with KeyError: 'certainty'", 'detail["certainty"]'),
        ("Refuses", "'refuses' failed with DataError: no row is labelled", "raise DataError("),
        ("Sorts", "'sorts' failed with AttributeError: 'tuple' object has no attribute 'sort'", "predictions.sort()"),
    ],
)
def test_one_that_fails_is_named_with_its_line(name: str, message: str, line: str) -> None:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    number = next(number for number, text in enumerate(lines, start=1) if line in text)
    with pytest.raises(RecipeError) as failed:
        with_own({}, load_metrics([own(name)]), PREDICTIONS, ROWS)
    assert str(failed.value) == f"task.metrics: {message} ({__file__}, line {number})."


def test_one_that_cannot_even_be_called_is_named() -> None:
    with pytest.raises(
        RecipeError, match=r"'takes_one' failed with TypeError: .* positional arguments but 3 were given"
    ):
        with_own({}, load_metrics([own("TakesOne")]), PREDICTIONS, ROWS)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([own("WrongShare"), own("WrongShare")], "there is another metric 'wrong_share'. Call yours otherwise"),
        ([own("Loss")], "there is another metric 'loss'"),
        ([own("Unreadable")], "is called 'wrong/share'; use letters, digits and underscores only"),
        ([own("Returns", value=1, called=7.5)], "is called '7.5'; use letters"),
        ([own("NoMetric")], "must be a subclass of headway.metrics.own.Metric"),
        ([own("Silent")], "cannot be constructed: Can't instantiate abstract class Silent"),
        ([own("WrongShare", labels=2)], "does not take 'labels'. Its options are: none."),
        ([own("WrongShar")], "has no class 'WrongShar'. Did you mean 'WrongShare'?"),
        ([Choice(name="no_such_module.Cost")], "cannot import 'no_such_module.Cost': there is no module"),
        ([Choice(name="cost")], "'cost' is not known. Use the import path of your own class (my_module.MyClass)."),
    ],
)
def test_one_that_cannot_be_used_is_refused(choices: list[Choice], message: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_metrics(choices)
    assert str(refused.value).startswith("task.metrics: ")
    assert message in str(refused.value)


def test_a_name_of_the_task_is_taken() -> None:
    metrics = load_metrics([own("Accuracy")])
    with pytest.raises(
        RecipeError, match=r"another metric 'accuracy'\. Call yours otherwise, with the attribute 'name'"
    ):
        with_own({"accuracy": 1.0}, metrics, PREDICTIONS, ROWS)
