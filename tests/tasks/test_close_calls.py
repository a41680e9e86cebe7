from __future__ import annotations

import pytest

from headway.tasks.base import Task
from headway.tasks.multiple_choice import MultipleChoice
from headway.tasks.relation_extraction import RelationExtraction
from headway.tasks.text_classification import TextClassification
from headway.types import Prediction


@pytest.mark.parametrize(
    ("shares", "lead"), [((0.504, 0.496), 0.008), ((0.4, 0.2, 0.395), 0.005), ((0.5, 0.0, 0.5), 0.0), ((1.0,), None)]
)
def test_the_lead_of_a_label_is_over_the_next(shares: tuple[float, ...], lead: float | None) -> None:
    task = TextClassification(labels=tuple("abc"[: len(shares)]), problem_type="single_label_classification")
    prediction = Prediction("a", shares[0], {"probabilities": dict(zip(task.labels, shares, strict=True))})
    assert task.lead(prediction) == (None if lead is None else pytest.approx(lead))


@pytest.mark.parametrize(("share", "lead"), [(0.304, 0.008), (0.296, 0.008), (0.1, 0.4), (0.95, 1.2)])
def test_of_several_labels_the_one_nearest_to_its_turn_counts(share: float, lead: float) -> None:
    task = TextClassification(labels=("a", "b"), problem_type="multi_label_classification", threshold=0.3)
    assert task.lead(Prediction(["a"], None, {"probabilities": {"a": 0.9, "b": share}})) == pytest.approx(lead)


def test_a_number_has_no_lead() -> None:
    assert TextClassification(problem_type="regression").lead(Prediction(0.5)) is None


@pytest.mark.parametrize("task", [RelationExtraction(labels=("a", "b")), MultipleChoice()], ids=lambda task: task.name)
def test_the_lead_of_a_relation_or_choice_is_over_the_next(task: Task) -> None:
    assert task.lead(Prediction("a", 0.5, {"probabilities": {"a": 0.5, "b": 0.48}})) == pytest.approx(0.02)
