"""Reads a Keras HDF5 file in a process of its own: standard input -> standard output.

`keras_h5` starts this file by its path, with three limits (bytes of the arrays, their number, and
seconds of processor time) and whether it only checks. It imports h5py and numpy only, since the
package would take seconds.
Out come a line of JSON, with the arrays' names or with what is wrong, and the arrays.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
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
# Groups of a Keras 3 file beside its layers.
_NO_LAYERS = {"vars", "optimizer"}
# HDF5's numbers of the filters that are part of it and never grow what they are given: deflate,
# shuffle, fletcher32. Others come from libraries of their own.
_FILTERS = {1, 2, 3}
# What Python, HDF5 and its caches may take besides the arrays.
_SPARE = 512 * 2**20

# (layer, variable, array), in the file's order
Found = list[tuple[str, str, np.ndarray]]


class _Reader:
    """The arrays of one file, within limits."""

    def __init__(self, file: h5py.File, limit_bytes: int, limit_members: int) -> None:
        self.file, self.bytes, self.members = file, limit_bytes, limit_members
        self.found: Found = []

    def read(self) -> Found:
        """Raises ValueError, KeyError, OSError, ...: whatever is wrong in the file."""
        group: Any = self.file
        if "model_weights" in group:  # a whole legacy model
            group = self.inside(group, "model_weights")
        if names := self.names(group, "layer_names"):
            self.legacy(group, names)
        elif "layers" in group:
            self.keras_3(self.inside(group, "layers"))
        elif "vars" in group:  # a subclassed model, whose layers are its attributes
            self.keras_3(group)
        else:
            raise ValueError("it is an HDF5 file, but none of Keras' weights")
        return self.found

    def check(self, group: h5py.Group) -> None:
        """Raises ValueError if anything in a group lies outside of the file or the limits."""
        for name in group:
            item = self.inside(group, name)
            if isinstance(item, h5py.Group):
                self.check(item)
            elif isinstance(item, h5py.Dataset):
                self.take(name, item)

    def inside(self, group: h5py.Group, path: str) -> Any:
        """What a path leads to within the file: links to other places are refused."""
        for part in path.split("/"):
            self.count()
            link = group.get(part, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{path!r:.80} is a link, or is not there")
            group = group[part]
        return group

    def count(self) -> None:
        """Draws on the number of members."""
        self.members -= 1
        if self.members < 0:
            raise ValueError("it has too many groups and arrays")

    def names(self, group: h5py.Group, attribute: str) -> list[str]:
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

    def legacy(self, file: h5py.Group, names: list[str]) -> None:
        """Keras 1 and 2: all is named, and nested models repeat their parents' names."""
        for name in names:
            group = self.inside(file, name)
            for weight in self.names(group, "weight_names"):
                parts = weight.split(":")[0].split("/")
                owner = "/".join(part for part, _ in itertools.groupby([name, *parts[:-1]]))
                self.add(owner, parts[-1], self.inside(group, weight))

    def keras_3(self, groups: h5py.Group, parents: str = "") -> None:
        """Keras 3: a group for each class and number; the layer's own name is an attribute.

        The layers of a model inside the model come as "model/layer". Without that attribute the
        file says only in which order layers of a class came, which was seen to load an auxiliary
        head's kernel into another layer.
        """
        for name in groups:
            if name in _NO_LAYERS or name.startswith("seed_generator"):
                continue
            group = self.inside(groups, name)
            if not isinstance(group, h5py.Group) or "vars" not in group:
                continue
            values = self.inside(group, "vars")
            if not isinstance(values, h5py.Group):
                continue
            layer = parents + str(values.attrs.get("name", name))
            self.keras_3(self.inside(group, "layers") if "layers" in group else group, f"{layer}/")
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
                self.add(layer, variable, self.inside(values, str(i)))

    def add(self, layer: str, variable: str, data: Any) -> None:
        """Reads an array, if all of it lies within the file and within the limits."""
        name = f"{layer}/{variable}"
        if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiub":
            raise ValueError(f"{name!r:.80} is no array of numbers")
        self.take(name, data)
        if data.size and not data.id.get_storage_size():
            raise ValueError(f"{name!r:.80} has no values in the file")
        self.found.append((layer, variable, np.asarray(data)))

    def take(self, name: str, data: h5py.Dataset) -> None:
        """Draws an array's bytes. Raises ValueError if it is not in the file or too large."""
        if data.external or data.is_virtual:
            raise ValueError(f"{name!r:.80} lies in another file, which is not read")
        settings = data.id.get_create_plist()
        filters = {settings.get_filter(i)[0] for i in range(settings.get_nfilters())}
        if filters - _FILTERS:
            raise ValueError(f"{name!r:.80} is packed with HDF5's filters {sorted(filters)}")
        for count in (data.size, int(np.prod(data.chunks or (1,), dtype=object))):
            if count * data.dtype.itemsize > self.bytes:
                raise ValueError(
                    f"{name!r:.80} would take {count * data.dtype.itemsize:,} bytes; "
                    f"{self.bytes:,} are left of what reading a file of its size may take"
                )
        self.bytes -= data.size * data.dtype.itemsize


def _limit(limit_bytes: int, seconds: int) -> None:
    """Lets the system end this process when it takes more, where the system can."""
    if os.name != "posix":
        return
    import resource

    def limit(kind: int, most: int) -> None:
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, hard))

    limit(resource.RLIMIT_CPU, seconds)
    limit(resource.RLIMIT_CORE, 0)
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        # The arrays, once more while they are written, and a chunk while it is unpacked.
        limit(resource.RLIMIT_AS, used + 3 * limit_bytes + _SPARE)


def main(limit_bytes: int, limit_members: int, seconds: int, only_check: int) -> None:
    """Reads standard input, or only checks it, and writes standard output."""
    _limit(limit_bytes, seconds)
    answer: dict[str, Any] = {}
    found: Found = []
    try:
        with h5py.File(sys.stdin.buffer, "r") as file:
            reader = _Reader(file, limit_bytes, limit_members)
            if only_check:
                reader.check(file)
            else:
                found = reader.read()
        answer["names"] = [(layer, variable) for layer, variable, _ in found]
    except Exception as error:  # whatever HDF5 makes of a damaged file
        kind = "" if type(error) is ValueError else f"{type(error).__name__} "
        answer, found = {"error": f"{kind}{error}"[:2000]}, []
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    for _, _, array in found:
        np.save(sys.stdout.buffer, array, allow_pickle=False)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
