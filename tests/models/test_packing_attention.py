"""Attention of packed and padded batches as products of matrices, beside torch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headway.models import packing


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("length", [1, 15, 16, 31, 32, 33, 41, 63, 100, 127, 128, 150, 160])
def test_no_length_of_bfloat16_attention_is_special(length: int, is_masked: bool) -> None:
    """Short rows go through float32 and incomplete ones get keys that nobody sees, in training and in prediction."""
    torch.manual_seed(length)
    given = [torch.randn(3, 2, length, 8).bfloat16() for _ in range(3)]
    seen = None
    if is_masked:
        seen = torch.arange(length) < torch.tensor([length, max(1, length - 3), 1])[:, None, None, None]
    how = packing._How(8**-0.5, 0.0, nn.functional.dropout)

    def outputs(tensors: list[Tensor], attend: Callable[..., Tensor]) -> list[Tensor]:
        leaves = [one.clone().requires_grad_() for one in tensors]
        output = attend(*leaves)
        with torch.inference_mode():
            predicted = attend(*tensors)
        return [output, predicted, *torch.autograd.grad(output.float().sin().sum(), leaves)]

    def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=how.scale)

    found = outputs(given, lambda query, key, value: packing._attend(query, key, value, seen, how))
    expected = outputs([one.float() for one in given], plain)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one.float(), other, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("length", [100, 128, 150, 200])
def test_a_mask_in_the_product_is_the_mask(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [torch.randn(3, 2, length, 8).bfloat16() for _ in range(3)]
    thin = torch.arange(length) < torch.tensor([length, length - 30, 1])[:, None, None, None]
    how = packing._How(8**-0.5, 0.0, nn.functional.dropout)
    pads: list[Any] = []
    pad = nn.functional.pad
    monkeypatch.setattr("headway.models.packing.functional.pad", lambda one, by: pads.append(by) or pad(one, by))
    with torch.inference_mode():
        expected = packing._attend(*given, thin.expand(3, 1, length, length).contiguous(), how)
        assert (0, 2) not in pads
        torch.testing.assert_close(packing._attend(*given, thin, how), expected, rtol=0, atol=0)
        assert ((0, 2) in pads) is (length >= 128)
