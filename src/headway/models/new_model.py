"""A small translation model with random weights, for a language pair that no pretrained model fits.

It is the Transformer of Vaswani et al. (2017, arXiv:1706.03762) as transformers' Marian builds it: sinusoidal
positions, LayerNorm behind each sublayer, one table of embeddings for source, target and output.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, MarianConfig, MarianMTModel

from headway.errors import RecipeError
from headway.models.safe_loading import quiet


@dataclass(frozen=True, slots=True)
class ModelSize:
    """How large a new model is."""

    num_layers: int = 3
    """Of the encoder, and as many of the decoder."""
    d_model: int = 256
    """Width of the embeddings and hidden vectors."""
    num_heads: int = 4
    ffn_dim: int = 1024
    """Width inside the feed-forward sublayers."""
    dropout: float = 0.1
    """Of the embeddings and of each sublayer's output."""
    max_length: int = 256
    """Tokens of a source or a target that have a position."""

    def check(self) -> None:
        """Complain of sizes that do not go together.

        Raises:
            RecipeError: naming the options.
        """
        if self.d_model % self.num_heads or self.d_model % 2:
            raise RecipeError(
                f"--d_model is {self.d_model} and --num_heads {self.num_heads}: the width must be even, and a multiple "
                f"of the number of heads. {self.num_heads * 2 * max(1, self.d_model // (2 * self.num_heads))} is."
            )


def write_new_model(folder: Path, tokenizer: Any, size: ModelSize, *, seed: int) -> int:
    """Write a model with random weights, and its tokenizer, into a folder, and return the number of its parameters.

    Args:
        folder: an existing folder; it becomes one that ``AutoModelForSeq2SeqLM`` and ``AutoTokenizer`` read.
        tokenizer: of transformers, with a padding and an end token.
        size: of the model.
        seed: draws the weights; torch's own generator is left as it was.
    """
    size.check()
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    # A decoder starts with padding, as those of Marian and T5 do; a forced end lets an answer that is cut be whole.
    starts = {"decoder_start_token_id": tokenizer.pad_token_id, "forced_eos_token_id": tokenizer.eos_token_id}
    config = MarianConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=size.max_length,
        encoder_layers=size.num_layers,
        decoder_layers=size.num_layers,
        d_model=size.d_model,
        encoder_attention_heads=size.num_heads,
        decoder_attention_heads=size.num_heads,
        encoder_ffn_dim=size.ffn_dim,
        decoder_ffn_dim=size.ffn_dim,
        dropout=size.dropout,
        activation_function="relu",
        scale_embedding=True,
        **ends,
        **starts,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MarianMTModel(config)
    model.generation_config = GenerationConfig(max_length=size.max_length, **ends, **starts)
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return int(model.num_parameters())
