from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway.errors import RunError
from headway.report.reading import first_split, read_run


def test_run_is_read_whole(binary_run: Path) -> None:
    run = read_run(binary_run)
    assert run.name == "reviews"
    assert run.split == "test"
    assert not run.has_seeds
    assert run.scores["accuracy"].value == 0.881
    files = run.selected
    assert files.labels == ["negative", "positive"]
    assert files.option("data", "max_length") == 128
    assert files.option("data", "no_such") is None
    assert files.option("no_such", "x") is None
    assert files.manifest.versions["torch"] == "2.13.0"
    assert "created" not in files.manifest.versions
    assert files.history[("train", "loss")].steps[:2] == [10, 20]
    assert files.history[("validation", "accuracy")].steps == [100, 200, 300, 400, 500, 600]
    assert sum(1 for _ in files.predictions("test")) == 60
    assert list(files.predictions("train")) == []


def test_group_shows_the_selected_seed(seeds_run: Path) -> None:
    run = read_run(seeds_run)
    assert run.has_seeds
    assert run.selected.path == seeds_run / "seed-1"
    assert run.selected.manifest.seed == 1
    assert run.selected.option("training", "seeds") == [0, 1, 2]
    assert run.baselines["majority"]["test"]["accuracy"].value == 0.611


def test_group_without_baselines_takes_those_of_the_seed(seeds_run: Path, edit_json: Callable[..., None]) -> None:
    edit_json(seeds_run / "metrics.json", lambda metrics: metrics.update(baselines={}))
    assert "untrained" in read_run(seeds_run).baselines


def test_labels_come_from_the_model_where_the_recipe_has_none(binary_run: Path) -> None:
    (binary_run / "recipe.yaml").write_text("task: {type: text-classification, labels: []}")
    assert read_run(binary_run).selected.labels == ["negative", "positive"]


@pytest.mark.parametrize(
    ("splits", "first"),
    [
        (["train", "validation", "test"], "test"),
        (["train", "validation"], "validation"),
        (["data"], "data"),
        ([], "validation"),
    ],
)
def test_split_to_judge_by(splits: list[str], first: str) -> None:
    assert first_split(dict.fromkeys(splits)) == first


def test_history_keeps_values_that_are_no_numbers_as_such(binary_run: Path) -> None:
    (binary_run / "history.csv").write_text("step,epoch,split,name,value\n1,0.1,train,loss,nan\n2,0.2,train,loss,inf\n")
    values = read_run(binary_run).selected.history[("train", "loss")].values
    assert math.isnan(values[0])
    assert math.isinf(values[1])


def no_folder(run: Path) -> Path:
    return run / "absent"


def a_file(run: Path) -> Path:
    return run / "metrics.json"


def unfinished(run: Path) -> Path:
    (run / "metrics.json").unlink()
    return run


def write(name: str, content: str) -> Callable[[Path], Path]:
    def change(run: Path) -> Path:
        (run / name).write_text(content)
        return run

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_folder, r"absent: expected a run directory.*found nothing"),
        (a_file, r"metrics\.json: expected a run directory.*found a file"),
        (unfinished, r"no metrics\.json yet.*headway train .*recipe\.yaml --resume"),
        (write("metrics.json", "{"), r"metrics\.json: expected a JSON object"),
        (write("metrics.json", "[]"), r"metrics\.json: expected a JSON object, found list"),
        (write("metrics.json", "{}"), r"metrics\.json: damaged at 'main_metric'"),
        (
            write("metrics.json", '{"main_metric": "a", "metrics": {"test": {"a": 3}}}'),
            r"damaged at 'metrics\.test\.a'",
        ),
        (write("manifest.json", '{"tokens": {"train": {"rows": "many"}}}'), r"damaged at 'tokens\.train\.rows'"),
        (write("history.csv", "step,epoch,split,name,value\n1,0.1,train,loss,high\n"), r"history\.csv, line 2"),
        (write("history.csv", "step,loss\n1,2\n"), r"history\.csv, line 2: expected step, epoch, split"),
    ],
)
def test_damage_is_named_with_its_place(binary_run: Path, change: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(RunError, match=message):
        read_run(change(binary_run))


def test_damaged_prediction_is_named_by_line(binary_run: Path) -> None:
    path = binary_run / "predictions" / "test.jsonl"
    path.write_text('{"row": 0}\n{"row": \n')
    with pytest.raises(RunError, match=r"test\.jsonl, line 2"):
        list(read_run(binary_run).selected.predictions("test"))


def test_seed_that_is_not_there_is_named(seeds_run: Path) -> None:
    (seeds_run / "seed-1").rename(seeds_run / "elsewhere")
    with pytest.raises(RunError, match="no folder seed-1"):
        read_run(seeds_run)


def test_predictions_are_read_as_they_are_asked_for(binary_run: Path) -> None:
    lines: Any = [json.dumps({"row": 0}), "damaged"]
    (binary_run / "predictions" / "test.jsonl").write_text("\n".join(lines))
    assert next(read_run(binary_run).selected.predictions("test")) == {"row": 0}
