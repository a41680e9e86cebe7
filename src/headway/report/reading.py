"""What the report needs from a run directory, read by the names of its files.

Comes first in the report: everything after it works on these objects and touches no file but the predictions,
which are read line by line because they may be larger than memory.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from headway.errors import RunError

SPLIT_ORDER = ("test", "validation", "train")
"""The split to judge a run by comes first: only ``test`` had no part in choosing the checkpoint."""


class _File(BaseModel):
    """A JSON file of the run; keys of later versions are ignored, so an older report reads a newer run."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class Score(_File):
    """A metric with the interval it is known to; over several seeds, the mean with its deviation."""

    value: float | None
    low: float | None = None
    high: float | None = None
    deviation: float | None = None


Splits = dict[str, dict[str, Score]]


class Metrics(_File):
    """``metrics.json`` of one seed, or of the group above several."""

    main_metric: str
    higher_is_better: bool = True
    metrics: Splits
    baselines: dict[str, Splits] = {}
    details: dict[str, dict[str, Any]] = {}
    collapsed: bool | list[int] = False
    best_step: int | None = None
    loss: dict[str, float | None] = {}
    seeds: dict[str, dict[str, dict[str, float | None]]] = {}
    selected_seed: int | None = None


class Tokens(_File):
    """What one split lost to ``max_length``."""

    rows: int = 0
    tokens: int = 0
    """Of the whole texts, before they are cut."""
    tokens_lost: int = 0
    rows_truncated: int = 0
    max_length: int | None = None
    windows: int = 0
    """Windows over which the texts were laid; 0 where they were not read in windows."""
    length_quantiles: dict[str, float] = {}


class Manifest(_File):
    """``manifest.json``: what the run was made of. Versions of libraries are whatever else it names as text."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    created: str | None = None
    seed: int | None = None
    duration_seconds: float | None = None
    command: list[str] = []
    machine: dict[str, Any] = {}
    data: dict[str, dict[str, Any]] = {}
    model: dict[str, Any] = {}
    tokens: dict[str, Tokens] = {}

    @property
    def versions(self) -> dict[str, str]:
        """Return library -> version."""
        return {name: value for name, value in (self.model_extra or {}).items() if isinstance(value, str)}


class Finding(_File):
    """One kind of trouble in the data, with examples by name (``where``, ``value``)."""

    name: str = "finding"
    split: str = ""
    count: int | None = None
    message: str = ""
    mend: str = ""
    examples: list[dict[str, Any]] = []


class Checks(_File):
    """``checks.json``: what the data checks found before training."""

    problems: list[Finding] = []
    warnings: list[Finding] = []


@dataclass(frozen=True)
class Curve:
    """One value by training step."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class RunFiles:
    """One trained seed, read from its directory."""

    path: Path
    metrics: Metrics
    manifest: Manifest
    checks: Checks | None
    recipe_text: str | None
    recipe: dict[str, Any]
    model_labels: list[str]
    model_kind: str
    """What the model is under its head: a key of `headway.models.options.KINDS`, or nothing."""
    history: dict[tuple[str, str], Curve]
    """(split, name) -> curve."""
    has_prefix: bool = False
    """Whether the model has a prefix, which other tools do not read."""

    @property
    def labels(self) -> list[str]:
        """Return the label names, from the recipe or else from the saved model."""
        task = self.recipe.get("task")
        found = task.get("labels") if isinstance(task, dict) else None
        return [str(label) for label in found] if isinstance(found, list) and found else self.model_labels

    def option(self, section: str, name: str) -> Any:
        """Return an option of the recipe, or None where the recipe does not hold it."""
        group = self.recipe.get(section)
        return group.get(name) if isinstance(group, dict) else None

    def predictions(self, split: str) -> Iterator[dict[str, Any]]:
        """Yield the predictions of a split one at a time; nothing if the run kept none."""
        path = self.path / "predictions" / f"{split}.jsonl"
        if not path.is_file():
            return
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _parse_object(line, where=f"{path}, line {number}")


@dataclass(frozen=True)
class Run:
    """What is reported: the scores of one seed or of several, and the one seed whose details are shown."""

    path: Path
    metrics: Metrics
    selected: RunFiles

    @property
    def has_seeds(self) -> bool:
        """Return whether the scores are means over several seeds."""
        return bool(self.metrics.seeds)

    @property
    def split(self) -> str:
        """Return the split that the run is judged by."""
        return first_split(self.metrics.metrics)

    @property
    def scores(self) -> dict[str, Score]:
        """Return the metrics of that split; empty for a run that had no rows to be measured on."""
        return self.metrics.metrics.get(self.split, {})

    @property
    def problem_type(self) -> str:
        """Return what kind of answer the model gives, as the recipe names it."""
        return str(self.selected.option("task", "problem_type") or "")

    @property
    def columns(self) -> dict[str, Any]:
        """Return the input of the first row that was predicted: column -> what it holds."""
        for split in self.selected.metrics.metrics:
            first = next(iter(self.selected.predictions(split)), None)
            if first is not None:
                inputs = first.get("input")
                return {str(name): one for name, one in inputs.items()} if isinstance(inputs, Mapping) else {}
        return {}

    @property
    def has_own_code(self) -> bool:
        """Return whether task or head is a class of the user's own, named by import path."""
        task, head = self.selected.option("task", "type"), self.selected.option("model", "head")
        names = [str(one.get("name") if isinstance(one, Mapping) else one or "") for one in (task, head)]
        return any("." in name and name.partition(".")[0] not in ("headway", "sklearn") for name in names)

    @property
    def name(self) -> str:
        """Return the name of the run: that of its directory."""
        return self.path.resolve().name

    @property
    def baselines(self) -> dict[str, Splits]:
        """Return baseline -> scores, those of the selected seed where the group kept none."""
        return self.metrics.baselines or self.selected.metrics.baselines


