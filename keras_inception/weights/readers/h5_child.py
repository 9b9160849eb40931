"""Copies an HDF5 file in a process of its own, with whatever is wrong in it left behind.

`keras_h5` starts this file by its path: `h5_child.py GIVEN COPY BYTES SECONDS`. It imports h5py and
numpy only, since the package would take seconds. What cannot be copied is said on standard error.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import h5py
import numpy as np

# HDF5's numbers of the filters that are part of it and never grow what they are given: deflate,
# shuffle, fletcher32. Others come from libraries of their own.
_FILTERS = {1, 2, 3}
# What Python, HDF5 and its caches may take besides the arrays.
_SPARE = 512 * 2**20


class Copier:
    """Copies groups, arrays and attributes within a limit of bytes."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def copy(self, source: h5py.Group, target: h5py.Group) -> None:
        """Copies all that is in a group.

        Raises:
            ValueError: something in it lies outside of the file or takes too much; HDF5's errors
                for what is damaged.
        """
        self._copy_attributes(source, target)
        for name in source:
            if not isinstance(source.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{name!r:.80} is a link, which is not followed")
            item = source[name]
            if isinstance(item, h5py.Group):
                self.copy(item, target.create_group(name))
            elif isinstance(item, h5py.Dataset):
                self._take(name, item)
                self._copy_attributes(item, target.create_dataset(name, data=item[()]))

    def _copy_attributes(self, source: Any, target: Any) -> None:
        for name, value in source.attrs.items():
            target.attrs[name] = value

    def _take(self, name: str, data: h5py.Dataset) -> None:
        """Draws an array's bytes. Raises ValueError if it is not in the file or too large."""
        if data.external or data.is_virtual:
            raise ValueError(f"{name!r:.80} lies in another file, which is not read")
        settings = data.id.get_create_plist()
        filters = {settings.get_filter(i)[0] for i in range(settings.get_nfilters())}
        if filters - _FILTERS:
            raise ValueError(f"{name!r:.80} is packed with HDF5's filters {sorted(filters)}")
        for count in (data.size or 0, int(np.prod(data.chunks or (1,), dtype=object))):
            if count * data.dtype.itemsize > self._left:
                raise ValueError(
                    f"{name!r:.80} would take {count * data.dtype.itemsize:,} bytes; "
                    f"{self._left:,} are left of what reading a file of its size may take"
                )
        if data.size and not data.id.get_storage_size():
            raise ValueError(f"{name!r:.80} has no values in the file")
        self._left -= (data.size or 0) * data.dtype.itemsize


def _limit(limit: int, seconds: int) -> None:
    """Lets the system end this process when it takes more, where the system can."""
    if os.name != "posix":
        return
    import resource

    def at_most(kind: int, most: int) -> None:
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, hard))

    at_most(resource.RLIMIT_CPU, seconds)
    at_most(resource.RLIMIT_CORE, 0)
    at_most(resource.RLIMIT_FSIZE, 2 * limit + _SPARE)
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        # An array, once more while it is written, and a chunk while it is unpacked.
        at_most(resource.RLIMIT_AS, used + 3 * limit + _SPARE)


def main(given: str, copy: str, limit: int, seconds: int) -> None:
    """Copies `given` to `copy`, within so many bytes and seconds of processor time."""
    _limit(limit, seconds)
    try:
        with h5py.File(given, "r") as source, h5py.File(copy, "w") as target:
            Copier(limit).copy(source, target)
    except Exception as error:  # whatever HDF5 makes of a damaged file
        kind = "" if type(error) is ValueError else f"{type(error).__name__} "
        sys.exit(f"{kind}{error}"[:2000].replace("\n", " "))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
