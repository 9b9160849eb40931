"""Files on this machine: written whole or not at all, and the folder that keeps downloads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_inception.messages import printable

# Stands in the name of a file that is being written; what has it afterwards was left by a kill.
UNFINISHED = "-unfinished-"


def cache_folder(kind: str) -> Path:
    """The folder `kind` ("models", "datasets") in Keras' home: $KERAS_HOME, or else ~/.keras."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    return Path(home) / kind


def refuse_link(path: Path) -> Path:
    """The path. Raises ValueError if it is a link, which could lead out of its folder."""
    if path.is_symlink():
        raise ValueError(
            f"{printable(os.fspath(path))} is a link, and nothing is read, written or removed "
            "through links in a run folder. Put what it points to in its place, or remove it."
        )
    return path


def write(path: Path, content: bytes | str | Callable[[Path], Any]) -> None:
    """Writes a file under a temporary name and renames it: it is there whole, or not at all.

    Args:
        path: The file.
        content: Bytes, text, or a function that is given the temporary path to write to.

    Raises:
        ValueError: the path is one of a bucket.
    """
    if path.parts and path.parts[0].endswith(":") and len(path.parts[0]) > 2:
        # pathlib has made gs:/bucket of gs://bucket.
        where = f"{path.parts[0]}//{'/'.join(path.parts[1:])}"
        raise ValueError(f"This file is written on this machine only. Received: {where}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Writers such as Keras' look at the suffix.
    handle, name = tempfile.mkstemp(
        prefix=f".{path.stem}{UNFINISHED}", suffix=path.suffix, dir=path.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        if callable(content):
            content(temporary)
        elif isinstance(content, str):
            temporary.write_text(content, encoding="utf-8")
        else:
            temporary.write_bytes(content)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
