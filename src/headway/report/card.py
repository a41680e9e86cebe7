"""The model card of a run: ``README.md`` in Hugging Face's format, made from the run directory alone.

States what was measured and nothing else; what is not known (a licence, a language) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from headway.files import write_text
from headway.models.options import KINDS
from headway.report import wording
from headway.report.gain import build_gain
from headway.report.reading import Run, read_run

_SECTIONS = ("task", "model", "data", "optimization", "training", "trainer")
_HUB_NAME = re.compile(r"([A-Za-z0-9][\w.-]*/)?[\w.-]+")
_PIPELINES = {
    "text-classification": "text-classification",
    "token-classification": "token-classification",
    "pretraining": "fill-mask",
}
"""Task -> the pipeline of transformers that runs its models."""


def write_card(run: Path) -> Path:
    """Write the model card ``README.md`` into a run directory and return its path.

    Raises:
        RunError: the folder is no finished run, a file in it is damaged, or the card cannot be written.
    """
    path = run / "README.md"
    write_text(path, render_card(read_run(run)))
    return path


def render_card(run: Run) -> str:
    """Return the card as text: YAML front matter, then Markdown."""
    files = run.selected
    gain = build_gain(run)
    labels = files.labels
    body = (
        _environment()
        .get_template("card.md.j2")
        .render(
            run=run,
            files=files,
            manifest=files.manifest,
            metrics=run.metrics,
            gain=gain,
            labels=labels,
            base=_base(run),
            origin=wording.origin(files.manifest.model.get("origin")),
            task=str(files.option("task", "type") or ""),
            pipeline=_pipeline_tag(run),
            is_regression=run.problem_type == "regression",
            loader=KINDS.get(files.model_kind),
            is_embedding=files.model_kind == "features",
            has_pairs="text_pair" in run.columns,
            options=list(_options(files.recipe)),
            predict=wording.predict_command(" ".join(_place(run).split()), run.columns, has_own_code=run.has_own_code),
            python_folder=repr(f"{_place(run)}{'/' + files.path.name if run.has_seeds else ''}/model"),
            ece=_ece(run),
        )
    )
    front = yaml.safe_dump(_front_matter(run), sort_keys=False, allow_unicode=True, width=1000)
    body = re.sub(r"\n{3,}", "\n\n", body.strip())
    return f"---\n{wording.clean(front)}---\n\n{body}\n"


def _front_matter(run: Run) -> dict[str, Any]:
    files = run.selected
    tag, base = _pipeline_tag(run), _hub_name(run)
    front: dict[str, Any] = {"library_name": "transformers"}
    if tag:
        front["pipeline_tag"] = tag
    if base:
        front["base_model"] = base
    task = str(files.option("task", "type") or "")
    front["tags"] = [name for name in dict.fromkeys(["headway", task]) if name and "." not in name]
    front["metrics"] = list(run.scores)
    results = []
    for split, scores in run.metrics.metrics.items():
        source = files.manifest.data.get(split, {}).get("source")
        data = wording.file_name(source) or split
        found = [
            {"type": name, "value": score.value, "name": wording.capital(wording.metric_name(name))}
            for name, score in scores.items()
            if score.value is not None and score.value - score.value == 0
        ]
        if found:
            results.append(
                {
                    "task": {"type": tag or task or "other", "name": wording.task_name(task) or "Other"},
                    "dataset": {"name": data, "type": "private", "split": split},
                    "metrics": found,
                }
            )
    if results:
        front["model-index"] = [{"name": run.name, "results": results}]
    return front


def _environment() -> Environment:
    """Return an engine that escapes for Markdown whatever is not marked as safe, as autoescape does for HTML."""
    environment = Environment(
        loader=PackageLoader("headway.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markup) else escape_markdown(value),
    )
    environment.filters.update(
        number=wording.number,
        count=wording.count,
        percent=wording.percent,
        interval=wording.interval,
        duration=wording.duration,
        date=wording.date,
        metric=wording.metric_name,
        task=wording.task_name,
        file_name=wording.file_name,
        cap=wording.capital,
        code=_code,
        fenced=_fenced,
    )
    return environment


def escape_markdown(value: Any) -> str:
    """Return a text that Markdown shows as it is, on one line: no markup, no HTML, no table cell of its own."""
    text = " ".join(wording.clean(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~$])", r"\\\1", text)


def _code(value: Any) -> Markup:
    """Return a text as a code span that it cannot leave, also within a table."""
    text = " ".join(wording.clean(value).split()).replace("|", "\\|") or " "
    fence = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return Markup(f"{fence}{pad}{text}{pad}{fence}")


def _fenced(text: str, language: str) -> Markup:
    """Return a text as a code block that it cannot leave."""
    fence = "`" * max(3, max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    return Markup(f"{fence}{language}\n{wording.clean(text).rstrip()}\n{fence}")


def _options(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the recipe's options by dotted name; the labels stand in a list of their own."""
    for section in _SECTIONS:
        group = recipe.get(section)
        for name, value in group.items() if isinstance(group, Mapping) else ():
            if name != "labels" and value is not None and value not in ({}, []):
                yield (
                    f"{section}.{name}",
                    wording.file_name(value) if section == "data" and _is_path(value) else str(value),
                )


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and not value.startswith("hub:")


def _hub_name(run: Run) -> str | None:
    """Return the base model's name on the hub, where it surely is one."""
    model = run.selected.manifest.model
    name = str(model.get("name") or "")
    is_from_hub = "hub" in str(model.get("origin") or "").lower()
    return name if is_from_hub and _HUB_NAME.fullmatch(name) else None


def _base(run: Run) -> str:
    name = run.selected.manifest.model.get("name") or run.selected.option("model", "model_name_or_path")
    return wording.file_name(name) if name and not _hub_name(run) else str(name or "")


def _pipeline_tag(run: Run) -> str | None:
    task = str(run.selected.option("task", "type") or "")
    return _PIPELINES.get(task)


def _place(run: Run) -> str:
    """Return the run's path for the reader of a card, which travels: nothing of this machine's folders."""
    return run.name if run.path.is_absolute() else run.path.as_posix()


def _ece(run: Run) -> float | None:
    found = run.selected.metrics.details.get(run.split, {}).get("reliability")
    ece = found.get("ece") if isinstance(found, Mapping) else None
    return ece if isinstance(ece, float) else None
