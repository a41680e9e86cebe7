"""Attention of sequences padded to one length: the fused kernel or products of matrices, whichever is faster."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_LONGEST_BY_PRODUCTS = {torch.bfloat16: 512, torch.float32: 128}
"""On the processor two products and a softmax are faster than the fused kernel up to so many tokens, in float32 in
prediction only; and with dropout, which that kernel does not know, in any numbers and at any length."""

_LONGEST_BY_POWERS = 512
"""Without a softmax they are faster up to so many tokens, in prediction."""

_SHORT = 128
"""Of up to so many keys, one query for each text is trained in float32, which nothing is prepared for: oneDNN prepares
each product of a new size in bfloat16, and that takes longer than these take."""

_MANY_WEIGHTS, _CACHED_WEIGHTS = 2**17, 2**20
"""From so many on the softmax is left out: of fewer, to look at their sums costs more. And so many are made at once in
float32, so that they are in the caches of the processor when they are read again."""

_WIDTH, _HALF_WIDTH = 32, 16
"""Numbers of bfloat16 in a register of AVX-512, or of float32: how many torch's softmax takes at once. From half of the
width up to it the softmax is faster in float32, which is also what it computes in."""

_LEAST, _GREAT, _GREATEST = 2.0**-60, 2.0**100, 2.0**126
"""Between the least and the greatest, powers of 2 and their products with values lose nothing to the ends of what
bfloat16 can hold, which are those of float32; under the great one values need not be looked at."""


@dataclass(frozen=True, slots=True)
class How:
    """How the weights of attention are made."""

    scale: float
    """Of the products."""
    dropout: float
    drop: Callable[[Tensor, float], Tensor]


def attend(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None, how: How) -> Tensor:
    """Return attention, (batch, heads, tokens, head size).

    Args:
        query: (batch, heads, tokens, head size).
        key: (batch, heads, keys, head size).
        value: as ``key``.
        seen: (batch or 1, 1, tokens or 1, keys), False where a key is not seen; None: all are.
        how: of the weights.
    """
    # A text that is written token by token asks once about each key, which is little work either way.
    is_prediction = not (how.dropout or torch.is_grad_enabled()) and query.shape[2] > 1
    is_half = query.dtype == torch.bfloat16
    is_known = query.is_cpu and query.dtype in _LONGEST_BY_PRODUCTS and query.shape[2] <= _LONGEST_BY_POWERS
    if is_prediction and is_known and query.shape[:3].numel() * key.shape[2] >= _MANY_WEIGHTS:
        output = _by_powers_in_parts(query, key, value, seen, how.scale)
        if output is not None:
            return output
    is_short = query.shape[2] <= _LONGEST_BY_PRODUCTS.get(query.dtype, 0) and (is_half or is_prediction)
    if query.is_cuda or not (how.dropout or is_short):
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, dropout_p=how.dropout, scale=how.scale
        )
    if is_half and torch.is_grad_enabled() and query.shape[2] == 1 and key.shape[2] <= _SHORT:
        with torch.autocast(query.device.type, enabled=False):
            exact = _by_softmax(query.float(), key.float(), value.float(), seen, how)
        return exact.to(query.dtype)
    return _by_softmax(query, key, value, seen, how)


def _by_powers_in_parts(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None, scale: float) -> Tensor | None:
    """Return what `_by_powers` does, in float32 of as many texts at a time as the caches hold weights of."""
    # In bfloat16 weights are half as large, and oneDNN would prepare the products of the last part anew.
    is_half = query.dtype == torch.bfloat16
    num_texts = len(query) if is_half else max(1, _CACHED_WEIGHTS // (query.shape[1:3].numel() * key.shape[2]))
    outputs = []
    for start in range(0, len(query), num_texts):
        part = slice(start, start + num_texts)
        mask = seen if seen is None or len(seen) == 1 else seen[part]
        output = _by_powers(query[part], key[part], value[part], mask, scale)
        if output is None:
            return None
        outputs.append(output)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _by_powers(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None, scale: float) -> Tensor | None:
    """Return attention without a softmax, or None where the numbers leave the range in which that is the same.

    The powers are summed and divided by after the second product, which spares three passes over all weights; so does
    to raise 2 instead of e, and not to look for the largest product first.
    """
    query = query * (scale * math.log2(math.e))
    if seen is not None and seen.shape[2] == 1:
        # Another number in each vector, and a second one to be even, cost less than to pass over all weights.
        query, key = functional.pad(query, (0, 2)), functional.pad(key, (0, 2))
        query[..., -2], key[..., -2] = 1, _added(seen, key.dtype)[:, :, 0]
        seen = None
    weights = torch.matmul(query, key.transpose(2, 3))  # (batch, heads, tokens, keys)
    if seen is not None:
        weights += _added(seen, weights.dtype)
    weights.exp2_()
    sums = weights.sum(-1, keepdim=True)
    least, greatest = (one.item() for one in sums.aminmax())
    is_right = least > _LEAST and (greatest < _GREAT or greatest * value.abs().max().item() < _GREATEST)
    return torch.matmul(weights, value).div_(sums) if is_right else None


def _by_softmax(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None, how: How) -> Tensor:
    num_keys = key.shape[2]
    surplus = _surplus(query, num_keys)
    if surplus:
        key, value = (functional.pad(one, (0, 0, 0, surplus)) for one in (key, value))
        seen = query.new_ones(1, 1, 1, num_keys, dtype=torch.bool) if seen is None else seen
        seen = functional.pad(seen, (0, surplus))
    weights = torch.matmul(query * how.scale, key.transpose(2, 3))  # (batch, heads, tokens, keys and surplus)
    if query.dtype == torch.bfloat16 and _HALF_WIDTH <= num_keys < _WIDTH:
        weights = weights.float()
    if seen is not None:
        weights += _added(seen, weights.dtype)
    weights = weights.softmax(-1).to(query.dtype)
    return torch.matmul(how.drop(weights, how.dropout) if how.dropout else weights, value)


def _added(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the mask ``seen`` as what is added to the products."""
    # Not minus infinity: a row of padding that sees nothing but padding would be NaN, and so its gradients.
    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)


def _surplus(query: Tensor, num_keys: int) -> int:
    """Return how many keys that nobody sees make the softmax faster, in bfloat16: it is slow with incomplete rows.

    A text that is written token by token asks once about each key, which is less work than to copy them.
    """
    remainder = num_keys % _WIDTH
    # All of the surplus has to be dropped and led back, too: of much of it the price is too high.
    is_worth_it = query.dtype == torch.bfloat16 and query.shape[2] >= _WIDTH and remainder > _HALF_WIDTH
    return _WIDTH - remainder if is_worth_it else 0
