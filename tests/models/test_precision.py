from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from headway.models.precision import has_bfloat16, in_float32, to_bfloat16


class Tied(nn.Module):
    """Weights that two layers share, numbers that are saved, and numbers that are not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.second.weight = self.first.weight
        self.register_buffer("mean", torch.full((2,), 0.1))
        self.register_buffer("count", torch.ones(2, dtype=torch.long))
        self.register_buffer("frequencies", torch.full((2,), 0.1), persistent=False)


def test_what_is_saved_is_rounded_and_stays_shared() -> None:
    model = Tied()
    to_bfloat16(model)
    assert model.second.weight is model.first.weight
    assert model.first.weight.dtype == model.second.bias.dtype == model.mean.dtype == torch.bfloat16
    assert model.count.dtype == torch.long
    assert model.frequencies.dtype == torch.float32


@pytest.mark.parametrize("kind", [dict, SequenceClassifierOutput])
def test_outputs_come_in_float32_and_in_their_own_form(kind: type) -> None:
    outputs = kind(logits=torch.tensor([0.5]).bfloat16(), hidden_states=(torch.ones(1),))
    found = in_float32(outputs)
    assert type(found) is kind
    assert found["logits"].dtype == torch.float32
    assert found["hidden_states"] is outputs["hidden_states"]
    exact = kind(logits=torch.tensor([0.5]))
    assert in_float32(exact) is exact


@pytest.mark.parametrize(("avx", "amx"), [(True, False), (False, True), (False, False)])
def test_a_processor_has_bfloat16_by_either_set_of_instructions(
    avx: bool, amx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert has_bfloat16(torch.device("cpu")) is (avx or amx)
