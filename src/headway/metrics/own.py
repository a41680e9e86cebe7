"""Metrics of the user's own: classes named by import path in ``task.metrics``, measured beside those of the task.

A task calls these functions on a whole split. Nothing is imported before something is to be measured, so a model that
only predicts never needs them.
"""

from __future__ import annotations

import math
import numbers
import re
import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from headway.errors import RecipeError
from headway.importing import Choice
from headway.types import Prediction, Row

OPTION = "task.metrics"


class Metric(ABC):
    """One number for a whole split; subclass it and name the subclass in the recipe.

    Options beside its name in the recipe go to the constructor, by keyword. It is constructed anew for each
    evaluation, so it carries nothing from one to the next.
    """

    name: str = ""
    """What metrics.json calls it: letters, digits and underscores; empty takes the name of the class in snake case."""

    lower_is_better: bool = False
    """Whether less of it is better."""

    @abstractmethod
    def __call__(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> float:
        """Return the metric of the predictions; ``rows[i]``, with its gold columns, is the row of ``predictions[i]``.

        Both must stay as they are. For the bootstrap interval it is called a thousand times more, with rows drawn
        with replacement; ``nan`` leaves such a draw out.
        """


def load_metrics(choices: Sequence[Choice]) -> dict[str, Metric]:
    """Import and construct metrics, and return them by the names under which they are reported.

    Raises:
        RecipeError: one cannot be imported or constructed, is no `Metric`, or has a name that will not do.
    """
    metrics: dict[str, Metric] = {}
    for choice in choices:
        metric = choice.create(Metric, known={}, option=OPTION, given={})  # type: ignore[type-abstract]
        name = str(metric.name) or _snake_case(type(metric).__name__)
        if not re.fullmatch(r"\w+", name):
            raise RecipeError(
                f"{OPTION}: {choice.name!r} is called {name!r}; use letters, digits and underscores only."
            )
        if name in metrics or name == "loss":
            raise _taken(name)
        metrics[name] = metric
    return metrics


def with_own(
    scores: Mapping[str, float],
    metrics: Mapping[str, Metric],
    predictions: Sequence[Prediction],
    rows: Sequence[Row],
    *,
    is_drawn: bool = False,
) -> dict[str, float]:
    """Return a task's scores and, after them, the user's own of the same predictions.

    Args:
        scores: what the task measures itself.
        metrics: from `load_metrics`.
        predictions: one for each row.
        rows: no rows have no own scores.
        is_drawn: whether the rows were drawn for an interval; then a metric that is not finite is left out.

    Raises:
        RecipeError: a metric fails, returns no finite number, or has the name of one of ``scores``.
    """
    if both := sorted(scores.keys() & metrics.keys()):
        raise _taken(both[0])
    # As tuples, because a metric that sorted a list would part the predictions from their rows.
    given = tuple(predictions), tuple(rows)
    own = {name: _measured(name, metric, *given) for name, metric in metrics.items()} if rows else {}
    for name, value in own.items():
        if not is_drawn and not math.isfinite(value):
            raise _no_number(name, value)
    return {**scores, **{name: value for name, value in own.items() if math.isfinite(value)}}


def _measured(name: str, metric: Metric, predictions: tuple[Prediction, ...], rows: tuple[Row, ...]) -> float:
    try:
        value: object = metric(predictions, rows)
    except Exception as error:
        raise RecipeError(f"{OPTION}: {name!r} failed with {type(error).__name__}: {error}{_place(error)}.") from error
    if not isinstance(value, numbers.Real):
        raise _no_number(name, value)
    return float(value)


def _place(error: Exception) -> str:
    """Return the last line of the metric's own file on the way to an error: the user sees no traceback."""
    # The first frame is the call above.
    _, *frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == frames[0].filename]
    return f" ({frames[0].filename}, line {lines[-1]})" if lines else ""


def _no_number(name: str, value: object) -> RecipeError:
    return RecipeError(f"{OPTION}: {name!r} returned {value!r:.80}, expected a finite number.")


def _taken(name: str) -> RecipeError:
    return RecipeError(
        f"{OPTION}: there is another metric {name!r}. Call yours otherwise, with the attribute 'name' of its class."
    )


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
