"""The page of a run: reads the run directory only and writes one file that needs nothing else.

Everything from the data is escaped by the template engine, and the page forbids itself scripts and requests.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from headway.files import write_text
from headway.report import wording
from headway.report.charts import POINTS_SHOWN, draw_curves, draw_reliability, draw_scatter
from headway.report.details import MATRIX_LIMIT, build_confusion, find_mistakes
from headway.report.gain import build_gain, build_seeds
from headway.report.reading import SPLIT_ORDER, Curve, Metrics, Run, RunFiles, first_split, read_run


@dataclass(frozen=True)
class CurveChart:
    """One chart of the learning curves with the words of its legend."""

    title: str
    drawing: Markup
    has_train: bool
    has_validation: bool
    best_step: int | None
    stretch: int
    """How many logged values one point stands for."""
    num_not_finite: int


def write_report(run: Path) -> Path:
    """Write ``report.html`` into a run directory, or into the directory above several seeds, and return its path.

    Raises:
        RunError: the folder is no finished run, a file in it is damaged, or the page cannot be written.
    """
    path = run / "report.html"
    write_text(path, render_report(read_run(run)))
    return path


def render_report(run: Run) -> str:
    """Return the page as text; the same run always gives the same bytes."""
    files = run.selected
    details_split = first_split(files.metrics.details) if files.metrics.details else run.split
    details = files.metrics.details.get(details_split, {})
    mistakes_split, mistakes = next(
        ((split, found) for split in _splits(files.metrics) if (found := find_mistakes(files.predictions(split)))),
        (run.split, None),
    )
    seed_marks, seed_scale = build_seeds(run) if run.has_seeds else ((), None)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            files=files,
            manifest=files.manifest,
            metrics=run.metrics,
            place=_places(files.manifest.data),
            splits=_splits(run.metrics),
            metric_names=_metric_names(run.metrics),
            gain=build_gain(run),
            seed_marks=seed_marks,
            seed_scale=seed_scale,
            curves=_curves(files),
            details=details,
            details_split=details_split,
            confusion=build_confusion(details),
            per_label=details.get("per_class") or details.get("per_label") or [],
            reliability=_reliability(details),
            scatter=draw_scatter(details["scatter"]) if details.get("scatter") else None,
            tables=details.get("tables", []),
            mistakes=mistakes,
            mistakes_split=mistakes_split,
            commands=_commands(run),
            facts=_facts(run),
            has_second_label_metrics=len(files.labels) == 2 and "f1" in run.scores and "f1_macro" in run.scores,
            quantiles=list(
                dict.fromkeys(name for one in files.manifest.tokens.values() for name in one.length_quantiles)
            ),
            matrix_limit=MATRIX_LIMIT,
            has_deviation=any(
                score.deviation is not None for one in run.metrics.metrics.values() for score in one.values()
            ),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("headway.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else wording.clean(value),
    )
    environment.filters.update(
        number=wording.number,
        count=wording.count,
        percent=wording.percent,
        probability=wording.probability,
        interval=wording.interval,
        duration=wording.duration,
        date=wording.date,
        metric=wording.metric_name,
        task=wording.task_name,
        file_name=wording.file_name,
        origin=wording.origin,
        cap=wording.capital,
        label=wording.label_name,
        axis=lambda value: f"{value:g}".replace("-", "−"),
        quantile=lambda name: f"{name} %" if str(name).replace(".", "").isdigit() else str(name),
        spell=lambda name: str(name).replace("_", " ").replace("-", " "),
        shorten=_shorten,
    )
    return environment


def _places(data: Mapping[str, Mapping[str, Any]]) -> Callable[[str], str]:
    """Return what shortens the paths of the data in a place (``train.csv, line 7``), if no two files then agree."""
    sources = {str(one.get("source") or "") for one in data.values()} - {""}
    names = {source: wording.file_name(source) for source in sorted(sources, key=len, reverse=True)}
    if len(set(names.values())) < len(names):
        return str

    def place(where: object) -> str:
        text = str(where)
        for source, name in names.items():
            text = text.replace(source, name)
        return text

    return place


def _shorten(value: Any) -> str:
    text, hidden = wording.cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 240)
    return f"{text}… ({wording.count(hidden)} characters more)" if hidden else text


def _splits(metrics: Metrics) -> list[str]:
    known = [split for split in SPLIT_ORDER if split in metrics.metrics]
    return known + [split for split in metrics.metrics if split not in known]


def _metric_names(metrics: Metrics) -> list[str]:
    """Return every metric's name, the main one first, the others in the order they were measured."""
    names = dict.fromkeys([metrics.main_metric, *(name for one in metrics.metrics.values() for name in one)])
    return list(names)


