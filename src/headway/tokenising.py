"""From rows to features: every row of a table, one after another or by several processes, each error with its place."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerBase

from headway.data.table import Table
from headway.data.token_cache import ROWS_PER_CHUNK, record_batches
from headway.errors import DataError, HeadwayError, RunError
from headway.tasks.base import Limits, Task
from headway.types import Features

SHOWN_ERRORS = 20
PARALLELISM = "TOKENIZERS_PARALLELISM"


def encode_table(
    table: Table,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    limits: Limits,
    stop_check: Callable[[], None] = lambda: None,
) -> Iterator[Features]:
    """Return the features of all rows, each with the number of its row.

    Raises:
        DataError: after the last row, if rows do not fit the task; the first twenty are named with their places.
    """
    problems: list[str] = []
    yield from _Turns(table, task, tokenizer, limits).encode(range(len(table)), problems, stop_check)
    _complain(problems, len(table))


def encode_in_batches(
    table: Table,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    limits: Limits,
    stop_check: Callable[[], None] = lambda: None,
) -> Iterator[pa.RecordBatch]:
    """Return what `encode_table` does, as the token cache holds it.

    Where the system can copy a process, as many of them as torch has threads work at many rows, a chunk at a time.

    Raises:
        DataError: as `encode_table`.
        RunError: one of the processes was killed.
    """
    turns = _Turns(table, task, tokenizer, limits)
    num_processes = min(len(turns), _most_processes())
    if num_processes < 2:
        yield from record_batches(encode_table(table, task, tokenizer, limits, stop_check))
        return
    problems: list[str] = []
    loader = DataLoader(
        turns,
        batch_size=None,
        num_workers=num_processes,
        collate_fn=_as_it_is,
        worker_init_fn=_leave_signals_to_the_first,
        multiprocessing_context="fork",
    )
    given = os.environ.get(PARALLELISM)
    # tokenizers warns of a copied process otherwise, and none of them has texts enough at once to share them out.
    os.environ[PARALLELISM] = given or "false"
    try:
        for batches, some, error in loader:
            stop_check()
            if error is not None:
                raise error
            problems += some
            yield from batches
    except RuntimeError as error:
        stop_check()
        if not str(error).startswith("DataLoader worker"):
            raise
        raise RunError(
            f"A process that tokenised rows ended before its time: {error}. If memory was short, let fewer of them "
            "work with OMP_NUM_THREADS=1."
        ) from error
    finally:
        if given is None:
            del os.environ[PARALLELISM]
    _complain(problems, len(table))


_Encoded = tuple[list[pa.RecordBatch], list[str], HeadwayError | None]
"""What became of a chunk: its features, what is wrong with its rows, and what kept it from being read to its end."""


@dataclass(frozen=True, slots=True)
class _Turns(Dataset[_Encoded]):
    """The chunks of a table, each tokenised by the process whose turn it is."""

    table: Table
    task: Task
    tokenizer: PreTrainedTokenizerBase
    limits: Limits

    def __len__(self) -> int:
        return -(-len(self.table) // ROWS_PER_CHUNK)

    def __getitem__(self, number: int) -> _Encoded:
        problems: list[str] = []
        start = number * ROWS_PER_CHUNK
        numbers = range(start, min(start + ROWS_PER_CHUNK, len(self.table)))
        try:
            return list(record_batches(self.encode(numbers, problems))), problems, None
        except HeadwayError as error:
            # As it is: a DataLoader would hand it on with the traceback in its message.
            return [], problems, error

    def encode(
        self, numbers: range, problems: list[str], stop_check: Callable[[], None] = lambda: None
    ) -> Iterator[Features]:
        """Return the features of some rows; what is wrong with others is added to ``problems``."""
        rows = self.table if len(numbers) == len(self.table) else self.table[numbers.start : numbers.stop]
        for number, row in zip(numbers, rows, strict=True):
            stop_check()
            try:
                for features in self.task.encode(row, self.tokenizer, self.limits):
                    yield replace(features, row=number)
            except DataError as error:
                problems.append(f"{self.table.where(number)}: {self.table.in_file_terms(str(error))}")


def _complain(problems: Sequence[str], num_rows: int) -> None:
    if problems:
        more = [f"... and {len(problems) - SHOWN_ERRORS} more"] if len(problems) > SHOWN_ERRORS else []
        lines = [f"{len(problems)} of {num_rows} rows do not fit the task:", *problems[:SHOWN_ERRORS], *more]
        raise DataError("\n  ".join(lines))


def _most_processes() -> int:
    """Return how many processes may work at once: 1 where this one cannot be copied with all that it holds.

    That is so on Windows, in a process that others started for such work, and on macOS, whose libraries may crash then.
    """
    can_copy = sys.platform == "linux" and not multiprocessing.current_process().daemon
    return min(torch.get_num_threads(), len(os.sched_getaffinity(0))) if can_copy else 1


def _as_it_is(chunk: Any) -> Any:
    return chunk


def _leave_signals_to_the_first(number: int) -> None:
    # Ctrl-C reaches all processes, and the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
