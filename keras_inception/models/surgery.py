"""On a built model: what it computes where, its cost, its heads, and what trains.

Everything here works on any flat functional model of Keras' own layers.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers


def smallest_input(model: keras.Model) -> tuple[int, int]:
    """The smallest (height, width), in pixels, that every unpadded layer of a model can take.

    Walks the graph from the outputs, where one pixel is enough, back to the input: a layer with
    stride s and kernel k needs (n - 1) s + k pixels for n when unpadded, (n - 1) s + 1 when padded.
    """
    need: dict[int, np.ndarray] = {}  # id of a tensor -> (height, width) that it must have

    def ask(tensor: keras.KerasTensor, size: np.ndarray) -> None:
        need[id(tensor)] = np.maximum(need.get(id(tensor), 1), np.maximum(size, 1))

    for layer in reversed(model.layers):
        if isinstance(layer, layers.InputLayer):
            continue
        size = _input_size(layer, need.get(id(layer.output), np.ones(2, int)))
        for tensor in keras.tree.flatten(layer.input):
            ask(tensor, size)
    return tuple(int(n) for n in need[id(model.inputs[0])])


def _input_size(layer: keras.layers.Layer, size: np.ndarray) -> np.ndarray:
    """How large a layer's input must be for an output of `size`."""
    if isinstance(layer, layers.ZeroPadding2D):
        return size - np.array([sum(pad) for pad in layer.padding])
    kernel = getattr(layer, "kernel_size", getattr(layer, "pool_size", None))
    if kernel is None or not hasattr(layer, "padding"):
        return size
    extent = np.array(kernel) if layer.padding == "valid" else 1
    return (size - 1) * np.array(layer.strides) + extent
