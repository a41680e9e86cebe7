"""Checkpoints that are whole or absent, and the choice of the one to resume from.

A checkpoint is two files: ``<name>.ckpt`` and, written after it, ``<name>.json`` with its size, its SHA-256 and the
state of the search for the best model. Without a matching second file it does not count: a process killed at any moment
leaves the checkpoints before it. A third file, ``<name>.unsealed``, lies there between the two: with it a checkpoint
that lacks its second file was never finished, without it something was lost.
"""

from __future__ import annotations

import io
import logging
import shutil
from pathlib import Path
from typing import IO, Any, cast

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from headway.errors import ModelError, RunError
from headway.files import flush, read_json, sha256_of, sweep, whole_writes, write_json, write_whole

logger = logging.getLogger(__name__)

KEPT_RESUME_CHECKPOINTS = 2
UNSEALED = ".unsealed"


class WholeCheckpointIO(CheckpointIO):
    """Lightning's door to the disk: every write is atomic, checked and never swallowed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint and its seal.

        Raises:
            RunError: it does not fit on the disk, or the folder cannot be written; nothing earlier is touched.
        """
        path = Path(path)
        # Counted before a byte is written, and never held in memory as a whole.
        measured = _Output(None)
        torch.save(checkpoint, cast("IO[bytes]", measured))
        with whole_writes(path):
            self._save(checkpoint, measured.size, path)

    def _save(self, checkpoint: dict[str, Any], size: int, path: Path) -> None:
        free = shutil.disk_usage(path.parent).free
        if free < size:
            raise RunError(
                f"The disk is full: {path.name} needs {size / 1e6:,.1f} MB and {path.parent} has "
                f"{free / 1e6:,.1f} MB free. The checkpoints before it are whole; free some space, then start again "
                "with --resume."
            )

        def write(file: IO[bytes]) -> None:
            output = _Output(file)
            torch.save(checkpoint, cast("IO[bytes]", output))
            if output.error is not None:
                raise output.error

        path.with_suffix(".json").unlink(missing_ok=True)
        path.with_suffix(UNSEALED).touch()
        flush(path.parent)
        try:
            write_whole(path, write)
        except BaseException:
            if not path.exists():
                path.with_suffix(UNSEALED).unlink(missing_ok=True)
            raise
        seal = {"size": size, "sha256": sha256_of(path), "step": checkpoint["global_step"]}
        write_json(path.with_suffix(".json"), seal | checkpoint.get("seal", {}))
        path.with_suffix(UNSEALED).unlink(missing_ok=True)

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
        with whole_writes(Path(path)):
            for file in (Path(path).with_suffix(".json"), Path(path), Path(path).with_suffix(UNSEALED)):
                file.unlink(missing_ok=True)


class _Output(io.RawIOBase):
    """What `torch.save` writes to: a file, or nothing, which counts the bytes.

    An error of the file is kept for later: where one is raised while torch writes, torch ends the process.
    """

    def __init__(self, file: IO[bytes] | None) -> None:
        self._file = file
        self.size = 0
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        size = memoryview(content).nbytes
        self.size += size
        if self._file is not None and self.error is None:
            try:
                self._file.write(content)
            except OSError as error:
                self.error = error
        return size


def damage(path: Path) -> str | None:
    """Return what is wrong with a checkpoint file, or nothing."""
    for file in (path, path.with_suffix(".json")):
        if not file.exists():
            return f"is not complete: {file.name} is missing"
    seal, size = _seal(path.with_suffix(".json")), path.stat().st_size
    if seal is None:
        return f"cannot be checked: {path.stem}.json is damaged"
    if size != seal["size"]:
        return f"is damaged: {size} bytes, expected {seal['size']}"
    return None if sha256_of(path) == seal["sha256"] else "is damaged: its content does not match its digest"


def _seal(path: Path) -> dict[str, Any] | None:
    """Return the content of a seal, or nothing if it is damaged."""
    try:
        seal = read_json(path)
    except RunError:
        return None
    return seal if {"size", "sha256"} <= seal.keys() else None


def resume_path(folder: Path, step: int) -> Path:
    """Return the file of the resume checkpoint written after optimizer step ``step``."""
    return folder / f"resume-{step:08d}.ckpt"


def best_path(folder: Path, step: int) -> Path:
    """Return the file of the weights that scored best, as they were after ``step``."""
    return folder / f"best-{step:08d}.ckpt"


def newest_whole(folder: Path) -> Path | None:
    """Return the newest resume checkpoint that is whole, as are the best weights it refers to.

    Each damaged one that is passed over is reported.

    Raises:
        ModelError: there are checkpoints, and none of them is whole. Training never starts over in silence.
    """
    candidates = []
    for path in sorted(folder.glob("resume-*.ckpt"), reverse=True):
        if path.with_suffix(UNSEALED).exists() and not path.with_suffix(".json").exists():
            logger.warning("%s was not finished when the run ended; it does not count.", path.name)
        else:
            candidates.append(path)
    for path in candidates:
        problem = damage(path)
        if problem is None:
            seal = _seal(path.with_suffix(".json")) or {}
            best = best_path(folder, seal.get("best_step", -1))
            if seal.get("best_step", -1) < 0 or (problem := damage(best)) is None:
                return path
            problem = f"refers to {best.name}, which {problem}"
        logger.warning("%s %s; the one before it is used.", path.name, problem)
    if candidates:
        raise ModelError(
            f"None of the {len(candidates)} checkpoints in {folder} is whole. Restore one from a backup, or start the "
            "run again with --overwrite."
        )
    return None


def prune(folder: Path) -> None:
    """Keep the newest resume checkpoints, the best weights that these refer to, and nothing half-written."""
    with whole_writes(folder):
        sweep(folder)
        for mark in folder.glob(f"*{UNSEALED}"):
            if mark.with_suffix(".json").exists() or not mark.with_suffix(".ckpt").exists():
                mark.unlink()
    newest_first = sorted(folder.glob("resume-*.json"), reverse=True)
    readable = {path: seal for path in newest_first if (seal := _seal(path)) is not None}
    kept = dict(list(readable.items())[:KEPT_RESUME_CHECKPOINTS])
    best = {best_path(folder, seal["best_step"]) for seal in kept.values()}
    for path in (*folder.glob("resume-*.ckpt"), *folder.glob("best-*.ckpt")):
        if path.with_suffix(".json") not in kept and path not in best:
            WholeCheckpointIO().remove_checkpoint(path)
