"""A finished run as it was after one of its steps, from which it is to be resumed."""

from __future__ import annotations

import shutil
from pathlib import Path


def saved_steps(run: Path) -> list[int]:
    """Return the steps after which a checkpoint was saved and kept, in ascending order."""
    return sorted(_step(path) for path in (run / "checkpoints").glob("resume-*.ckpt"))


def rewound(whole: Path, to: Path, *, step: int) -> Path:
    """Copy a finished run to a new folder without what came after ``step``, and return that folder."""
    shutil.copytree(whole, to)
    for name in ("metrics.json", "manifest.json"):
        (to / name).unlink()
    shutil.rmtree(to / "model")
    for path in (to / "checkpoints").iterdir():
        if _step(path) > step:
            path.unlink()
    return to


def _step(checkpoint: Path) -> int:
    return int(checkpoint.stem.partition("-")[2])
