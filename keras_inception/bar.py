"""A progress bar on a terminal; in a log, a line every half minute."""

from __future__ import annotations

import sys
import time

from keras_inception.messages import minutes

_SECONDS_ON_A_TERMINAL, _SECONDS_IN_A_LOG = 0.2, 30.0
_WIDTH = 30


class Bar:
    """Called with (done, total); total 0 where it is not known. Writes to stderr.

    Args:
        verbose: 1 shows the progress, 2 in lines on a terminal, too, 0 nothing.
        of: What is counted.
    """

    def __init__(self, verbose: int = 1, of: str = "images") -> None:
        self._verbose, self._of = verbose, of
        self._terminal = sys.stderr.isatty() and verbose < 2
        self._shown = time.monotonic()
        self._start: tuple[float, int] | None = None

    def __call__(self, done: int, total: int) -> None:
        if not self._verbose:
            return
        now = time.monotonic()
        if self._start is None:  # a run that goes on does not begin at 0
            self._start = (now, done)
        pause = _SECONDS_ON_A_TERMINAL if self._terminal else _SECONDS_IN_A_LOG
        ended = total and done >= total
        if now - self._shown < pause and not (ended and self._terminal):
            return
        self._shown = now
        begun, first = self._start
        rate = (done - first) / max(now - begun, 1e-9)
        line = f"{done} of {total} {self._of}" if total else f"{done} {self._of}"
        if rate:
            line += f", {rate:.1f} a second"
        if total and rate:
            line += f", {minutes((total - done) / rate)} left"
        if self._terminal:
            filled = _WIDTH * done // total if total else 0
            bar = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] " if total else ""
            print(f"\r{bar}{line} ", end="\n" if ended else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)
