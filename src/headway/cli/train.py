"""`headway train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Overrides = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]


def train(
    recipe: str,
    /,
    *overrides: Overrides,
    output_dir: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    plan: bool = False,
    json_: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Train what a recipe describes.

    Any option of the recipe can be given as `--section.option VALUE`, for example
    `--optimization.learning_rate 2e-5`; `headway recipe schema` lists them all.

    Args:
        recipe: A YAML file, or the bare name of a recipe that ships with headway.
        overrides: Options of the recipe.
        output_dir: The run directory; empty takes the recipe's own, else `runs/<recipe>`.
        resume: Go on with an interrupted run; the result is the same as without the interruption.
        overwrite: Replace an earlier run in the directory.
        plan: Print steps, tokens, tokens lost, memory and time, and train nothing.
        json_: Print one JSON object on standard output.
    """
    from headway.importing import many_imports

    with many_imports():
        from headway.recipe import Recipe, parse_overrides

    loaded = Recipe.load(recipe, parse_overrides(overrides))
    folder = output_dir or loaded.output_dir or str(Path("runs") / Path(recipe).stem)
    if plan:
        from headway.plan import describe
        from headway.plan import plan as make_plan

        planned = make_plan(loaded)
        print(json.dumps(planned) if json_ else describe(planned))
        return
    with many_imports():
        from headway.run_dir import RunDir
        from headway.train import train as run

    metrics = run(loaded, output_dir=folder, resume=resume, overwrite=overwrite)
    # Not before the first step: charts take a while to import.
    from headway.report import predict_command, write_pages

    beside = {name: RunDir(folder).task(name).path for name in metrics.get("tasks", {})}
    for place in beside.values():
        write_pages(place)
    report = write_pages(Path(folder))
    if json_:
        print(json.dumps({"run": folder, **metrics}))
    else:
        from headway.cli.tables import metrics_table

        for name, place in beside.items():
            print(f"{name} ({place}):\n{metrics_table(metrics['tasks'][name])}\n")
        print(metrics_table(metrics))
        print(f"\nRun:      {folder}\nReport:   {report}")
        print(f"Predict:  {predict_command(Path(folder))}\nEvaluate: headway evaluate {folder} --data FILE")
