"""Try values of options: train each on the same rows and seeds, score it on the validation rows, keep the best recipe.

A learning rate is best chosen so. The range test, which raises the rate within one run until the loss leaps, misleads
on transformers: it sees the first steps only, in which a rate still looks good that later makes the run collapse.
"""

from __future__ import annotations

import itertools
import logging
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headway.errors import NonFiniteError, RecipeError, RunBusyError
from headway.files import write_json, write_text
from headway.recipe import Recipe
from headway.run_dir import RunDir
from headway.train import train

logger = logging.getLogger(__name__)


def tune(
    recipe: Recipe,
    over: Mapping[str, Sequence[Any]],
    *,
    output_dir: str | Path,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Train every combination of values, and return the content of tune.json.

    Each trial is a run directory ``trial-1``, ``trial-2``, ... below ``output_dir``; ``best.yaml`` beside them is the
    recipe with the values that scored best on the validation rows. Test rows choose nothing: they stay unseen until the
    chosen recipe is trained.

    Args:
        recipe: what all trials share; `training.max_steps` makes them short, `training.seeds` makes them sure.
        over: dotted option -> values to try.
        output_dir: folder of the trials.
        resume: go on with an interrupted search; trials that are finished are not repeated.
        overwrite: replace the trials that the folder holds.

    Returns:
        ``{"metric", "higher_is_better", "trials": [{"trial", "options", "value", "seeds", "seconds"}, ...], "best"}``;
        ``value`` is the mean over the seeds, or nothing for a trial whose loss was not a number.

    Raises:
        RecipeError: there are no validation rows, an option does not exist, or a value does not fit it. All trials are
            checked before the first one begins.
        HeadwayError: what `headway.train.train` raises.
    """
    folder = Path(output_dir)
    if recipe.data.validation is None:
        raise RecipeError("data.validation: trials are scored on validation rows. Name a file or a share, such as 0.1.")
    if not over or not all(over.values()):
        raise RecipeError("--over: name an option and the values to try: optimization.learning_rate=1e-5,3e-5,1e-4.")
    combinations = [dict(zip(over, values, strict=True)) for values in itertools.product(*over.values())]
    # Test rows and simple methods would cost time and say nothing of the choice.
    shared = {"data.test": None, "training.baselines": False, "output_dir": None}
    recipes = [recipe.changed({**options, **shared}) for options in combinations]
    if (folder / "tune.json").exists() and not (resume or overwrite):
        raise RunBusyError(f"{folder} holds a finished search. Choose another --output_dir, or add --overwrite.")
    trials = []
    for number, (options, trial) in enumerate(zip(combinations, recipes, strict=True), 1):
        logger.info("Trial %d of %d: %s.", number, len(recipes), _words(options))
        trials.append(_tried(trial, options, folder / f"trial-{number}", resume=resume, overwrite=overwrite))
    found = _summary(recipe, folder, trials)
    write_text(folder / "best.yaml", recipe.changed({**found["best"]["options"], "output_dir": None}).to_yaml())
    write_json(folder / "tune.json", found)
    return found


def _tried(recipe: Recipe, options: dict[str, Any], run: Path, *, resume: bool, overwrite: bool) -> dict[str, Any]:
    started = time.monotonic()
    try:
        train(recipe, output_dir=run, resume=resume, overwrite=overwrite)
    except NonFiniteError as error:
        # A rate that is too high is an answer, too.
        logger.warning("%s: %s", run.name, error)
        return {"trial": run.name, "options": options, "value": None, "seeds": {}, "seconds": _seconds(started)}
    group = RunDir(run)
    metric = _metric(recipe, group)
    runs = {seed: group if len(recipe.training.seeds) == 1 else group.seed(seed) for seed in recipe.training.seeds}
    values = {str(seed): _validation(one, metric) for seed, one in runs.items()}
    mean = statistics.fmean(values.values())
    return {"trial": run.name, "options": options, "value": mean, "seeds": values, "seconds": _seconds(started)}


def _validation(run: RunDir, metric: str) -> float:
    metrics = run.read_metrics()
    if metric == "loss":
        return float(metrics["loss"]["validation"])
    return float(metrics["metrics"]["validation"][metric]["value"])


def _metric(recipe: Recipe, run: RunDir) -> str:
    return recipe.training.metric_for_best_model or str(run.read_metrics()["main_metric"])


def _summary(recipe: Recipe, folder: Path, trials: list[dict[str, Any]]) -> dict[str, Any]:
    scored = [one for one in trials if one["value"] is not None and math.isfinite(one["value"])]
    if not scored:
        raise NonFiniteError("The loss of every trial stopped being a number. Try smaller learning rates.")
    run = RunDir(folder / scored[0]["trial"])
    metric = _metric(recipe, run)
    is_lower_better = Recipe.load(run.recipe).task.is_lower_better(metric)
    best = (min if is_lower_better else max)(scored, key=lambda one: float(one["value"]))
    return {"metric": metric, "higher_is_better": not is_lower_better, "trials": trials, "best": best}


def _words(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())


def _seconds(started: float) -> float:
    return round(time.monotonic() - started, 1)
