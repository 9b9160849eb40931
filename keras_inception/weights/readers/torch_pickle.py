"""torch's .pth files without torch, and without running what is in them.

A .pth file is a pickle of a dict of tensors, with the tensors' bytes beside it: in a zip archive
(torch 1.6 and later) or after the pickle in one file (before). A pickle may name any function to
call; the unpickler here knows the few that rebuild a tensor, and refuses everything else.
"""

from __future__ import annotations

import collections
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# What a dict of weights may be wrapped in.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "state_dict_ema")


class _Storage:
    """The bytes of some tensors, filled in once they have been read."""

    def __init__(self, kind: str) -> None:
        if kind not in _DTYPES:
            raise pickle.UnpicklingError(f"tensors of type {kind} are not weights")
        self.dtype = np.dtype(_DTYPES[kind])
        self.values = np.empty(0, self.dtype)


class _Tensor:
    """A view of a storage."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple, strides: tuple) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self) -> np.ndarray:
        sizes = (*self.shape, *self.strides, self.offset)
        last = self.offset + sum(
            (n - 1) * step for n, step in zip(self.shape, self.strides, strict=True)
        )
        inside = all(isinstance(n, int) and n >= 0 for n in sizes)
        if not inside or (0 not in self.shape and last >= len(self.storage.values)):
            raise ValueError("it holds a tensor that is larger than its storage")
        bytes_ = self.storage.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(
            self.storage.values[self.offset :], self.shape, [s * bytes_ for s in self.strides]
        )
        return np.array(view)


def _rebuild_tensor(storage: _Storage, offset: int, shape: tuple, strides: tuple) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def _rebuild_tensor_v2(
    storage: _Storage, offset: int, shape: tuple, strides: tuple, *_gradient: Any
) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: _Tensor, *_gradient: Any) -> _Tensor:
    return tensor


class _WeightsUnpickler(pickle.Unpickler):
    """Builds dicts and tensors; a pickle that names anything else is refused."""

    _KNOWN: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    }

    def __init__(self, file: Any) -> None:
        super().__init__(file, encoding="latin1")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return name
        if (module, name) in self._KNOWN:
            return self._KNOWN[module, name]
        raise pickle.UnpicklingError(
            f"it asks to load {module}.{name}, which no weights need: nothing of it was run"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) < 3 or pid[0] != "storage":
            raise pickle.UnpicklingError(f"unknown persistent object {pid!r:.80}")
        _, kind, key = pid[:3]
        return self.storages.setdefault(str(key), _Storage(kind))


def is_legacy(start: bytes) -> bool:
    """Whether a file begins as torch's files before 1.6 do."""
    return start.startswith(pickle.dumps(_LEGACY_MAGIC, 2))


def read(path: str | os.PathLike) -> dict[str, dict[str, np.ndarray]]:
    """The weights in a file of torch before 1.6.

    Raises:
        ValueError: the file is damaged, or asks for something that weights do not need.
    """
    with open(path, "rb") as file:

        def parse() -> Any:
            for _ in range(3):  # magic number, protocol version, sizes of C types
                _WeightsUnpickler(file).load()
            main = _WeightsUnpickler(file)
            content = main.load()
            for key in _WeightsUnpickler(file).load():
                storage = main.storages[key]
                (count,) = np.frombuffer(file.read(8), "<i8")
                raw = file.read(int(count) * storage.dtype.itemsize)
                if len(raw) != count * storage.dtype.itemsize:
                    raise ValueError("it ends within a tensor")
                storage.values = np.frombuffer(raw, storage.dtype)
            return content

        return layers(_checked(path, parse))


def read_zip(archive: zipfile.ZipFile) -> dict[str, dict[str, np.ndarray]]:
    """The weights in a file of torch 1.6 and later.

    Raises:
        ValueError: the file is damaged, or asks for something that weights do not need.
    """

    def parse() -> Any:
        (index,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        root = index.removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist():
            order = archive.read(f"{root}byteorder")
            if order != b"little":
                raise ValueError(f"its byte order is {order!r}; only little-endian is read")
        unpickler = _WeightsUnpickler(io.BytesIO(archive.read(index)))
        content = unpickler.load()
        for key, storage in unpickler.storages.items():
            storage.values = np.frombuffer(archive.read(f"{root}data/{key}"), storage.dtype)
        return content

    return layers(_checked(archive.filename or "the file", parse))


def _checked(path: Any, parse: Callable[[], Any]) -> Any:
    """`parse()` with whatever a bad pickle raises as one ValueError that names the file."""
    try:
        content = parse()
        for wrapper in _WRAPPERS:
            if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
                content = content[wrapper]
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__} instead of named weights")
        return {
            str(name).removeprefix("module."): tensor.array()
            for name, tensor in content.items()
            if isinstance(tensor, _Tensor)
        }
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        ValueError,
        KeyError,
        IndexError,
        EOFError,
        TypeError,
        AttributeError,
        OverflowError,
        MemoryError,
    ) as error:
        raise ValueError(f"{path} is refused as a torch weights file: {error}") from error


def layers(arrays: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """torch's names and layouts as Keras': OIHW kernels become HWIO, "weight" what it is.

    BatchNorm's counter `num_batches_tracked` is left out: it only matters to a torch optimizer
    that averages without momentum.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        owner, _, variable = name.rpartition(".")
        if variable == "num_batches_tracked":
            continue
        norm = f"{owner}.running_mean" in arrays
        if variable == "weight" and not norm:
            variable = "kernel"
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        names = {"running_mean": "moving_mean", "running_var": "moving_variance"}
        if norm:
            names |= {"weight": "gamma", "bias": "beta"}
        found.setdefault(owner, {})[names.get(variable, variable)] = array
    return found
