"""Charts as SVG that takes its colours and its type from the page, so that it is right in light, dark and print.

Charts hold numbers only. Names from the data stand in the page around them, where they are escaped.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from headway.report.reading import Curve

POINTS_SHOWN = 300
"""The most points of a curve; longer ones are averaged over equal stretches, and the page says so."""

# Colours that occur nowhere else, each replaced by the variable of the page's style sheet.
_INK, _MUTED, _LINE, _ACCENT = "#010101", "#020202", "#030303", "#040404"
_VARIABLES = {_INK: "var(--ink)", _MUTED: "var(--muted)", _LINE: "var(--line)", _ACCENT: "var(--accent)"}

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "headway",
    "text.parse_math": False,
    "font.size": 11.0,
    "axes.labelsize": 11.0,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "lines.solid_capstyle": "round",
}
_WIDTH = 5.0  # inches; one column of the page, so that the type is legible on a phone without enlarging


def draw_curves(train: Curve | None, validation: Curve | None, *, best_step: int | None, height: float = 3.0) -> Markup:
    """Draw one value by step: training as a thin line, validation with dots, the chosen step as a vertical line."""
    with _figure(height) as (figure, finish):
        axes = figure.add_subplot()
        if train and train.steps:
            steps, values = thin(train)
            axes.plot(steps, values, color=_MUTED, linewidth=1.1)
        if validation and validation.steps:
            steps, values = thin(validation)
            size = 4.0 if len(steps) <= 40 else 0.0
            axes.plot(steps, values, color=_ACCENT, linewidth=1.8, marker="o", markersize=size)
        if best_step is not None:
            axes.axvline(best_step, color=_ACCENT, linewidth=1.0, linestyle=(0, (3, 3)))
        axes.set_xlabel("step")
        low, high = axes.get_xlim()
        if high - low < 2:
            # Room for two whole numbers, of which each tick shows one.
            axes.set_xlim(low - 1, high + 1)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5 if height > 2 else 3, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(lambda value, _: _tick(value))
        return finish()


def draw_reliability(bins: Sequence[dict[str, Any]]) -> Markup:
    """Draw the share of right answers by stated probability, over the number of rows in each bin."""
    used = [one for one in bins if one.get("count") and _is_finite(one.get("confidence"), one.get("accuracy"))]
    with _figure(4.6) as (figure, finish):
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        upper.plot([0, 1], [0, 1], color=_MUTED, linewidth=1.0, linestyle=(0, (3, 3)))
        for one in used:
            x, y = one["confidence"], one["accuracy"]
            upper.plot([x, x], [x, y], color=_ACCENT, linewidth=5.0, alpha=0.25, solid_capstyle="butt")
        upper.plot(
            [one["confidence"] for one in used],
            [one["accuracy"] for one in used],
            color=_ACCENT,
            linewidth=1.4,
            marker="o",
            markersize=5.0,
        )
        upper.set_ylabel("share that is right")
        upper.set_ylim(-0.03, 1.03)
        for one in bins:
            if _is_finite(one.get("low"), one.get("high")):
                width = one["high"] - one["low"]
                lower.bar(one["low"] + width / 2, one.get("count") or 0, width=width * 0.9, color=_ACCENT, alpha=0.45)
        lower.set_ylabel("rows")
        lower.set_xlabel("probability that the model states")
        lower.set_xlim(-0.01, 1.01)
        lower.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
        lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        figure.align_ylabels()
        return finish()


def draw_scatter(points: Sequence[Sequence[float]]) -> Markup:
    """Draw predicted against gold values; a perfect model puts every point on the diagonal."""
    kept = [(float(gold), float(predicted)) for gold, predicted in points if _is_finite(gold, predicted)]
    with _figure(4.4) as (figure, finish):
        axes = figure.add_subplot()
        if kept:
            low = min(min(point) for point in kept)
            high = max(max(point) for point in kept)
            axes.plot([low, high], [low, high], color=_MUTED, linewidth=1.0, linestyle=(0, (3, 3)))
            axes.plot(*zip(*kept, strict=True), "o", color=_ACCENT, markersize=3.6, alpha=0.35, markeredgewidth=0)
        axes.set_xlabel("gold value")
        axes.set_ylabel("predicted value")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
        return finish()


def thin(curve: Curve, limit: int = POINTS_SHOWN) -> tuple[list[float], list[float]]:
    """Return the finite points of a curve by step, averaged over equal stretches if they are more than ``limit``."""
    points = sorted(
        (step, value) for step, value in zip(curve.steps, curve.values, strict=True) if math.isfinite(value)
    )
    stretch = math.ceil(len(points) / limit) or 1
    groups = [points[start : start + stretch] for start in range(0, len(points), stretch)]
    means = [(sum(step for step, _ in one) / len(one), sum(value for _, value in one) / len(one)) for one in groups]
    return [step for step, _ in means], [value for _, value in means]


@contextmanager
def _figure(height: float) -> Iterator[tuple[Figure, Callable[[], Markup]]]:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")

        def finish() -> Markup:
            target = io.StringIO()
            # Without a date and a creator the same run gives the same bytes.
            figure.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
            return _adopt(target.getvalue())

        yield figure, finish


def _adopt(svg: str) -> Markup:
    """Make matplotlib's document a part of the page: no prologue, no global style, no fixed size, our colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*"', r'\1class="chart"', svg, count=1)
    # Several charts share the page, so names that only matplotlib uses would occur twice.
    svg = re.sub(r' id="(?!m[0-9a-f]{8,}|p[0-9a-f]{8,})[^"]*"', "", svg)
    svg = re.sub(r"font-family: [^;\"]*(?:;\s*)?", "", svg)
    svg = re.sub(r"font: [\d.]+px [^;\"]*", "font-size: 9px", svg)
    svg = svg.replace("xlink:href=", "href=").replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    svg = svg.replace(' xmlns="http://www.w3.org/2000/svg"', "")
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return Markup(re.sub(r"\s*\n\s*", " ", svg).strip())


def _tick(value: float) -> str:
    mantissa, _, exponent = f"{value:g}".partition("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−") if exponent else mantissa.replace("-", "−")


def _is_finite(*values: Any) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)
