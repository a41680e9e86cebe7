"""The run directory: every path and file format of a run, written whole or not at all, by one writer at a time."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from headway.errors import RunBusyError, RunError
from headway.files import read_json, whole_writes

SPLITS = ("train", "validation", "test")
WRITER_FILES = (".lock", ".writer")


def model_folder(run: str | Path) -> Path:
    """Return the folder of the model that ``run`` names: a finished run, or such a folder itself.

    Raises:
        RunError: it is neither; see `RunDir.open`.
    """
    folder = Path(run)
    return folder if (folder / "headway.json").is_file() else RunDir.open(run).model


class RunDir:
    """One run's folder; with several seeds, the folder of the group, with one `RunDir` a seed below it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.yaml"
        self.manifest = self.path / "manifest.json"
        self.checks = self.path / "checks.json"
        self.metrics = self.path / "metrics.json"
        self.before = self.path / "before.json"
        self.history = self.path / "history.csv"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.model = self.path / "model"
        self.adapter = self.path / "adapter"
        self.card = self.path / "README.md"
        self.report = self.path / "report.html"

    def predictions(self, split: str) -> Path:
        """Return the file of a split's predictions."""
        return self.path / "predictions" / f"{split}.jsonl"

    def seed(self, seed: int) -> RunDir:
        """Return the run of one seed of a group."""
        return RunDir(self.path / f"seed-{seed}")

    def task(self, name: str) -> RunDir:
        """Return the run of one of several tasks that were learnt together; that of the recipe's own is this one."""
        return RunDir(self.path / "tasks" / name) if name else self

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks that were learnt together with the recipe's own, in alphabetical order."""
        return sorted(folder.name for folder in self.path.glob("tasks/*") if folder.is_dir())

    @property
    def seeds(self) -> list[int]:
        """The seeds of a group in ascending order; empty for a single run."""
        numbers = (folder.name.removeprefix("seed-") for folder in self.path.glob("seed-*") if folder.is_dir())
        return sorted(int(number) for number in numbers if number.isdecimal())

    @property
    def held(self) -> list[Path]:
        """What lies in the folder, beside the two files of its writer."""
        return [path for path in self.path.iterdir() if path.name not in WRITER_FILES]

    @property
    def is_run(self) -> bool:
        """Whether a run was begun here: its fingerprint is written first."""
        return (self.path / "fingerprint.json").exists()

    @property
    def is_complete(self) -> bool:
        """Whether the run came to its end: its metrics are written last."""
        return self.metrics.exists()

    @classmethod
    def open(cls, path: str | Path) -> RunDir:
        """Return an existing, finished run; of a group, the seed with the best validation score.

        Raises:
            RunError: there is no such folder, it is no run, or the run did not finish.
        """
        run = cls(path)
        if not run.path.is_dir():
            raise RunError(f"There is no run directory {str(path)!r}. `headway runs` lists those below a folder.")
        if not run.recipe.exists():
            raise RunError(f"{path} is not a run directory: it has no recipe.yaml. `headway runs` lists runs.")
        if not run.is_complete:
            raise RunError(
                f"The run in {path} did not finish. Finish it with: headway train {run.recipe} --output_dir "
                f"{path} --resume"
            )
        if run.seeds:
            return cls.open(run.seed(run.read_metrics()["selected_seed"]).path)
        return run

    def read_metrics(self) -> dict[str, Any]:
        """Return the content of metrics.json."""
        return read_json(self.metrics)

    def read_manifest(self) -> dict[str, Any]:
        """Return the content of manifest.json."""
        return read_json(self.manifest)

    @contextlib.contextmanager
    def writer(self) -> Iterator[None]:
        """Hold the right to write here; the lock falls with the process, however it ends.

        A folder that was made for it, and in which nothing was written, is gone afterwards.

        Raises:
            RunBusyError: another process holds it; its host and process number are named.
            RunError: the folder cannot be made.
        """
        holder = self.path / ".writer"
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        if file := next((place for place in (self.path, *self.path.parents) if place.is_file()), None):
            raise RunError(f"{file} is a file, so it cannot be a run directory. Choose another --output_dir.")
        with whole_writes(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            who = holder.read_text() if holder.exists() else "another process"
            raise RunBusyError(
                f"{self.path} is being written by {who}. Wait for it, stop it, or choose another --output_dir."
            ) from None
        except OSError as error:
            raise RunError(f"Cannot lock {self.path}: {error}.") from error
        try:
            with whole_writes(self.path):
                holder.write_text(f"process {os.getpid()} on {socket.gethostname()}")
            yield
        finally:
            holder.unlink(missing_ok=True)
            # Who waits for a lock that is removed under him asks for it anew (filelock looks at its links).
            with contextlib.suppress(OSError):
                if not self.held:
                    (self.path / ".lock").unlink(missing_ok=True)
                for folder in made:
                    folder.rmdir()
            lock.release()
