"""What a first pass over a data set found out, kept for later runs."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_inception.buckets import is_remote
from keras_inception.files import cache_folder

Arrays = dict[str, np.ndarray]
# Requests to a bucket at a time: each takes tens of milliseconds, nearly all of it waiting.
REQUESTS = 32


def state_of(files: Sequence[str]) -> list[tuple[str, int, int]]:
    """Name, size and time of change of files, local or gs://; changes when one of them does."""
    if any(map(is_remote, files)):
        with ThreadPoolExecutor(REQUESTS) as pool:
            return list(pool.map(_state, files))
    return [_state(file) for file in files]


def _state(file: str) -> tuple[str, int, int]:
    stat = tf.io.gfile.stat(os.fsencode(file))
    return file, int(stat.length), int(stat.mtime_nsec)


def kept(kind: str, state: object, compute: Callable[[], Arrays]) -> Arrays:
    """The arrays that `compute` gave when it was last called for this `state`, else now.

    They lie in $KERAS_HOME/datasets/keras_inception (or ~/.keras); where that cannot be written,
    each run computes them.
    """
    path = kept_path(kind, state)
    arrays = load_kept(path)
    if arrays is None:
        arrays = compute()
        keep(path, arrays)
    return arrays


def kept_path(kind: str, state: object) -> Path:
    """Where arrays of a kind are kept for a state."""
    return folder_of_kept() / f"{kind}-{digest_of(state)}.npz"


def digest_of(state: object) -> str:
    """A name for a state: 20 hexadecimal digits."""
    return hashlib.sha256(repr(state).encode(errors="surrogateescape")).hexdigest()[:20]


def folder_of_kept() -> Path:
    """The folder of everything that is kept between runs."""
    return cache_folder("datasets") / "keras_inception"


def load_kept(path: Path) -> Arrays | None:
    """The arrays in a kept file; None if there is none, or if it is damaged."""
    try:
        with path.open("rb") as file:
            return dict(np.load(file))
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        logging.warning("%s is damaged (%s) and is computed anew.", path, error)
        return None


def keep(path: Path, arrays: Arrays) -> None:
    """Writes arrays for later runs; says so where that is not possible."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".npz")
        os.close(handle)
        np.savez(temporary, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    except OSError as error:
        logging.warning("%s could not be kept for later runs: %s", path.name, error)
        if temporary:
            Path(temporary).unlink(missing_ok=True)
