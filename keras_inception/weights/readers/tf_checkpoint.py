"""TensorFlow checkpoints, V1 (one file) and V2 (an index and its shards), without TensorFlow."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from keras_inception import files
from keras_inception.budget import Budget
from keras_inception.protobuf import Message, field_bytes, fields, varint
from keras_inception.weights.readers import tf_table
from keras_inception.weights.readers.layers import Layers, add
from keras_inception.weights.readers.tf_table import masked_crc32c

# A further file of a V2 checkpoint, by what follows its prefix
Beside = Callable[[str], bytes]
Entries = Iterator[tuple[bytes, memoryview]]

_VARIABLES = {
    "weights": "kernel",
    "biases": "bias",
    "depthwise_weights": "depthwise_kernel",
    "pointwise_weights": "pointwise_kernel",
}
_PART = re.compile(r"(.+)\.(?:data-\d{5}-of-\d{5}|meta)")
_NEWEST = re.compile(rb'\s*model_checkpoint_path: "([^"\n]+)"')
_LONGEST_LIST = 100_000  # bytes
_AVERAGE = "/ExponentialMovingAverage"
_OURS = {*_VARIABLES.values(), "gamma", "beta", "moving_mean", "moving_variance"}
# TensorFlow's numbers of the dtypes that weights have -> numpy's, and TensorProto's field.
_DTYPES = {1: ("<f4", 5), 2: ("<f8", 6)}
# Field numbers of saved_tensor_slice.proto, tensor.proto and tensor_bundle.proto.
_SLICES_META, _SLICES_DATA = 1, 2
_META_TENSOR, _META_NAME, _META_SHAPE, _META_TYPE, _META_SLICE = 1, 1, 2, 3, 4
_SLICE_NAME, _SLICE_DATA = 1, 3
_SHAPE_DIM, _DIM_SIZE = 2, 1
_HEADER_SHARDS, _HEADER_ENDIANNESS, _HEADER_VERSION = 1, 2, 3
_ENTRY_DTYPE, _ENTRY_SHAPE, _ENTRY_SHARD, _ENTRY_OFFSET, _ENTRY_SIZE = 1, 2, 3, 4, 5
_ENTRY_CRC, _ENTRY_SLICES = 6, 7
# TensorFlow 2 keys variables by their place among objects; their names stand in a graph of these
# (trackable_object_graph.proto) under a key of its own.
_OBJECTS, _VALUE = b"_CHECKPOINTABLE_OBJECT_GRAPH", "/.ATTRIBUTES/VARIABLE_VALUE"
_OBJECTS_NODES, _OBJECT_ATTRIBUTES, _ATTRIBUTE_NAME, _ATTRIBUTE_KEY = 1, 2, 2, 3


def is_prefix(path: str | os.PathLike) -> bool:
    """Whether a path is the prefix of a V2 checkpoint, such as model.ckpt-1000."""
    return os.path.isfile(f"{os.fspath(path)}.index")


def index_of(path: Path) -> str:
    """The name of the index beside a file that belongs to a V2 checkpoint; "" for other files.

    Such files are its shards, its graph, and the list that is called checkpoint, whose newest is
    taken.
    """
    named = _PART.fullmatch(path.name)
    prefix = named[1] if named else ""
    if path.name == "checkpoint":
        with files.opened(path) as file:
            listed = _NEWEST.match(file.read(_LONGEST_LIST))
        prefix = Path(listed[1].decode(errors="replace")).name if listed else ""
    return f"{prefix}.index" if prefix and is_prefix(path.parent / prefix) else ""


def is_table(end: bytes | memoryview) -> bool:
    """Whether a file that ends so is a V1 checkpoint, or the index of a V2 checkpoint."""
    return end[-8:] == tf_table.MAGIC


def read(table: memoryview, beside: Beside, budget: Budget) -> Layers:
    """The weights of a checkpoint, by their variable scopes or, of Keras 2's, by their layers.

    Left out are the steps' counter and optimizers' slots: whatever is no variable of a convolution,
    a dense layer or BatchNorm. Where the checkpoint holds the moving average of a variable, that is
    taken instead, as TF-Slim evaluates; a warning says so.

    Args:
        table: A V1 checkpoint, or the index of a V2 checkpoint.
        beside: A V2 checkpoint's further file, by what follows its prefix.

    Raises:
        ValueError, KeyError, IndexError: the checkpoint is damaged.
    """
    entries = tf_table.entries(table, budget)
    first, value = next(entries, (b"-", memoryview(b"")))
    if first:
        raise ValueError("it does not begin with a header")
    # A V1 header begins with the tensors' shapes, a V2 header with a number.
    if next((field for field, v in fields(value, budget) if not isinstance(v, int)), 0) == 1:
        arrays = _v1(Message(value, budget), entries, budget)
    else:
        arrays = _v2(Message(value, budget), entries, beside, budget)
    layers: Layers = {}
    averages: Layers = {}
    for name, array in arrays:
        owner, _, variable = name.removesuffix(_AVERAGE).rpartition("/")
        found = averages if name.endswith(_AVERAGE) else layers
        add(found, owner, _VARIABLES.get(variable, variable), array)
    if averages:
        logging.warning(
            "The checkpoint holds moving averages of %d variables: they are taken instead of the "
            "variables themselves.",
            sum(map(len, averages.values())),
        )
    for owner, variables in averages.items():
        layers.setdefault(owner, {}).update(variables)
    return layers


def _v1(header: Message, entries: Entries, budget: Budget) -> Iterator[tuple[str, np.ndarray]]:
    known = {}
    for tensor in header.message(_SLICES_META).messages(_META_TENSOR):
        name = tensor.text(_META_NAME)
        if _is_ours(name):
            if name in known or len(tensor.all(_META_SLICE)) > 1:
                raise ValueError(f"{name!r:.80} is stored twice, or in parts")
            known[name] = tensor
    for _, value in entries:
        saved = Message(value, budget).message(_SLICES_DATA)
        name = saved.text(_SLICE_NAME)
        if not _is_ours(name):
            continue
        if name not in known:
            raise ValueError(f"{name!r:.80} is not in its header")
        tensor = known.pop(name)
        dtype, field = _dtype(name, tensor.number(_META_TYPE))
        raw = b"".join(saved.message(_SLICE_DATA).all(field))
        yield name, _array(name, raw, dtype, tensor.message(_META_SHAPE), budget)
    if known:
        raise ValueError(f"it lacks the values of {', '.join(list(known)[:3])}")


def _v2(
    header: Message, entries: Entries, beside: Beside, budget: Budget
) -> Iterator[tuple[str, np.ndarray]]:
    count = header.number(_HEADER_SHARDS)
    if header.number(_HEADER_ENDIANNESS):
        raise ValueError("it is big-endian; only little-endian is read")
    shards: dict[int, memoryview] = {}
    names: dict[str, str] = {}

    def stored(entry: Message, name: str) -> memoryview:
        number, offset, size = map(entry.number, (_ENTRY_SHARD, _ENTRY_OFFSET, _ENTRY_SIZE))
        if number not in shards:
            if number >= count:
                raise ValueError(f"{name} is in part {number} of {count}")
            shards[number] = memoryview(beside(f".data-{number:05}-of-{count:05}"))
        return shards[number][offset : offset + size]

    for key, value in entries:
        name = key.decode(errors="replace")
        if key == _OBJECTS:
            names = _names(stored(Message(value, budget), name), budget)
            continue
        if name.endswith(_VALUE) and not name.startswith("optimizer/"):
            name = names.get(name, "")
        if not _is_ours(name):
            continue
        entry = Message(value, budget)
        if entry.all(_ENTRY_SLICES):
            raise ValueError(f"{name!r:.80} is stored in parts")
        dtype, _ = _dtype(name, entry.number(_ENTRY_DTYPE))
        raw = stored(entry, name)
        if masked_crc32c(raw) != int.from_bytes(entry.bytes(_ENTRY_CRC), "little"):
            raise ValueError(f"the checksum of {name} is wrong")
        yield name, _array(name, raw, dtype, entry.message(_ENTRY_SHAPE), budget)


def _names(stored: memoryview, budget: Budget) -> dict[str, str]:
    """Variables' names by their keys, out of a string tensor: its length, a checksum, its bytes."""
    _, at = varint(stored, 0)
    nodes = Message(stored[at + 4 :], budget).messages(_OBJECTS_NODES)
    attributes = [a for node in nodes for a in node.messages(_OBJECT_ATTRIBUTES)]
    return {a.text(_ATTRIBUTE_KEY): a.text(_ATTRIBUTE_NAME) for a in attributes}


