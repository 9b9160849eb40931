"""Keras' HDF5 files, old and new, and the .keras archives that hold one.

HDF5's library is not made for files that somebody damaged or made up: it was seen to loop for
ever. So a process of its own, with limits of time and memory, copies what is sound in a file
(`h5_child`), and this process opens the copy only. That costs about a third of a second.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_inception import archives
from keras_inception.budget import Budget
from keras_inception.weights.readers.layers import Layers, add

# The member that this package adds to a .keras archive: the network's identity as JSON.
IDENTITY_MEMBER = "keras_inception.json"
WEIGHTS_MEMBER = "model.weights.h5"
_CHILD = Path(__file__).with_name("h5_child.py")
# Wall seconds a second of processor time, for a machine that is busy with other things.
_BUSY = 10
# The child's exit code where it says on standard error what is wrong with the file.
_REFUSED = 1
# Keras 3 numbers a layer's variables; the order is that of their creation.
_BY_COUNT: dict[str, dict[int, tuple[str, ...]]] = {
    "batch_normalization": {
        4: ("gamma", "beta", "moving_mean", "moving_variance"),
        3: ("beta", "moving_mean", "moving_variance"),
    },
    "separable_conv2d": {3: ("depthwise_kernel", "pointwise_kernel", "bias")},
}
_KERNEL_AND_BIAS = ("kernel", "bias")
# Groups of a Keras 3 file beside its layers.
_NO_LAYERS = {"vars", "optimizer"}


def read(data: bytes, budget: Budget) -> Layers:
    """The layers of a legacy .h5 (weights or whole model) or of a Keras 3 .weights.h5 file.

    Raises:
        ValueError: the file is damaged, reads other files, or is a Keras 3 file without its layers'
            names.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy.h5")
        copy_sound(data, copy, budget)
        with h5py.File(copy, "r") as file:
            return _Layers(budget).read(file)


def read_keras_archive(archive: archives.Zip, budget: Budget) -> tuple[Layers, dict[str, str]]:
    """The layers of a .keras archive, and what it says of its network.

    That is the model's configuration as text ("graph") and, if this package wrote the file, the
    network's identity by field. The model is not built, so that nothing in the archive is run.
    """
    layers = read(archive.read(WEIGHTS_MEMBER), budget)
    config = archive.read("config.json")
    budget.json(config, "its config.json")
    said = {"graph": config.decode()}
    if IDENTITY_MEMBER in archive.names:
        identity = budget.json(archive.read(IDENTITY_MEMBER), f"its {IDENTITY_MEMBER}")
        if not isinstance(identity, dict) or any(type(v) is not str for v in identity.values()):
            raise ValueError(f"its {IDENTITY_MEMBER} is not an object of texts")
        said |= identity
    return layers, said


def copy_sound_model(data: bytes, copy: Path, budget: Budget) -> dict[str, Any] | None:
    """Writes a whole model's file anew, `.keras` or legacy `.h5`, so that Keras can open it.

    Args:
        data: The file's bytes.
        copy: Where the copy is written.
        budget: What the file may take.

    Returns:
        The identity that `save_model` wrote into the file, by field; None if it did not.

    Raises:
        ValueError: the file is damaged, reads other files, or takes more than its budget.
    """
    if not data.startswith(b"PK\x03\x04"):
        copy_sound(data, copy, budget)
        return None
    archive, identity = archives.Zip(data, budget), None
    with zipfile.ZipFile(copy, "w") as target:
        for name in archive.names:
            content = archive.read(name)
            if name == "config.json":
                budget.json(content, f"its {name}")
            elif name == IDENTITY_MEMBER:
                identity = budget.json(content, f"its {name}")
            elif name == WEIGHTS_MEMBER:
                weights = copy.with_name(name)
                copy_sound(content, weights, budget)
                target.write(weights, name)
                continue
            target.writestr(name, content)
    return identity


