"""A frozen backbone says the same of a row each time, so it is asked once, and the head learns from its answers.

Only where nothing below the head moves: `model.freeze: all`, a head of its own, and a pooling without weights.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from headway.data.batching import sorted_batches
from headway.data.cache_files import cache_folder, cache_key
from headway.data.token_cache import TokenCache
from headway.data.vector_cache import is_encoded, open_or_encode
from headway.inference import Inference
from headway.models.heads import OF_TOKENS, HeadedModel
from headway.models.windows import WindowedModel

logger = logging.getLogger(__name__)

FEATURES_PER_CHUNK = 1024
"""Features that are sorted by length and encoded together, before their vectors are written in order."""


def frozen_part(model: nn.Module) -> HeadedModel | None:
    """Return the part of a model with a frozen backbone whose vectors never change, or nothing if there is none."""
    headed = model.model if isinstance(model, WindowedModel) else model
    looks_inside = isinstance(model, WindowedModel) and model.attention is not None
    if not isinstance(headed, HeadedModel) or looks_inside or headed.pooling.attention is not None:
        return None
    return headed


def encode_once(
    features: dict[str, TokenCache],
    inference: Inference,
    *,
    weights: str,
    bf16: bool,
    stop_check: Callable[[], None],
) -> dict[str, TokenCache]:
    """Return the features of every split with their vectors, computed now or found in the cache.

    Where the disk has no room for those that are not in the cache, their splits come back without vectors.

    Args:
        features: by split.
        inference: with a model whose backbone is frozen.
        weights: what tells this backbone from any other one.
        bf16: compute those of the training rows in bfloat16, as training would; all others are in float32, so that
            a split is scored with the numbers that prediction gives.
        stop_check: called before each batch; raises where the process was asked to stop.
    """
    model = frozen_part(inference.model)
    if model is None:
        logger.info(
            "The backbone is frozen, but computed anew at each step. With model.head: linear (or mlp, or your own) and "
            "a pooling without weights, each row would be encoded once."
        )
        return features
    width, of_tokens = model.width, model.kind in OF_TOKENS
    device = next(model.parameters()).device
    is_low = {name: bf16 and name == "train" for name in features}
    sizes = {
        name: np.asarray(some.lengths if of_tokens else some.num_pieces, dtype=np.int64)
        for name, some in features.items()
    }
    keys = {
        name: _key(some, model, weights=weights, device=device, is_low=is_low[name]) for name, some in features.items()
    }
    missing = [name for name, some in features.items() if not is_encoded(some.name, keys[name])]
    has_room = not missing or _has_room(4 * width * sum(int(sizes[name].sum()) for name in missing))
    found = dict(features)
    for name, some in features.items():
        if name in missing and not has_room:
            continue
        parts = _encode(some, model, inference, device=device, bf16=is_low[name], stop_check=stop_check)
        vectors = open_or_encode(some.name, keys[name], parts, sizes=sizes[name], width=width, of_tokens=of_tokens)
        found[name] = some.with_vectors(vectors)
    return found


def _key(features: TokenCache, model: HeadedModel, *, weights: str, device: torch.device, is_low: bool) -> str:
    return cache_key(
        tokens=features.name, weights=weights, pooling=model.pooling.how, layers=str(model.pooling_layers),
        kind="token" if model.kind in OF_TOKENS else "sequence", precision="bf16" if is_low else "float32",
        device=device.type, torch=version("torch"), transformers=version("transformers"),
    )  # fmt: skip


def _encode(
    features: TokenCache,
    model: HeadedModel,
    inference: Inference,
    *,
    device: torch.device,
    bf16: bool,
    stop_check: Callable[[], None],
) -> Iterator[NDArray[np.float32]]:
    """Return arrays (vectors, width) in the order of the features."""
    logger.info("The backbone is frozen: %s features are encoded once.", f"{len(features):,}")
    model.eval()
    for start in range(0, len(features), FEATURES_PER_CHUNK):
        chunk: Sequence[Any] = features[start : start + FEATURES_PER_CHUNK]
        encoded: dict[int, NDArray[np.float32]] = {}
        for numbers in sorted_batches([one.length for one in chunk], batch_size=inference.batch_size):
            stop_check()
            batch = inference.task.collate([chunk[number] for number in numbers], inference.tokenizer).to(device)
            inputs = {name: tensor for name, tensor in batch.inputs.items() if name != "num_windows"}
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                vectors = model.vectors(**inputs).float().cpu().numpy()
            if model.kind in OF_TOKENS:
                parts = [vectors[place, : chunk[number].length] for place, number in enumerate(numbers)]
            else:
                parts = np.split(vectors, np.cumsum(batch.sizes)[:-1])
            encoded.update(zip(numbers, parts, strict=True))
        yield np.concatenate([encoded[number] for number in range(len(chunk))])


def _has_room(needed: int) -> bool:
    folder = next(one for one in (cache_folder(), *cache_folder().parents) if one.exists())
    free = shutil.disk_usage(folder).free
    if needed > free / 2:
        logger.warning(
            "The vectors of the frozen backbone need %.1f MB and %s has %.1f MB free, so they are computed anew each "
            "epoch. Set HEADWAY_CACHE to a folder with more room.",
            *(needed / 1e6, folder, free / 1e6),
        )
    return needed <= free / 2