def _curves(files: RunFiles) -> list[CurveChart]:
    main = files.metrics.main_metric
    wanted = dict.fromkeys([("loss", "Loss"), (main, wording.capital(wording.metric_name(main)))])
    best = files.metrics.best_step
    charts = [_curve_chart(files, name, title, best_step=best) for name, title in wanted]
    charts.append(_curve_chart(files, "learning_rate", "Learning rate", best_step=None, height=1.7))
    return [chart for chart in charts if chart]


def _curve_chart(
    files: RunFiles, name: str, title: str, *, best_step: int | None, height: float = 3.0
) -> CurveChart | None:
    train = files.history.get(("train", name), Curve())
    validation = files.history.get(("validation", name), Curve())
    longest = max(len(train.steps), len(validation.steps))
    if not longest:
        return None
    return CurveChart(
        title=title,
        drawing=draw_curves(train, validation, best_step=best_step, height=height),
        has_train=bool(train.steps) and name != "learning_rate",
        has_validation=bool(validation.steps),
        best_step=best_step,
        stretch=-(-longest // POINTS_SHOWN),
        num_not_finite=sum(value - value != 0 for curve in (train, validation) for value in curve.values),
    )


def _reliability(details: Mapping[str, Any]) -> dict[str, Any] | None:
    found = details.get("reliability")
    if not isinstance(found, Mapping) or not any(one.get("count") for one in found.get("bins", [])):
        return None
    return {"ece": found.get("ece"), "drawing": draw_reliability(found["bins"])}


def _commands(run: Run) -> list[tuple[str, str]]:
    """Return (what it does, command) for the shell; odd characters in the path are quoted."""
    folder = run.path.as_posix()
    found = [
        ("Train it again, with the same data and seeds", f"headway train {shlex.quote(f'{folder}/recipe.yaml')}"),
        ("Ask the model", wording.predict_command(folder, run.columns, has_own_code=run.has_own_code)),
        (
            "Predict a whole file",
            f"headway predict {shlex.quote(folder)} --data new.csv --output predictions.jsonl",
        ),
        ("Measure it on other labelled rows", f"headway evaluate {shlex.quote(folder)} --data labelled.csv"),
    ]
    return found if run.selected.recipe_text is not None else found[1:]


def _facts(run: Run) -> list[tuple[str, str]]:
    """Return the line of facts under the title."""
    files, manifest = run.selected, run.selected.manifest
    model = manifest.model.get("name") or files.option("model", "model_name_or_path")
    parameters, trained = manifest.model.get("parameters"), manifest.model.get("trainable_parameters")
    facts = [
        ("Task", wording.task_name(files.option("task", "type"))),
        ("Model", wording.file_name(model) if Path(str(model)).is_absolute() else str(model or "")),
        ("Parameters", _parameters(parameters, trained)),
        ("Labels", wording.count(len(files.labels)) if files.labels else ""),
        ("Trained on", _rows(manifest.data)),
        ("Seeds", ", ".join(run.metrics.seeds)),
        ("Time", wording.duration(manifest.duration_seconds) if manifest.duration_seconds is not None else ""),
        ("Date", wording.date(manifest.created)),
    ]
    return [(name, value) for name, value in facts if value]


def _parameters(parameters: Any, trained: Any) -> str:
    if not isinstance(parameters, int):
        return ""
    total = f"{parameters / 1e6:,.1f} million" if parameters >= 100_000 else f"{parameters:,}"
    if not isinstance(trained, int) or trained >= parameters:
        return total
    return f"{total}, {wording.percent(trained / parameters)} of them trained"


def _rows(data: Mapping[str, Mapping[str, Any]]) -> str:
    rows = data.get("train", {}).get("rows")
    return f"{wording.count(rows)} rows" if isinstance(rows, int) else ""
