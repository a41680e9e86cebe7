"""Prefix tuning: learnt keys and values stand before those of the text in every layer, and the backbone stays as it is.

Li and Liang 2021, "Prefix-Tuning", arXiv:2101.00190; under encoders and in every layer Liu et al. 2022, "P-Tuning v2",
arXiv:2110.07602. Unlike other adapters a prefix cannot be merged into weights, so it stays a part of the pretrained
body, which gets it before each of its calls; whatever calls the body (a head, windows, a task) need not know of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from headway.errors import RecipeError

PREFIX_FILE = "prefix.safetensors"
"""Where the prefix lies beside the plain backbone in a model's folder."""

FAMILIES = (
    "bert", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert", "rembert", "roberta",
    "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl",
)  # fmt: skip
"""Families of encoders whose attention takes keys and values from outside."""

TASKS = {
    "sequence-classification": "SEQ_CLS",
    "token-classification": "TOKEN_CLS",
    "question-answering": "QUESTION_ANS",
    "features": "FEATURE_EXTRACTION",
}
"""Kind of model -> peft's word for it, by which it finds its own way to put a prefix before such a model; peft has none
for multiple choice."""

_NAME = "prefix"


class Prefix(nn.Module):
    """Keys and values of ``num_virtual_tokens`` positions for every layer, the same for every text."""

    def __init__(
        self, encoder: nn.Module, *, num_virtual_tokens: int, num_layers: int, num_heads: int, room: int
    ) -> None:
        """Take the numbers from ``encoder``.

        Args:
            encoder: numbers of positions (positions,) -> (positions, 2 * layers * hidden), as peft's `PrefixEncoder`.
            num_virtual_tokens: positions.
            num_layers: of the body.
            num_heads: of its attention.
            room: tokens of a text that the body's positions are enough for, behind the prefix.
        """
        super().__init__()
        self.encoder = encoder
        self.num_virtual_tokens = num_virtual_tokens
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.room = room

    def embedded(self) -> Tensor:
        """Return the prefix as peft saves it: (virtual tokens, 2 * layers * hidden)."""
        device = next(self.encoder.parameters()).device
        flat: Tensor = self.encoder(torch.arange(self.num_virtual_tokens, device=device))
        return flat

    def forward(self, num_sequences: int) -> DynamicCache:
        """Return the keys and values for a batch: per layer (sequences, heads, virtual tokens, hidden / heads) each."""
        shape = (self.num_virtual_tokens, 2 * self.num_layers, self.num_heads, -1)
        parts = self.embedded().view(shape).permute(1, 2, 0, 3)  # (2 * layers, heads, virtual tokens, width)
        parts = parts.unsqueeze(1).expand(-1, num_sequences, -1, -1, -1)
        # New for each call, for the layers append the text's own keys and values to it.
        cache = DynamicCache()
        for layer in range(self.num_layers):
            cache.update(parts[2 * layer], parts[2 * layer + 1], layer)
        return cache

    def fix(self) -> None:
        """Forget how the prefix is made (a projection) and keep what came of it."""
        self.encoder = table_of(self.embedded().detach().clone())

    def description(self) -> dict[str, Any]:
        """Return what rebuilds this prefix before its backbone, as plain JSON."""
        return {"num_virtual_tokens": self.num_virtual_tokens}


def check_family(family: str) -> None:
    """Complain of a model family whose attention takes nothing from outside.

    Raises:
        RecipeError: naming those that do.
    """
    if family not in FAMILIES:
        raise RecipeError(
            f"model.adapter: the layers of {family} models take no prefix. Choose lora, or a model of one of "
            f"{', '.join(FAMILIES)}."
        )


def sizes(config: Any) -> dict[str, int]:
    """Return the body's sizes under the names that peft's configuration has for them."""
    return {
        "token_dim": config.hidden_size,
        "num_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_transformer_submodules": 1,
    }


def table_of(embedded: Tensor) -> nn.Embedding:
    """Return an encoder for `Prefix` that holds the very numbers (virtual tokens, 2 * layers * hidden)."""
    # On `meta`, so that no random numbers are drawn to be thrown away.
    num_virtual_tokens, width = embedded.shape
    table = nn.Embedding(num_virtual_tokens, width, device="meta")
    table.weight = nn.Parameter(embedded)
    return table


def width_of(config: Any) -> int:
    """Return how many numbers a position of the prefix has: a key and a value for each layer."""
    return int(2 * config.num_hidden_layers * config.hidden_size)


def put_prefix(body: Any, encoder: nn.Module, *, num_virtual_tokens: int) -> None:
    """Make a prefix a part of ``body``, a pretrained model without its head, in place.

    Args:
        body: of one of the `FAMILIES`.
        encoder: what `Prefix` takes its numbers from.
        num_virtual_tokens: positions of the prefix.
    """
    config = body.config
    table = body.get_submodule("embeddings.position_embeddings")
    # RoBERTa and its kin count positions from behind that of padding.
    first = 0 if table.padding_idx is None else table.padding_idx + 1
    prefix = Prefix(
        encoder,
        num_virtual_tokens=num_virtual_tokens,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        room=table.num_embeddings - first - num_virtual_tokens,
    )
    body.add_module(_NAME, prefix.train(body.training))
    body.register_forward_pre_hook(_put_before, with_kwargs=True)


def prefix_of(model: nn.Module) -> Prefix | None:
    """Return the prefix in ``model``, a transformers model or any module around one, if it has one."""
    return next((one for one in model.modules() if isinstance(one, Prefix)), None)


def without_prefix(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of a transformers model without that of its prefix."""
    places = tuple(f"{name}." for name, one in model.named_modules() if isinstance(one, Prefix))
    return {name: one for name, one in model.state_dict().items() if not name.startswith(places)}


def check_room(model: nn.Module, *, max_length: int) -> None:
    """Complain if a prefix in ``model`` pushes the end of long texts past the last position that was pretrained.

    Raises:
        RecipeError: saying how long texts may be.
    """
    prefix = prefix_of(model)
    if prefix is not None and max_length > prefix.room:
        raise RecipeError(
            f"data.max_length is {max_length}, but the positions of this model leave room for {max(prefix.room, 0)} "
            f"tokens behind a prefix of {prefix.num_virtual_tokens}. Lower data.max_length, or num_virtual_tokens in "
            "model.adapter."
        )


def _put_before(body: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Add the prefix to what the body is called with; a hook, found again by its name in a copy of the body."""
    prefix = body.get_submodule(_NAME)
    assert isinstance(prefix, Prefix)
    tokens: Tensor = args[0] if args else given["input_ids"]
    num_sequences = tokens.shape[0]
    given = {**given, "past_key_values": prefix(num_sequences)}
    mask = given.get("attention_mask")
    if mask is not None:
        given["attention_mask"] = torch.cat([mask.new_ones(num_sequences, prefix.num_virtual_tokens), mask], dim=1)
    return args, given
