from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from headway.errors import RecipeError
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.models.saving import load_model, save_model

INPUTS = {"input_ids": torch.tensor([[2, 9, 10, 1]])}


@pytest.fixture
def deep(tiny_folders: Any, tmp_path: Path) -> Path:
    """A BERT of five layers."""
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(tiny_folders("bert"))
    config.num_hidden_layers = 5
    AutoModel.from_config(config).save_pretrained(tmp_path / "deep")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "deep" / name).write_bytes((tiny_folders("bert") / name).read_bytes())
    return tmp_path / "deep"


def build(folder: Path, **options: Any) -> Any:
    torch.manual_seed(0)
    backbone = load_backbone(ModelOptions(model_name_or_path=str(folder), **options))
    return backbone, backbone.build("sequence-classification", labels=("a", "b"), num_labels=2).model


@pytest.mark.parametrize(("number", "kept"), [(1, [0]), (2, [0, 4]), (3, [0, 2, 4]), (5, [0, 1, 2, 3, 4])])
def test_layers_are_spread_from_the_first_to_the_last(number: int, kept: list[int], deep: Path) -> None:
    _, whole = build(deep)
    _, model = build(deep, num_hidden_layers=number)
    assert model.config.num_hidden_layers == number
    layers = model.bert.encoder.layer
    assert len(layers) == number
    for layer, place in zip(layers, kept, strict=True):
        expected = whole.bert.encoder.layer[place].output.dense.weight
        assert torch.equal(layer.output.dense.weight, expected)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "modernbert", "deberta-v2", "t5"])
@pytest.mark.parametrize("head", ["default", "linear"])
def test_a_shortened_model_is_saved_and_comes_back(family: str, head: str, tiny_folders: Any, tmp_path: Path) -> None:
    backbone, model = build(tiny_folders(family), num_hidden_layers=1, head=head)
    model.eval()
    save_model(model, backbone.tokenizer, tmp_path / "model", extra={})
    again, _ = load_model(tmp_path / "model", "sequence-classification", allow_user_code=False)
    torch.testing.assert_close(again(**INPUTS)["logits"], model(**INPUTS)["logits"], rtol=0, atol=1e-6)
    assert sum(one.numel() for one in model.parameters()) < sum(
        one.numel() for one in build(tiny_folders(family), head=head)[1].parameters()
    )


def test_more_layers_than_there_are(deep: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.num_hidden_layers is 6, but the model has 5 layers"):
        build(deep, num_hidden_layers=6)
    with pytest.raises(RecipeError, match="has 2 layers"):
        build(deep, num_hidden_layers=2, head="linear", pooling_layers=3)
