"""What is packed, read in memory: each part within the budget, and none written to disk."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import PurePosixPath
from typing import BinaryIO

import numpy as np

from keras_inception import files
from keras_inception.budget import Budget, refusing


class Zip:
    """A zip archive whose members are read one by one.

    Attributes:
        names: The members' names.
    """

    def __init__(self, data: bytes | BinaryIO, budget: Budget) -> None:
        """Reads the list of members.

        Raises:
            ValueError, zipfile.BadZipFile: it is damaged.
        """
        self._archive = zipfile.ZipFile(io.BytesIO(data) if isinstance(data, bytes) else data)
        self._budget = budget
        self.names = self._archive.namelist()
        if len(set(self.names)) != len(self.names):
            raise ValueError("two of its members have one name")

    def read(self, name: str) -> bytes:
        """A member's bytes.

        Raises:
            ValueError, KeyError, zipfile.BadZipFile, zlib.error: it is not there, damaged, too
                large or packed in a way that is not read.
        """
        member = self._archive.getinfo(name)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"its member {name!r:.80} is neither stored nor deflated")
        self._budget.take(member.file_size, f"its member {name!r:.80}")
        with self._archive.open(member) as file:
            # With the size, since without one zipfile unpacks more than the member says it has.
            content = file.read(member.file_size)
        if len(content) != member.file_size:
            raise ValueError(f"its member {name!r:.80} has another size than it says")
        return content

    def files(self) -> dict[str, bytes]:
        """All members by the last part of their names. Raises ValueError if two have one name."""
        found: dict[str, bytes] = {}
        for name in self.names:
            if not name.endswith("/"):
                _put(found, name, self.read(name))
        return found


def arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by their names; no array of Python's objects is read.

    Raises:
        ValueError: it is damaged, or takes more than the budget of its size.
        OSError: it cannot be opened.
    """
    with refusing(path, "npz"), files.opened(path) as file:
        budget = Budget.of(os.fstat(file.fileno()).st_size)
        archive = Zip(file, budget)
        return {
            name.removesuffix(".npy"): _array(name, archive.read(name), budget)
            for name in archive.names
        }


def _array(name: str, content: bytes, budget: Budget) -> np.ndarray:
    """The array of an .npy file's bytes. numpy would allocate what its header says."""
    stream = io.BytesIO(content)
    first = np.lib.format.read_magic(stream) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    shape, by_column, dtype = read(stream)
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"{name!r:.80} is no array of numbers or texts")
    budget.array(f"{name!r:.80}", shape, dtype)
    return np.ndarray(shape, dtype, content, stream.tell(), order="F" if by_column else "C").copy()


def gunzip(data: bytes, budget: Budget) -> bytes:
    """What is packed with gzip.

    Raises:
        ValueError, OSError, EOFError, zlib.error: it is damaged, or too large.
    """
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        content = file.read(budget.memory + 1)
    budget.take(len(content), "what is packed in it")
    return content


def tar_files(data: bytes, budget: Budget) -> dict[str, bytes]:
    """The plain files of a tar archive, gzipped or not, by the last part of their names.

    Raises:
        ValueError, OSError, tarfile.TarError, zlib.error: it is damaged, too large, or holds a link
            or a device.
    """
    if data.startswith(b"\x1f\x8b"):
        data = gunzip(data, budget)
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            if member.isdir():
                continue
            content = archive.extractfile(member) if member.isreg() else None
            # Python before 3.13.6 goes back, and in circles, by a negative size.
            if content is None or member.size < 0:
                raise ValueError(f"its member {member.name!r:.80} is no plain file")
            budget.take(member.size, f"its member {member.name!r:.80}")
            _put(found, member.name, content.read())
    return found


def _put(found: dict[str, bytes], member: str, content: bytes) -> None:
    name = PurePosixPath(member).name
    if name in found:
        raise ValueError(f"two of its members are called {name!r:.80}")
    found[name] = content
