"""What makes headway's training fast, by the options that switch it off; and how near the machine's limit it comes."""

from __future__ import annotations

from typing import Any

_OFF: dict[str, dict[str, Any]] = {
    "bf16": {"training.bf16": False},
    "grouping": {"training.group_by_length": False},
    "packing": {"model.packing": False},
    "unread-tokens": {"model.skip_unread_tokens": False},
    "fast-dropout": {"model.fast_dropout": False},
    "used-embeddings": {"optimization.used_embeddings_only": False},
    "kept-memory": {"training.keep_memory": False},
}
_OURS = ("packing", "unread-tokens", "fast-dropout", "used-embeddings", "kept-memory")

LEVERS: dict[str, dict[str, Any]] = {
    **{f"headway-without-{name}": options for name, options in _OFF.items()},
    "headway-without-all-five": {name: value for lever in _OURS for name, value in _OFF[lever].items()},
}
"""Variant -> the options that make it of headway's defaults. "All five" are those the Trainer has no option for."""

PARTLY: dict[str, dict[str, Any]] = {
    "headway-frozen": {"model.freeze": "all", "model.head": "linear"},
    "headway-frozen-second-head": {"model.freeze": "all", "model.head": "mlp"},
    "headway-top": {"model.freeze": 4, "model.cache_frozen": True},
}
"""Variant -> the options that leave a part of the backbone as it is."""

AFTER = {"headway-frozen-second-head": "headway-frozen"}
"""Variant -> the one whose cache it finds."""

TRAINERS: dict[str, dict[str, Any]] = {
    "trainer": {"is_tuned": False},
    "trainer-tuned": {"is_tuned": True},
    "trainer-frozen": {"is_tuned": False, "freeze": "all"},
    "trainer-tuned-top": {"is_tuned": True, "freeze": 4},
}
"""Variant -> how the Trainer trains: tuned or at its defaults; the whole model, a head, or all but some layers."""


def flops_per_token(config: Any, length: float) -> float:
    """Return the floating-point operations of forward and backward for one token of a BERT-like encoder.

    Two for each weight of the linear layers and each product of attention, and twice as many again on the way back
    (Kaplan et al. 2020, arXiv:2001.08361, section 2.1). The embeddings, a lookup, and the head are left out.

    Args:
        config: of a transformers model.
        length: mean number of tokens of a row.
    """
    hidden, layers = config.hidden_size, config.num_hidden_layers
    weights = layers * (4 * hidden**2 + 2 * hidden * config.intermediate_size)
    attention = layers * 2 * hidden * length
    return 6 * (weights + attention)


def peak_flops(dtype: Any, *, seconds: float = 1.0) -> float:
    """Return the floating-point operations a second of the best of many products of two square matrices."""
    import time

    import torch

    size = 2048
    one, other = torch.randn(2, size, size).to(dtype)
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until or best == float("inf"):
        started = time.perf_counter()
        one @ other
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
