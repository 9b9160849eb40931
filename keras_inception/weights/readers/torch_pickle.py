"""torch's .pth files without torch, and without running what is in them.

A .pth file is a pickle of a dict of tensors, with the tensors' bytes beside it: in a zip archive
(torch 1.6 and later) or after the pickle in one file (before). A pickle is a program that may name
any function to call. Here it is not run by Python's machine but by a small one, which knows how to
build dicts, lists, tuples, numbers, texts and tensors, and refuses everything else.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_inception import archives
from keras_inception.budget import Budget
from keras_inception.weights.readers.layers import Layers, add

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
# BatchNorm's variables by torch's names, and the counter of its training steps.
_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_COUNTER = "num_batches_tracked"
# What a dict of weights may be wrapped in.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "state_dict_ema")


class _Storage:
    """The bytes of some tensors, filled in once they have been read."""

    def __init__(self, kind: str) -> None:
        self.dtype = np.dtype(_DTYPES[kind])
        self.values = np.empty(0, self.dtype)


class _Tensor:
    """A view of a storage."""

    def __init__(
        self, storage: Any, offset: Any, shape: Any, strides: Any, *_gradient: Any
    ) -> None:
        if not isinstance(storage, _Storage):
            raise ValueError("it holds a tensor without a storage")
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self, name: str, budget: Budget) -> np.ndarray:
        dtype, stored = self.storage.dtype, len(self.storage.values)
        count = budget.array(name, self.shape, dtype)
        if any(type(n) is not int or n < 0 for n in (*self.strides, self.offset)):
            raise ValueError(f"{name} has impossible strides")
        last = self.offset + sum(
            (n - 1) * step for n, step in zip(self.shape, self.strides, strict=True)
        )
        if count and last >= stored:
            raise ValueError(f"{name} is a tensor that is larger than its storage")
        view = np.lib.stride_tricks.as_strided(
            self.storage.values[self.offset :],
            self.shape,
            [s * dtype.itemsize if count else 0 for s in self.strides],
        )
        return np.array(view)


def _dictionary(pairs: Any = ()) -> dict[Any, Any]:
    """collections.OrderedDict: Python 2 gave it its content as an argument."""
    found: dict[Any, Any] = {}
    for name, value in pairs:
        _set(found, name, value)
    return found


def _parameter(tensor: Any, *_gradient: Any) -> Any:
    return tensor


# All that a pickle can call.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": _dictionary,
    "torch._utils _rebuild_tensor": _Tensor,
    "torch._utils _rebuild_tensor_v2": _Tensor,
    "torch._utils _rebuild_parameter": _parameter,
}


class _Global:
    """A function or a type of storage that a pickle names."""

    def __init__(self, name: str) -> None:
        kind = name.removeprefix("torch ")
        if name not in _FUNCTIONS and (kind == name or kind not in _DTYPES):
            raise ValueError(
                f"it asks to load {name.replace(' ', '.')!r:.80}, which no weights need: nothing "
                "of it was run"
            )
        self.name, self.kind = name, kind

    def __call__(self, *arguments: Any) -> Any:
        return _FUNCTIONS[self.name](*arguments)


def _set(target: Any, name: Any, value: Any) -> None:
    # A tuple as a key could take for ever to hash.
    if type(target) is not dict or type(name) not in (str, int):
        raise ValueError("it holds names that are neither texts nor numbers")
    if name in target:
        raise ValueError(f"it holds {name!r:.80} twice")
    target[name] = value


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
}


_CONTAINERS = {*("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS")}


class _Machine:
    """Runs one pickle. Its storages are there afterwards, still empty."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.storages: dict[str, _Storage] = {}
        self._stack: list[Any] = []
        self._marks: list[int] = []

    def load(self, stream: io.BytesIO) -> Any:
        """The object of the pickle that the stream stands at.

        Raises:
            ValueError, IndexError, KeyError, TypeError: it is damaged, or does what no weights do.
        """
        stack = self._stack
        memo: dict[int, Any] = {}
        argument: Any
        for opcode, argument, _ in pickletools.genops(stream):
            self.budget.part()
            name = opcode.name
            if name in _LITERALS:
                stack.append(argument)
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name]())
            elif name in _CONTAINERS:
                self._fill(name)
            elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
                memo[len(memo) if argument is None else argument] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name == "MARK":
                self._marks.append(len(stack))
            elif name == "GLOBAL":
                stack.append(_Global(argument))
            elif name == "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(_Global(f"{module!s:.80} {attribute!s:.80}"))
            elif name == "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                if not isinstance(function, _Global) or not isinstance(arguments, tuple):
                    raise ValueError("it calls what is no function")
                stack.append(function(*arguments))
            elif name == "BINPERSID":
                stack.append(self._storage(stack.pop()))
            elif name == "BUILD":  # attributes, such as a state_dict's _metadata
                stack.pop()
            elif name == "STOP":
                return stack.pop()
            elif name not in ("PROTO", "FRAME"):
                raise ValueError(f"it uses pickle's {name}, which no weights need")
        raise ValueError("its pickle does not end")

    def _fill(self, name: str) -> None:
        """Puts what lies on the stack into a tuple, a list or a dict."""
        stack = self._stack
        if name in ("TUPLE", "APPENDS", "SETITEMS"):
            start = self._marks.pop()
        else:
            start = len(stack) - {"TUPLE3": 3, "TUPLE2": 2, "SETITEM": 2}.get(name, 1)
        items = stack[start:]
        del stack[start:]
        if name.startswith("TUPLE"):
            stack.append(tuple(items))
        elif name.startswith("APPEND"):
            stack[-1].extend(items)
        else:
            for key, value in zip(items[::2], items[1::2], strict=True):
                _set(stack[-1], key, value)

    def _storage(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) < 3 or pid[0] != "storage":
            raise ValueError("it refers to something that is no storage")
        kind, key = pid[1:3]
        if not isinstance(kind, _Global) or type(key) not in (str, int):
            raise ValueError("it holds a storage without a type or a name")
        if kind.kind not in _DTYPES:
            raise ValueError(f"tensors of type {kind.name!r:.80} are not weights")
        if len(pid) > 5 and pid[5] is not None:
            raise ValueError("its storages are parts of others, which is not read")
        storage = self.storages.setdefault(str(key), _Storage(kind.kind))
        if storage.dtype != np.dtype(_DTYPES[kind.kind]):
            raise ValueError(f"its storage {key!r:.80} has two types")
        return storage


