from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headway.report.gain import build_gain, build_scale, build_seeds
from headway.report.reading import Manifest, Metrics, Run, RunFiles, Score, read_run


def make_run(tuned: dict[str, Any], baselines: dict[str, Any], **more: Any) -> Run:
    metrics = Metrics.model_validate(
        {
            "main_metric": "score",
            "metrics": {"test": {"score": tuned}},
            "baselines": {name: {"test": {"score": value}} for name, value in baselines.items()},
            **more,
        }
    )
    path = Path("runs/made-up")
    return Run(path, metrics, RunFiles(path, metrics, Manifest(), None, None, {}, [], "", {}))


@pytest.mark.parametrize(
    ("tuned", "baselines", "more", "outcome"),
    [
        ((0.9, 0.88, 0.92), {"majority": (0.8, 0.78, 0.82)}, {}, "paid"),
        ((0.9, 0.85, 0.95), {"majority": (0.8, 0.7, 0.86)}, {}, "unclear"),
        ((0.9, 0.85, 0.95), {"majority": (0.8, 0.7, 0.85)}, {}, "unclear"),
        ((0.9, None, None), {"majority": (0.8, 0.78, 0.82)}, {}, "unclear"),
        ((0.8, 0.78, 0.82), {"majority": (0.8, 0.78, 0.82)}, {}, "not"),
        ((0.7, 0.68, 0.72), {"majority": (0.8, 0.78, 0.82)}, {}, "not"),
        ((0.2, 0.1, 0.3), {"mean": (0.8, 0.7, 0.9)}, {"higher_is_better": False}, "paid"),
        ((0.9, 0.8, 1.0), {"mean": (0.5, 0.4, 0.6)}, {"higher_is_better": False}, "not"),
        ((0.9, 0.88, 0.92), {}, {}, "unknown"),
        ((None, None, None), {"majority": (0.8, 0.78, 0.82)}, {}, "unknown"),
        ((0.9, 0.88, 0.92), {"majority": (0.8, 0.78, 0.82)}, {"collapsed": True}, "collapsed"),
    ],
)
def test_verdict_follows_from_the_intervals(tuned: Any, baselines: Any, more: Any, outcome: str) -> None:
    def score(values: Any) -> dict[str, Any]:
        return dict(zip(("value", "low", "high"), values, strict=True))

    run = make_run(score(tuned), {name: score(values) for name, values in baselines.items()}, **more)
    assert build_gain(run).outcome == outcome


def test_tuned_model_is_compared_with_the_best_baseline() -> None:
    run = make_run({"value": 0.9}, {"weak": {"value": 0.2}, "strong": {"value": 0.6}})
    gain = build_gain(run)
    assert [mark.name for mark in gain.marks] == ["Fine-tuned model", "Strong", "Weak"]
    assert "0.600 for the best baseline (Strong)" in gain.sentence
    lower = build_gain(
        make_run({"value": 0.1}, {"weak": {"value": 0.6}, "strong": {"value": 0.2}}, higher_is_better=False)
    )
    assert [mark.name for mark in lower.marks] == ["Fine-tuned model", "Strong", "Weak"]


def test_baseline_of_another_split_is_left_out() -> None:
    run = make_run({"value": 0.9}, {"majority": {"value": 0.5}})
    assert len(build_gain(run).marks) == 2
    other = run.metrics.model_copy(update={"baselines": {"majority": {"validation": {"score": Score(value=0.5)}}}})
    assert len(build_gain(Run(run.path, other, run.selected)).marks) == 1


def test_every_mark_stands_on_the_axis(seeds_run: Path) -> None:
    run = read_run(seeds_run)
    for marks, scale in ((build_gain(run).marks, build_gain(run).scale), build_seeds(run)):
        assert scale is not None
        for mark in marks:
            for place in (mark.at, mark.start, mark.end, *map(scale.place, scale.ticks)):
                assert place is None or 0 <= place <= 100


def test_seeds_stand_in_order_with_their_marks(seeds_run: Path) -> None:
    marks, _ = build_seeds(read_run(seeds_run))
    assert [mark.name for mark in marks] == ["Seed 0", "Seed 1", "Seed 2", "Mean"]
    assert [mark.is_selected for mark in marks] == [False, True, False, False]
    assert [mark.is_collapsed for mark in marks] == [False, False, True, False]


@pytest.mark.parametrize("values", [[0.5], [0.0], [1.0], [0.3, 0.3], [-4.0, 900.0], [0.999, 1.0], [1e-9, 2e-9]])
def test_axis_holds_every_value(values: list[float]) -> None:
    scale = build_scale([Score(value=value) for value in values])
    assert scale is not None
    assert scale.low < scale.high
    assert all(0 <= scale.place(value) <= 100 for value in (*values, *scale.ticks))
    if max(values) <= 1 and min(values) >= 0 and len(set(values)) > 1:
        assert scale.high <= 1


def test_axis_of_nothing() -> None:
    assert build_scale([Score(value=None), Score(value=float("nan"))]) is None
