"""safetensors: a JSON header, then the arrays' bytes. Ours, and torch-born ones of other hubs."""

from __future__ import annotations

import json
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.weights.readers import torch_pickle

# safetensors' names of the dtypes that weights have in a file.
_DTYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
_HEADER_LIMIT = 100 * 2**20
# What the metadata of a native file call its format.
NATIVE = "keras_inception"


def read(path: str | os.PathLike) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, str]]:
    """The layers and the metadata of a .safetensors file.

    A native file's names are "layer/variable"; any other is taken as a torch-born one.

    Raises:
        ValueError: the file is damaged or holds a dtype that no weight has.
    """
    arrays, metadata = read_arrays(path)
    if metadata.get("format") != NATIVE:
        return torch_pickle.layers(arrays), metadata
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        layer, _, variable = name.rpartition("/")
        layers.setdefault(layer, {})[variable] = array
    return layers, metadata


def read_arrays(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays by their full names, and the metadata. Raises ValueError if damaged."""
    size = os.path.getsize(path)
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size - 8, _HEADER_LIMIT):
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(length))
            data = file.read()
        metadata = header.pop("__metadata__", {})
        arrays = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            raw = data[begin:end]
            if len(raw) != end - begin:
                raise ValueError(f"it ends within {name}")
            if entry["dtype"] == "BF16":  # the upper half of a float32
                array = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
            else:
                array = np.frombuffer(raw, _DTYPES[entry["dtype"]])
            arrays[name] = array.reshape(entry["shape"])
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no whole .safetensors file: {error}") from error
    return arrays, metadata


def write(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes float32 arrays and text metadata, under a temporary name first."""
    header: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name, array in arrays.items():
        end = offset + array.nbytes
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=path.suffix)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(struct.pack("<Q", len(encoded)) + encoded)
            for array in arrays.values():
                file.write(array.tobytes())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
