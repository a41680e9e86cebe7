"""Every task under another head than the model family's own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tasks.test_contract import CASES, assert_close, build
from torch import Tensor, nn

from headway.errors import RecipeError
from headway.inference import Inference
from headway.models import heads
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.models.saving import load_model, save_model

KINDS = [pytest.param((name, kind), id=f"{name}: {kind}") for name, kinds in CASES.items() for kind in kinds]


class TwoLayers(nn.Module):
    """A head of the user's own, which takes one row of vectors after another."""

    def __init__(self, hidden_size: int, num_labels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(hidden_size, width), nn.BatchNorm1d(width), nn.Linear(width, num_labels))

    def forward(self, vectors: Tensor) -> Tensor:
        assert vectors.dim() == 2
        logits: Tensor = self.layers(vectors)
        return logits


OWN = {"name": f"{__name__}.TwoLayers", "width": 16}


@pytest.mark.parametrize("case", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {"head": "linear", "pooling_layers": 2},
        {"head": "mlp", "pooling": "attention"},
        {"head": OWN, "pooling": "max", "pooling_layers": 2},
    ],
    ids=["linear", "mlp", "own"],
)
def test_a_task_learns_predicts_and_is_saved(
    case: tuple[str, str], options: dict[str, Any], tiny_bert: Path, tmp_path: Path
) -> None:
    plain = build(*case, load_backbone(ModelOptions(model_name_or_path=str(tiny_bert))))
    kind = plain.task.model_kind
    if kind in heads.OF_TOKENS:
        options = {name: value for name, value in options.items() if name != "pooling"}
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert), dropout=0.0, **options))
    if kind not in (*heads.POOLED, *heads.OF_TOKENS):
        with pytest.raises(RecipeError, match="has no head that could be another one"):
            build(*case, backbone)
        return

    headed = build(*case, backbone)
    batch, criterion = headed.batch, headed.criterion
    expected = plain.task.forward(plain.model, batch)
    outputs = headed.task.forward(headed.model, batch)
    for name in outputs:
        assert outputs[name].shape == expected[name].shape, name
    loss = headed.task.loss(outputs, batch, criterion)
    loss.backward()
    top = [parameter for name, parameter in headed.model.named_parameters() if not name.startswith("backbone.")]
    assert all(parameter.grad is not None for parameter in top)
    with torch.no_grad():
        for parameter in headed.model.parameters():
            parameter -= 0.05 * (torch.zeros(()) if parameter.grad is None else parameter.grad)

    headed.model.eval()
    one, eight = (list(headed.with_task(headed.task, size).stream(headed.rows)) for size in (1, 8))
    for left, right in zip(one, eight, strict=True):
        assert_close(dataclasses.asdict(left), dataclasses.asdict(right))
    save_model(headed.model, backbone.tokenizer, tmp_path / "model", extra={})
    again, tokenizer = load_model(tmp_path / "model", kind, allow_user_code=True)
    reloaded = Inference(headed.task, again, tokenizer, headed.inference.limits, 8).stream(headed.rows)
    for left, right in zip(eight, reloaded, strict=True):
        assert_close(dataclasses.asdict(left), dataclasses.asdict(right))
