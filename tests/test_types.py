from __future__ import annotations

import dataclasses

import pytest
import torch
from pydantic import ValidationError

from headway.types import Batch, Column, Features, Options, Prediction


class Sizes(Options):
    width: int = 3
    """How wide."""


def test_options_are_closed_frozen_and_described_by_their_docstrings() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Sizes.model_validate({"widht": 4})
    with pytest.raises(ValidationError, match="frozen"):
        Sizes().width = 4
    assert Sizes.model_fields["width"].description == "How wide."


def test_a_label_is_gold_and_a_text_is_not() -> None:
    assert Column("label", "label", True, "").is_gold
    assert not Column("text", "text", True, "").is_gold


@pytest.mark.parametrize(
    ("inputs", "length"),
    [
        ({"input_ids": [1, 2, 3], "attention_mask": [1, 1, 1]}, 3),
        ({"query_input_ids": [1, 2], "positive_input_ids": [1, 2, 3, 4]}, 4),
        ({"pixel_values": [1, 2]}, 0),
        ({}, 0),
    ],
)
def test_the_length_is_that_of_the_longest_input(inputs: dict[str, list[int]], length: int) -> None:
    assert Features(inputs).length == length


def test_pieces_stand_one_after_another() -> None:
    pieces = [{"input_ids": [2, 3], "attention_mask": [1, 1]}, {"input_ids": [5], "attention_mask": [1]}]
    one = Features.of_pieces(pieces, {"labels": 1}, {"tokens_lost": 0})
    assert one == Features(
        {"input_ids": [2, 3, 5], "attention_mask": [1, 1, 1]}, {"labels": 1}, {"tokens_lost": 0}, pieces=(2, 1)
    )
    assert (one.num_pieces, one.length) == (2, 3)


def test_a_batch_moves_inputs_and_targets_and_keeps_its_features() -> None:
    batch = Batch({"input_ids": torch.ones(1, 2)}, {"labels": torch.zeros(1)}, (Features({}),))
    moved = batch.to("meta")
    assert moved.inputs["input_ids"].device.type == moved.targets["labels"].device.type == "meta"
    assert moved.features is batch.features
    assert batch.inputs["input_ids"].device.type == "cpu"


def test_what_travels_cannot_be_changed_on_the_way() -> None:
    for one in (Features({}), Prediction("a"), Column("text", "text", True, "")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            one.__setattr__(next(iter(one.__slots__)), "other")
