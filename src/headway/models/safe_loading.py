"""The one place that lets a library read a model: safetensors only, no code, no network, no silent repair.

`headway.models.location` has put the model in a folder and `headway.models.folder_checks` has looked at it; what is
loaded here is loaded from that folder alone.
"""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import transformers
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from headway.errors import HeadwayError, ModelError
from headway.files import sha256_of
from headway.models.folder_checks import Weights, read_shapes


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model, and how its tensors differ from those of the file."""

    model: Any
    missing: tuple[str, ...]
    """Parameters the file lacks: they hold fresh random numbers."""
    unexpected: tuple[str, ...]
    """Tensors of the file that the model has no place for."""
    mismatched: dict[str, str]
    """Parameters whose shape differs, with both shapes in words: they hold fresh random numbers."""


def sha256_of_weights(weights: Weights) -> str:
    """Return the SHA-256 of a folder's weights: that of the file, or that of the list of its parts' SHA-256."""
    if len(weights.files) == 1:
        return sha256_of(weights.files[0])
    lines = "".join(f"{sha256_of(path)}  {path.name}\n" for path in weights.files)
    return hashlib.sha256(lines.encode()).hexdigest()


def load_config(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """Return the transformers configuration of a checked folder."""
    with _errors_named(folder, "config.json"), quiet():
        return transformers.AutoConfig.from_pretrained(
            str(folder), trust_remote_code=trust_remote_code, local_files_only=True
        )


def load_tokenizer(folder: Path, *, config: Any, trust_remote_code: bool = False) -> Any:
    """Return the tokenizer of a checked folder, a fast one but for encoder-decoder models (Marian has none).

    Raises:
        ModelError: there is no fast one, or it knows more tokens than ``config`` gives the model embeddings for.
    """
    with _errors_named(folder, "the tokenizer"), quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(folder), use_fast=True, trust_remote_code=trust_remote_code, local_files_only=True
        )
    if not tokenizer.is_fast and not config.is_encoder_decoder:
        raise ModelError(f"{folder} has no fast tokenizer (tokenizer.json), which headway needs for offsets and speed.")
    if tokenizer.is_fast:
        # Some folders ship these, and the first text tokenised without them takes them away: the same tokenizer would
        # then look like another one, and what is cached under its content would not be found.
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    rows = config.get_text_config().vocab_size
    if len(tokenizer) > rows:
        raise ModelError(
            f"{folder}: the tokenizer knows {len(tokenizer)} tokens, but the model has embeddings for {rows}. They do "
            "not belong together; copy the tokenizer's files from the model that it was made from."
        )
    return tokenizer


def sha256_of_tokenizer(tokenizer: Any) -> str:
    """Return what tells a tokenizer from any other that makes other tokens of some text."""
    if tokenizer.is_fast:
        return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
    # One that is written in Python (Marian) is its vocabulary and the files that it was loaded from.
    digest = hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    for name in sorted(type(tokenizer).vocab_files_names.values()):
        path = Path(tokenizer.name_or_path) / name
        digest.update(f"{name} {sha256_of(path) if path.is_file() else ''}".encode())
    return digest.hexdigest()


def load_weights(
    folder: Path,
    *,
    auto_class: str,
    config: Any,
    weights: Weights,
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
) -> Loaded:
    """Return the model of a checked folder in float32, and how it differs from the file; the caller judges that.

    Args:
        folder: the model's folder.
        auto_class: the class of transformers to load through (``AutoModelForSequenceClassification``).
        config: the configuration to build with, from `load_config`, changed or not.
        weights: what `check_folder` found.
        attn_implementation: how attention is computed; None lets transformers choose.
        trust_remote_code: whether the folder's own Python code may run.

    Raises:
        ModelError: the weights are damaged, or belong to another configuration.
    """
    family = getattr(transformers, auto_class)
    settings = {} if attn_implementation is None else {"attn_implementation": attn_implementation}
    with _errors_named(folder, f"the weights as {auto_class}"), quiet():
        if not trust_remote_code:
            _check_size(folder, family, config, weights)
        for path in weights.files:
            _check_finite(path)
        model, report = family.from_pretrained(
            str(folder),
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            weights_only=True,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            # Differing shapes are reported to the caller, in words of ours; nothing is passed over.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **settings,
        )
    # What transformers computes anew instead of saving it (Marian's sines of positions) comes back as it never was if
    # it is trained, and reading makes every tensor trainable.
    computed = set(model._keys_to_ignore_on_save or ())
    for name, parameter in model.named_parameters():
        if name in computed:
            parameter.requires_grad_(False)
    return Loaded(
        model,
        missing=tuple(sorted(report["missing_keys"])),
        unexpected=tuple(sorted(report["unexpected_keys"])),
        mismatched={
            name: f"{list(found)} in the file, {list(expected)} in the model"
            for name, found, expected in sorted(report["mismatched_keys"])
        },
    )


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one safetensors file, all of which are numbers."""
    if not path.is_file():
        raise ModelError(f"{path.parent} lacks {path.name}. Copy the whole folder again, or repeat the run.")
    read_shapes(path)
    with _errors_named(path.parent, path.name):
        _check_finite(path)
        return safetensors.torch.load_file(path, device="cpu")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' reports and bars off the terminal inside; its errors are raised as ever.

    What the reports say is not lost: `load_weights` returns it.
    """
    verbosity, has_bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if has_bar:
            transformers_logging.enable_progress_bar()


def _check_finite(path: Path) -> None:
    """Complain of the first tensor of a file that holds NaN or infinity.

    Looked at in the model, its whole mapping of the file would stay in memory from then on, asked for or not.
    """
    with safetensors.safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  it is no mapping
            tensor = file.get_tensor(name)
            if tensor.is_floating_point() and tensor.element_size() == 1:
                tensor = tensor.float()  # of 8 bits torch has no sums
            # The sum tells of either, too, and much faster; of very large numbers it may itself be no number.
            if tensor.is_floating_point() and not bool(tensor.sum().isfinite()) and not bool(tensor.isfinite().all()):
                raise ModelError(f"{path}: the tensor {name!r} holds NaN or infinity. The weights are damaged.")


def _check_size(folder: Path, family: Any, config: Any, weights: Weights) -> None:
    """Refuse a configuration that describes a far larger model than the file holds, before memory is taken for it."""
    with torch.device("meta"):
        planned: nn.Module = family.from_config(config, trust_remote_code=False)
    elements = sum(tensor.numel() for tensor in (*planned.parameters(), *planned.buffers()))
    # A fresh head, a pooler, tables of positions: twice the file, and some room for the small, is generous.
    if elements > 2 * weights.elements + 50_000_000:
        raise ModelError(
            f"{folder / 'config.json'} describes a model of {elements:,} numbers, but the weights hold "
            f"{weights.elements:,}. The configuration does not belong to these weights."
        )


@contextmanager
def _errors_named(folder: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (HeadwayError, MemoryError):
        raise
    except Exception as error:
        # A crafted or damaged file makes these libraries raise anything, tokenizers even a bare Exception.
        reason = textwrap.shorten(str(error), 300, placeholder=" ...") or type(error).__name__
        raise ModelError(f"{folder}: cannot load {what}: {reason}") from error
