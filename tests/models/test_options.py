from __future__ import annotations

import pytest
from pydantic import ValidationError

from headway.importing import Choice
from headway.models.options import ModelOptions


def test_defaults_survive_a_round_trip_through_json():
    options = ModelOptions()
    assert ModelOptions.model_validate_json(options.model_dump_json()) == options
    assert options.model_dump()["head"] == "default"


def test_head_takes_a_name_or_a_mapping():
    assert ModelOptions.model_validate({"head": "mlp"}).head == Choice(name="mlp")
    with_options = ModelOptions.model_validate({"head": {"name": "mlp", "layer_size": 8}})
    assert with_options.head.options == {"layer_size": 8}
    assert ModelOptions.model_validate(with_options.model_dump()) == with_options


@pytest.mark.parametrize(
    "wrong",
    [
        {"attn_implementation": "org/kernel"},
        {"attn_implementation": "paged|sdpa"},
        {"freeze": -1},
        {"freeze": True},
        {"freeze": "some"},
        {"dropout": 1.0},
        {"head": {"layer_size": 8}},
        {"model_name_or_path": ""},
        {"model": "minilm"},
    ],
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ModelOptions.model_validate(wrong)


@pytest.mark.parametrize("freeze", ["none", "all", 0, 4])
def test_freeze_takes_a_word_or_a_number(freeze):
    assert ModelOptions(freeze=freeze).freeze == freeze
