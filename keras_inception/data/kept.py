"""What a first pass over a data set found out, kept for later runs."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_inception.files import cache_folder


def state_of(files: Sequence[str]) -> list[tuple[str, int, int]]:
    """Name, size and time of change of files, local or gs://; changes when one of them does."""
    found = [(file, tf.io.gfile.stat(file)) for file in files]
    return [(file, int(stat.length), int(stat.mtime_nsec)) for file, stat in found]


def kept(
    kind: str, state: object, compute: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays that `compute` gave when it was last called for this `state`, else now.

    They lie in $KERAS_HOME/datasets/keras_inception (or ~/.keras); where that cannot be written,
    each run computes them.
    """
    digest = hashlib.sha256(repr(state).encode()).hexdigest()[:20]
    path = cache_folder("datasets") / "keras_inception" / f"{kind}-{digest}.npz"
    if path.exists():
        with np.load(path) as arrays:
            return dict(arrays)
    arrays = compute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".npz")
        os.close(handle)
        np.savez(temporary, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    except OSError as error:
        logging.warning("The %s could not be kept for later runs: %s", kind, error)
    return arrays
