"""An encoder-decoder out of an encoder: both halves start from its weights, what joins them is new.

Rothe, Narayan and Severyn 2020, "Leveraging Pre-trained Checkpoints for Sequence Generation Tasks", arXiv:1907.12461,
who call it BERT2BERT: the decoder gets a causal mask, cross-attention drawn anew, and a language-model head over the
pretrained word embeddings.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from transformers import EncoderDecoderConfig, EncoderDecoderModel

from headway.errors import ModelError
from headway.models.folder_checks import Weights
from headway.models.safe_loading import Loaded, load_weights

FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "bert-generation")
"""Families that transformers can turn into a decoder with cross-attention."""

_HEADS = ("cls.", "lm_head.", "generator_predictions.", "generator_lm_head.")
"""The language-model heads of these families, which an encoder's file may lack."""


def load_encoder_decoder(
    folder: Path,
    *,
    config: Any,
    tokenizer: Any,
    weights: Weights,
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
) -> Loaded:
    """Return a model of `AutoModelForSeq2SeqLM` whose encoder and decoder both hold the weights of an encoder.

    Args:
        folder: of the encoder.
        config: of the encoder, from `load_config`, changed or not.
        tokenizer: of the encoder; it says which tokens begin, end and pad a text.
        weights: what `check_folder` found.
        attn_implementation: how attention is computed; None lets transformers choose.
        trust_remote_code: whether the folder's own Python code may run.

    Raises:
        ModelError: the family has no decoder, or the weights do not fit the configuration.
    """
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"{folder}: a {config.model_type} model has no decoder and cannot be made into one. To write texts, take "
            f"an encoder-decoder model (T5, BART, Marian, ...) or an encoder of these families: {', '.join(FAMILIES)}."
        )
    loading: dict[str, Any] = {
        "weights": weights, "attn_implementation": attn_implementation, "trust_remote_code": trust_remote_code,
    }  # fmt: skip
    encoder = load_weights(folder, auto_class="AutoModel", config=copy.deepcopy(config), **loading)
    as_decoder = copy.deepcopy(config)
    as_decoder.is_decoder = as_decoder.add_cross_attention = True
    decoder = load_weights(folder, auto_class="AutoModelForCausalLM", config=as_decoder, **loading)
    _check_new(encoder, decoder, folder)
    for half in (encoder, decoder):
        # Where this encoder lay on this machine is nobody's business.
        half.model.config._name_or_path = ""
    joined = EncoderDecoderConfig.from_encoder_decoder_configs(encoder.model.config, decoder.model.config)
    model: Any = EncoderDecoderModel(config=joined, encoder=encoder.model, decoder=decoder.model).eval()
    tokens = {
        "decoder_start_token_id": _first(tokenizer.cls_token_id, tokenizer.bos_token_id),
        "eos_token_id": _first(tokenizer.sep_token_id, tokenizer.eos_token_id),
        "pad_token_id": tokenizer.pad_token_id,
    }
    for name, token in tokens.items():
        if token is None:
            raise ModelError(f"{folder}: the tokenizer has no token for {name}, which a text to be written needs.")
        setattr(model.config, name, token)
        setattr(model.generation_config, name, token)
    missing = [f"encoder.{name}" for name in encoder.missing] + [f"decoder.{name}" for name in decoder.missing]
    return Loaded(model, missing=tuple(missing), unexpected=(), mismatched={})


def _check_new(encoder: Loaded, decoder: Loaded, folder: Path) -> None:
    for loaded, may_be_new in ((encoder, ("pooler.",)), (decoder, _HEADS)):
        for name in sorted({*loaded.missing, *loaded.mismatched}):
            if not name.startswith(may_be_new) and ".crossattention." not in name:
                raise ModelError(
                    f"{folder}: the weights do not fit the configuration: {name!r} is "
                    f"{loaded.mismatched.get(name, 'missing')}. Use the config.json and the weights of one and the "
                    "same model."
                )


def _first(*tokens: int | None) -> int | None:
    return next((token for token in tokens if token is not None), None)
