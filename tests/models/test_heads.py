from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoModel

from headway.errors import RecipeError
from headway.importing import Choice
from headway.models.heads import HeadedModel, pool

HIDDEN = torch.tensor([[[1.0, -1.0], [3.0, -3.0], [100.0, 100.0]], [[2.0, 0.0], [4.0, 2.0], [6.0, 4.0]]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])


class Scaled(nn.Module):
    """A user's head, as a file outside the package would hold it."""

    def __init__(self, hidden_size, num_labels, scale=1.0):
        super().__init__()
        self.scale = scale
        self.out = nn.Linear(hidden_size, num_labels)

    def forward(self, pooled):
        return self.out(pooled) * self.scale


def headed(folder, *, name="linear", pooling="cls", pooled_dropout=0.0, **options):
    backbone = AutoModel.from_pretrained(folder)
    choice = Choice(name=name, options=options)
    return HeadedModel(backbone, choice=choice, pooling=pooling, dropout=pooled_dropout, num_labels=3).eval()


@pytest.mark.parametrize(
    ("how", "expected"),
    [("cls", [[1, -1], [2, 0]]), ("mean", [[2, -2], [4, 2]]), ("max", [[3, -1], [6, 4]])],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_sees_no_padding(how, expected, dtype):
    pooled = pool(HIDDEN.to(dtype), MASK, how=how)
    assert pooled.dtype == dtype
    assert pooled.tolist() == expected


def test_pooling_without_a_mask_takes_every_token():
    assert pool(HIDDEN, None, how="mean")[1].tolist() == [4, 2]


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
        "name": f"{__name__}.Scaled", "options": {"scale": 0.0}, "pooling": "cls", "dropout": 0.0, "num_labels": 3,
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
