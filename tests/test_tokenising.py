from __future__ import annotations

import gc
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from headway import tokenising
from headway.data.table import Table
from headway.data.token_cache import open_or_build
from headway.errors import DataError, ModelError, RunError, StoppedError
from headway.predictor import Predictor
from headway.tasks.base import Limits
from headway.tasks.text_classification import TextClassification
from headway.tokenising import PARALLELISM, encode_in_batches, encode_table
from headway.types import Features, Row

TASK = TextClassification(labels=("bad", "good"), problem_type="single_label_classification")


@pytest.fixture(scope="module")
def tokenizer(finished_run: Path) -> PreTrainedTokenizerBase:
    return Predictor.load(finished_run, device="cpu").tokenizer


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let three processes tokenise, four rows at a time; return how many were asked for each time."""
    asked: list[int] = []
    loader = tokenising.DataLoader

    def noted(*arguments: Any, **options: Any) -> Any:
        asked.append(options["num_workers"])
        return loader(*arguments, **options)

    monkeypatch.setattr("headway.tokenising.DataLoader", noted)
    monkeypatch.setattr("headway.tokenising.ROWS_PER_CHUNK", 4)
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    monkeypatch.delenv(PARALLELISM, raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    return asked


def table(num_rows: int, bad: tuple[int, ...] = ()) -> Table:
    return Table.from_rows(
        [
            {"text": f"a good book {n} " + "very " * (n % 5), "label": "odd" if n in bad else "good"}
            for n in range(num_rows)
        ]
    )


class Elsewhere(TextClassification):
    """A task that does something to the process which tokenises, where that is not the first one."""

    def encode(self, row: Row, tokenizer: Any, limits: Limits) -> list[Features]:
        if os.getpid() != FIRST and "13" in row["text"]:
            match self.labels[0]:
                case "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "refused":
                    raise ModelError("no such model")
                case "faulty":
                    raise RuntimeError("a fault of ours")
        return super().encode(row, tokenizer, limits)


FIRST = os.getpid()


def cached(rows: Table, tokenizer: PreTrainedTokenizerBase, folder: Path, **options: Any) -> list[Features]:
    batches = encode_in_batches(rows, options.pop("task", TASK), tokenizer, Limits(max_length=16), **options)
    return list(open_or_build("rows", "key", batches, folder=folder))


@pytest.mark.skipif(sys.platform != "linux", reason="processes cannot be copied here")
@pytest.mark.parametrize("num_rows", [8, 9, 50])
def test_several_processes_give_the_same_features_in_the_same_order(
    num_rows: int, tokenizer: PreTrainedTokenizerBase, processes: list[int], tmp_path: Path
) -> None:
    rows = table(num_rows)
    assert cached(rows, tokenizer, tmp_path) == list(encode_table(rows, TASK, tokenizer, Limits(max_length=16)))
    assert processes == [min(3, -(-num_rows // 4))]
    assert not multiprocessing.active_children()
    assert PARALLELISM not in os.environ


@pytest.mark.parametrize("threads", [1, 3])
def test_of_few_rows_or_one_thread_this_process_tokenises(
    threads: int, tokenizer: PreTrainedTokenizerBase, processes: list[int], monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    assert len(cached(table(4 if threads == 3 else 50), tokenizer, tmp_path)) == (4 if threads == 3 else 50)
    assert not processes


def test_where_processes_cannot_be_copied_this_one_tokenises(
    tokenizer: PreTrainedTokenizerBase, processes: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert len(cached(table(50), tokenizer, tmp_path)) == 50
    assert not processes


def test_bad_rows_are_named_whoever_found_them(
    tokenizer: PreTrainedTokenizerBase, processes: list[int], tmp_path: Path
) -> None:
    rows = table(50, bad=(3, 17, *range(20, 45)))
    found = []
    for encode in (encode_table, encode_in_batches):
        with pytest.raises(DataError) as refused:
            list(encode(rows, TASK, tokenizer, Limits()))
        found.append(str(refused.value))
    assert found[0] == found[1]
    assert found[1].startswith("27 of 50 rows do not fit the task:\n  ")
    assert "... and 7 more" in found[1]


@pytest.mark.skipif(sys.platform != "linux", reason="processes cannot be copied here")
def test_a_process_that_is_killed_is_said(
    tokenizer: PreTrainedTokenizerBase, processes: list[int], tmp_path: Path
) -> None:
    task = Elsewhere(labels=("killed", "good"), problem_type="single_label_classification")
    with pytest.raises(RunError, match=r"A process that tokenised rows ended before its time: .*OMP_NUM_THREADS=1"):
        cached(table(50), tokenizer, tmp_path, task=task)
    assert not list(tmp_path.iterdir())
    assert not multiprocessing.active_children()
    assert PARALLELISM not in os.environ


@pytest.mark.skipif(sys.platform != "linux", reason="processes cannot be copied here")
@pytest.mark.parametrize(
    ("how", "error", "message"),
    [("refused", ModelError, r"^no such model$"), ("faulty", RuntimeError, r"a fault of ours")],
)
def test_an_error_elsewhere_stays_what_it_is(
    how: str,
    error: type[Exception],
    message: str,
    tokenizer: PreTrainedTokenizerBase,
    processes: list[int],
    tmp_path: Path,
) -> None:
    task = Elsewhere(labels=(how, "good"), problem_type="single_label_classification")
    found = None
    try:
        cached(table(50), tokenizer, tmp_path, task=task)
    except Exception as raised:  # not pytest.raises: its traceback would hold what it came from, and so the processes
        found = type(raised), str(raised)
    assert found is not None
    assert found[0] is error
    assert re.search(message, found[1])
    gc.collect()
    assert not multiprocessing.active_children()


@pytest.mark.skipif(sys.platform != "linux", reason="processes cannot be copied here")
def test_a_stop_ends_all_processes(
    tokenizer: PreTrainedTokenizerBase, processes: list[int], tmp_path: Path, make_stop: Callable[[int], Any]
) -> None:
    with pytest.raises(StoppedError):
        cached(table(50), tokenizer, tmp_path, stop_check=make_stop(3))
    assert processes
    assert not multiprocessing.active_children()


@pytest.fixture
def make_stop() -> Callable[[int], Callable[[], None]]:
    def made(calls: int) -> Callable[[], None]:
        left = calls

        def check() -> None:
            nonlocal left
            left -= 1
            if not left:
                raise StoppedError("stopped", exit_code=130)

        return check

    return made
