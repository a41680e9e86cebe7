from __future__ import annotations

import pytest

from headway.tasks.base import Task
from headway.tasks.multiple_choice import MultipleChoice
from headway.tasks.relation_extraction import RelationExtraction
from headway.tasks.text_classification import TextClassification
from headway.types import Prediction


@pytest.mark.parametrize(
    ("shares", "is_close"),
    [
        ((0.504, 0.496), True),
        ((0.52, 0.48), False),
        ((0.4, 0.2, 0.395), True),
        ((0.4, 0.3, 0.3), False),
        ((1.0,), False),
    ],
)
def test_two_labels_about_as_likely_are_a_close_call(shares: tuple[float, ...], is_close: bool) -> None:
    task = TextClassification(labels=tuple("abc"[: len(shares)]), problem_type="single_label_classification")
    prediction = Prediction("a", shares[0], {"probabilities": dict(zip(task.labels, shares, strict=True))})
    assert task.is_close(prediction) is is_close


@pytest.mark.parametrize(("share", "is_close"), [(0.304, True), (0.296, True), (0.28, False), (0.5, False)])
def test_a_label_near_its_threshold_is_a_close_call(share: float, is_close: bool) -> None:
    task = TextClassification(labels=("a", "b"), problem_type="multi_label_classification", threshold=0.3)
    assert task.is_close(Prediction(["a"], None, {"probabilities": {"a": 0.9, "b": share}})) is is_close


def test_a_number_is_no_call_at_all() -> None:
    assert not TextClassification(problem_type="regression").is_close(Prediction(0.5))


@pytest.mark.parametrize("task", [RelationExtraction(labels=("a", "b")), MultipleChoice()], ids=lambda task: task.name)
@pytest.mark.parametrize(("share", "is_close"), [(0.495, True), (0.48, False)])
def test_two_relations_or_choices_about_as_likely_are_a_close_call(share: float, is_close: bool, task: Task) -> None:
    assert task.is_close(Prediction("a", 0.5, {"probabilities": {"a": 0.5, "b": share}})) is is_close
