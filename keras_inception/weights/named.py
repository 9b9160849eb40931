"""Weights by "layer/variable" name: the native file, and loading that checks everything.

The native file is safetensors: a JSON header, then the arrays' bytes. Its metadata say which
builder, with which arguments, made the model, and the preprocessing contract that it was trained
with. Keras' own .weights.h5 is keyed by class and order instead, and was seen to load an auxiliary
head's kernel into another layer without a word.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inception.preprocessing import Preprocessing

# Layers whose arrays a caller may leave out, or have another number of classes in.
HEADS = ("predictions", "aux_logits", "aux1_logits", "aux2_logits")
# safetensors' names of the dtypes that Keras weights have in a file.
_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "BOOL": "|b1"}
_HEADER_LIMIT = 100 * 2**20


@dataclasses.dataclass(frozen=True)
class Weights:
    """Arrays for a variant, and what a model has to compute for them to mean something.

    Attributes:
        path: The file that they are in.
        arrays: "layer/variable" -> array.
        variant: Builder that they belong to; empty if the file does not say.
        builder_arguments: What that builder has to be given, such as {"bn_scale": True}.
        preprocessing: The contract of the model's input, or None if the file does not say.
    """

    path: str
    arrays: dict[str, np.ndarray]
    variant: str = ""
    builder_arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    preprocessing: Preprocessing | None = None


def variables(model: keras.Model) -> dict[str, Any]:
    """A model's weights by "layer/variable", such as "stem_0_conv/kernel"."""
    return {f"{layer.name}/{w.name}": w for layer in model.layers for w in layer.weights}


def save_weights(
    model: keras.Model,
    path: str | Path,
    *,
    variant: str = "",
    builder_arguments: dict[str, Any] | None = None,
    preprocessing: Preprocessing | None = None,
) -> Path:
    """Writes a model's weights as a native file, which a builder's `weights=` takes.

    Args:
        model: A model of this package, or any flat functional model.
        path: The file to write; it ends in .safetensors.
        variant: Name of the builder; by default the one that built the model.
        builder_arguments: The builder's arguments that the weights need; by default those that the
            model was built with.
        preprocessing: The contract; by default the model's.

    Returns:
        The path.

    Raises:
        ValueError: the path has another ending.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"Native weights end in .safetensors. Received: {path}")
    contract = preprocessing or getattr(model, "preprocessing", None)
    built_with = getattr(model, "builder_arguments", {})
    metadata = {
        "format": "keras_inception",
        "variant": variant or getattr(model, "variant", ""),
        "builder_arguments": json.dumps(
            dict(built_with) if builder_arguments is None else builder_arguments
        ),
        "preprocessing": json.dumps(contract.to_dict() if contract else None),
    }
    arrays = {
        name: np.ascontiguousarray(keras.ops.convert_to_numpy(v), "<f4")
        for name, v in variables(model).items()
    }
    write_safetensors(path, arrays, metadata)
    return path


def write_safetensors(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
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


def read_safetensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a .safetensors file.

    Raises:
        ValueError: the file is damaged or holds a dtype that no Keras weight has.
    """
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
            arrays[name] = np.frombuffer(raw, _DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no whole .safetensors file: {error}") from error
    return arrays, metadata


def read(path: str | Path) -> Weights:
    """The weights in a native .safetensors or a .keras file, recognised by its content.

    Raises:
        ValueError: there is no such file, or it holds neither.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no weights file {path}.")
    with path.open("rb") as file:
        magic = file.read(9)
    if magic.startswith(b"PK"):
        model = keras.models.load_model(path, compile=False)
        arrays = {name: keras.ops.convert_to_numpy(v) for name, v in variables(model).items()}
        return Weights(str(path), arrays)
    if magic[8:9] == b"{":
        arrays, metadata = read_safetensors(path)
        contract = json.loads(metadata.get("preprocessing", "null"))
        return Weights(
            str(path),
            arrays,
            metadata.get("variant", ""),
            json.loads(metadata.get("builder_arguments", "{}")),
            Preprocessing.from_dict(contract) if contract else None,
        )
    raise ValueError(
        f"{path} is neither a .safetensors file of keras_inception.save_weights nor a .keras file."
    )


def load_into(model: keras.Model, weights: Weights) -> None:
    """Sets every weight of a model, or none.

    A head with another number of classes stays as it was initialised, and a warning says so.
    Auxiliary heads and the classifier of the file are left out where the model has none.

    Raises:
        ValueError: arrays are missing, unexpected or of the wrong shape; the message lists them.
    """
    wanted, given = variables(model), weights.arrays
    fresh = {
        layer
        for layer in HEADS
        if f"{layer}/bias" in wanted
        and f"{layer}/bias" in given
        and tuple(wanted[f"{layer}/bias"].shape) != given[f"{layer}/bias"].shape
    }
    keep = {n: v for n, v in wanted.items() if n.partition("/")[0] not in fresh}
    missing = [n for n in keep if n not in given]
    optional = ("predictions/", "aux_", "aux1_", "aux2_")
    unexpected = [n for n in given if n not in wanted and not n.startswith(optional)]
    shapes = [
        f"{n}: {given[n].shape} in the file, {tuple(v.shape)} in the model"
        for n, v in keep.items()
        if n in given and given[n].shape != tuple(v.shape)
    ]
    problems = [
        f"{what}: {', '.join(names[:6])}{f' and {len(names) - 6} more' * (len(names) > 6)}"
        for what, names in (
            ("missing in the file", missing),
            ("unexpected in the file", unexpected),
            ("of another shape", shapes),
        )
        if names
    ]
    if problems:
        raise ValueError(
            f"{weights.path} does not fit {model.name}; the model is unchanged. "
            + "; ".join(problems)
        )
    for layer in sorted(fresh):
        logging.warning(
            "%s has %d classes and the model %d: its layer %s is initialised anew.",
            weights.path,
            given[f"{layer}/bias"].shape[0],
            wanted[f"{layer}/bias"].shape[0],
            layer,
        )
    for name, variable in keep.items():
        variable.assign(given[name])
