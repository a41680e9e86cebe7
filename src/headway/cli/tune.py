"""`headway tune`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

Overrides = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]


def tune(
    recipe: str,
    /,
    *overrides: Overrides,
    over: list[str],
    output_dir: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    json_: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Try values of options, each scored on the validation rows, and write the recipe with the best ones.

    `headway tune RECIPE --over optimization.learning_rate=1e-5,3e-5,1e-4 --training.max_steps 200` finds a learning
    rate. With `--over` more than once, every combination is tried. Any option of the recipe can be given besides, as
    for `headway train`; `--training.seeds "[0, 1, 2]"` makes the choice surer.

    Args:
        recipe: A YAML file, or the bare name of a recipe that ships with headway.
        overrides: Options of the recipe, the same for all trials.
        over: An option and the values to try: section.option=VALUE,VALUE,...
        output_dir: Folder of the trials; empty takes `runs/tune-<recipe>`.
        resume: Go on with an interrupted search.
        overwrite: Replace an earlier search in the folder.
        json_: Print one JSON object on standard output.
    """
    from headway.recipe import Recipe, parse_overrides
    from headway.tune import tune as run

    loaded = Recipe.load(recipe, parse_overrides(overrides))
    folder = Path(output_dir or Path("runs") / f"tune-{Path(recipe).stem}")
    found = run(loaded, _values(over), output_dir=folder, resume=resume, overwrite=overwrite)
    if json_:
        print(json.dumps({"folder": str(folder), **found}))
        return
    print(_table(found))
    print(f"\nRecipe:   {folder / 'best.yaml'}\nTrain:    headway train {folder / 'best.yaml'}")


def _values(over: list[str]) -> dict[str, list[Any]]:
    from headway.yaml_text import parse_value

    return {
        name.strip(): [parse_value(one.strip()) for one in values.split(",") if one.strip()]
        for name, _, values in (one.partition("=") for one in over)
    }


def _table(found: dict[str, Any]) -> str:
    from headway.cli.tables import table

    rows = []
    for one in sorted(found["trials"], key=lambda one: _rank(one, found), reverse=True):
        seeds = [f"{value:.4f}" for value in one["seeds"].values()] if len(one["seeds"]) > 1 else []
        value = "not a number" if one["value"] is None else f"{one['value']:.4f}"
        mark = " (best)" if one == found["best"] else ""
        options = ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in one["options"].items())
        rows.append([f"{options}{mark}", value, " ".join(seeds), f"{one['seconds']:.0f}", one["trial"]])
    return table(["options", f"validation {found['metric']}", "seeds", "seconds", "run"], rows)


def _rank(trial: dict[str, Any], found: dict[str, Any]) -> float:
    if trial["value"] is None:
        return float("-inf")
    return float(trial["value"]) * (1 if found["higher_is_better"] else -1)
