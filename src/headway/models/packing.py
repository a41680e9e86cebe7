"""The forward without padding: the layers see the tokens of a batch one after another, attention each sequence alone.

Same weights, same inputs, same outputs. Installed once on the body of a model, by hooks and an attention function in
transformers' `AttentionInterface`; heads and tasks know nothing of it, and nothing of it is saved.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import varlen
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask
from transformers.modeling_layers import GradientCheckpointingLayer

from headway.models.attention import How, attend
from headway.models.dropout import dropout as fast_dropout
from headway.models.generation import encoder_of
from headway.models.layout import Group, Layout

logger = logging.getLogger(__name__)

_STACKS = {
    "bert": "encoder", "roberta": "encoder", "xlm-roberta": "encoder", "camembert": "encoder", "electra": "encoder",
    "albert": "encoder", "distilbert": "transformer", "modernbert": "",
    "bart": "layers.0", "mbart": "layers.0", "marian": "layers.0", "pegasus": "layers.0",
}  # fmt: skip
"""Family -> the part of the body that is packed first; the whole body where that is empty. What comes after it runs
packed, too, up to where it hands on a padded batch again: a stack at its own end, a first layer at the body's."""

_NAME = "headway"
"""Of the attention function, in the configuration of a model in memory; transformers does not save it."""


def pack(model: Any) -> None:
    """Let ``model``, a transformers model, leave padding out from now on, in place; one that cannot stays as it is.

    A batch with little padding goes the plain way, and so does a mask that is not padding on the right. Of an
    encoder-decoder the encoder leaves it out.
    """
    body = encoder_of(model)
    _pack(body)
    if model.config.is_encoder_decoder:
        decoder = model.get_decoder().base_model
        # BART and its like have one configuration for both halves.
        if decoder.config.model_type in _STACKS and decoder.config._attn_implementation in ("sdpa", _NAME):
            _use_attention(decoder)


def _pack(body: Any) -> None:
    """Install the hooks on ``body``, which reads; or say why not."""
    config = body.config
    if config.model_type not in _STACKS:
        _say(f"{config.model_type} models compute attention in a way of their own")
        return
    if config._attn_implementation != "sdpa":
        _say(f"model.attn_implementation is {config._attn_implementation}")
        return
    if config.to_dict().get("is_decoder"):
        _say("this model is configured as a decoder")
        return
    _use_attention(body)
    if getattr(body, "layerdrop", 0):
        _say("whole layers are dropped (encoder_layerdrop), the first among them")
        return
    stack = body.get_submodule(_STACKS[config.model_type])
    if stack is body:
        body.register_forward_pre_hook(_pack_inputs, with_kwargs=True)
    else:
        body.register_forward_pre_hook(_lay_out, with_kwargs=True)
        stack.register_forward_pre_hook(_pack_vectors, with_kwargs=True)
        if not isinstance(stack, GradientCheckpointingLayer):
            stack.register_forward_hook(_pad_outputs, with_kwargs=True)
    body.register_forward_hook(_pad_outputs, with_kwargs=True)


def _use_attention(body: Any) -> None:
    """Let the layers of ``body`` compute attention by `attention`."""
    for module in body.modules():
        # The layers of an encoder in an encoder-decoder have another copy of the configuration than their body.
        if "config" in vars(module):
            module.config._attn_implementation = _NAME


def is_packed(model: Any) -> bool:
    """Return whether ``model``, a transformers model, leaves padding out."""
    return bool(encoder_of(model).config._attn_implementation == _NAME)


@cache
def _say(reason: str) -> None:
    logger.info("model.packing: padding is computed, for %s.", reason)


def _mask_of_tokens(body: Any, named: dict[str, Any]) -> Tensor | None:
    """Return the mask (sequences, tokens) of a batch, if attention here may do with it as it likes."""
    mask = named.get("attention_mask")
    as_object = named.get("return_dict", body.config.return_dict)
    is_usual = isinstance(mask, Tensor) and mask.dim() == 2 and as_object and not named.get("output_attentions")
    return mask if is_usual else None


