"""What fine-tuning gained: the tuned model beside the baselines, the scores of the seeds, and the verdict in words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from headway.report.reading import Metrics, Run, Score
from headway.report.wording import baseline_name, interval, metric_name, number

Outcome = Literal["paid", "unclear", "not", "unknown", "collapsed"]


@dataclass(frozen=True)
class Scale:
    """A horizontal axis; places on it are percents of its width, so a chart fits any screen."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Return where a value stands, in percent of the width."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)


@dataclass(frozen=True)
class Mark:
    """One row of a dot-and-interval chart; ``at``, ``start`` and ``end`` are percents of the width."""

    name: str
    score: Score
    at: float | None
    start: float | None
    end: float | None
    is_tuned: bool = False
    is_collapsed: bool = False
    is_selected: bool = False


@dataclass(frozen=True)
class Gain:
    """The main metric of the tuned model beside every baseline, and what follows from it."""

    split: str
    metric: str
    marks: tuple[Mark, ...]
    scale: Scale | None
    outcome: Outcome
    headline: str
    """The verdict in a few words, for the title."""
    sentence: str
    """The verdict with its numbers."""


def build_gain(run: Run) -> Gain:
    """Compare the tuned model with its baselines on the split that the run is judged by."""
    metrics, split = run.metrics, run.split
    name = metrics.main_metric
    tuned = run.scores.get(name, Score(value=None))
    scores = {baseline: found[split][name] for baseline, found in run.baselines.items() if name in found.get(split, {})}
    ordered = sorted(scores.items(), key=lambda item: _rank(item[1], metrics.higher_is_better), reverse=True)
    scale = build_scale([tuned, *scores.values()])
    marks = (
        _mark(baseline_name("tuned"), tuned, scale, is_tuned=True),
        *(_mark(baseline_name(baseline), score, scale) for baseline, score in ordered),
    )
    outcome, headline, sentence = _judge(metrics, tuned, ordered)
    return Gain(split, name, marks, scale, outcome, headline, sentence)


def build_seeds(run: Run) -> tuple[tuple[Mark, ...], Scale | None]:
    """Return a mark for each seed, by its number, and the axis they share."""
    collapsed = run.metrics.collapsed if isinstance(run.metrics.collapsed, list) else []
    scores = {
        seed: Score(value=splits.get(run.split, {}).get(run.metrics.main_metric))
        for seed, splits in run.metrics.seeds.items()
    }
    mean = run.scores.get(run.metrics.main_metric, Score(value=None))
    scale = build_scale([*scores.values(), mean])
    marks = [
        _mark(
            f"Seed {seed}",
            score,
            scale,
            is_collapsed=seed in {str(number) for number in collapsed},
            is_selected=seed == str(run.metrics.selected_seed),
        )
        for seed, score in sorted(scores.items(), key=lambda item: (len(item[0]), item[0]))
    ]
    return (*marks, _mark("Mean", mean, scale, is_tuned=True)), scale


def build_scale(scores: Iterable[Score]) -> Scale | None:
    """Return an axis with round ticks that holds every value and interval; None if there is nothing to show."""
    from matplotlib.ticker import MaxNLocator

    values = [value for score in scores for value in (score.value, score.low, score.high) if value is not None]
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return None
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 0.05, high + 0.05
    ticks = [round(float(tick), 10) for tick in MaxNLocator(nbins=4, steps=[1, 2, 5, 10]).tick_values(low, high)]
    # Scores that cannot pass 1 (or fall below 0) must not be drawn on an axis that does.
    if low >= 0:
        ticks = [tick for tick in ticks if tick >= 0]
    if high <= 1:
        ticks = [tick for tick in ticks if tick <= 1]
    return Scale(min(low, ticks[0]), max(high, ticks[-1]), tuple(ticks))


def _mark(
    name: str,
    score: Score,
    scale: Scale | None,
    *,
    is_tuned: bool = False,
    is_collapsed: bool = False,
    is_selected: bool = False,
) -> Mark:
    def place(value: float | None) -> float | None:
        return scale.place(value) if scale and value is not None and math.isfinite(value) else None

    return Mark(
        name, score, place(score.value), place(score.low), place(score.high), is_tuned, is_collapsed, is_selected
    )


def _rank(score: Score, higher_is_better: bool) -> float:
    if score.value is None or math.isnan(score.value):
        return -math.inf
    return score.value if higher_is_better else -score.value


def _judge(metrics: Metrics, tuned: Score, baselines: list[tuple[str, Score]]) -> tuple[Outcome, str, str]:
    metric = metric_name(metrics.main_metric)
    ours = _say(tuned)
    if metrics.collapsed is True:
        return (
            "collapsed",
            "The run collapsed: every row gets the same answer",
            f"The model gives every row the same answer, so its {metric} of {ours} is worth no more than a constant. "
            "Train again with a lower learning rate, a longer warm-up or another seed.",
        )
    if tuned.value is None or math.isnan(tuned.value):
        return (
            "unknown",
            "Not measured",
            f"The run has no {metric}. Name rows to measure it on as data.validation or data.test, "
            "or run `headway evaluate` on a labelled file.",
        )
    if not baselines:
        return (
            "unknown",
            f"{metric} {number(tuned.value)}; no baseline to compare with",
            f"The model's {metric} is {ours}. The run scored no baseline, so what fine-tuning gained is not known.",
        )
    name, best = baselines[0]
    theirs = f"{_say(best)} for the best baseline ({baseline_name(name)})"
    if _rank(tuned, metrics.higher_is_better) <= _rank(best, metrics.higher_is_better):
        return (
            "not",
            "Fine-tuning did not pay",
            f"Fine-tuning did not pay: {metric} is {ours}, against {theirs}. "
            "The cheaper method is at least as good on these rows.",
        )
    if tuned.low is None or tuned.high is None or best.low is None or best.high is None:
        return (
            "unclear",
            "Better than every baseline, by a margin of unknown certainty",
            f"The model does better: {metric} is {ours}, against {theirs}. "
            "Without an interval for both, chance cannot be ruled out.",
        )
    if tuned.low > best.high or tuned.high < best.low:
        return (
            "paid",
            "Fine-tuning paid",
            f"Fine-tuning paid: {metric} is {ours}, against {theirs}. The intervals do not overlap.",
        )
    return (
        "unclear",
        "Better than every baseline, but perhaps by chance",
        f"It is not certain that fine-tuning paid: {metric} is {ours}, against {theirs}. "
        "The intervals overlap, so the difference may be chance; more test rows would tell.",
    )


def _say(score: Score) -> str:
    known = interval(score)
    return f"{number(score.value)} ({known})" if known else number(score.value)
