"""Keras' HDF5 files, old and new, and the weights inside a .keras archive.

HDF5's library is not made for files that somebody damaged or made up: it was seen to loop for
ever. So h5py reads in a process of its own, with limits of time and memory (`h5_child`), and the
arrays come back through a temporary file. That costs about a third of a second.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from keras_inception.weights.readers import archives
from keras_inception.weights.readers.budget import Budget, Layers, add

# The member that this package adds to a .keras archive: the network's identity as JSON.
IDENTITY_MEMBER = "keras_inception.json"
_CHILD = Path(__file__).with_name("h5_child.py")
# Wall seconds a second of processor time, for a machine that is busy with other things.
_BUSY = 10


def read(data: bytes, budget: Budget) -> Layers:
    """The layers of a legacy .h5 (weights or whole model) or of a Keras 3 .weights.h5 file.

    Raises:
        ValueError: the file is damaged, reads other files, or is a Keras 3 file without its layers'
            names.
    """
    return _in_child(data, budget, only_check=False)


def check_model(data: bytes, budget: Budget) -> None:
    """Checks a whole model's file, `.keras` or legacy `.h5`, that Keras itself will load.

    Raises:
        ValueError: the file is damaged, reads other files, or takes more than its budget.
    """
    if zipfile.is_zipfile(io.BytesIO(data)):
        archive = archives.Zip(data, budget)
        for name in ("config.json", *({IDENTITY_MEMBER} & {*archive.names})):
            budget.json(archive.read(name), f"its {name}")
        data = archive.read("model.weights.h5")
    _in_child(data, budget, only_check=True)


def _in_child(data: bytes, budget: Budget, *, only_check: bool) -> Layers:
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as found:
        given.write(data)
        given.seek(0)
        _run_child(given, found, budget, only_check)
        found.seek(0)
        return _layers(found, budget)


def _run_child(given: IO[bytes], found: IO[bytes], budget: Budget, only_check: bool) -> None:
    """Runs `h5_child`. Raises ValueError if it did not come to an end by itself."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OPENBLAS_NUM_THREADS": "1",
        "HDF5_PLUGIN_PRELOAD": "::",  # no filters from libraries that lie around
    }
    limits = [str(n) for n in (budget.memory, budget.members, budget.seconds, int(only_check))]
    command = [sys.executable, "-W", "ignore", os.fspath(_CHILD), *limits]
    try:
        done = subprocess.run(
            command,
            stdin=given,
            stdout=found,
            stderr=subprocess.PIPE,
            timeout=_BUSY * budget.seconds,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError("HDF5's library did not come to an end with it") from error
    if done.returncode == -getattr(signal, "SIGXCPU", 0):
        raise ValueError(f"reading it takes more than {budget.seconds} seconds of processor time")
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ValueError(f"HDF5's library broke down on it (exit code {done.returncode}) {last}")


def _layers(found: IO[bytes], budget: Budget) -> Layers:
    """What the child wrote: a line of JSON, then each array as numpy writes it."""
    answer = json.loads(found.readline())
    if "error" in answer:
        raise ValueError(answer["error"])
    layers: Layers = {}
    for layer, variable in answer["names"]:
        array = np.load(found, allow_pickle=False)
        budget.array(f"{layer}/{variable}", array.shape, array.dtype)
        add(layers, layer, variable, array)
    return layers


def read_keras_archive(archive: archives.Zip, budget: Budget) -> tuple[Layers, dict[str, str]]:
    """The layers of a .keras archive, and what it says of its network.

    That is the model's configuration as text ("graph") and, if this package wrote the file, the
    network's identity by field. The model is not built, so that nothing in the archive is run.
    """
    layers = read(archive.read("model.weights.h5"), budget)
    config = archive.read("config.json")
    budget.json(config, "its config.json")
    said = {"graph": config.decode()}
    if IDENTITY_MEMBER in archive.names:
        identity = budget.json(archive.read(IDENTITY_MEMBER), f"its {IDENTITY_MEMBER}")
        if not isinstance(identity, dict) or any(type(v) is not str for v in identity.values()):
            raise ValueError(f"its {IDENTITY_MEMBER} is not an object of texts")
        said |= identity
    return layers, said
