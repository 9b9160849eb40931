"""Keras' HDF5 files, old and new, and the weights inside a .keras archive."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import zipfile
from typing import Any

import h5py
import numpy as np

# Keras 3 numbers a layer's variables; the order is that of their creation.
_BY_COUNT: dict[str, dict[int, tuple[str, ...]]] = {
    "batch_normalization": {
        4: ("gamma", "beta", "moving_mean", "moving_variance"),
        3: ("beta", "moving_mean", "moving_variance"),
    },
    "separable_conv2d": {3: ("depthwise_kernel", "pointwise_kernel", "bias")},
}
_KERNEL_AND_BIAS = ("kernel", "bias")


def read(path: str | os.PathLike) -> dict[str, dict[str, np.ndarray]]:
    """The layers of a legacy .h5 (weights or whole model) or of a Keras 3 .weights.h5 file.

    Raises:
        ValueError: the file is damaged, or is a Keras 3 file without its layers' names.
    """
    try:
        with h5py.File(path, "r") as file:
            return _layers(file, path)
    except OSError as error:
        raise ValueError(f"{path} is a damaged HDF5 file: {error}") from error


def read_keras_archive(
    archive: zipfile.ZipFile,
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, str]]:
    """The layers of a .keras archive, and BatchNorm's epsilon as a builder argument.

    The model is not built, so that nothing in the archive is run.
    """
    with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
        layers = _layers(file, archive.filename)
    config = json.loads(archive.read("config.json"))
    epsilons = [
        layer["config"]["epsilon"]
        for layer in config.get("config", {}).get("layers", [])
        if layer.get("class_name") == "BatchNormalization"
    ]
    arguments = {"bn_epsilon": epsilons[0]} if epsilons else {}
    return layers, {"builder_arguments": json.dumps(arguments)}


def _layers(file: h5py.File, path: Any) -> dict[str, dict[str, np.ndarray]]:
    if "model_weights" in file:  # a whole legacy model
        file = file["model_weights"]
    if _names(file, "layer_names"):
        return _legacy(file)
    if "layers" in file:
        return _keras_3(file["layers"], path)
    raise ValueError(f"{path} is an HDF5 file, but none of Keras' weights.")


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list attribute, which Keras splits into `name0`, `name1`, ... when it is long."""
    found: list[Any] = []
    if attribute in group.attrs:
        found = list(group.attrs[attribute])
    else:
        for i in itertools.count():
            if f"{attribute}{i}" not in group.attrs:
                break
            found += list(group.attrs[f"{attribute}{i}"])
    return [name.decode() if isinstance(name, bytes) else str(name) for name in found]


def _legacy(file: h5py.Group) -> dict[str, dict[str, np.ndarray]]:
    """Keras 1 and 2: groups and weights are named. Nested models repeat their parents' names."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for group in _names(file, "layer_names"):
        for weight in _names(file[group], "weight_names"):
            parts = weight.split(":")[0].split("/")
            owner = "/".join(part for part, _ in itertools.groupby([group, *parts[:-1]]))
            layers.setdefault(owner, {})[parts[-1]] = np.asarray(file[group][weight])
    return layers


def _keras_3(groups: h5py.Group, path: Any) -> dict[str, dict[str, np.ndarray]]:
    """Keras 3: a group for each class and number; the layer's own name is an attribute.

    Without that attribute the file says only in which order layers of a class came, which was
    seen to load an auxiliary head's kernel into another layer.
    """
    layers = {}
    for group in groups:
        values = groups.get(f"{group}/vars")
        if not isinstance(values, h5py.Group) or not len(values):
            continue
        if "name" not in values.attrs:
            raise ValueError(
                f"{path} was written by a Keras before 3.6 and does not say which layer is which. "
                "Load it with the code that wrote it and save it as .keras or with "
                "keras_inception.save_weights."
            )
        kind = re.sub(r"_\d+$", "", group)
        named = _BY_COUNT.get(kind, {}).get(len(values), _KERNEL_AND_BIAS[: len(values)])
        layers[str(values.attrs["name"])] = {
            v: np.asarray(values[str(i)]) for i, v in enumerate(named)
        }
    return layers
