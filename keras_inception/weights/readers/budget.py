"""What reading one weights file may cost, and the one boundary around reading it.

All readers share one `Budget` a file and ask it before they allocate. Whatever is wrong in a file
leaves `refusing` as a ValueError of one line that names the file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from keras_inception.messages import printable, some

# layer, by the file's name for it -> variable, by Keras' name for it -> array in Keras' layout
Layers = dict[str, dict[str, np.ndarray]]
Result = TypeVar("Result")

# The largest published file, with its optimizer's slots, has about 700 MB.
LARGEST_FILE = 4 * 2**30
# Compressed weights shrink by a tenth, a checkpoint of fresh zeros by more.
_FACTOR = 10
_ALWAYS = 64 * 2**20
LONGEST_MESSAGE = 1000
# Bytes of Python's objects for the smallest part of a file: an opcode, a field, an empty array.
_PART = 100
# Python's objects take up to so many times the bytes of the JSON that they are read from.
_JSON_OBJECTS = 32
_LARGEST_RANK = 8
# Errors whose messages say by themselves what is wrong with a file.
_SPEAKING = (ValueError, OSError, EOFError, tarfile.ReadError, zipfile.BadZipFile, zlib.error)


class Refused(ValueError):
    """A weights file cannot be used; the message is one line that names it."""


@dataclasses.dataclass
class Budget:
    """What is left for reading one file; every reader that touches the file draws on it.

    Attributes:
        memory: Bytes that may still be unpacked, copied into arrays or taken by Python's objects:
            in all 64 MiB and ten times the file's own size, at most 4 GiB.
        seconds: Processor time of the reader in a process of its own.
    """

    memory: int
    seconds: int

    @classmethod
    def of(cls, size: int) -> Budget:
        """The budget of a file of `size` bytes."""
        if size > LARGEST_FILE:
            raise ValueError(f"it has {size:,} bytes; at most {LARGEST_FILE:,} are read")
        return cls(min(_ALWAYS + _FACTOR * size, LARGEST_FILE), 20 + size // (5 * 2**20))

    def take(self, count: int, what: str) -> None:
        """Draws bytes, before they are allocated. Raises ValueError if they are too many."""
        if count < 0 or count > self.memory:
            raise ValueError(
                f"{what} would take {count:,} bytes; {max(self.memory, 0):,} are left of the "
                f"{_ALWAYS // 2**20} MiB and {_FACTOR} times its own size that reading may take"
            )
        self.memory -= count

    def array(self, what: str, shape: Sequence[Any], dtype: np.dtype) -> int:
        """Draws an array's bytes and returns how many values it has.

        Raises:
            ValueError: the shape is none, or too large.
        """
        self.part()
        if len(shape) > _LARGEST_RANK or any(
            not isinstance(n, int) or isinstance(n, bool) or n < 0 for n in shape
        ):
            raise ValueError(f"{what} has an impossible shape")
        count = math.prod(shape)
        self.take(count * dtype.itemsize, what)
        return count

    def part(self) -> None:
        """Draws the objects of an opcode, a field or an array, which also bounds their number."""
        self.take(_PART, "one more of its parts")

    def json(self, text: bytes, what: str) -> Any:
        """The content of JSON text."""
        self.take(_JSON_OBJECTS * len(text), what)
        return json.loads(text)


def whole(path: Path) -> bytes:
    """A regular file's bytes.

    Raises:
        ValueError: it is a pipe, a device or a folder, or larger than any weights.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is a pipe, a device or something else that is no regular file")
    Budget.of(status.st_size)
    with path.open("rb") as file:
        data = file.read(status.st_size)
    if len(data) != status.st_size:
        raise ValueError("it changed while it was read")
    return data


def add(layers: Layers, layer: str, variable: str, array: np.ndarray) -> None:
    """Puts an array under its names. Raises ValueError if there is one already."""
    if variable in layers.setdefault(layer, {}):
        raise ValueError(f"it holds {layer}/{variable} twice")
    layers[layer][variable] = array


def check_values(layers: Layers) -> None:
    """Raises ValueError for values that no trained network has: NaN, Inf, negative variances."""
    problems = [
        f"{layer}/{variable}"
        for layer, variables in layers.items()
        for variable, array in variables.items()
        if (array.dtype.kind == "f" and not np.isfinite(array).all())
        or (variable == "moving_variance" and array.size and array.min() < 0)
    ]
    if problems:
        raise ValueError(
            "these hold NaN, infinite values or a negative variance: " + some(sorted(problems), 6)
        )


@contextlib.contextmanager
def refusing(path: str | os.PathLike, what: str = "") -> Iterator[None]:
    """Turns whatever reading a file raises into one `Refused` that names the file.

    Args:
        path: The file as its user gave it.
        what: What it was taken for, if that is known.

    Raises:
        Refused: whatever is wrong with the file's content.
        OSError: the file cannot be opened.
    """
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        name, reason = os.fspath(path), str(error)
        if isinstance(error, KeyError):
            reason = f"it lacks {reason}"
        elif isinstance(error, RecursionError):
            reason = "it is nested too deeply"
        elif type(error) not in _SPEAKING:
            reason = f"{type(error).__name__} {reason}"
        if name not in reason:
            kind = f" ({what})" if what else ""
            reason = f"{name}{kind} cannot be used: {reason}"
        raise Refused(printable(reason, LONGEST_MESSAGE)) from error


def refuses(function: Callable[..., Result]) -> Callable[..., Result]:
    """Puts `refusing` around a function whose first argument is the file's path."""

    @functools.wraps(function)
    def bounded(path: str | os.PathLike, *arguments: Any, **options: Any) -> Result:
        with refusing(path):
            return function(path, *arguments, **options)

    return bounded
