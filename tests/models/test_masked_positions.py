from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from headway.models.backbone import load_backbone
from headway.models.masked_positions import logits_at
from headway.models.options import ModelOptions

ROWS, COLUMNS = torch.tensor([0, 0, 1]), torch.tensor([1, 4, 0])


def built(folder: Path, kind: str) -> Any:
    torch.manual_seed(0)
    return load_backbone(ModelOptions(model_name_or_path=str(folder))).build(kind).model


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    mask = torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0]])
    return {"input_ids": torch.arange(12).reshape(2, 6) + 5, "attention_mask": mask}


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "electra", "albert", "mpnet", "modernbert"])
def test_the_chosen_positions_get_what_the_whole_gives(
    family: str, tiny_folders: Callable[[str], Path], inputs: dict[str, torch.Tensor]
) -> None:
    model = built(tiny_folders(family), "masked-lm")
    with torch.no_grad():
        whole = model(**inputs).logits
        some = logits_at(model, inputs, ROWS, COLUMNS)["logits"]
        again = model(**inputs).logits
    assert some.shape == (1, 3, whole.shape[-1])
    assert torch.allclose(some[0], whole[ROWS, COLUMNS], atol=1e-5)
    assert torch.equal(whole, again), "the model is as it was"


def test_what_is_pooled_is_untouched(tiny_folders: Callable[[str], Path], inputs: dict[str, torch.Tensor]) -> None:
    model = built(tiny_folders("bert"), "pretraining")
    with torch.no_grad():
        whole, some = model(**inputs), logits_at(model, inputs, ROWS, COLUMNS)
    assert torch.allclose(some["prediction_logits"][0], whole.prediction_logits[ROWS, COLUMNS], atol=1e-5)
    assert torch.allclose(some["seq_relationship_logits"], whole.seq_relationship_logits, atol=1e-6)


def test_no_position_is_no_logit_and_gradients_flow(
    tiny_folders: Callable[[str], Path], inputs: dict[str, torch.Tensor]
) -> None:
    model = built(tiny_folders("bert"), "masked-lm")
    none = torch.tensor([], dtype=torch.long)
    logits_at(model, inputs, none, none)["logits"].sum().backward()
    assert not model.get_input_embeddings().weight.grad.any()
    logits_at(model, inputs, ROWS, COLUMNS)["logits"].square().sum().backward()
    assert model.get_input_embeddings().weight.grad.any()


def test_the_hook_is_gone_after_an_error(tiny_folders: Callable[[str], Path], inputs: dict[str, torch.Tensor]) -> None:
    model = built(tiny_folders("bert"), "masked-lm")
    with pytest.raises(IndexError):
        logits_at(model, inputs, torch.tensor([9]), torch.tensor([0]))
    assert model(**inputs).logits.shape[:2] == (2, 6)
