"""Every failure a user can cause or mend, each with the exit code that the command line gives for it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HeadwayError(Exception):
    """A failure with a message for the user: what was expected, what was found, where, and what to do."""

    exit_code = 1


class RecipeError(HeadwayError):
    """The recipe or the command line is wrong."""

    exit_code = 2


class DataError(HeadwayError):
    """The data cannot be used as they are."""

    exit_code = 3


class ModelError(HeadwayError):
    """A model folder, a hub name or a checkpoint cannot be used, or is not safe to use."""

    exit_code = 4


class RunError(HeadwayError):
    """The run directory cannot be read or written: disk, permission, damage."""

    exit_code = 5


class WriteError(RunError):
    """A file cannot be written; what was there before is whole."""


class NonFiniteError(HeadwayError):
    """The loss or a weight stopped being a number."""

    exit_code = 6


class MemoryExceededError(HeadwayError):
    """The machine or the accelerator ran out of memory."""

    exit_code = 7


class RunBusyError(HeadwayError):
    """Another process writes in the run directory, or it already holds a run."""

    exit_code = 8


class StoppedError(HeadwayError):
    """The run was asked to stop, saved its state and can be resumed."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name nearest to ``name``, or an empty string."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f" Did you mean {by_lower[near[0]]!r}?" if near else ""
