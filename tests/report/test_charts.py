from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from headway.report.charts import draw_curves, draw_reliability, draw_scatter, thin
from headway.report.reading import Curve

BINS = [
    {"low": i / 10, "high": (i + 1) / 10, "confidence": i / 10 + 0.05 if i else None, "accuracy": 0.5, "count": i}
    for i in range(10)
]
DRAWINGS = {
    "curves": lambda: draw_curves(Curve([1, 2], [0.5, 0.4]), Curve([2], [0.45]), best_step=2),
    "train only": lambda: draw_curves(Curve([1, 2], [5e-5, 1e-7]), Curve(), best_step=None, height=1.7),
    "nothing finite": lambda: draw_curves(Curve([1], [math.nan]), Curve([1], [math.inf]), best_step=1),
    "reliability": lambda: draw_reliability(BINS),
    "empty bins": lambda: draw_reliability([{**one, "count": 0} for one in BINS]),
    "scatter": lambda: draw_scatter([[1.0, 2.0], [3.0, -4.0]]),
    "one point": lambda: draw_scatter([[1.0, 1.0]]),
    "no point": lambda: draw_scatter([[math.nan, 1.0]]),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawing_is_a_part_of_the_page(name: str) -> None:
    drawing = DRAWINGS[name]()
    assert drawing == DRAWINGS[name]()
    root = ElementTree.fromstring(drawing)
    assert root.tag == "svg"
    assert root.get("class") == "chart"
    assert root.get("viewBox")
    assert root.get("width") is None
    for forbidden in ("<style", "<metadata", "http", "xlink", "#0", "font-family", "DejaVu", "<image", "<script"):
        assert forbidden not in drawing
    names = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(names) == len(set(names))
    assert all(value[1:] in names for element in root.iter() if (value := element.get("href")) is not None)


def test_drawing_takes_its_colours_from_the_page() -> None:
    drawing = DRAWINGS["curves"]()
    for colour in ("var(--accent)", "var(--muted)", "var(--line)"):
        assert colour in drawing


def test_values_reach_the_drawing() -> None:
    assert draw_scatter([[1.0, 2.0]]) != draw_scatter([[1.0, 2.0], [1.5, 1.0]])
    assert draw_curves(Curve([1, 2], [1, 2]), None, best_step=None) != draw_curves(
        Curve([1, 2], [1, 2]), None, best_step=1
    )


def test_one_evaluation_has_whole_steps_around_it() -> None:
    drawing = draw_curves(None, Curve([12], [0.5]), best_step=12)
    steps = re.findall(r">(\d+)</text>", drawing)
    assert steps == sorted(set(steps))
    assert "12" in steps


def test_long_curve_is_averaged_over_equal_stretches() -> None:
    curve = Curve(list(range(1000)), [float(step) for step in range(1000)])
    steps, values = thin(curve, limit=100)
    assert len(steps) == 100
    assert steps[0] == values[0] == 4.5
    assert thin(Curve([1, 2, 3], [1.0, math.nan, 3.0])) == ([1.0, 3.0], [1.0, 3.0])


def test_repeated_and_disordered_steps_are_sorted() -> None:
    assert thin(Curve([3, 1, 2], [3.0, 1.0, 2.0])) == ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
