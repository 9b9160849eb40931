"""Zip and tar archives in memory: each member within the budget, and none written to disk."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import PurePosixPath

from keras_inception.weights.readers.budget import Budget


class Zip:
    """A zip archive whose members are read one by one.

    Attributes:
        names: The members' names.
    """

    def __init__(self, data: bytes, budget: Budget) -> None:
        """Reads the list of members.

        Raises:
            ValueError, zipfile.BadZipFile: it is damaged.
        """
        self._archive = zipfile.ZipFile(io.BytesIO(data))
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


def tar_files(data: bytes, budget: Budget) -> dict[str, bytes]:
    """The plain files of a tar archive, gzipped or not, by the last part of their names.

    Raises:
        ValueError, OSError, tarfile.TarError, zlib.error: it is damaged, too large, or holds a link
            or a device.
    """
    if data.startswith(b"\x1f\x8b"):
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            data = file.read(budget.memory + 1)
        budget.take(len(data), "what is packed in it")
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
