"""What is frozen says the same of a row each time, so it is asked once, and what stands above learns from its answers.

That is the backbone, where nothing below the head moves (`model.freeze: all`, a head of its own, and a pooling without
weights), or its lowest layers (`model.cache_frozen`).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headway.data.batching import sorted_batches
from headway.data.cache_files import cache_folder, cache_key
from headway.data.token_cache import TokenCache
from headway.data.vector_cache import is_encoded, open_or_encode
from headway.inference import Inference
from headway.models.blocked import sorted_weights
from headway.models.entrance import body_of, without_top
from headway.models.heads import OF_TOKENS, HeadedModel
from headway.models.windows import TOKENS_PER_SLICE, WindowedModel
from headway.training.memory import give_back_memory
from headway.types import Features

logger = logging.getLogger(__name__)

TOKENS_PER_CHUNK = 131_072
"""Tokens of the features that are sorted by length and encoded together, before their vectors are written in order."""

BATCHES_PER_RETURN = 8
"""After so many the memory between what is held goes back to the system."""


def frozen_part(model: nn.Module) -> HeadedModel | None:
    """Return the part of a model with a frozen backbone whose vectors never change, or nothing if there is none."""
    headed = model.model if isinstance(model, WindowedModel) else model
    looks_inside = isinstance(model, WindowedModel) and model.attention is not None
    if not isinstance(headed, HeadedModel) or looks_inside or headed.pooling.attention is not None:
        return None
    return headed


@dataclass(frozen=True, slots=True)
class _Source:
    """What is asked once, and how it answers."""

    ask: Callable[..., Tensor]
    """From the tokenizer's tensors to vectors (sequences, width), or (sequences, tokens, width)."""
    width: int
    of_tokens: bool
    content: dict[str, str]
    """What decides the vectors beside weights and precision."""


def encode_once(
    features: dict[str, TokenCache],
    inference: Inference,
    *,
    weights: str,
    bf16: bool,
    stop_check: Callable[[], None],
    num_frozen: int | None = None,
) -> dict[str, TokenCache]:
    """Return the features of every split with their vectors, computed now or found in the cache.

    Where the disk has no room for those that are not in the cache, their splits come back without vectors.

    Args:
        features: by split.
        inference: with a model whose backbone is frozen, or its lowest layers.
        weights: what tells this backbone from any other one.
        bf16: compute those of the training rows in bfloat16, as training would; all others are in float32, so that
            a split is scored with the numbers that prediction gives.
        stop_check: called before each batch; raises where the process was asked to stop.
        num_frozen: so many of the lowest layers are frozen, and what they say of each token is kept; None: all are.
    """
    source = _of_backbone(inference.model) if num_frozen is None else _of_layers(inference.model, num_frozen)
    if source is None:
        # A model that writes has neither head nor pooling.
        if not inference.task.generates:
            logger.info(
                "The backbone is frozen, but computed anew at each step. With model.head: linear (or mlp, or your own) "
                "and a pooling without weights, each row would be encoded once."
            )
        return features
    device = next(inference.model.parameters()).device
    is_low = {name: bf16 and name == "train" for name in features}
    # Those of all tokens take room, and the linear maps of the layer above round them to bfloat16 anyway.
    dtypes = {name: "<i2" if is_low[name] and num_frozen is not None else "<f4" for name in features}
    sizes = {
        name: np.asarray(some.lengths if source.of_tokens else some.num_pieces, dtype=np.int64)
        for name, some in features.items()
    }
    keys = {
        name: _key(some, source, weights=weights, device=device, is_low=is_low[name]) for name, some in features.items()
    }
    missing = [name for name, some in features.items() if not is_encoded(some.name, keys[name])]
    needed = sum(np.dtype(dtypes[name]).itemsize * source.width * int(sizes[name].sum()) for name in missing)
    has_room = not missing or _has_room(needed)
    found = dict(features)
    for name, some in features.items():
        if name in missing and not has_room:
            continue
        # Anew for each split: those of two precisions are not held at once.
        with sorted_weights(inference.model) if inference.sort_weights else contextlib.nullcontext():
            vectors = open_or_encode(
                some.name,
                keys[name],
                _encode(
                    some, source, inference, device=device, bf16=is_low[name], dtype=dtypes[name], stop_check=stop_check
                ),
                sizes=sizes[name],
                width=source.width,
                of_tokens=source.of_tokens and num_frozen is None,
                dtype=dtypes[name],
            )
        found[name] = some.with_vectors(vectors) if num_frozen is None else some.with_activations(vectors)
    return found


