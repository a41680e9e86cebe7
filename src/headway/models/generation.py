"""What an encoder-decoder says: the logits of the tokens it should write, and the texts it writes by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

FEWEST_TO_PART = 16
"""Rows whose batch is made smaller when half of their texts have ended; below, it would hardly be faster."""

_FROM_THE_START = ("begin_suppress_tokens", "exponential_decay_length_penalty", "stop_strings", "max_time")
"""Settings of a model's folder that count from where writing began."""

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

    The encoder runs once (`encode`). Whenever half of the texts have ended, the others go on in a smaller batch from
    where they are; where beams or draws are asked for, which texts share, the batch ends when its last text does.
    Sampled texts are drawn from a generator that is seeded by the inputs: the same batch, the same texts, and no draw
    of a training that goes on is touched.

    Args:
        model: of `AutoModelForSeq2SeqLM`.
        inputs: of the encoder, (batch, tokens) each.
        settings: arguments of `transformers.GenerationMixin.generate`, over the model's ``generation_config``.
    """
    devices = [] if inputs["input_ids"].device.type == "cpu" else [inputs["input_ids"].device]
    is_drawn = bool(_asked(model, settings, "do_sample"))
    with torch.random.fork_rng(devices=devices, enabled=is_drawn):
        if is_drawn:
            torch.manual_seed(int(inputs["input_ids"].sum()))
        ends = torch.tensor(end_tokens(model), device=inputs["input_ids"].device)
        sequences = _write(model, inputs, encode(model, inputs), settings, ends)
    return {"sequences": sequences, "is_finished": _have_ended(sequences, ends)}


def _have_ended(sequences: Tensor, ends: Tensor) -> Tensor:
    # The first token is the decoder's start, which may be the same as the end.
    return torch.isin(sequences[:, 1:], ends).any(dim=1)


def _half_have_ended(ends: Tensor) -> Callable[..., Tensor]:
    """Return a stopping criterion of transformers: of all texts of a batch at once, when half of them have ended."""

    def criterion(input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        have_ended = _have_ended(input_ids, ends)
        return torch.full_like(have_ended, 2 * int(have_ended.sum()) >= len(have_ended))

    return criterion


def _write(
    model: Any, inputs: Mapping[str, Tensor], encoded: BaseModelOutput, settings: Mapping[str, Any], ends: Tensor
) -> Tensor:
    """Return the ids that the model writes, (batch x answers of each, tokens)."""
    if not len(ends) or not _goes_on_alone(model, settings):
        sequences: Tensor = model.generate(**inputs, encoder_outputs=encoded, **settings)
        return sequences
    most, least = settings["max_new_tokens"], _asked(model, settings, "min_new_tokens")
    padding = model.generation_config.pad_token_id
    rows = torch.arange(len(inputs["input_ids"]), device=ends.device)
    written = ends.new_full((len(rows), most + 1), int(ends[0]) if padding is None else padding)
    so_far: dict[str, Any] = {}
    number = 0
    while True:
        rest = {"max_new_tokens": most - number} | ({} if least is None else {"min_new_tokens": max(0, least - number)})
        found = model.generate(
            **{name: one[rows] for name, one in inputs.items()},
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded.last_hidden_state[rows]),
            stopping_criteria=[_half_have_ended(ends)] if len(rows) >= FEWEST_TO_PART else [],
            return_dict_in_generate=True,
            **{**settings, **rest, **so_far},
        )
        number = found.sequences.shape[1] - 1
        written[rows, : number + 1] = found.sequences
        remaining = (~_have_ended(found.sequences, ends)).nonzero()[:, 0]
        if number >= most or not len(remaining):
            return written[:, : number + 1]
        found.past_key_values.batch_select_indices(remaining)
        so_far = {"decoder_input_ids": found.sequences[remaining], "past_key_values": found.past_key_values}
        # By which transformers sees that all but the last token are in the cache.
        so_far["decoder_attention_mask"] = torch.ones_like(so_far["decoder_input_ids"])
        rows = rows[remaining]


def _goes_on_alone(model: Any, settings: Mapping[str, Any]) -> bool:
    """Return whether each text is written as it would be alone, and can be taken up again in the middle."""
    of_one = all((_asked(model, settings, name) or 1) == 1 for name in ("num_beams", "num_return_sequences"))
    is_drawn, is_remembered = (_asked(model, settings, name) for name in ("do_sample", "use_cache"))
    counts_from_the_start = any(_asked(model, settings, name) is not None for name in _FROM_THE_START)
    return (
        of_one
        and not is_drawn
        and is_remembered is not False
        and not counts_from_the_start
        and "max_new_tokens" in settings
    )


def _asked(model: Any, settings: Mapping[str, Any], name: str) -> Any:
    """Return a setting of what is written, or what the model's own folder says of it."""
    return settings.get(name, getattr(model.generation_config, name, None))


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
