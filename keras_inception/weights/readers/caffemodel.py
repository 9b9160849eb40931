"""Caffe's .caffemodel files: protocol buffers of caffe.proto's NetParameter, new and V1 layers.

Only the few fields that hold weights are needed, so Caffe and its generated classes are not.
"""

from __future__ import annotations

import numpy as np

from keras_inception.budget import Budget
from keras_inception.protobuf import Message, varint
from keras_inception.weights.readers.layers import Layers, add

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
    net = Message(data, budget)
    layers: Layers = {}
    for layer in net.messages(_NET_V1_LAYERS):
        dense = layer.number(_V1_TYPE) == _V1_INNER_PRODUCT
        _add(layers, layer.text(_V1_NAME), dense, layer.messages(_V1_BLOBS), budget)
    for layer in net.messages(_NET_LAYER):
        dense = layer.bytes(_TYPE) == b"InnerProduct"
        _add(layers, layer.text(_NAME), dense, layer.messages(_BLOBS), budget)
    return layers


def _add(layers: Layers, name: str, dense: bool, blobs: list[Message], budget: Budget) -> None:
    """Adds a layer's kernel and bias, if it has any."""
    for variable, blob in zip(("kernel", "bias"), blobs, strict=False):
        array = _array(blob, budget)
        if variable == "bias":
            array = array.reshape(-1)
        else:
            array = array.reshape(array.shape[-2:]).T if dense else array.transpose(2, 3, 1, 0)
        add(layers, name, variable, array)


def _array(blob: Message, budget: Budget) -> np.ndarray:
    shape = blob.message(_BLOB_SHAPE).numbers(1) or list(map(blob.number, _BLOB_LEGACY_SHAPE))
    budget.array("a blob", shape, np.dtype("<f4"))
    return np.frombuffer(b"".join(blob.all(_BLOB_DATA)), "<f4").reshape(shape)
