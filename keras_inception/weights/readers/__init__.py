"""One module a file format; all return arrays in Keras' own layout, under the file's own names.

`read` recognises a format by looking into the file, whatever its name says.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from keras_inception.weights.readers import (
    caffemodel,
    keras_h5,
    safetensors,
    tf_checkpoint,
    torch_pickle,
)

# layer, by the file's name for it -> variable, by Keras' name for it -> array in Keras' layout
Layers = dict[str, dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a weights file holds.

    Attributes:
        format: The format's name, for messages.
        layers: Arrays by the file's layer name and Keras' variable name ("kernel", "moving_mean").
        metadata: Text that the file says about itself (native and .keras files).
    """

    format: str
    layers: Layers
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)


def read(path: str | os.PathLike) -> Contents:
    """Reads a weights file of any known format.

    Args:
        path: The file, or the prefix of a TensorFlow checkpoint.

    Raises:
        ValueError: there is no such file, its format is not known, or it is damaged.
    """
    path = Path(path)
    if not path.exists():
        if tf_checkpoint.is_prefix(path):
            return Contents("TensorFlow checkpoint", tf_checkpoint.read(path))
        raise ValueError(f"There is no weights file {path}.")
    if path.is_dir():
        return Contents("TensorFlow checkpoint", tf_checkpoint.read(_checkpoint_in(path)))
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"PK\x03\x04"):
        return _read_zip(path)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return Contents("Keras .h5", keras_h5.read(path))
    if start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
        with _untarred(path) as folder:
            return read(_checkpoint_in(folder))
    if torch_pickle.is_legacy(start):
        return Contents("torch pickle", torch_pickle.read(path))
    if start[8:9] == b"{":
        layers, metadata = safetensors.read(path)
        return Contents("safetensors", layers, metadata)
    if tf_checkpoint.is_file(path):
        return Contents("TensorFlow checkpoint", tf_checkpoint.read(path))
    if caffemodel.is_net(start):
        return Contents("caffemodel", caffemodel.read(path))
    raise ValueError(
        f"{path} is in no format that can be read: .safetensors, .keras, .weights.h5, .h5, .pth, a "
        "TensorFlow checkpoint (also in a .tar.gz) or a .caffemodel. "
        f"Received: a file of {path.stat().st_size:,} bytes that begins with {start[:8]!r}"
    )


def _read_zip(path: Path) -> Contents:
    """A .keras archive, a torch file, or one weights file that was zipped."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "model.weights.h5" in names:
                layers, metadata = keras_h5.read_keras_archive(archive)
                return Contents("Keras .keras", layers, metadata)
            if any(name.endswith("data.pkl") for name in names):
                return Contents("torch zip", torch_pickle.read_zip(archive))
            if len(names) == 1 or any(name.endswith(".index") for name in names):
                with tempfile.TemporaryDirectory() as folder:
                    for name in names:
                        _unpack(path, name, archive.open(name), Path(folder))
                    members = list(Path(folder).iterdir())
                    return read(members[0] if len(members) == 1 else _checkpoint_in(Path(folder)))
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path} is a damaged zip archive: {error}") from error
    raise ValueError(
        f"{path} is a zip archive that is neither a .keras file, a torch file nor one zipped "
        f"weights file. Received: members {names[:5]}"
    )


@contextlib.contextmanager
def _untarred(path: Path) -> Iterator[Path]:
    """The plain files of a tar archive in a temporary folder, which is removed afterwards.

    Raises:
        ValueError: the archive is damaged, or a member is refused.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    if member.isdir():
                        continue
                    source = archive.extractfile(member) if member.isfile() else None
                    _unpack(path, member.name, source, Path(folder))
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            raise ValueError(f"{path} is a damaged tar archive: {error}") from error
        yield Path(folder)


def _unpack(archive: Path, member: str, source: IO[bytes] | None, folder: Path) -> None:
    """Copies one member of an archive into a folder, under the last part of its name.

    Raises:
        ValueError: it is no plain file, or its name points outside of the archive's folder.
    """
    parts = Path(member).parts
    if source is None or ".." in parts or Path(member).is_absolute():
        raise ValueError(
            f"{archive} is refused: its member {member!r} is a link or would be written outside of "
            "the folder that it is unpacked into."
        )
    if not member.endswith("/"):
        with source, (folder / parts[-1]).open("wb") as copy:
            shutil.copyfileobj(source, copy)


def _checkpoint_in(folder: Path) -> Path:
    """The one checkpoint in a folder, as the prefix or the file that TensorFlow takes.

    Raises:
        ValueError: there is none, or more than one.
    """
    found = [p.with_suffix("") for p in sorted(folder.glob("*.index"))]
    found += [p for p in sorted(folder.iterdir()) if p.is_file() and tf_checkpoint.is_file(p)]
    found = [p for p in found if not p.name.endswith(".index")]
    if len(found) != 1:
        raise ValueError(
            f"{folder} should hold one TensorFlow checkpoint; give the path of the one that you "
            f"mean. Received: {len(found)} checkpoints {[p.name for p in found]}"
        )
    return found[0]
