"""`headway runs`."""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import Parameter


def runs(folder: str = "runs", /, *, json_: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """List the runs below a folder, the newest first: task, scores, seeds, and whether each came to its end.

    Args:
        folder: Where to look, with all its subfolders.
        json_: Print one JSON object on standard output.
    """
    from pathlib import Path

    from headway.errors import RunError

    place = Path(folder)
    if not place.is_dir():
        what = "is a file" if place.exists() else "does not exist"
        raise RunError(f"The folder {folder} {what}. Name the folder that holds your runs: headway runs FOLDER.")
    found = find_runs(place)
    if json_:
        print(json.dumps({"runs": found}, ensure_ascii=False))
    elif not found:
        print(f"There is no run below {folder}. `headway train RECIPE` makes one.")
    else:
        print(_table(found))
        for run in found:
            if run["problem"]:
                print(f"\n{run['path']}: {run['problem']}")


def find_runs(folder: Any) -> list[dict[str, Any]]:
    """Return what each run below ``folder`` is, the newest first; the seeds of a group are part of it."""
    import os
    from pathlib import Path

    from headway.run_dir import RunDir

    found = []
    for place, inside, _ in os.walk(folder):
        inside.sort()
        run = RunDir(place)
        if run.is_run:
            inside.clear()
            found.append(_summary(run))
        elif Path(place).name.startswith(".") and Path(place) != Path(folder):
            inside.clear()
    return sorted(found, key=lambda run: (run["created"], run["path"]), reverse=True)


def _summary(run: Any) -> dict[str, Any]:
    from headway.errors import HeadwayError

    summary: dict[str, Any] = {
        "path": str(run.path),
        "name": run.path.name or str(run.path.resolve().name),
        "task": None,
        "main_metric": None,
        "scores": {},
        "collapsed": False,
        "seeds": [],
        "state": _state(run),
        "created": _created(run),
        "problem": None,
    }
    # One damaged run must not hide the others.
    try:
        summary |= _from_recipe(run)
        if run.is_complete:
            metrics = run.read_metrics()
            main = metrics["main_metric"]
            summary["main_metric"] = main
            summary["scores"] = {split: values[main] for split, values in metrics["metrics"].items() if main in values}
            summary["collapsed"] = bool(metrics["collapsed"])
    except HeadwayError as error:
        summary |= {"state": "damaged", "problem": str(error)}
    except (KeyError, TypeError, AttributeError) as error:
        problem = f"{run.metrics} is not as headway writes it ({type(error).__name__}: {error})."
        summary |= {"state": "damaged", "problem": problem}
    return summary


def _from_recipe(run: Any) -> dict[str, Any]:
    """Return task and seeds; plain YAML is read, because the recipe of a run may name classes of its own."""
    import yaml

    from headway.errors import RunError

    if not run.recipe.exists():  # it was stopped before the rows were read
        return {}
    try:
        content = yaml.safe_load(run.recipe.read_text(encoding="utf-8"))
        return {"task": str(content["task"]["type"]), "seeds": list(content["training"]["seeds"])}
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise RunError(f"{run.recipe} is damaged ({type(error).__name__}: {error}).") from error


def _state(run: Any) -> str:
    import re
    import socket

    import psutil

    try:
        holder = (run.path / ".writer").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        holder = ""
    match = re.fullmatch(r"process (\d+) on (.+)", holder.strip())
    # A killed process leaves its note behind; that of another machine cannot be looked up.
    if match and match[2] != socket.gethostname():
        return f"in use on {match[2]}"
    if match and psutil.pid_exists(int(match[1])):
        return "in use"
    return "finished" if run.is_complete else "unfinished"


def _created(run: Any) -> str:
    """Return when the run was begun, from the note that is written first."""
    import datetime

    begun = (run.path / "fingerprint.json").stat().st_mtime
    return datetime.datetime.fromtimestamp(begun, datetime.UTC).isoformat(timespec="seconds")


def _table(found: list[dict[str, Any]]) -> str:
    import datetime

    from headway.cli.tables import number, table

    splits = list(dict.fromkeys(split for run in found for split in run["scores"]))
    rows = []
    for run in found:
        created = datetime.datetime.fromisoformat(run["created"]).astimezone()
        rows.append(
            [
                run["path"],
                run["task"] or "",
                run["main_metric"] or "",
                *(number(run["scores"][split]) if split in run["scores"] else "" for split in splits),
                " ".join(map(str, run["seeds"])),
                run["state"] + (", collapsed" if run["collapsed"] else ""),
                f"{created:%Y-%m-%d %H:%M}",
            ]
        )
    return table(["run", "task", "metric", *splits, "seeds", "state", "created"], rows)
