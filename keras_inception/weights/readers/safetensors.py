"""safetensors: a JSON header, then the arrays' bytes. Ours, and torch-born ones of other hubs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from keras_inception import files
from keras_inception.budget import LARGEST_FILE, Budget, refusing
from keras_inception.weights.readers import torch_pickle
from keras_inception.weights.readers.layers import Layers, add

# safetensors' names of the dtypes that weights have in a file.
_DTYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "F16": "<f2",
    "BF16": "<u2",
    "F32": "<f4",
    "F64": "<f8",
}
# What the metadata of a native file call its format.
NATIVE = "keras_inception"


def read(data: bytes, budget: Budget) -> tuple[Layers, dict[str, str]]:
    """The layers and the metadata of a .safetensors file.

    A native file's names are "layer/variable"; any other is taken as a torch-born one.

    Raises:
        ValueError: the file is damaged or holds a dtype that no weight has.
    """
    arrays, metadata = _arrays(data, budget)
    if metadata.get("format") != NATIVE:
        return torch_pickle.layers(arrays), metadata
    layers: Layers = {}
    for name, array in arrays.items():
        layer, _, variable = name.rpartition("/")
        add(layers, layer, variable, array)
    return layers, metadata


def read_arrays(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays by their full names, and the metadata. Raises ValueError if damaged."""
    with refusing(path, "safetensors"):
        data = files.read(path, LARGEST_FILE)
        return _arrays(data, Budget.of(len(data)))


def _arrays(data: bytes, budget: Budget) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        # The package holds the header against the file: arrays without gaps and overlaps, shapes
        # that have as many bytes, metadata of texts. It does not return the metadata.
        stored = dict(safetensors.deserialize(data))
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error
    header = budget.json(data[8 : 8 + int.from_bytes(data[:8], "little")], "its header")
    metadata = header.pop("__metadata__", None) or {}
    arrays = {}
    for name in header:  # in the file's order, where the package's is another each time
        entry = stored[name]
        kind, raw = entry["dtype"], entry["data"]
        if kind not in _DTYPES:
            raise ValueError(f"{name!r:.80} has the dtype {kind!r:.40}, which no weights have")
        budget.array(f"{name!r:.80}", entry["shape"], np.dtype(_DTYPES[kind]))
        array = np.frombuffer(raw, _DTYPES[kind])
        if kind == "BF16":  # the upper half of a float32
            budget.take(2 * array.nbytes, f"{name!r:.80}")
            array = (array.astype("<u4") << 16).view("<f4")
        arrays[name] = array.reshape(entry["shape"])
    return arrays, metadata


def write(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes arrays and text metadata, under a temporary name first."""
    files.write(path, lambda file: safetensors.numpy.save_file(arrays, file, metadata))
