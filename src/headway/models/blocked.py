"""Weights of linear layers in the order in which the processor's matrix product reads them, for prediction.

torch multiplies float32 by MKL, which on processors of other makers than Intel uses half of their width, and in any
precision it sorts the weights anew for each product. oneDNN, which comes with torch, takes weights that were sorted
once, and computes a GELU behind it on the way. The numbers are the same but for the order of additions. Weights that
change stay out of it: a layer computes this way in inference mode only, and whoever trains in between sorts again.
Under autocast they are sorted as it rounds them, which it would do for each batch.
"""

from __future__ import annotations

import contextlib
import copy
import platform
from collections.abc import Callable, Iterator
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
        output = self.product(input)
        return functional.linear(input, self.linear.weight, self.linear.bias) if output is None else output

    def product(self, input: Tensor, activation: str = "none") -> Tensor | None:
        """Return the product with sorted weights and what is computed behind it, or None where it is not for them."""
        if not (torch.is_inference_mode_enabled() and input.is_cpu):  # else somebody asks for gradients, or exports
            return None
        weight, bias = self.linear.weight, self.linear.bias
        is_cast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if is_cast else weight.dtype
        if dtype not in _DTYPES or not (is_cast or input.dtype == dtype):
            return None
        if self.weight is None or self.weight.dtype != dtype:
            self.weight = _sorted(weight.to(dtype))
        return _product(input.to(dtype), self.weight, None if bias is None else bias.to(dtype), activation)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Blocked:
        # Sorted weights cannot be copied, and need not be: nothing writes into them.
        copied = object.__new__(_Blocked)
        copied.linear, copied.weight = copy.deepcopy(self.linear, memo), self.weight
        return copied


class _Activated:
    """The forward of a module that is a linear layer and a GELU behind it, as in BERT and its kin: one product."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __call__(self, hidden_states: Tensor) -> Tensor:
        dense = self.module.dense
        sorts = vars(dense).get("forward")
        is_watched = dense._forward_hooks or dense._forward_pre_hooks
        output = sorts.product(hidden_states, "gelu") if isinstance(sorts, _Blocked) and not is_watched else None
        return cast(Tensor, type(self.module).forward(self.module, hidden_states)) if output is None else output


def sort_weights(model: nn.Module) -> None:
    """Sort the weights of all linear layers of ``model`` for good, beside the weights it has: it never changes again.

    Where torch or the processor has nothing for it, the model stays as it is.
    """
    for module, forward in _forwards(model):
        module.forward = forward


@contextlib.contextmanager
def sorted_weights(model: nn.Module) -> Iterator[None]:
    """Do as `sort_weights` within the context, for a model that is trained before and after; it takes milliseconds."""
    forwards = _forwards(model)
    try:
        for module, forward in forwards:
            module.forward = forward
        yield
    finally:
        for module, _ in forwards:
            vars(module).pop("forward", None)


def _forwards(model: nn.Module) -> list[tuple[Any, Callable[[Tensor], Tensor]]]:
    """Return the modules that can take part, and how: no subclass, which may have its own way, and none twice."""
    if not can_sort():
        return []
    linear = [
        one
        for one in model.modules()
        if type(one) is nn.Linear
        and "forward" not in vars(one)
        and one.weight.is_cpu
        and one.weight.dtype in _DTYPES
        and one.weight.numel()
    ]
    activated = [
        one
        for one in model.modules()
        if [name for name, _ in one.named_children()] == ["dense", "intermediate_act_fn"]
        and "forward" not in vars(one)
        and one.dense in linear
        and getattr(one.intermediate_act_fn, "act", None) is functional.gelu
    ]
    return [*((one, _Blocked(one)) for one in linear), *((one, _Activated(one)) for one in activated)]


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
        found, active = (_product(input, _sorted(weight), bias, activation) for activation in ("none", "gelu"))
    except (AttributeError, RuntimeError, TypeError):
        return False
    expected = functional.linear(input, weight, bias)
    return torch.equal(found, expected) and torch.allclose(active, functional.gelu(expected))


def _sorted(weight: Tensor) -> Tensor:
    with torch.no_grad():
        return cast(Tensor, torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None))


def _product(input: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    # An empty name and "none" are two formulas of GELU; other activations take no notice of it.
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(input, weight, bias, activation, [], "none"))
