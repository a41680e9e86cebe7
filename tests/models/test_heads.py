from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoModel

from headway.errors import RecipeError
from headway.importing import Choice
from headway.models.heads import HeadedModel


class Scaled(nn.Module):
    """A user's head, as a file outside the package would hold it."""

    def __init__(self, hidden_size, num_labels, scale=1.0):
        super().__init__()
        self.scale = scale
        self.out = nn.Linear(hidden_size, num_labels)

    def forward(self, pooled):
        return self.out(pooled) * self.scale


def headed(folder, *, name="linear", pooling="cls", pooling_layers=1, pooled_dropout=0.0, **options):
    return HeadedModel(
        AutoModel.from_pretrained(folder),
        kind="sequence-classification",
        choice=Choice(name=name, options=options),
        pooling=pooling,
        pooling_layers=pooling_layers,
        dropout=pooled_dropout,
        num_labels=3,
    ).eval()


def test_a_row_alone_equals_the_row_in_a_padded_batch(tiny_folders):
    model = headed(tiny_folders("bert"), pooling="mean")
    alone = model(input_ids=torch.tensor([[2, 9, 3]]), attention_mask=torch.ones(1, 3))["logits"]
    padded = model(input_ids=torch.tensor([[2, 9, 3, 0, 0]]), attention_mask=torch.tensor([[1, 1, 1, 0, 0]]))["logits"]
    torch.testing.assert_close(alone, padded)


def test_linear_is_dropout_and_one_layer_over_the_pooled_vector(tiny_folders):
    model = headed(tiny_folders("bert"), pooled_dropout=0.5)
    inputs = {"input_ids": torch.tensor([[2, 9, 10, 3]])}
    first = model.backbone(**inputs).last_hidden_state[:, 0]
    expected = first @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(model(**inputs)["logits"], expected)
    model.backbone.eval()
    model.dropout.train()
    assert not torch.allclose(model(**inputs)["logits"], expected)


def test_the_last_layers_stand_side_by_side(tiny_folders):
    model = headed(tiny_folders("bert"), pooling_layers=2)
    inputs = {"input_ids": torch.tensor([[2, 9, 10, 3]])}
    outputs = model.backbone(**inputs, output_hidden_states=True)
    expected = torch.cat([outputs.hidden_states[1][:, 0], outputs.last_hidden_state[:, 0]], dim=-1)
    assert model.head.weight.shape == (3, 64)
    torch.testing.assert_close(model.vectors(**inputs), expected)


def test_mlp_takes_its_options(tiny_folders):
    model = headed(tiny_folders("bert"), name="mlp", num_layers=2, layer_size=8, activation="tanh", dropout=0.3)
    shapes = [tuple(weight.shape) for weight in model.head.parameters() if weight.dim() == 2]
    assert shapes == [(8, 32), (8, 8), (3, 8)]
    assert [module.p for module in model.head if isinstance(module, nn.Dropout)] == [0.3, 0.3]
    assert sum(isinstance(module, nn.Tanh) for module in model.head) == 2


def test_hidden_layers_of_an_mlp_are_as_wide_as_the_backbone_by_default(tiny_folders):
    assert headed(tiny_folders("distilbert"), name="mlp").head[0].weight.shape == (32, 32)


def test_a_users_head_is_constructed_with_sizes_and_options(tiny_folders):
    model = headed(tiny_folders("bert"), name=f"{__name__}.Scaled", scale=0.0)
    assert model(input_ids=torch.tensor([[2, 3]]))["logits"].tolist() == [[0, 0, 0]]
    assert model.description() == {
        "name": f"{__name__}.Scaled", "options": {"scale": 0.0}, "pooling": "cls", "pooling_layers": 1,
        "dropout": 0.0, "num_labels": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lineer", {}, "Did you mean 'linear'"),
        ("linear", {"layers": 2}, "does not take 'layers'"),
        ("linear", {"hidden_size": 4}, "set by headway"),
        ("mlp", {"activation": "swish"}, "not one of gelu"),
        ("mlp", {"num_layers": 0}, "1 or more"),
        ("headway.models.options.ModelOptions", {}, "subclass of torch.nn"),
    ],
)
def test_a_wrong_head_is_explained(tiny_folders, name, options, message):
    with pytest.raises(RecipeError, match=message):
        headed(tiny_folders("bert"), name=name, **options)
