"""Score a model on labelled rows: every metric over the whole split, with its bootstrap interval."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway.data.table import Table
from headway.errors import DataError
from headway.files import write_json, write_text
from headway.inference import Inference, LossMean
from headway.metrics.intervals import bootstrap
from headway.predictor import Predictor
from headway.tasks.base import Task
from headway.tokenising import encode_table
from headway.types import Criterion, Features, Prediction

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scored:
    """The predictions of a split and everything that is measured on them."""

    predictions: list[Prediction]
    metrics: dict[str, dict[str, float]]
    """Metric -> value, low, high."""
    details: dict[str, Any]
    loss: float | None
    is_collapsed: bool


def score(task: Task, predictions: list[Prediction], table: Table, *, loss: float | None = None) -> Scored:
    """Return every metric of the predictions of a whole table, with 95 % bootstrap intervals."""
    rows = list(table)
    fast = task.measurer(predictions, rows)
    measured = bootstrap(fast, len(rows), num_resamples=1000 if len(rows) <= 20_000 else 200)
    return Scored(
        predictions,
        {name: interval.to_json() for name, interval in measured.items()},
        dict(task.details(predictions, rows)),
        loss,
        task.is_collapsed(predictions),
    )


def score_features(
    inference: Inference, features: Sequence[Features], table: Table, *, criterion: Criterion | None = None
) -> Scored:
    """Return what `score` does for the model's own predictions; with a criterion also the mean loss."""
    mean = LossMean(criterion) if criterion is not None else None
    predictions = inference.predict(features, list(table), loss=mean)
    return score(inference.task, predictions, table, loss=mean.value if mean else None)


def prediction_lines(task: Task, predictions: Sequence[Prediction], table: Table) -> Iterator[str]:
    """Return one JSON line for each row: its number and place, the input, the gold value, what was predicted."""
    golds = {column.name for column in task.columns if column.is_gold}
    for number, (prediction, row) in enumerate(zip(predictions, table, strict=True)):
        record = {
            "row": number,
            "where": table.where(number),
            "input": {name: value for name, value in row.items() if name not in golds},
            "gold": task.gold(row),
            "value": prediction.value,
            "score": prediction.score,
            "detail": prediction.detail,
        }
        yield json.dumps(record, ensure_ascii=False) + "\n"


def evaluate(
    run: str | Path,
    data: str,
    *,
    output_dir: str | Path | None = None,
    allow_user_code: bool = False,
    reading: Mapping[str, Any] | None = None,
    answering: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Score a finished run on a labelled file.

    Args:
        run: the run directory.
        data: a file, folder or hub name, read as the run's own data were.
        output_dir: where to write metrics.json and predictions.jsonl; empty writes nothing.
        allow_user_code: import the classes of your own that the run names. Off, metrics of your own are left out.
        reading: options of the recipe's `data` section that differ for this file (``{"format": "tsv"}``).
        answering: options of the task that say how answers are made (``{"task.generation.num_beams": 4}``).

    Returns:
        ``{"metrics": {"data": {metric: {value, low, high}}}, "details": ..., "rows": ..., "tokens_lost": ...}``

    Raises:
        HeadwayError: of the kinds RunError, ModelError, DataError; RecipeError of a metric of your own.
    """
    predictor = Predictor.load(run, allow_user_code=allow_user_code, answering=answering)
    task = predictor.task
    if predictor.left_out:
        logger.warning(
            "Metrics that are not part of headway are left out: %s. If you trust that code, allow it with "
            "--allow_user_code (Python: allow_user_code=True).",
            ", ".join(predictor.left_out),
        )
    # A fault in one of them shows before every row is predicted.
    task.own_metrics()
    table = task.prepare(predictor.read(data, reading, need_gold=True), predictor.data.split_seed)
    if not len(table):
        raise DataError(f"{data}: holds no rows to evaluate on.")
    features = list(encode_table(table, task, predictor.tokenizer, predictor.inference.limits))
    scored = score_features(predictor.inference, features, table)
    result = {
        "run": str(run),
        "data": str(data),
        "rows": len(table),
        "tokens_lost": sum(one.extra.get("tokens_lost", 0) for one in features),
        "windows": sum(one.extra.get("num_windows", 0) for one in features),
        "main_metric": task.main_metric,
        "metrics": {"data": scored.metrics},
        "details": {"data": scored.details},
        "collapsed": scored.is_collapsed,
    }
    if output_dir is not None:
        write_json(Path(output_dir) / "metrics.json", result)
        write_text(Path(output_dir) / "predictions.jsonl", prediction_lines(task, scored.predictions, table))
    return result
