"""Names and texts of others in the form that a message can show."""

from __future__ import annotations

import contextlib
import difflib
import logging
import re
import threading
from collections.abc import Iterable, Iterator
from typing import Any


def some(names: Iterable[str], shown: int = 3) -> str:
    """The first names, and how many more there are: "a, b, c and 4 more"."""
    listed = list(names)
    more = f" and {len(listed) - shown:,} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more


def numbered(class_names: Iterable[str]) -> str:
    """Which class each output is: "output 0 = 'cat', output 1 = 'dog'"."""
    return some([f"output {i} = {name!r}" for i, name in enumerate(class_names)], 5)


def nearest(name: str, known: Iterable[str]) -> str:
    """What ends a message about an unknown name: "; did you mean 'x'?", or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


@contextlib.contextmanager
def unlogged(logger: logging.Logger, below: int) -> Iterator[list[logging.LogRecord]]:
    """Inside, what this thread logs below a level is listed, not shown; other threads' is shown."""
    this = threading.get_ident()
    listed: list[logging.LogRecord] = []

    def is_shown(record: logging.LogRecord) -> bool:
        if record.thread != this or record.levelno >= below:
            return True
        listed.append(record)
        return False

    logger.addFilter(is_shown)
    try:
        yield listed
    finally:
        logger.removeFilter(is_shown)


def minutes(seconds: float) -> str:
    """Such as 2:05."""
    whole, rest = divmod(round(seconds), 60)
    return f"{whole}:{rest:02d}"


def printable(text: str, longest: int = 0) -> str:
    """Text on one line: control characters, and bytes that are no Unicode, are escaped.

    Args:
        text: A path, or what others wrote.
        longest: Characters that are shown; 0 for all.
    """
    if longest and len(text) > longest:
        text = f"{text[:longest]}..."
    # Python's paths hold other bytes as U+DC80 to U+DCFF; JSON can hold the other surrogates.
    text = re.sub("[\ud800-\udc7f\udd00-\udfff]", "\ufffd", text)
    text = text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(value: Any) -> str:
    """A value as a message shows it: of arrays, tensors and bytes only what they are."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value):,} bytes"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        dtype = getattr(value.dtype, "name", value.dtype)
        return f"{type(value).__name__} of shape {value.shape} and dtype {dtype}"
    if isinstance(value, list | tuple) and value and not isinstance(value[0], str | int | float):
        return f"{type(value).__name__} of {len(value):,}, first {shown(value[0])}"
    return printable(repr(value), 100)
