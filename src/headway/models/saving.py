"""A trained model as a Hugging Face folder with ``headway.json`` beside it, and back again.

With the family's own head, ``AutoModelFor….from_pretrained(folder)`` gives the same logits. With another head the
folder is the plain backbone for ``AutoModel.from_pretrained``, and the head lies in ``head.safetensors``, or in
``head.skops`` where it is scikit-learn's. What joins the windows of a long text lies beside both, in
``windows.safetensors``, if it has weights; a prefix, without which transformers alone would give other logits, in
``prefix.safetensors``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from headway.errors import ModelError, RunError, did_you_mean
from headway.files import flush, sha256_of
from headway.importing import Choice
from headway.models.backbone import auto_class_of, check_head_is_ours
from headway.models.estimators import EstimatorHead
from headway.models.folder_checks import check_folder, read_json
from headway.models.heads import HeadedModel
from headway.models.packing import is_packed, pack
from headway.models.prefix import FAMILIES, PREFIX_FILE, prefix_of, put_prefix, table_of, width_of, without_prefix
from headway.models.safe_loading import (
    load_config,
    load_tensors,
    load_tokenizer,
    load_weights,
    quiet,
)
from headway.models.unread_tokens import skip_unread_tokens, skips_unread_tokens
from headway.models.windows import WindowedModel

DESCRIPTION = "headway.json"
HEAD = "head.safetensors"
ESTIMATOR = "head.skops"
WINDOWS = "windows.safetensors"


def save_model(
    model: nn.Module,
    tokenizer: Any,
    folder: Path,
    *,
    extra: Mapping[str, Any],
    companions: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write the model, its tokenizer and ``headway.json`` so that ``folder`` is the old one or the new, never a mix.

    Args:
        model: a transformers model, or a `HeadedModel`; either may stand in a `WindowedModel`.
        tokenizer: its tokenizer.
        folder: where to; an existing folder is replaced as a whole.
        extra: what ``headway.json`` says beside ``head`` and ``files`` (``task``, ``labels``), plain JSON.
        companions: files for other tools: path in the folder -> plain JSON.

    Raises:
        RunError: the disk refuses.
    """
    windowed = model if isinstance(model, WindowedModel) else None
    model = model if windowed is None else windowed.model
    backbone = model.backbone if isinstance(model, HeadedModel) else model
    if not isinstance(backbone, PreTrainedModel):
        raise TypeError(f"expected a transformers model or a HeadedModel, found {type(model).__name__}")
    prefix = prefix_of(backbone)
    writing = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    previous = _previous(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left_by_a_kill in folder.parent.glob(f".{folder.name}.writing-*"):
            shutil.rmtree(left_by_a_kill, ignore_errors=True)
        writing.mkdir()
        with quiet():
            backbone.save_pretrained(writing, state_dict=None if prefix is None else without_prefix(backbone))
            tokenizer.save_pretrained(writing)
        head: Any = "default"
        if isinstance(model, HeadedModel):
            head = model.description()
            if isinstance(model.head, EstimatorHead):
                model.head.write(writing / ESTIMATOR)
            else:
                _write_tensors(model.top(), writing / HEAD)
        if windowed is not None:
            extra = {**extra, "windows": windowed.description()}
            if windowed.attention is not None:
                _write_tensors(windowed.attention.state_dict(), writing / WINDOWS)
        if prefix is not None:
            extra = {**extra, "prefix": prefix.description()}
            _write_tensors({"prefix": prefix.embedded()}, writing / PREFIX_FILE)
            # What other tools look for would have them read a model that lacks its prefix.
            companions = {}
        for name, content in companions.items():
            (writing / name).parent.mkdir(parents=True, exist_ok=True)
            (writing / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        files = {path.name: sha256_of(path) for path in sorted(writing.iterdir()) if path.is_file()}
        how = {"packing": is_packed(backbone), "skip_unread_tokens": skips_unread_tokens(model)}
        about = {**extra, "head": head, **how, "files": files}
        text = json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False)
        (writing / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
        for path in writing.rglob("*"):
            flush(path)
        flush(writing)
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)
            folder.rename(previous)
        writing.rename(folder)
        flush(folder.parent)
        shutil.rmtree(previous, ignore_errors=True)
    except (OSError, safetensors.SafetensorError) as error:
        shutil.rmtree(writing, ignore_errors=True)
        if previous.exists() and not folder.exists():
            previous.rename(folder)
        raise RunError(
            f"Cannot write the model to {folder}: {error}. Free some space or choose another folder."
        ) from error


def load_model(folder: Path, kind: str, *, allow_user_code: bool) -> tuple[nn.Module, Any]:
    """Return the model that `save_model` wrote, in evaluation mode, and its tokenizer.

    Nothing is made up: a tensor that is missing, left over, of another shape or not a number is an error, so a
    random head never predicts.

    Args:
        folder: the ``model`` folder of a run.
        kind: a key of `headway.models.options.KINDS`, as the task asks for it.
        allow_user_code: whether a head that is not headway's own may be imported.

    Raises:
        ModelError: naming the file, and the tensor where there is one.
    """
    if not folder.is_dir():
        near = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
        hint = did_you_mean(folder.name, near)
        if _previous(folder).is_dir():
            hint = f" A save was interrupted and left the one before in {_previous(folder)}; give it its name back."
        raise ModelError(f"There is no such folder: {str(folder)!r}.{hint}")
    description = read_json(folder / DESCRIPTION, what="what headway wrote about the model")
    weights = check_folder(folder)
    config = load_config(folder)
    _check_labels(folder, description, config)
    head = _read_head(folder, description)
    if head is not None and not allow_user_code:
        check_head_is_ours(head["name"], where=str(folder / DESCRIPTION))
    tokenizer = load_tokenizer(folder, config=config)
    auto_class = auto_class_of(kind if head is None else "features", config)
    loaded = load_weights(folder, auto_class=auto_class, config=config, weights=weights)
    for problem, names in (("is missing", loaded.missing), ("has no place in the model", loaded.unexpected)):
        if names:
            raise ModelError(f"{folder}: the tensor {names[0]!r} {problem} (of {len(names)} such). {_MEND}")
    for name, found in loaded.mismatched.items():
        raise ModelError(f"{folder}: the tensor {name!r} has another shape: {found}. {_MEND}")
    if description.get("packing", True) and "prefix" not in description:
        pack(loaded.model)
    model: nn.Module = loaded.model
    if "prefix" in description:
        _rebuild_prefix(folder, loaded.model.base_model, description["prefix"])
    if head is not None:
        model = _rebuild(folder, loaded.model, kind, head)
    if description.get("skip_unread_tokens", True) and "prefix" not in description:
        skip_unread_tokens(model, kind=kind)
    if "windows" in description:
        model = _rebuild_windows(folder, model, description["windows"])
    _check_files(folder, description)
    return model.eval(), tokenizer


_MEND = "The folder does not hold the model that was trained; copy it again, or repeat the run."


def _rebuild(folder: Path, backbone: Any, kind: str, head: dict[str, Any]) -> HeadedModel:
    model = HeadedModel(
        backbone,
        kind=kind,
        choice=Choice(name=head["name"], options=head["options"]),
        pooling=head["pooling"],
        pooling_layers=head["pooling_layers"],
        dropout=head["dropout"],
        num_labels=head["num_labels"],
    )
    if isinstance(model.head, EstimatorHead):
        model.head.read(folder / ESTIMATOR)
        return model
    found = _read_tensors(folder / HEAD, model.top(), what=f"the head {head['name']!r}")
    model.load_state_dict(found, strict=False)
    return model


def _rebuild_windows(folder: Path, model: nn.Module, windows: Any) -> WindowedModel:
    pooling = windows.get("pooling") if isinstance(windows, dict) else None
    if pooling not in ("mean", "max", "attention"):
        raise ModelError(f"{folder / DESCRIPTION}: 'windows' is not what headway writes there. {_MEND}")
    windowed = WindowedModel(model, pooling=pooling)
    if windowed.attention is not None:
        expected = windowed.attention.state_dict()
        windowed.attention.load_state_dict(_read_tensors(folder / WINDOWS, expected, what="what joins the windows"))
    return windowed


def _rebuild_prefix(folder: Path, body: Any, about: Any) -> None:
    length = about.get("num_virtual_tokens") if isinstance(about, dict) else None
    if type(length) is not int or length < 1 or body.config.model_type not in FAMILIES:
        raise ModelError(f"{folder / DESCRIPTION}: 'prefix' is not what headway writes there. {_MEND}")
    expected = {"prefix": torch.empty(length, width_of(body.config), device="meta")}
    found = _read_tensors(folder / PREFIX_FILE, expected, what="the prefix")
    put_prefix(body, table_of(found["prefix"]), num_virtual_tokens=length)


def _write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    safetensors.torch.save_file({name: tensor.detach().clone() for name, tensor in tensors.items()}, path)


def _read_tensors(path: Path, expected: Mapping[str, Tensor], *, what: str) -> dict[str, Tensor]:
    """Return the tensors of a file, which must be the expected ones and no others."""
    found = load_tensors(path)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise ModelError(f"{path}: the tensor {name!r} is missing. {_MEND}")
        if name not in expected:
            raise ModelError(f"{path}: the tensor {name!r} has no place in {what}. {_MEND}")
        if found[name].shape != expected[name].shape:
            raise ModelError(
                f"{path}: the tensor {name!r} has another shape: {list(found[name].shape)} in the file, "
                f"{list(expected[name].shape)} in {what}. {_MEND}"
            )
    return found


def _read_head(folder: Path, description: dict[str, Any]) -> dict[str, Any] | None:
    """Return what rebuilds a head of its own, or None for the family's."""
    head = description.get("head")
    if head == "default":
        return None
    types = {"name": str, "options": dict, "pooling": str, "pooling_layers": int, "dropout": float, "num_labels": int}
    if not isinstance(head, dict) or any(not isinstance(head.get(key), kind) for key, kind in types.items()):
        raise ModelError(f"{folder / DESCRIPTION}: 'head' is not what headway writes there. {_MEND}")
    return head


def _check_labels(folder: Path, description: dict[str, Any], config: Any) -> None:
    labels = description.get("labels")
    stored = [config.id2label[number] for number in sorted(config.id2label)]
    if labels and labels != stored:
        raise ModelError(
            f"{folder}: headway.json and config.json name different labels, or in another order: {labels} "
            f"and {stored}. {_MEND}"
        )


def _check_files(folder: Path, description: dict[str, Any]) -> None:
    """Compare each file with what was written, which finds a flipped bit, or files of two models in one folder."""
    files = description.get("files")
    for name, sha256 in (files if isinstance(files, dict) else {}).items():
        path = folder / Path(name).name
        if not path.is_file():
            raise ModelError(f"{folder} lacks {name}, which was saved with the model. {_MEND}")
        if sha256_of(path) != sha256:
            raise ModelError(
                f"{path} is not the file that was saved with this model (its SHA-256 differs). {_MEND} If you "
                f"changed it on purpose, delete its line under 'files' in {DESCRIPTION}."
            )


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")
