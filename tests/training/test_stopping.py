from __future__ import annotations

import multiprocessing
import os
import signal
import time
from typing import Any

import pytest

from headway.errors import StoppedError
from headway.training.stopping import stop_request


@pytest.mark.parametrize(("number", "name", "code"), [(signal.SIGTERM, "SIGTERM", 75), (signal.SIGINT, "Ctrl-C", 130)])
def test_a_signal_is_remembered_until_work_looks_for_it(number: signal.Signals, name: str, code: int) -> None:
    with stop_request() as request:
        request.check(saved="Nothing.")
        os.kill(os.getpid(), number)
        with pytest.raises(StoppedError, match=rf"Stopped by {name}\. Saved at step 3\.") as stopped:
            request.check(saved="Saved at step 3.")
    assert stopped.value.exit_code == code


def test_the_handlers_before_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(ValueError, match="inside"), stop_request() as request:
        raise ValueError("inside" if signal.getsignal(signal.SIGTERM) is request else "not installed")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def wait_for_two(ready: Any) -> None:
    with stop_request() as request:
        ready.set()
        while request.signal is None:
            time.sleep(0.01)
        ready.clear()
        time.sleep(60)


def test_a_second_ctrl_c_ends_the_process_at_once() -> None:
    context = multiprocessing.get_context("forkserver")
    ready = context.Event()
    process = context.Process(target=wait_for_two, args=(ready,))
    process.start()
    assert ready.wait(60)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    while ready.is_set():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    process.join(30)
    assert process.exitcode == 130


def test_a_second_signal_of_another_kind_waits_as_the_first_does() -> None:
    with stop_request() as request:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
        with pytest.raises(StoppedError) as stopped:
            request.check(saved="")
    assert stopped.value.exit_code == 75
