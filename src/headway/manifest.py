"""What a run was made from: versions, machine, data and weights, so that it can be repeated, or refused as another."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from typing import Any

import psutil
import torch
from torch import nn

from headway.data.table import Table
from headway.errors import RecipeError
from headway.files import read_json, sha256_of, write_json
from headway.models.backbone import Backbone
from headway.recipe import Recipe
from headway.run_dir import RunDir, model_folder

PACKAGES = ("headway", "torch", "transformers", "lightning", "tokenizers", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Return the version of Python and of every package that decides a result."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def machine() -> dict[str, Any]:
    """Return what the run was computed on."""
    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
    }


def data_record(tables: Mapping[str, Table]) -> dict[str, dict[str, Any]]:
    """Return the source, the number of rows and the fingerprint of each split."""
    return {
        name: {"source": table.name, "rows": len(table), "fingerprint": table.fingerprint}
        for name, table in tables.items()
    }


def model_record(backbone: Backbone, model: nn.Module) -> dict[str, Any]:
    """Return where the weights came from and how many there are."""
    parameters = list(model.parameters())
    return {
        "name": backbone.name,
        "origin": backbone.origin,
        "sha256": backbone.sha256,
        "parameters": sum(one.numel() for one in parameters),
        "trainable_parameters": sum(one.numel() for one in parameters if one.requires_grad),
    }


def check_fingerprint(
    run: RunDir, recipe: Recipe, tables: Mapping[str, Table], backbone: Backbone, *, world_size: int
) -> None:
    """Note what this run is made from; if the directory holds an earlier note, both must be the same.

    Raises:
        RecipeError: something changed since the run began; every difference is listed.
    """
    options = recipe.model_dump(mode="json", exclude={"output_dir"})
    # These change neither the weights nor the order of the rows.
    for name in ("save_steps", "logging_steps", "per_device_eval_batch_size"):
        options["training"].pop(name)
    now = {
        "recipe": options,
        "data": {name: table.fingerprint for name, table in tables.items()},
        "model": backbone.sha256,
        "teacher": _teacher(recipe),
        "versions": versions(),
        "world_size": world_size,
    }
    path = run.path / "fingerprint.json"
    if not path.exists():
        write_json(path, now)
        return
    before = _flat(read_json(path))
    # Through JSON, so that tuples and lists compare equal.
    after = _flat(now)
    changed = [
        f"{name}: {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    if changed:
        raise RecipeError(
            f"{run.path} cannot be resumed, because something changed since the run began:\n  "
            + "\n  ".join(changed)
            + "\nUndo the change, or start again with --overwrite or another --output_dir."
        )


def _teacher(recipe: Recipe) -> str | None:
    """Return what tells the teacher's model from any other: its headway.json lists the digests of all its files."""
    if recipe.optimization.distillation is None:
        return None
    return sha256_of(model_folder(recipe.optimization.distillation.teacher) / "headway.json")


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(content, Mapping):
        return {
            name: one
            for key, value in content.items()
            for name, one in _flat(value, f"{prefix}.{key}" if prefix else str(key)).items()
        }
    return {prefix: list(content) if isinstance(content, tuple) else content}
