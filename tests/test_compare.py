from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from headway.compare import compare
from headway.errors import RunError

HASHES = {"train": "t", "validation": "v"}


def write_run(
    folder: Path,
    values: dict[int, dict[str, float]],
    *,
    data: dict[str, str] | None = None,
    main: str = "accuracy",
    higher_is_better: bool = True,
) -> Path:
    """Write what `compare` reads of a run: of one seed the run itself, of several a group."""
    for seed, metrics in values.items():
        part = folder if len(values) == 1 else folder / f"seed-{seed}"
        part.mkdir(parents=True)
        hashes = HASHES if data is None else data
        scored = {
            split: {name: {"value": one} for name, one in metrics.items()} for split in hashes if split != "train"
        }
        about: dict[str, Any] = {"main_metric": main, "higher_is_better": higher_is_better, "metrics": scored}
        (part / "metrics.json").write_text(json.dumps(about))
        held = {split: {"fingerprint": one} for split, one in hashes.items()}
        (part / "manifest.json").write_text(json.dumps({"seed": seed, "data": held}))
        (part / "recipe.yaml").write_text("task: x\n")
    if len(values) > 1:
        (folder / "metrics.json").write_text(json.dumps({"selected_seed": next(iter(values))}))
        (folder / "recipe.yaml").write_text("task: x\n")
    return folder


def accuracies(*values: float, first: int = 0) -> dict[int, dict[str, float]]:
    return {first + number: {"accuracy": value, "mcc": value / 2} for number, value in enumerate(values)}


def test_differences_are_paired_over_seeds(tmp_path: Path) -> None:
    before, after = [0.80, 0.70, 0.90, 0.60], [0.83, 0.74, 0.92, 0.63]
    result = compare([write_run(tmp_path / "a", accuracies(*before)), write_run(tmp_path / "b", accuracies(*after))])
    (one,) = result["comparisons"]
    found = one["splits"]["validation"]["accuracy"]
    differences = np.array(after) - np.array(before)
    reference = stats.ttest_rel(after, before).confidence_interval(0.95)
    assert found == pytest.approx({
        "reference": 0.75, "run": 0.78, "difference": 0.03, "pairs": 4, "deviation": differences.std(ddof=1),
        "low": reference.low, "high": reference.high,
    })  # fmt: skip
    assert one["splits"]["validation"]["mcc"]["difference"] == pytest.approx(0.015)
    assert list(one["splits"]["validation"]) == ["accuracy", "mcc"]
    assert one["verdict"] == {"validation": "better"}
    assert one["remarks"] == []
    # The same four values in another order are noise: pairing is what tells them apart.
    mixed = write_run(tmp_path / "c", accuracies(0.63, 0.92, 0.74, 0.83))
    assert compare([tmp_path / "a", mixed])["comparisons"][0]["verdict"] == {"validation": "not told apart"}


def test_less_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    runs = [
        write_run(
            tmp_path / name, {seed: {"perplexity": value + seed} for seed in range(3)}, main="perplexity",
            higher_is_better=False,
        )
        for name, value in (("a", 9.0), ("b", 8.0), ("c", 10.0))
    ]  # fmt: skip
    verdicts = [one["verdict"]["validation"] for one in compare(runs)["comparisons"]]
    assert verdicts == ["better", "worse"]


def test_few_seeds_are_said_to_be_few(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, accuracies(value)) for name, value in (("a", 0.5), ("b", 0.9))]
    (one,) = compare(runs)["comparisons"]
    assert one["splits"]["validation"]["accuracy"] == {
        "reference": 0.5, "run": 0.9, "difference": pytest.approx(0.4), "pairs": 1
    }  # fmt: skip
    assert one["verdict"] == {"validation": "not told apart"}
    assert "One seed: chance cannot be told from a difference" in one["remarks"][0]
    two = [write_run(tmp_path / name, accuracies(value, value)) for name, value in (("c", 0.5), ("d", 0.9))]
    assert "2 seeds are few" in compare(two)["comparisons"][0]["remarks"][0]


def test_seeds_without_a_partner_are_left_out_and_named(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", accuracies(0.1, 0.2, 0.3, 0.4))
    second = write_run(tmp_path / "b", accuracies(0.3, 0.4, 0.5, 0.6, first=1))
    (one,) = compare([first, second])["comparisons"]
    assert one["seeds"] == [1, 2, 3]
    assert one["splits"]["validation"]["accuracy"]["difference"] == pytest.approx(0.1)
    assert one["remarks"] == ["Left out, for only one of the two has them: seeds 0, 4."]


def test_other_training_rows_are_remarked_and_unshared_metrics_left_out(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", {0: {"accuracy": 0.1, "f1": 0.2}})
    second = write_run(tmp_path / "b", {0: {"accuracy": 0.3}}, data={"train": "other", "validation": "v", "test": "x"})
    (one,) = compare([first, second])["comparisons"]
    assert set(one["splits"]) == {"validation"}
    assert set(one["splits"]["validation"]) == {"accuracy"}
    assert one["remarks"][0] == "The two were trained on different rows."


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"data": {"train": "t", "validation": "other"}}, "were scored on different validation rows"),
        ({"data": {"train": "t"}}, "share no validation or test rows"),
        ({"main": "f1"}, "judged by accuracy and"),
    ],
)
def test_runs_that_do_not_compare_are_refused(tmp_path: Path, second: dict[str, Any], message: str) -> None:
    first = write_run(tmp_path / "a", accuracies(0.1, 0.2))
    other = write_run(tmp_path / "b", {seed: {"accuracy": 0.5, "f1": 0.5} for seed in range(2)}, **second)
    with pytest.raises(RunError, match=message):
        compare([first, other])


def test_what_cannot_be_paired(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", accuracies(0.1))
    with pytest.raises(RunError, match="share no seed"):
        compare([first, write_run(tmp_path / "b", accuracies(0.1, first=5))])
    with pytest.raises(RunError, match="at least two runs"):
        compare([first])
    with pytest.raises(RunError, match="There is no run directory"):
        compare([first, tmp_path / "none"])
    mixed = write_run(tmp_path / "c", accuracies(0.1, 0.2))
    (mixed / "seed-1" / "manifest.json").write_text(json.dumps({"seed": 1, "data": {"train": {"fingerprint": "z"}}}))
    with pytest.raises(RunError, match="the seeds 0 and 1 were not made from the same rows"):
        compare([mixed, first])


def test_a_real_run_compares_with_itself(finished_run: Path) -> None:
    (one,) = compare([finished_run, finished_run])["comparisons"]
    assert set(one["splits"]) == {"validation", "test"}
    assert {found["difference"] for found in one["splits"]["test"].values()} == {0.0}
