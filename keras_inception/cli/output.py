"""What a command prints: no name in it ends the command, or reaches the terminal as a command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from keras_inception.cli import codes
from keras_inception.messages import printable


@contextlib.contextmanager
def escaped() -> Iterator[None]:
    """Inside, control characters and what the output's encoding lacks are printed as escapes.

    Where nobody reads the output any more (`| head -1`), the command ends as the signal would end
    other tools: without a word, and with their code.
    """
    out: Any = _Escaped(sys.stdout)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(_Escaped(sys.stderr)):  # type: ignore[type-var]
        try:
            yield
        finally:
            out.flush()


class _Escaped:
    """A stream of text that escapes what cannot be shown."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        parts = re.split("([\n\r\t])", text)
        shown = "".join(part if part in "\n\r\t" else printable(part) for part in parts)
        encoding = self._stream.encoding or "utf-8"
        with self._ending():
            self._stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        with self._ending():
            self._stream.flush()

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # Python writes what is left at its end, and would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            sys.exit(codes.NOBODY_READS)


def json_line(content: Any) -> str:
    """JSON on one line, in which JSON's own escapes stand for what cannot be shown."""
    text = json.dumps(content, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(content)
    return text if text.isprintable() else json.dumps(content).replace("\x7f", "\\u007f")


def for_spreadsheet(cell: str) -> str:
    """The cell with an apostrophe before what spreadsheets would take for a formula."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