def _of_backbone(model: nn.Module) -> _Source | None:
    headed = frozen_part(model)
    if headed is None:
        return None
    of_tokens = headed.kind in OF_TOKENS
    return _Source(headed.vectors, headed.width, of_tokens, {
        "kind": "token" if of_tokens else "sequence",
        "pooling": headed.pooling.how,
        "layers": str(headed.pooling_layers),
    })  # fmt: skip


def _of_layers(model: nn.Module, number: int) -> _Source:
    body = body_of(model)

    def ask(**inputs: Tensor) -> Tensor:
        with without_top(body, number=number):
            hidden: Tensor = body(**inputs).last_hidden_state
        return hidden

    return _Source(ask, body.config.hidden_size, True, {"kind": "activations", "layers": str(number)})


def _key(features: TokenCache, source: _Source, *, weights: str, device: torch.device, is_low: bool) -> str:
    return cache_key(
        **source.content, tokens=features.name, weights=weights, precision="bf16" if is_low else "float32",
        device=device.type, torch=version("torch"), transformers=version("transformers"),
    )  # fmt: skip


def _encode(
    features: TokenCache,
    source: _Source,
    inference: Inference,
    *,
    device: torch.device,
    bf16: bool,
    dtype: str,
    stop_check: Callable[[], None],
) -> Iterator[NDArray[Any]]:
    """Return arrays (vectors, width) in the order of the features."""
    logger.info("What is frozen does not change: %s features are encoded once.", f"{len(features):,}")
    inference.model.eval()
    # On a processor half a batch takes half of the time, and autocast needs more memory than prediction.
    batch_size = inference.batch_size if device.type != "cpu" else max(1, inference.batch_size // 2)
    ends = np.flatnonzero(np.diff(features.lengths.cumsum() // TOKENS_PER_CHUNK)) + 1
    for start, end in itertools.pairwise([0, *ends.tolist(), len(features)]):
        chunk: Sequence[Features] = features[start:end]
        encoded: dict[int, NDArray[Any]] = {}
        for count, numbers in enumerate(sorted_batches([one.length for one in chunk], batch_size=batch_size)):
            stop_check()
            if count % BATCHES_PER_RETURN == 0:
                give_back_memory()
            some = [chunk[number] for number in numbers]
            batch = inference.task.collate(some, inference.tokenizer).to(device)
            inputs = {name: one.flatten(0, -2) for name, one in batch.inputs.items() if name != "num_windows"}
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                vectors = torch.cat([source.ask(**part) for part in _slices(inputs)])
            numbers_of = vectors.bfloat16().view(torch.int16) if dtype == "<i2" else vectors.float()
            parts = iter(numbers_of.cpu().numpy())  # one a sequence
            for number, one in zip(numbers, some, strict=True):
                pieces = list(itertools.islice(parts, one.num_pieces))
                if source.of_tokens:
                    sizes = one.pieces or (one.length,)
                    pieces = [piece[:size] for piece, size in zip(pieces, sizes, strict=True)]
                encoded[number] = np.concatenate(pieces) if source.of_tokens else np.stack(pieces)
        give_back_memory()
        yield np.concatenate([encoded[number] for number in range(len(chunk))])


def _slices(inputs: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Return the sequences a few at a time, for a text may be many windows."""
    num_sequences, num_tokens = next(iter(inputs.values())).shape
    size = max(1, TOKENS_PER_SLICE // num_tokens)
    for start in range(0, num_sequences, size):
        yield {name: tensor[start : start + size] for name, tensor in inputs.items()}


def _has_room(needed: int) -> bool:
    folder = next(one for one in (cache_folder(), *cache_folder().parents) if one.exists())
    free = shutil.disk_usage(folder).free
    if needed > free / 2:
        logger.warning(
            "The vectors of what is frozen need %.1f MB and %s has %.1f MB free, so they are computed anew each "
            "epoch. Set HEADWAY_CACHE to a folder with more room.",
            *(needed / 1e6, folder, free / 1e6),
        )
    return needed <= free / 2
