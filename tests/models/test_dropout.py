from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headway.models.backbone import load_backbone
from headway.models.dropout import FastDropout, dropout, use_fast_dropout
from headway.models.options import ModelOptions


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_it_drops_its_share_and_keeps_the_sum(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    found = dropout(torch.ones(1000, 999, dtype=dtype), p).float()
    # Five deviations of a share over a million draws.
    assert (found == 0).float().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / 999_000) ** 0.5)
    kept = found[found != 0]
    assert kept.unique().numel() == 1
    # As exact as the numbers are: the rate itself is rounded to 1/65,536.
    assert kept[0].item() == pytest.approx(1 / (1 - p), rel=max(torch.finfo(dtype).eps, 2e-4))


def test_elements_are_drawn_one_by_one() -> None:
    torch.manual_seed(0)
    drops = (dropout(torch.ones(4000, 64), 0.5) == 0).float()
    for distance in (1, 2, 3, 4, 5, 64):
        first, second = drops.flatten()[:-distance], drops.flatten()[distance:]
        # Of independent ones the correlation has a deviation of 0.002.
        assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1].item()) < 0.01
    assert drops.mean(0).min() > 0.4, "every column is dropped at times"
    assert drops.mean(0).max() < 0.6


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 5), (0, 4)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert dropout(torch.ones(shape), 0.5).shape == shape


def test_the_gradient_has_the_same_mask() -> None:
    values = torch.randn(50, 40, requires_grad=True)
    found = dropout(values.transpose(0, 1), 0.3)
    weights = torch.randn(40, 50)
    (found * weights).sum().backward()
    expected = (found.detach() / values.detach().T) * weights
    assert values.grad is not None
    torch.testing.assert_close(values.grad.T, expected)


def test_the_seed_decides_whatever_the_number_of_threads() -> None:
    threads = torch.get_num_threads()
    masks: list[Tensor] = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            torch.manual_seed(3)
            masks.append(dropout(torch.ones(300, 300), 0.1))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*masks)
    assert not torch.equal(masks[0], dropout(torch.ones(300, 300), 0.1))


def test_none_and_all() -> None:
    values = torch.randn(4, 4)
    assert torch.equal(dropout(values, 0.0), values)
    assert not dropout(values, 1.0).any()
    # Numbers it does not know are left to torch.
    assert (dropout(values.double(), 0.5) == 0).any()


def test_it_stands_for_torchs_own_in_training_only() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.2)), nn.AlphaDropout(0.5)).eval()
    use_fast_dropout(model)
    assert [type(one).__name__ for one in model.modules() if "Dropout" in type(one).__name__] == [
        "FastDropout", "FastDropout", "AlphaDropout",
    ]  # fmt: skip
    values = torch.randn(100, 4)
    assert torch.equal(model[1](values), values)
    assert (model.train()[1](values) == 0).any()
    assert repr(model[1]) == "FastDropout(p=0.5)"


def build(folder: Path, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    backbone = load_backbone(ModelOptions.model_validate({"model_name_or_path": str(folder)} | options))
    return backbone.build("sequence-classification", labels=("no", "yes"), num_labels=2).model


@pytest.mark.parametrize("options", [{}, {"packing": False}, {"adapter": "lora"}, {"head": "linear"}])
def test_a_recipe_can_switch_it_off(options: dict[str, Any], tiny_folders: Callable[[str], Path]) -> None:
    kinds = {
        fast: {type(one) for one in build(tiny_folders("bert"), fast_dropout=fast, **options).modules()}
        for fast in (True, False)
    }
    assert FastDropout in kinds[True]
    assert FastDropout not in kinds[False]
    assert nn.Dropout in kinds[False]


def test_activations_computed_again_are_dropped_alike(tiny_folders: Callable[[str], Path]) -> None:
    inputs = {"input_ids": torch.randint(5, 30, (4, 12)), "attention_mask": torch.ones(4, 12, dtype=torch.long)}
    found = []
    for again in (False, True):
        model = build(tiny_folders("bert"), gradient_checkpointing=again, dropout=0.3).train()
        torch.manual_seed(5)
        loss = model(**inputs).logits.square().sum()
        loss.backward()
        found.append([loss.item(), *(one.grad.norm().item() for one in model.parameters() if one.grad is not None)])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_attention_weights_are_dropped_by_torch_where_the_layer_is(tiny_folders: Callable[[str], Path]) -> None:
    """With ``fast_dropout`` off the same seed gives what transformers gives by itself."""
    inputs = {"input_ids": torch.randint(5, 30, (4, 12)), "attention_mask": torch.ones(4, 12, dtype=torch.long)}
    logits = []
    for options in ({}, {"attn_implementation": "eager"}):
        model = build(tiny_folders("bert"), fast_dropout=False, skip_unread_tokens=False, **options).train()
        torch.manual_seed(5)
        logits.append(model(**inputs).logits)
    torch.testing.assert_close(*logits)
