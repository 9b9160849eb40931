"""The ways in which a run ends before its end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Ending(Exception):
    """A run ended early, for a reason that its message says; what was saved is good."""


class NonFinite(Ending):
    """A loss, gradient or weight is not finite; nothing of it was saved."""


class LostImage(Ending):
    """An image of the data set can no longer be read, though it could when the run began."""


class Interrupted(Ending):
    """SIGTERM or Ctrl-C asked the run to stop; `signal` says which of them."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal = signal_number


class LostWorker(Ending):
    """Another worker of the cluster is gone; the last checkpoint is good."""


@contextlib.contextmanager
def stop_requests() -> Iterator[dict[str, int]]:
    """A dict that gets "signal" when SIGTERM or Ctrl-C asks to stop; a second one stops at once."""
    stop: dict[str, int] = {}

    def ask(number: int, frame: Any) -> None:
        if "signal" in stop:
            raise KeyboardInterrupt
        stop["signal"] = number

    with _handled(ask):
        yield stop


@contextlib.contextmanager
def stop_at_once() -> Iterator[None]:
    """Inside, SIGTERM and Ctrl-C raise Interrupted where the program stands."""

    def interrupt(number: int, frame: Any) -> None:
        raise Interrupted("Stopped; start the same command again to go on.", number)

    with _handled(interrupt):
        yield


@contextlib.contextmanager
def _handled(handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets only the main thread handle signals
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
