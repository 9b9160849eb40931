"""What a first pass over a data set found out, kept for later runs."""

from __future__ import annotations

import atexit
import functools
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from keras_inception import archives
from keras_inception.buckets import gfile, is_remote
from keras_inception.files import cache_folder, write

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
    stat = gfile().stat(os.fsencode(file))
    return file, int(stat.length), int(stat.mtime_nsec)


def kept_arrays(kind: str, state: object, like: Arrays, compute: Callable[[], Arrays]) -> Arrays:
    """The arrays that `compute` gave when it was last called for this `state`, else now.

    They lie in $KERAS_HOME/datasets/keras_inception (or ~/.keras); where that cannot be written,
    each run computes them. `like` is what `load_kept` takes.
    """
    path = kept_path(kind, state)
    arrays = load_kept(path, like)
    if arrays is None:
        arrays = compute()
        save_kept(path, arrays)
    return arrays


def kept_path(kind: str, state: object) -> Path:
    """Where arrays of a kind are kept for a state."""
    return kept_file(f"{kind}-{digest_of(state)}.npz")


def digest_of(state: object) -> str:
    """A name for a state: 20 hexadecimal digits."""
    return hashlib.sha256(repr(state).encode(errors="surrogateescape")).hexdigest()[:20]


def kept_file(*names: str) -> Path:
    """Where a file is kept: in the cache or, if that cannot be written, for this process only.

    A file that is in the cache already is read there in any case.
    """
    path = folder_of_kept().joinpath(*names)
    return path if path.exists() else _writable(folder_of_kept()).joinpath(*names)


@functools.cache
def _writable(folder: Path) -> Path:
    """The folder; or, if it cannot be written, which is said once, one of this process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        logging.warning(
            "Nothing is kept for later runs, since %s cannot be written (%s). KERAS_HOME names "
            "another place.",
            folder,
            error.strerror,
        )
    scratch = tempfile.mkdtemp(prefix="keras_inception-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    return Path(scratch)


def folder_of_kept() -> Path:
    """The folder of everything that is kept between runs."""
    return cache_folder("datasets") / "keras_inception"


def load_kept(path: Path, like: Arrays) -> Arrays | None:
    """The arrays in a kept file.

    Args:
        path: The file.
        like: Arrays of the same names, kinds and shapes, but of any length.

    Returns:
        None if there is no file, or if it is damaged or not of these columns, which is said.
    """
    try:
        arrays = archives.arrays(path)
        kinds, wanted = (
            {name: (a.dtype.kind, a.ndim, a.shape[1:]) for name, a in columns.items()}
            for columns in (arrays, like)
        )
        if kinds != wanted:
            raise ValueError("its columns are not those that are kept")
        return arrays
    except FileNotFoundError:
        return None
    except Exception as error:  # damaged bytes make numpy raise almost anything
        logging.warning("%s is damaged (%s) and is computed anew.", path, error)
        return None


def save_kept(path: Path, arrays: Arrays) -> None:
    """Writes arrays for later runs; says so where that is not possible."""
    try:
        write(path, lambda temporary: np.savez(temporary, **arrays))  # type: ignore[arg-type]
    except OSError as error:
        logging.warning("%s could not be kept for later runs: %s", path.name, error)