def _is_ours(name: str) -> bool:
    variable = name.removesuffix(_AVERAGE).rpartition("/")[2]
    return _VARIABLES.get(variable, variable) in _OURS


def _dtype(name: str, number: int) -> tuple[np.dtype, int]:
    if number not in _DTYPES:
        raise ValueError(f"{name!r:.80} has TensorFlow's dtype {number}, which is not read")
    kind, field = _DTYPES[number]
    return np.dtype(kind), field


def _array(
    name: str, raw: bytes | memoryview, dtype: np.dtype, shape: Message, budget: Budget
) -> np.ndarray:
    sizes = [dim.number(_DIM_SIZE) for dim in shape.messages(_SHAPE_DIM)]
    if budget.array(name, sizes, dtype) * dtype.itemsize != len(raw):
        raise ValueError(f"{name} has {len(raw):,} bytes for a shape of {sizes}")
    return np.frombuffer(raw, dtype).reshape(sizes)


def write(layers: Layers) -> tuple[bytes, bytes]:
    """A V2 checkpoint of layers by their variable scopes: its index, and its one shard.

    Returns:
        The bytes of {prefix}.index and of {prefix}.data-00000-of-00001.
    """
    theirs = {ours: name for name, ours in _VARIABLES.items()}
    arrays = {
        f"{owner}/{theirs.get(variable, variable)}": np.ascontiguousarray(array, "<f4")
        for owner, variables in layers.items()
        for variable, array in variables.items()
    }
    shard = bytearray()
    # One shard, by a writer that a reader of the first version understands.
    index = {b"": field_bytes(_HEADER_SHARDS, 1) + field_bytes(_HEADER_VERSION, field_bytes(1, 1))}
    for name, array in sorted(arrays.items(), key=lambda item: item[0].encode()):
        raw = array.tobytes()
        sizes = b"".join(
            field_bytes(_SHAPE_DIM, field_bytes(_DIM_SIZE, size)) for size in array.shape
        )
        crc = bytes([_ENTRY_CRC << 3 | 5]) + masked_crc32c(memoryview(raw)).to_bytes(4, "little")
        index[name.encode()] = b"".join(
            [
                field_bytes(_ENTRY_DTYPE, 1),
                field_bytes(_ENTRY_SHAPE, sizes),
                field_bytes(_ENTRY_OFFSET, len(shard)),
                field_bytes(_ENTRY_SIZE, len(raw)),
                crc,
            ]
        )
        shard += raw
    return tf_table.write(index), bytes(shard)