def copy_sound(data: bytes, copy: Path, budget: Budget) -> None:
    """Lets the child copy an HDF5 file's groups, arrays and attributes into a new file.

    Raises:
        ValueError: the file is damaged, reads other files, or takes more than its budget.
    """
    given = copy.with_name("given.h5")
    given.write_bytes(data)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OPENBLAS_NUM_THREADS": "1",
        "HDF5_PLUGIN_PRELOAD": "::",  # no filters from libraries that lie around
    }
    command = [sys.executable, "-W", "ignore", os.fspath(_CHILD), os.fspath(given), os.fspath(copy)]
    try:
        done = subprocess.run(
            [*command, str(budget.memory), str(budget.seconds)],
            capture_output=True,
            timeout=_BUSY * budget.seconds,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError("HDF5's library did not come to an end with it") from error
    finally:
        given.unlink()
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    if done.returncode == _REFUSED:
        raise ValueError(last.replace(os.fspath(given), "the file"))
    if done.returncode == -getattr(signal, "SIGXCPU", 0):
        raise ValueError(f"reading it takes more than {budget.seconds} seconds of processor time")
    if done.returncode:
        raise ValueError(f"HDF5's library broke down on it (exit code {done.returncode}) {last}")


class _Layers:
    """The layers of a sound file."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._found: Layers = {}

    def read(self, file: h5py.File) -> Layers:
        """Raises ValueError, KeyError, ...: whatever is wrong in the file."""
        group: Any = file["model_weights"] if "model_weights" in file else file
        if names := self._names(group, "layer_names"):
            self._legacy(group, names)
        elif "layers" in group:
            self._keras_3(group["layers"])
        elif "vars" in group:  # a subclassed model, whose layers are its attributes
            self._keras_3(group)
        else:
            raise ValueError("it is an HDF5 file, but none of Keras' weights")
        return self._found

    def _names(self, group: h5py.Group, attribute: str) -> list[str]:
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

    def _legacy(self, file: h5py.Group, names: list[str]) -> None:
        """Keras 1 and 2: all is named, and nested models repeat their parents' names."""
        for name in names:
            group = file[name]
            for weight in self._names(group, "weight_names"):
                parts = weight.split(":")[0].split("/")
                owner = "/".join(part for part, _ in itertools.groupby([name, *parts[:-1]]))
                self._add(owner, parts[-1], group[weight])

    def _keras_3(self, groups: h5py.Group, parents: str = "") -> None:
        """Keras 3: a group for each class and number; the layer's own name is an attribute.

        The layers of a model inside the model come as "model/layer". Without that attribute the
        file says only in which order layers of a class came, which was seen to load an auxiliary
        head's kernel into another layer.
        """
        for name, group in groups.items():
            if name in _NO_LAYERS or name.startswith("seed_generator"):
                continue
            values = group.get("vars") if isinstance(group, h5py.Group) else None
            if not isinstance(values, h5py.Group):
                continue
            layer = parents + str(values.attrs.get("name", name))
            self._keras_3(group["layers"] if "layers" in group else group, f"{layer}/")
            if not len(values):
                continue
            if "name" not in values.attrs:
                raise ValueError(
                    "it was written by a Keras before 3.6 and does not say which layer is which. "
                    "Load it with the code that wrote it and save it as .keras or with "
                    "keras_inception.save_weights"
                )
            kind = re.sub(r"_\d+$", "", name)
            named = _BY_COUNT.get(kind, {}).get(len(values), _KERNEL_AND_BIAS[: len(values)])
            for i, variable in enumerate(named):
                self._add(layer, variable, values[str(i)])

    def _add(self, layer: str, variable: str, data: Any) -> None:
        name = f"{layer}/{variable}"
        if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiub":
            raise ValueError(f"{name!r:.80} is no array of numbers")
        self._budget.array(f"{name!r:.80}", data.shape, data.dtype)
        add(self._found, layer, variable, np.asarray(data))
