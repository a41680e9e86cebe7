"""Requests to stop: a signal sets a flag, and the work looks at it where it can stop without loss."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from headway.errors import StoppedError

EXIT_CODES = {signal.SIGTERM: 75, signal.SIGINT: 130}


class StopRequest:
    """Remembers the first SIGTERM or Ctrl-C; a second Ctrl-C ends the process at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; nothing but setting a flag is safe here."""
        if self.signal == number == signal.SIGINT:
            os._exit(EXIT_CODES[signal.SIGINT])
        self.signal = signal.Signals(number)

    def install(self) -> None:
        """Take over the signals; Lightning's own handlers broadcast from within and can hang."""
        for number in EXIT_CODES:
            signal.signal(number, self)

    def check(self, *, saved: str) -> None:
        """Stop here if it was asked for.

        Raises:
            StoppedError: with the exit code of the signal; ``saved`` says what is on the disk.
        """
        if self.signal is not None:
            cause = "Ctrl-C" if self.signal == signal.SIGINT else self.signal.name
            raise StoppedError(f"Stopped by {cause}. {saved}", exit_code=EXIT_CODES[self.signal])


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Watch for SIGTERM and Ctrl-C, and put the former handlers back afterwards."""
    before = {number: signal.getsignal(number) for number in EXIT_CODES}
    request = StopRequest()
    request.install()
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
