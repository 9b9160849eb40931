"""What reading one file may cost, and the one boundary around reading it.

All that read a file share one `Budget` and ask it before they allocate. Whatever is wrong in the
file leaves `refusing` as a ValueError of one line that names it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from keras_inception.messages import printable

Result = TypeVar("Result")

# The largest published file, with its optimizer's slots, has about 700 MB.
LARGEST_FILE = 4 * 2**30
# Compressed weights shrink by a tenth, a checkpoint of fresh zeros by more.
_FACTOR = 10
_ALWAYS = 64 * 2**20
LONGEST_MESSAGE = 1000
# What messages about a file of another kind end with.
LOADABLE = (
    "Loaded are an Inception's weights as .safetensors, .keras, .h5, .pth, .caffemodel, a "
    "TensorFlow checkpoint, a frozen graph (.pb) or a SavedModel, and as a classifier any whole "
    "Keras model, SavedModel, .tflite, .onnx or OpenVINO .xml. Write anything else by its own "
    "library as one of these, or give the built keras.Model."
)
# Bytes of Python's objects for the smallest part of a file: an opcode, a field, an empty array.
_PART = 100
# Bytes of Python's objects for an element of JSON, and for a byte of its text.
_ELEMENT, _CHARACTER = 60, 2
_LARGEST_RANK = 8
# Errors whose messages say by themselves what is wrong with a file.
_SPEAKING = (ValueError, OSError, EOFError, tarfile.ReadError, zipfile.BadZipFile, zlib.error)


class Refused(ValueError):
    """A file cannot be used; the message is one line that names it."""


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
        elements = sum(map(text.count, (b",", b":", b"[", b"{")))
        self.take(_CHARACTER * len(text) + _ELEMENT * elements, what)
        return json.loads(text)


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


def machine_memory() -> int | None:
    """Bytes of memory that this process may use, as the machine and its container say."""
    try:
        sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (ValueError, OSError, AttributeError):
        return None
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            sizes.append(int(Path(path).read_text()))
        except (OSError, ValueError):
            continue  # not this version of cgroups, or "max"
    return min(size for size in sizes if size > 0)