def first_split(splits: dict[str, Any]) -> str:
    """Return the split to judge by among ``splits``: test, else validation, else the first named."""
    return next((split for split in SPLIT_ORDER if split in splits), next(iter(splits), "validation"))


def read_run(path: Path) -> Run:
    """Read a run directory, or the group directory of several seeds.

    Raises:
        RunError: the folder is missing, holds no finished run, or one of its files is damaged.
    """
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise RunError(
            f"{path}: expected a run directory, as `headway train` writes it, and found {found}. "
            "`headway runs` lists the run directories below this folder."
        )
    metrics = _read_metrics(path)
    if not metrics.seeds:
        return Run(path, metrics, _read_files(path, metrics))
    seed = metrics.selected_seed if metrics.selected_seed is not None else int(next(iter(metrics.seeds)))
    folder = path / f"seed-{seed}"
    if not folder.is_dir():
        raise RunError(
            f"{path}: metrics.json names seed {seed} as the selected one, but there is no folder {folder.name} "
            "in it. Copy the whole run directory, or train again with `--resume`."
        )
    return Run(path, metrics, _read_files(folder, _read_metrics(folder), group=path))


def _read_files(path: Path, metrics: Metrics, *, group: Path | None = None) -> RunFiles:
    """Read the files of one seed; what all seeds share (recipe, checks) stands in the group's folder."""
    text = _read_text((group or path) / "recipe.yaml")
    text = _read_text(path / "recipe.yaml") if text is None else text
    try:
        recipe = yaml.safe_load(text) if text is not None else None
    except yaml.YAMLError:
        recipe = None  # The page shows the file as it is; what is derived from it is left out.
    try:
        manifest = Manifest.model_validate(_read_object(path / "manifest.json") or {})
        checks = _read_object((group or path) / "checks.json")
        checks = _read_object(path / "checks.json") if checks is None else checks
        model = _read_object(path / "model" / "headway.json") or {}
        labels = model.get("labels")
        return RunFiles(
            path=path,
            metrics=metrics,
            manifest=manifest,
            checks=None if checks is None else Checks.model_validate(checks),
            recipe_text=text,
            recipe=recipe if isinstance(recipe, dict) else {},
            model_labels=[str(label) for label in labels] if isinstance(labels, list) else [],
            has_prefix="prefix" in model,
            model_kind=str(model.get("kind") or ""),
            history=_read_history(path / "history.csv"),
        )
    except ValidationError as error:
        raise _damaged(path, error) from error


def _read_metrics(path: Path) -> Metrics:
    found = _read_object(path / "metrics.json")
    if found is None:
        if (path / "recipe.yaml").is_file():
            raise RunError(
                f"{path}: this run has no metrics.json yet, so there is nothing to report. Finish it with "
                f"`headway train {path / 'recipe.yaml'} --resume`."
            )
        raise RunError(
            f"{path}: expected a run directory with a metrics.json, as `headway train` writes it, and found none. "
            "`headway runs` lists the run directories below this folder."
        )
    try:
        metrics = Metrics.model_validate(found)
    except ValidationError as error:
        raise _damaged(path / "metrics.json", error) from error
    return metrics


def _read_text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}. Mend its permissions.") from error


def _read_object(path: Path) -> dict[str, Any] | None:
    text = _read_text(path)
    return None if text is None else _parse_object(text, where=str(path))


def _parse_object(text: str, *, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{where}: expected a JSON object: {error}. The file is damaged; evaluate again.") from error
    if "\\ud" in text.lower():
        # JSON can spell half a character (a lone surrogate), which no file and no page can hold.
        whole = json.dumps(found, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        found = json.loads(whole)
    if not isinstance(found, dict):
        raise RunError(f"{where}: expected a JSON object, found {type(found).__name__}. Evaluate again.")
    return found


def _read_history(path: Path) -> dict[tuple[str, str], Curve]:
    curves: dict[tuple[str, str], Curve] = {}
    if (text := _read_text(path)) is None:
        return curves
    rows = csv.DictReader(text.replace("\0", "").splitlines())
    for number, row in enumerate(rows, start=2):
        try:
            curve = curves.setdefault((row["split"], row["name"]), Curve())
            curve.steps.append(int(float(row["step"])))
            curve.values.append(float(row["value"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"{path}, line {number}: expected step, epoch, split, name and value, with numbers for step and "
                f"value; found {list(row.values())}. Remove the line; the other curves stay."
            ) from error
    return curves


def _damaged(path: Path, error: ValidationError) -> RunError:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return RunError(f"{path}: damaged at '{place}': {first['msg']}. Train or evaluate the run again.")
