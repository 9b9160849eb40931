"""Zip and tar archives in memory: every member within the budget, none of them written to disk."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from pathlib import PurePosixPath

from keras_inception.weights.readers.budget import Budget

_CENTRAL_HEADER, _END = b"PK\x01\x02", b"PK\x05\x06"
_END_SIZE = 22
_CHUNK = 2**20
_BLOCK = 512  # of a tar archive


class Zip:
    """A zip archive whose members are read one by one.

    Attributes:
        names: The members' names.
    """

    def __init__(self, data: bytes, budget: Budget) -> None:
        """Reads the list of members.

        Raises:
            ValueError, zipfile.BadZipFile: it is damaged, or holds too many.
        """
        # zipfile makes an object of every entry, so they are counted before.
        budget.member(data.count(_CENTRAL_HEADER))
        self._archive = zipfile.ZipFile(io.BytesIO(data))
        self._budget = budget
        self.names = self._archive.namelist()
        if len(set(self.names)) != len(self.names):
            raise ValueError("two of its members have one name")
        end = len(data) - _END_SIZE - len(self._archive.comment)
        if data[end : end + 4] != _END:
            raise ValueError("bytes follow the end of the zip archive")

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
            content = file.read(member.file_size)
            rest = file.read(1)
        if len(content) != member.file_size or rest:
            raise ValueError(f"its member {name!r:.80} has another size than it says")
        return content

    def files(self) -> dict[str, bytes]:
        """All members by the last part of their names. Raises ValueError if one is refused."""
        found: dict[str, bytes] = {}
        for name in self.names:
            if not name.endswith("/"):
                _put(found, name, self.read(name))
        return found


def tar_files(data: bytes, budget: Budget) -> dict[str, bytes]:
    """The plain files of a tar archive, gzipped or not, by the last part of their names.

    Python's tarfile would read headers of any length and take a damaged one for the end.

    Raises:
        ValueError, zlib.error: it is damaged, too large, or holds a link.
    """
    if data.startswith(b"\x1f\x8b"):
        data = _gunzipped(data, budget)
    found: dict[str, bytes] = {}
    at, long_name = 0, ""
    while (header := data[at : at + _BLOCK]).strip(b"\0"):
        budget.member()
        name, size, kind = _tar_header(header)
        at += _BLOCK
        content = data[at : at + size]
        if len(content) != size:
            raise ValueError(f"it ends within its member {name!r:.80}")
        at += -(-size // _BLOCK) * _BLOCK
        if kind in "xgL":  # a header for the next member: pax's, for it or for all, or GNU's
            long_name = _long_name(kind, content) or long_name
            continue
        name, long_name = long_name or name, ""
        if kind in "0\0":
            budget.take(size, f"its member {name!r:.80}")
            _put(found, name, content)
        elif kind != "5":  # a folder
            raise ValueError(_outside(name))
    if at >= len(data) or data[at:].strip(b"\0"):
        raise ValueError("it ends too early, or bytes follow its end")
    return found


def _gunzipped(data: bytes, budget: Budget) -> bytes:
    """Raises ValueError or zlib.error if it is not one whole gzip member, or too large."""
    engine, parts, rest = zlib.decompressobj(wbits=31), [], b""
    for at in range(0, len(data), _CHUNK):
        piece = data[at : at + _CHUNK]
        while piece and not engine.eof:
            part = engine.decompress(piece, _CHUNK)
            budget.take(len(part), "what is packed in it")
            parts.append(part)
            piece = engine.unconsumed_tail
        rest = engine.unused_data or piece if engine.eof else b""
        if engine.eof:
            rest += data[at + _CHUNK : at + _CHUNK + 1]
            break
    if not engine.eof:
        raise ValueError("its gzip data end before their checksum")
    if rest:
        raise ValueError("bytes follow the end of its gzip data")
    return b"".join(parts)


def _tar_header(header: bytes) -> tuple[str, int, str]:
    """A member's name, size and kind. Raises ValueError if the header is damaged."""
    try:
        checksum = int(header[148:156].rstrip(b" \0"), 8)
        size = int(header[124:136].rstrip(b" \0") or b"0", 8)
        name, prefix = (_text(header[a:b]) for a, b in ((0, 100), (345, 500)))
    except ValueError as error:
        raise ValueError("one of its headers is damaged, or a member is too large") from error
    if len(header) != _BLOCK or checksum != sum(header) - sum(header[148:156]) + 8 * 32:
        raise ValueError("the checksum of one of its headers is wrong")
    if header[257:263] == b"ustar\0" and prefix:
        name = f"{prefix}/{name}"
    return name, size, chr(header[156])


def _long_name(kind: str, content: bytes) -> str:
    """The name in a member's additional header, or nothing.

    Raises:
        ValueError: the header says more than a name about what its member holds.
    """
    if kind == "L":
        return _text(content)
    # pax: records of "length key=value\n".
    keys = re.findall(rb"(?:^|\n)\d{1,9} ([^=\n]{1,64})=", content)
    if b"size" in keys or any(key.startswith(b"GNU.sparse") for key in keys):
        raise ValueError("it holds a sparse file, or one of more than 8 GiB")
    named = re.search(rb"(?:^|\n)\d{1,9} path=([^\n]{1,4096})\n", content)
    return named[1].decode() if named else ""


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode()


def _put(found: dict[str, bytes], member: str, content: bytes) -> None:
    path = PurePosixPath(member)
    if ".." in path.parts or path.is_absolute():
        raise ValueError(_outside(member))
    if path.name in found:
        raise ValueError(f"two of its members are called {path.name!r:.80}")
    found[path.name] = content


def _outside(member: str) -> str:
    return (
        f"its member {member!r:.80} is a link, a sparse file or would be written outside of the "
        "folder that it is unpacked into"
    )
