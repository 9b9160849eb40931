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
from keras_inception.weights.readers.budget import Budget, Layers, add, refusing, whole

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


def read(data: memoryview, budget: Budget) -> tuple[Layers, dict[str, str]]:
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
        data = whole(Path(path))
        return _arrays(memoryview(data), Budget.of(len(data)))


def _arrays(data: memoryview, budget: Budget) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    if len(data) < 8:
        raise ValueError("it ends within its first number")
    (length,) = struct.unpack("<Q", data[:8])
    if length > len(data) - 8:
        raise ValueError("its header is longer than the file")
    header = budget.json(bytes(data[8 : 8 + length]), "its header")
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    data = data[8 + length :]
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or any(not isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata are no texts by name")
    parts = []
    for name, entry in header.items():
        shape, (begin, end), kind = entry["shape"], entry["data_offsets"], entry["dtype"]
        if kind not in _DTYPES:
            raise ValueError(f"{name} has the dtype {kind!r:.40}, which no weights have")
        dtype = np.dtype(_DTYPES[kind])
        count = budget.array(name, shape, dtype)
        if type(begin) is not int or type(end) is not int or end - begin != count * dtype.itemsize:
            raise ValueError(f"{name} has {end - begin} bytes for a shape of {shape}")
        parts.append((begin, end, name, kind, dtype, shape))
    # The format wants the arrays without gaps, overlaps or anything after them.
    last = 0
    for begin, end, name, *_ in sorted(parts, key=lambda part: part[:2]):
        if begin != last:
            raise ValueError(f"{name} does not begin where the array before it ends")
        last = end
    if last != len(data):
        raise ValueError(f"its arrays take {last:,} bytes, and {len(data):,} follow its header")
    arrays = {}
    for begin, end, name, kind, dtype, shape in parts:
        array = np.frombuffer(data[begin:end], dtype)
        if kind == "BF16":  # the upper half of a float32
            budget.take(2 * array.nbytes, name)
            array = (array.astype("<u4") << 16).view("<f4")
        arrays[name] = array.reshape(shape)
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