def _lay_out(body: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Put the layout of the batch beside the inputs, or its padding: transformers hands them down to each layer.

    The mask that transformers would make has a row for each query, and they are all alike.
    """
    mask = _mask_of_tokens(body, named)
    if mask is None:
        return None
    layout = Layout.of(mask)
    padding = None if layout is not None or bool(mask.all()) else mask[:, None, None].bool()
    return arguments, {**named, "attention_mask": None, "layout": layout, "seen": padding}


def _pack_inputs(body: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Do as `_lay_out`, for a body that has no stack of layers to itself: its inputs are packed instead."""
    if len(arguments) == 1:
        named = {"input_ids": arguments[0], **named}
    if len(arguments) > 1 or named.get("input_ids") is None or named.get("position_ids") is not None:
        return None
    mask = _mask_of_tokens(body, named)
    layout = None if mask is None else Layout.of(mask)
    if layout is None:
        return None
    changed = {
        "input_ids": layout.pack(named["input_ids"][..., None])[..., 0],
        "position_ids": layout.positions(),
        # Made already: no layer needs a mask.
        "attention_mask": dict.fromkeys(set(body.config.layer_types)),
    }
    return (), {**named, **changed, "layout": layout}


def _pack_vectors(stack: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    layout: Layout | None = named.get("layout")
    if layout is None:
        return None
    if arguments:
        return (layout.pack(arguments[0]), *arguments[1:]), named
    return (), {**named, "hidden_states": layout.pack(named["hidden_states"])}


def _pad_outputs(module: Any, arguments: tuple[Any, ...], named: dict[str, Any], outputs: Any) -> Any:
    layout: Layout | None = named.get("layout")
    if layout is None:
        return None

    def padded(vectors: Tensor) -> Tensor:
        # A batch of one sequence is never packed.
        return layout.pad(vectors) if len(vectors) == 1 else vectors

    outputs.last_hidden_state = padded(outputs.last_hidden_state)
    if outputs.hidden_states is not None:
        outputs.hidden_states = tuple(padded(vectors) for vectors in outputs.hidden_states)
    return outputs


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    layout: Layout | None = None,
    seen: Tensor | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **other: Any,
) -> tuple[Tensor, None]:
    """Return attention as transformers asks for it: (batch, tokens, heads, head size) and no weights.

    Args:
        module: the layer; if it keeps a dropout of torch's, the weights are dropped by torch's, too.
        query: (batch, heads, tokens, head size); (1, heads, packed tokens, head size) of a packed batch, or (1, heads,
            sequences, head size) where only the first token of each sequence asks.
        key: as ``query``, of all tokens.
        value: as ``key``.
        attention_mask: (batch, 1, tokens, tokens), True where a token is seen; not used of a packed batch.
        dropout: of the weights.
        scaling: of the products; None takes the inverse root of the head size.
        layout: of a packed batch.
        seen: (batch, 1, 1, tokens), in place of ``attention_mask``.
        sliding_window: a token of a packed batch sees those that are fewer places away than this; None: all.
        is_causal: without a mask, a token sees those before it only; None: as the layer says.
        other: what transformers hands to other functions.
    """
    by_torch = isinstance(getattr(module, "dropout", None), nn.Dropout)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    how = How(scale, dropout, functional.dropout if by_torch else fast_dropout)
    attention_mask = seen if attention_mask is None else attention_mask
    if layout is None:
        causal = bool(getattr(module, "is_causal", False)) if is_causal is None else is_causal
        if causal and attention_mask is None and query.shape[2] > 1:
            every = torch.ones(1, 1, query.shape[2], key.shape[2], dtype=torch.bool, device=query.device)
            attention_mask = every.tril()
        output = attend(query, key, value, attention_mask, how)
        return output.transpose(1, 2).contiguous(), None
    query, key, value = (one[0].transpose(0, 1) for one in (query, key, value))  # (packed tokens, heads, head size)
    if query.is_cuda and query.dtype != torch.float32 and not dropout and sliding_window is None:
        return _by_sequence(query, key, value, layout)[None], None
    return _by_group(query, key, value, layout, how, window=sliding_window)[None], None


AttentionInterface.register(_NAME, attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)


def _by_sequence(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """Return the attention of packed vectors (packed tokens, heads, head size) by the kernel that CUDA has for it."""
    lengths, num_sequences = layout.lengths, len(layout.lengths)
    asked = [1] * num_sequences
    if len(query) > num_sequences:
        # The surplus is a sequence, too, which nobody reads.
        asked = lengths = [*lengths, layout.num_tokens - sum(lengths)]
    of_queries, of_keys = (
        torch.tensor([0, *one], device=query.device).cumsum(0, dtype=torch.int32) for one in (asked, lengths)
    )
    return cast(Tensor, varlen.varlen_attn(query, key, value, of_queries, of_keys, max(asked), max(lengths)))


def _by_group(query: Tensor, key: Tensor, value: Tensor, layout: Layout, how: How, *, window: int | None) -> Tensor:
    """Return the attention of packed vectors (packed tokens, heads, head size), padded within groups of like length."""
    num_heads, size = query.shape[1:]
    only_first = len(query) == len(layout.lengths)
    places = layout.places_of_heads(num_heads)
    sizes = [len(group.sequences) * num_heads * group.longest for group in layout.groups]
    padded = [torch.split(places.pad(one.reshape(-1, size)), sizes) for one in (key, value)]
    if only_first:
        asked = [query[group.sequences].flatten(0, 1) for group in layout.groups]
    else:
        asked = list(torch.split(places.pad(query.reshape(-1, size)), sizes))
    outputs = []
    for group, *found in zip(layout.groups, asked, *padded, strict=True):
        q, k, v = (one.view(len(group.sequences), num_heads, -1, size) for one in found)
        outputs.append(attend(q, k, v, _mask(group, window, query.device), how).reshape(-1, size))
    output = torch.cat(outputs)
    if only_first:
        order = torch.cat([group.sequences for group in layout.groups]).argsort()
        return output.view(-1, num_heads, size)[order]
    return places.pack(output).view(-1, num_heads, size)


def _mask(group: Group, window: int | None, device: torch.device) -> Tensor | None:
    """Return what is seen in a group, (sequences or 1, 1, tokens or 1, tokens), or None if that is everything."""
    seen = None if group.is_token is None else group.is_token[:, None, None]
    if window is None or group.longest <= window:
        return seen
    columns = torch.arange(group.longest, device=device)
    near = (columns[:, None] - columns).abs() < window
    return near[None, None] if seen is None else seen & near
