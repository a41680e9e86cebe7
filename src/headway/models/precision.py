"""Bfloat16: whether a machine has it, and a model that computes in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 in hardware; where it is emulated, float32 is faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def to_bfloat16(model: nn.Module) -> None:
    """Round the weights of a model to bfloat16, in place and for good: it serves prediction only.

    What is not saved with a model (the frequencies of rotary positions) is no weight, and keeps its precision.
    """
    for tensor in model.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.bfloat16)


def in_float32(outputs: Any) -> Any:
    """Return a model's outputs, by name, with what is in bfloat16 as float32: softmax and sums then lose no more."""
    low = {
        name: value.float()
        for name, value in outputs.items()
        if isinstance(value, Tensor) and value.dtype == torch.bfloat16
    }
    return type(outputs)(**{**outputs, **low}) if low else outputs
