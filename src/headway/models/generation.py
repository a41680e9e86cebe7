"""What an encoder-decoder says: the logits of the tokens it should write, and the texts it writes by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from headway.models.masked_positions import logits_at

_MULTIPLE = 64
"""Logits are computed for a multiple of so many tokens: a product of numbers never seen costs time, and memory that the
library keeps, at first sight."""

TOKENS_PER_SLICE = 2048
"""Tokens of sources, with their padding, that the encoder reads at once in prediction, where texts are written for many
more rows together: these stay in a processor's caches, and are of about one length."""

IGNORED = -100
"""The label of padding, which no loss counts."""


def encoder_of(model: Any) -> Any:
    """Return the part of a transformers model that reads: the encoder, where another part writes, else the body."""
    return model.get_encoder() if model.config.is_encoder_decoder else model.base_model


def target_logits(model: Any, inputs: Mapping[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
    """Return the logits of every token of the targets, each told the true ones before it (teacher forcing).

    How the targets become the decoder's inputs, shifted by one place behind the start token, is the model's own way
    (``prepare_decoder_input_ids_from_labels``). Padding has no logits: a vocabulary's worth of numbers for each token
    is a large part of the work.

    Args:
        model: of `AutoModelForSeq2SeqLM`.
        inputs: of the encoder, (batch, tokens) each.
        labels: (batch, target tokens), -100 where there is none.

    Returns:
        ``logits`` (all target tokens of the batch, vocabulary) and ``labels`` (all target tokens).
    """
    decoder_input_ids = model.prepare_decoder_input_ids_from_labels(labels)
    if bool((decoder_input_ids[:, 0] == labels[:, 0]).all()):
        # The tokenizer begins a text with the very token that starts the decoder (BERT's [CLS]): nobody must learn it.
        decoder_input_ids, labels = decoder_input_ids[:, 1:], labels[:, 1:]
    rows, columns = (labels != IGNORED).nonzero(as_tuple=True)
    decoder = model.get_decoder()
    number = len(rows)
    asked = [nn.functional.pad(one, (0, -number % _MULTIPLE)) for one in (rows, columns)]
    given = {**inputs, "decoder_input_ids": decoder_input_ids.contiguous(), "use_cache": False}
    outputs = logits_at(model, given, *asked, body=decoder.base_model)
    return {"logits": outputs["logits"][0, :number], "labels": labels[rows, columns]}


def generate(model: Any, inputs: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return what the model writes: ``sequences`` (batch x answers of each, tokens), and which of them came to an end.

    The encoder runs once (`encode`), and the batch ends when its last text does. Sampled texts are drawn from a
    generator that is seeded by the inputs: the same batch, the same texts, and no draw of a training that goes on is
    touched.

    Args:
        model: of `AutoModelForSeq2SeqLM`.
        inputs: of the encoder, (batch, tokens) each.
        settings: arguments of `transformers.GenerationMixin.generate`, over the model's ``generation_config``.
    """
    devices = [] if inputs["input_ids"].device.type == "cpu" else [inputs["input_ids"].device]
    with torch.random.fork_rng(devices=devices, enabled=bool(settings.get("do_sample"))):
        if settings.get("do_sample"):
            torch.manual_seed(int(inputs["input_ids"].sum()))
        sequences: Tensor = model.generate(**inputs, encoder_outputs=encode(model, inputs), **settings)
    ends = torch.tensor(end_tokens(model), device=sequences.device)
    # The first token is the decoder's start, which may be the same as the end.
    return {"sequences": sequences, "is_finished": torch.isin(sequences[:, 1:], ends).any(dim=1)}


@torch.no_grad()
def encode(model: Any, inputs: Mapping[str, Tensor]) -> BaseModelOutput:
    """Return what the encoder says of all rows, read in slices of rows of about one length.

    So the longest source of a batch is not the measure of all others, whether the family can leave padding out or not.

    Args:
        model: of `AutoModelForSeq2SeqLM`.
        inputs: of the encoder, (batch, tokens) each, padded on the right.

    Returns:
        ``last_hidden_state`` (batch, tokens, width), zeros where there is padding beyond the row's slice.
    """
    encoder = model.get_encoder()
    lengths = inputs["attention_mask"].sum(1).tolist()
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    hidden: Tensor | None = None
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        rows = torch.tensor(order[start : start + max(1, TOKENS_PER_SLICE // longest)], device=encoder.device)
        found = encoder(**{name: one[rows, :longest] for name, one in inputs.items()}).last_hidden_state
        if hidden is None:
            hidden = found.new_zeros(*inputs["attention_mask"].shape, found.shape[-1])
        hidden[rows, :longest] = found
        start += len(rows)
    return BaseModelOutput(last_hidden_state=hidden)


def end_tokens(model: Any) -> list[int]:
    """Return the ids of the tokens that end a text."""
    found = model.generation_config.eos_token_id
    return list(found) if isinstance(found, list) else [] if found is None else [found]