def is_legacy(start: bytes) -> bool:
    """Whether a file begins as torch's files before 1.6 do."""
    return start.startswith(pickle.dumps(_LEGACY_MAGIC, 2))


def read(data: bytes, budget: Budget) -> Layers:
    """The weights in a file of torch before 1.6.

    Raises:
        ValueError: the file is damaged, or asks for something that weights do not need.
    """
    stream = io.BytesIO(data)
    for _ in range(3):  # magic number, protocol version, sizes of C types
        _Machine(budget).load(stream)
    machine = _Machine(budget)
    content = machine.load(stream)
    unread = dict(machine.storages)
    at_most = memoryview(data)
    for key in _Machine(budget).load(stream):
        storage = unread.pop(key)
        at = stream.tell() + 8
        count = int.from_bytes(data[at - 8 : at], "little", signed=True)
        raw = at_most[at : at + max(0, count) * storage.dtype.itemsize]
        if count < 0 or len(raw) != count * storage.dtype.itemsize:
            raise ValueError("it ends within a tensor")
        storage.values = np.frombuffer(raw, storage.dtype)
        stream.seek(at + len(raw))
    if unread:
        raise ValueError(f"it lacks the storages of {len(unread)} tensors")
    if stream.tell() != len(data):
        raise ValueError(f"{len(data) - stream.tell():,} bytes follow its last tensor")
    return layers(_tensors(content, budget))


def read_zip(archive: archives.Zip, budget: Budget) -> Layers:
    """The weights in a file of torch 1.6 and later.

    Raises:
        ValueError: the file is damaged, or asks for something that weights do not need.
    """
    (index,) = (name for name in archive.names if name.endswith("data.pkl"))
    root = index.removesuffix("data.pkl")
    if f"{root}byteorder" in archive.names:
        order = archive.read(f"{root}byteorder")
        if order != b"little":
            raise ValueError(f"its byte order is {order!r:.40}; only little-endian is read")
    machine = _Machine(budget)
    stream = io.BytesIO(archive.read(index))
    content = machine.load(stream)
    if stream.read(1):
        raise ValueError("bytes follow its pickle")
    for key, storage in machine.storages.items():
        storage.values = np.frombuffer(archive.read(f"{root}data/{key}"), storage.dtype)
    return layers(_tensors(content, budget))


def _tensors(content: Any, budget: Budget) -> dict[str, np.ndarray]:
    """The tensors of a dict by name, whatever it is wrapped in."""
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__} instead of named weights")
    found: dict[str, np.ndarray] = {}
    for key, tensor in content.items():
        if isinstance(tensor, _Tensor):
            name = str(key).removeprefix("module.")
            _set(found, name, tensor.array(name, budget))
    return found


def layers(arrays: dict[str, np.ndarray]) -> Layers:
    """torch's names and layouts as Keras': OIHW kernels become HWIO, "weight" what it is.

    BatchNorm's counter `num_batches_tracked` is left out: it only matters to a torch optimizer
    that averages without momentum.
    """
    found: Layers = {}
    for name, array in arrays.items():
        owner, _, variable = name.rpartition(".")
        if variable == _COUNTER:
            continue
        norm = f"{owner}.running_mean" in arrays
        if variable == "weight" and not norm:
            variable = "kernel"
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        names = _NORM if norm else {}
        add(found, owner, names.get(variable, variable), array)
    return found


def state_dict(layers: Layers) -> dict[str, np.ndarray]:
    """`layers` backwards: Keras' names and layouts as torch's, with a counter a BatchNorm."""
    found: dict[str, np.ndarray] = {}
    for owner, variables in layers.items():
        norm = "moving_mean" in variables
        names = {ours: theirs for theirs, ours in _NORM.items()} if norm else {"kernel": "weight"}
        for variable, array in variables.items():
            if variable == "kernel":
                array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            name = f"{owner}.{names.get(variable, variable)}"
            found[name] = np.ascontiguousarray(array, np.float32)
        if norm:
            found[f"{owner}.{_COUNTER}"] = np.zeros((), np.int64)
    return found
