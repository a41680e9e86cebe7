"""The last layer computes only what is read: where a head looks at the first token alone, no other one is computed.

The layer still sees all tokens, as keys and values; query, output, normalisation and feed-forward are those of the
first token of each text. In prediction not even the keys and values are formed: the query is led back through the map
of the keys, and what it finds is mixed before the map of the values. The numbers are the same but for the order of
additions. Installed once on the body of a model, by hooks and the forward of one attention block; heads and tasks know
nothing of it, and nothing of it is saved.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from headway.models.attention import How, attend
from headway.models.heads import POOLED, HeadedModel
from headway.models.layout import Layout

_OF_BERT = ("encoder.layer", "attention.self", ("query", "key", "value"))
_PLACES = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), _OF_BERT),
    "distilbert": ("transformer.layer", "attention", ("q_lin", "k_lin", "v_lin")),
}
"""Family -> where its layers stand, where the attention stands in one, and what its three maps are called."""

_IMPLEMENTATIONS = ("headway", "sdpa")
"""Of attention, that take fewer queries than keys."""

IS_ASKED, _ALL_TOKENS = "first_token_only", "all_tokens"
"""What the hooks hand down among the arguments that transformers passes on to each layer."""


def skip_unread_tokens(model: nn.Module, *, kind: str) -> None:
    """Let the last layer compute what the head of ``model`` reads, in place; where that is more, it stays as it is.

    Who calls the body without its head gets the vectors of all tokens.

    Args:
        model: of transformers, or a `HeadedModel`.
        kind: what it is asked for, a key of `headway.models.options.KINDS`.
    """
    if kind not in POOLED:
        return
    body: Any
    if isinstance(model, HeadedModel):
        body = model.backbone
        reads_first = model.pooling.how == "cls" and model.pooling_layers == 1
    else:
        body = model.base_model
        # The families' own heads read the first token, but for ELECTRA's choices, which may be told otherwise.
        reads_first = getattr(body.config, "summary_type", "first") == "first"
    is_able = body.config.model_type in _PLACES and body.config._attn_implementation in _IMPLEMENTATIONS
    # Under a causal mask the first token sees itself alone, and no mask may be given that says so.
    is_causal = body.config.to_dict().get("is_decoder")
    if is_causal or not (reads_first and is_able):
        return
    layers, attention, _ = _PLACES[body.config.model_type]
    last = body.get_submodule(layers)[-1]
    block = last.get_submodule(attention)
    block.forward = _FirstQuery(block)
    last.register_forward_pre_hook(_narrow, with_kwargs=True)
    last.register_forward_hook(_as_rows, with_kwargs=True)
    if isinstance(model, HeadedModel):
        model.asked = {IS_ASKED: True}
    else:
        model.register_forward_pre_hook(_ask, with_kwargs=True)


def read_all_tokens(model: nn.Module) -> None:
    """Take back what `skip_unread_tokens` did to ``model``: somebody reads more than its head."""
    if isinstance(model, HeadedModel):
        model.asked = {}
    for number in [number for number, hook in model._forward_pre_hooks.items() if hook is _ask]:
        del model._forward_pre_hooks[number], model._forward_pre_hooks_with_kwargs[number]


def skips_unread_tokens(model: nn.Module) -> bool:
    """Return whether the last layer computes the first tokens alone where ``model`` is asked."""
    if isinstance(model, HeadedModel):
        return IS_ASKED in model.asked
    return any(hook is _ask for hook in model._forward_pre_hooks.values())


def _ask(model: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Tell the layers that the first token is enough, unless the caller wants to see more than the last of them."""
    names = ("output_hidden_states", "output_attentions")
    shown = [name for name in names if named.get(name) or getattr(model.config, name, False)]
    return None if shown else (arguments, {**named, IS_ASKED: True})


def _narrow(layer: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Give the last layer the first tokens, and all of them to its attention beside these."""
    if not named.get(IS_ASKED):
        return None
    hidden, *others = arguments or (named["hidden_states"],)
    layout: Layout | None = named.get("layout")
    first = hidden[:, :1] if layout is None else layout.first(hidden)
    kept = {name: value for name, value in named.items() if name not in (IS_ASKED, "hidden_states")}
    return (first, *others), {**kept, _ALL_TOKENS: hidden}


def _as_rows(layer: Any, arguments: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> Tensor | None:
    """Return the first tokens as (sequences, 1, width), of which heads read the place 0."""
    return output.transpose(0, 1) if _ALL_TOKENS in named and named.get("layout") is not None else None


class _FirstQuery:
    """The forward of an attention block that is asked about few tokens, and sees all."""

    def __init__(self, block: Any) -> None:
        self.block = block

    def __call__(self, hidden_states: Tensor, attention_mask: Tensor | None = None, **named: Any) -> Any:
        block = self.block
        everything = named.pop(_ALL_TOKENS, None)
        if everything is None:
            return type(block).forward(block, hidden_states, attention_mask=attention_mask, **named)
        *_, names = _PLACES[block.config.model_type]
        maps = [getattr(block, name) for name in names]
        if not (torch.is_grad_enabled() or block.training) and all(type(one) is nn.Linear for one in maps):
            mixed = self._mixture(maps, hidden_states, everything, attention_mask, **named)
            return self._out(mixed), None
        query, key, value = (
            one(given).unflatten(-1, (-1, block.attention_head_size)).transpose(1, 2)
            for one, given in zip(maps, (hidden_states, everything, everything), strict=True)
        )
        if attention_mask is not None:
            attention_mask = attention_mask[:, :, :1]
        output, weights = AttentionInterface()[block.config._attn_implementation](
            block,
            query,
            key,
            value,
            attention_mask,
            dropout=block.dropout.p if block.training else 0.0,
            scaling=block.scaling,
            **named,
        )
        return self._out(output.flatten(2)), weights

    def _out(self, output: Tensor) -> Tensor:
        return self.block.out_lin(output) if hasattr(self.block, "out_lin") else output

    def _mixture(
        self,
        maps: list[nn.Linear],
        hidden_states: Tensor,
        everything: Tensor,
        attention_mask: Tensor | None,
        layout: Layout | None = None,
        seen: Tensor | None = None,
        **named: Any,
    ) -> Tensor:
        """Return what attention finds, (shape of ``hidden_states``), without a key or a value for each token.

        A score is q · (K x + k) = (Kᵀ q) · x + q · k, of which the softmax does not see the last part; and as weights
        sum to 1, the sum of w (V x + v) is V (the sum of w x) + v.
        """
        of_query, of_key, of_value = maps
        if layout is not None:
            everything, seen = layout.pad(everything), layout.mask()[:, None, None]
        elif attention_mask is not None:
            seen = attention_mask[:, :, :1]
        of_heads = (-1, self.block.attention_head_size)
        query = of_query(hidden_states).view(len(everything), *of_heads)
        asked = torch.einsum("bhd,hdi->bhi", query, of_key.weight.view(*of_heads, of_key.in_features))
        # The heads are as many tokens of one head, which ask what the layer reads.
        read = everything[:, None]
        mixed = attend(asked[:, None], read, read, seen, How(self.block.scaling, 0.0, functional.dropout))[:, 0]
        found = torch.einsum("bhi,hdi->bhd", mixed, of_value.weight.view(*of_heads, of_value.in_features)).flatten(1)
        return (found if of_value.bias is None else found + of_value.bias).view_as(hidden_states)
