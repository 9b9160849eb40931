"""Caffe's .caffemodel files: protocol buffers of caffe.proto's NetParameter, new and V1 layers.

Only the few fields that hold weights are needed, so Caffe and its generated classes are not.
"""

from __future__ import annotations

import numpy as np

from keras_inception.budget import Budget
from keras_inception.weights.readers.layers import Layers, add
from keras_inception.weights.readers.protobuf import fields, varint, varints

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
    try:
        length, at = varint(start, 1)
    except ValueError:
        return False
    return at + length < len(start) and start[at : at + length].isascii()


def read(data: memoryview, budget: Budget) -> Layers:
    """The layers with weights of a .caffemodel file, in Keras' layout.

    Raises:
        ValueError: the file is damaged.
    """
    layers: Layers = {}
    for field, value in fields(data, budget):
        if field not in (_NET_LAYER, _NET_V1_LAYERS) or isinstance(value, int):
            continue
        name, dense, blobs = _layer(value, budget, v1=field == _NET_V1_LAYERS)
        if blobs:
            kernel = blobs[0]
            if dense:
                kernel = kernel.reshape(kernel.shape[-2:]).T
            else:
                kernel = kernel.transpose(2, 3, 1, 0)
            add(layers, name, "kernel", kernel)
            if len(blobs) > 1:
                add(layers, name, "bias", blobs[1].reshape(-1))
    return layers


def _layer(message: memoryview, budget: Budget, *, v1: bool) -> tuple[str, bool, list[np.ndarray]]:
    """A layer's name, whether it is an InnerProduct, and its blobs."""
    names = (_V1_NAME, _V1_TYPE, _V1_BLOBS) if v1 else (_NAME, _TYPE, _BLOBS)
    name, dense, blobs = "", False, []
    for field, value in fields(message, budget):
        if field == names[0] and not isinstance(value, int):
            name = bytes(value).decode()
        elif field == names[1]:
            dense = value == _V1_INNER_PRODUCT if v1 else value == b"InnerProduct"
        elif field == names[2] and not isinstance(value, int):
            blobs.append(_blob(value, budget))
    return name, dense, blobs


def _blob(message: memoryview, budget: Budget) -> np.ndarray:
    legacy = dict.fromkeys(_BLOB_LEGACY_SHAPE, 0)
    shape: list[int] = []
    data: list[memoryview] = []
    for field, value in fields(message, budget):
        if field in legacy and isinstance(value, int):
            legacy[field] = value
        elif field == _BLOB_SHAPE and not isinstance(value, int):
            for number, sizes in fields(value, budget):
                if number == 1:
                    shape += [sizes] if isinstance(sizes, int) else varints(sizes, budget)
        elif field == _BLOB_DATA and not isinstance(value, int):
            data.append(value)
    shape = shape or list(legacy.values())
    budget.array("a blob", shape, np.dtype("<f4"))
    return np.frombuffer(b"".join(data), "<f4").reshape(shape)
