"""Checkpoints that are whole or absent, and the choice of the one to resume from.

A checkpoint is two files: ``<name>.ckpt`` and, written after it, ``<name>.json`` with its size, its SHA-256 and the
state of the search for the best model. Without a matching second file it does not count: a process killed at any moment
leaves the checkpoints before it.
"""

from __future__ import annotations

import io
import json
import logging
import shutil
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from headway.errors import ModelError, RunError
from headway.files import sha256_of, sweep, write_json, write_whole

logger = logging.getLogger(__name__)

KEPT_RESUME_CHECKPOINTS = 2


class WholeCheckpointIO(CheckpointIO):
    """Lightning's door to the disk: every write is atomic, checked and never swallowed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint and its seal.

        Raises:
            RunError: it does not fit on the disk, or the folder cannot be written; nothing earlier is touched.
        """
        path = Path(path)
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getbuffer()
        free = shutil.disk_usage(path.parent).free
        if free < content.nbytes:
            raise RunError(
                f"The disk is full: {path.name} needs {content.nbytes / 1e6:,.1f} MB and {path.parent} has "
                f"{free / 1e6:,.1f} MB free. The checkpoints before it are whole; free some space, then start again "
                "with --resume."
            )

        def write(file: IO[bytes]) -> None:
            file.write(content)

        path.with_suffix(".json").unlink(missing_ok=True)
        write_whole(path, write)
        seal = {"size": content.nbytes, "sha256": sha256_of(path), "step": checkpoint["global_step"]}
        write_json(path.with_suffix(".json"), seal | checkpoint.get("seal", {}))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Return a checkpoint whose digest is right; only tensors and plain values are ever unpickled."""
        path = Path(path)
        if (problem := damage(path)) is not None:
            raise ModelError(f"{path} {problem}.")
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint, its seal first."""
        Path(path).with_suffix(".json").unlink(missing_ok=True)
        Path(path).unlink(missing_ok=True)


def damage(path: Path) -> str | None:
    """Return what is wrong with a checkpoint file, or nothing."""
    try:
        seal = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        size = path.stat().st_size
    except FileNotFoundError as error:
        return f"is not complete: {Path(error.filename).name} is missing"
    except (OSError, ValueError) as error:
        return f"cannot be checked: {error}"
    if size != seal["size"]:
        return f"is damaged: {size} bytes, expected {seal['size']}"
    return None if sha256_of(path) == seal["sha256"] else "is damaged: its content does not match its digest"


def resume_path(folder: Path, step: int) -> Path:
    """Return the file of the resume checkpoint written after optimizer step ``step``."""
    return folder / f"resume-{step:08d}.ckpt"


def best_path(folder: Path, step: int) -> Path:
    """Return the file of the weights that scored best, as they were after ``step``."""
    return folder / f"best-{step:08d}.ckpt"


def newest_whole(folder: Path) -> Path | None:
    """Return the newest resume checkpoint that is whole; each damaged one it passes over is reported.

    Raises:
        ModelError: there are checkpoints, and none of them is whole. Training never starts over in silence.
    """
    candidates = sorted(folder.glob("resume-*.ckpt"), reverse=True)
    for path in candidates:
        if (problem := damage(path)) is None:
            return path
        logger.warning("%s %s; the one before it is used.", path.name, problem)
    if candidates:
        raise ModelError(
            f"None of the {len(candidates)} checkpoints in {folder} is whole. Restore one from a backup, or start the "
            "run again with --overwrite."
        )
    return None


def prune(folder: Path) -> None:
    """Keep the newest resume checkpoints, the best weights that these refer to, and nothing half-written."""
    sweep(folder)
    resume = sorted(folder.glob("resume-*.json"), reverse=True)
    kept = resume[:KEPT_RESUME_CHECKPOINTS]
    best = {best_path(folder, json.loads(seal.read_text(encoding="utf-8"))["best_step"]) for seal in kept}
    for path in (*folder.glob("resume-*.ckpt"), *folder.glob("best-*.ckpt")):
        if path.with_suffix(".json") not in kept and path not in best:
            WholeCheckpointIO().remove_checkpoint(path)
