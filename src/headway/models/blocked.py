"""Weights of linear layers in the order in which the processor's matrix product reads them, for prediction.

torch multiplies float32 by MKL, which on processors of other makers than Intel uses half of their width, and in any
precision it sorts the weights anew for each product. oneDNN, which comes with torch, takes weights that were sorted
once. The numbers are the same but for the order of additions. Weights that change stay out of it: a layer computes
this way in inference mode only, and whoever trains in between sorts again.
"""

from __future__ import annotations

import contextlib
import copy
import platform
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

_DTYPES = (torch.float32, torch.bfloat16)


class _Blocked:
    """The forward of a linear layer that sorts its weights once; it takes the place of ``linear.forward``."""

    def __init__(self, linear: nn.Linear) -> None:
        self.linear = linear
        # Sorted when first asked for: of a frozen backbone whose vectors are known, nobody asks.
        self.weight: Tensor | None = None

    def __call__(self, input: Tensor) -> Tensor:
        linear = self.linear
        is_plain = (
            not torch.is_inference_mode_enabled()  # somebody asks for gradients, or exports the model
            or input.dtype != linear.weight.dtype
            or not input.is_cpu
            or torch.is_autocast_enabled("cpu")
        )
        if is_plain:
            return functional.linear(input, linear.weight, linear.bias)
        if self.weight is None:
            self.weight = _sorted(linear.weight)
        return _product(input, self.weight, linear.bias)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Blocked:
        # Sorted weights cannot be copied, and need not be: nothing writes into them.
        copied = object.__new__(_Blocked)
        copied.linear, copied.weight = copy.deepcopy(self.linear, memo), self.weight
        return copied


def sort_weights(model: nn.Module) -> None:
    """Sort the weights of all linear layers of ``model`` for good, beside the weights it has: it never changes again.

    Where torch or the processor has nothing for it, the model stays as it is.
    """
    for linear in _linear_layers(model):
        linear.forward = _Blocked(linear)  # type: ignore[method-assign]


@contextlib.contextmanager
def sorted_weights(model: nn.Module) -> Iterator[None]:
    """Do as `sort_weights` within the context, for a model that is trained before and after; it takes milliseconds."""
    layers = _linear_layers(model)
    try:
        for linear in layers:
            linear.forward = _Blocked(linear)  # type: ignore[method-assign]
        yield
    finally:
        for linear in layers:
            vars(linear).pop("forward", None)


def _linear_layers(model: nn.Module) -> list[nn.Linear]:
    """Return the layers that can take part: no subclass, which may compute in a way of its own, and none twice."""
    if not can_sort():
        return []
    return [
        one
        for one in model.modules()
        if type(one) is nn.Linear
        and "forward" not in vars(one)
        and one.weight.is_cpu
        and one.weight.dtype in _DTYPES
        and one.weight.numel()
    ]


@cache
def can_sort() -> bool:
    """Return whether torch has the products, which are not part of its documented interface, and they are right here.

    Only where they are worth it: on other processors than x86 torch multiplies by other libraries.
    """
    has_library = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if platform.machine().lower() not in ("x86_64", "amd64") or not has_library:
        return False
    input, weight, bias = torch.arange(12.0).view(3, 4), torch.arange(8.0).view(2, 4), torch.tensor([1.0, -1.0])
    try:
        found = _product(input, _sorted(weight), bias)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.equal(found, functional.linear(input, weight, bias))


def _sorted(weight: Tensor) -> Tensor:
    with torch.no_grad():
        return cast(Tensor, torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None))


def _product(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], ""))
