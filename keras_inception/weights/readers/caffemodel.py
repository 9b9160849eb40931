"""Caffe's .caffemodel files: protocol buffers of caffe.proto's NetParameter, new and V1 layers.

Only the wire format and the few fields that hold weights are needed, so Caffe and its generated
classes are not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

# Field numbers of caffe.proto.
_NET_V1_LAYERS, _NET_LAYER = 2, 100
_V1_NAME, _V1_TYPE, _V1_BLOBS = 4, 5, 6
_NAME, _TYPE, _BLOBS = 1, 2, 7
_BLOB_LEGACY_SHAPE, _BLOB_DATA, _BLOB_SHAPE = (1, 2, 3, 4), 5, 7
_V1_INNER_PRODUCT = 14


def is_net(start: bytes) -> bool:
    """Whether a file may be a NetParameter: its first field is the net's name."""
    if len(start) < 3 or start[0] != 0x0A:
        return False
    length, at = _varint(start, 1)
    return at + length < len(start) and start[at : at + length].isascii()


def read(path: str | os.PathLike) -> dict[str, dict[str, np.ndarray]]:
    """The layers with weights of a .caffemodel file, in Keras' layout.

    Raises:
        ValueError: the file is damaged.
    """
    with open(path, "rb") as file:
        data = memoryview(file.read())
    layers = {}
    try:
        for field, value in _fields(data):
            if field not in (_NET_LAYER, _NET_V1_LAYERS) or isinstance(value, int):
                continue
            name, dense, blobs = _layer(value, v1=field == _NET_V1_LAYERS)
            if blobs:
                kernel = blobs[0]
                if dense:
                    kernel = kernel.reshape(kernel.shape[-2:]).T
                else:
                    kernel = kernel.transpose(2, 3, 1, 0)
                layers[name] = {"kernel": kernel}
                if len(blobs) > 1:
                    layers[name]["bias"] = blobs[1].reshape(-1)
    except (IndexError, ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no whole .caffemodel file: {error}") from error
    return layers


def _layer(message: memoryview, *, v1: bool) -> tuple[str, bool, list[np.ndarray]]:
    """A layer's name, whether it is an InnerProduct, and its blobs."""
    names = (_V1_NAME, _V1_TYPE, _V1_BLOBS) if v1 else (_NAME, _TYPE, _BLOBS)
    name, dense, blobs = "", False, []
    for field, value in _fields(message):
        if field == names[0] and not isinstance(value, int):
            name = bytes(value).decode()
        elif field == names[1]:
            dense = value == _V1_INNER_PRODUCT if v1 else value == b"InnerProduct"
        elif field == names[2] and not isinstance(value, int):
            blobs.append(_blob(value))
    return name, dense, blobs


def _blob(message: memoryview) -> np.ndarray:
    legacy = dict.fromkeys(_BLOB_LEGACY_SHAPE, 0)
    shape: list[int] = []
    data: list[np.ndarray] = []
    for field, value in _fields(message):
        if field in legacy and isinstance(value, int):
            legacy[field] = value
        elif field == _BLOB_SHAPE and not isinstance(value, int):
            for number, sizes in _fields(value):
                if number == 1:
                    shape += [sizes] if isinstance(sizes, int) else _varints(sizes)
        elif field == _BLOB_DATA and not isinstance(value, int):
            data.append(np.frombuffer(value, "<f4"))
    values = np.concatenate(data) if data else np.empty(0, np.float32)
    return values.reshape(shape or list(legacy.values()))


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of a message: whole numbers as int, all else as bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")
        if at + length > len(data):
            raise ValueError("it ends within a field")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """A whole number of seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _varints(data: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values
