"""Measures a built model: its endpoints, its smallest input and its cost.

Everything here works on any flat functional model of Keras' own layers, and refuses others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_inception.identity import attach, identity_of


def check_flat(model: keras.Model) -> None:
    """Raises ValueError if a model is not one flat functional graph of layers."""
    inside = [v.name for v in getattr(model, "layers", []) if isinstance(v, keras.Model)]
    if isinstance(model, keras.Sequential) or not hasattr(model, "operations") or inside:
        what = (
            f"a model inside the model ({', '.join(inside)})" if inside else "no functional graph"
        )
        raise ValueError(
            "The model should be one flat functional graph, as the builders make it. To put layers "
            "of your own on a backbone, call them on its output: keras.Model(backbone.input, "
            f"head(backbone.output)). Received: {model.name}, a {type(model).__name__} with {what}"
        )


def smallest_input(model: keras.Model) -> tuple[int, int]:
    """The smallest (height, width), in pixels, that every unpadded layer of a model can take.

    Walks the graph from the outputs, where one pixel is enough, back to the input: a layer with
    stride s and kernel k needs (n - 1) s + k pixels for n when unpadded, (n - 1) s + 1 when padded.
    """
    check_flat(model)
    need: dict[int, np.ndarray] = {}  # id of a tensor -> (height, width) that it must have

    def ask(tensor: keras.KerasTensor, size: np.ndarray) -> None:
        need[id(tensor)] = np.maximum(need.get(id(tensor), 1), np.maximum(size, 1))

    for step in reversed(model.operations):
        if isinstance(step, layers.InputLayer):
            continue
        size = _input_size(step, need.get(id(step.output), np.ones(2, int)))
        for tensor in keras.tree.flatten(step.input):
            ask(tensor, size)
    height, width = need[id(model.inputs[0])]
    return int(height), int(width)


def _input_size(step: keras.Operation, size: np.ndarray) -> np.ndarray:
    """How large the input of a layer, or of another operation, must be for an output of `size`."""
    if isinstance(step, layers.ZeroPadding2D):
        return size - np.array([sum(pad) for pad in step.padding])
    kernel = getattr(step, "kernel_size", getattr(step, "pool_size", None))
    if kernel is None or not hasattr(step, "padding"):
        return size
    extent = np.array(kernel) if step.padding == "valid" else 1
    return (size - 1) * np.array(step.strides) + extent


def endpoints(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """The outputs of the inception blocks by their names, from the image to the last.

    A block's layers are called `{block}_...`, so a block is a layer whose name others begin with.

    Args:
        model: A network of the family.

    Returns:
        Name ("mixed_6a", "block35_1", ...) -> symbolic feature map, 4-D.
    """
    check_flat(model)
    names = [layer.name for layer in model.layers]
    found = {}
    for layer in model.layers:
        inside = any(name.startswith(f"{layer.name}_") for name in names)
        if inside and not isinstance(layer, layers.InputLayer) and len(layer.output.shape) == 4:
            found[layer.name] = layer.output
    return found


def block_of(layer: str, blocks: Iterable[str]) -> str:
    """The block that a layer belongs to, by its name.

    Args:
        layer: A layer's name.
        blocks: Names of the endpoints.

    Returns:
        An endpoint, "stem", an auxiliary head ("aux", "aux1", ...), or the layer's own name.
    """
    for block in blocks:
        if layer == block or layer.startswith(f"{block}_"):
            return block
    part = layer.partition("_")[0]
    return part if part == "stem" or part[:3] == "aux" else layer


def feature_pyramid(model: keras.Model) -> keras.Model:
    """The last features at strides 4, 8, 16 and 32, for detection and segmentation.

    Args:
        model: Any variant, with or without top; its weights are shared.

    Returns:
        A model from the image to {"P2", "P3", "P4", "P5"}, 4-D maps of stride 4, 8, 16 and 32.
        The stem's and the reductions' unpadded layers make a map a few pixels smaller than
        ceil(side / stride).

    Raises:
        ValueError: the model has no inception blocks.
    """
    strides = strides_of(model)
    blocks = endpoints(model)
    levels = {}
    for layer in model.layers:
        if layer.name in blocks or layer.name.startswith("stem_"):
            level = {4: "P2", 8: "P3", 16: "P4", 32: "P5"}.get(strides.get(layer.name, 0))
            if level is not None:
                levels[level] = layer.output  # a later layer replaces an earlier one
    pyramid = keras.Model(model.input, levels, name=f"{model.name}_pyramid")
    identity = identity_of(model)
    return attach(pyramid, identity.replace(class_names=())) if identity else pyramid


def last_endpoint(model: keras.Model) -> str:
    blocks = endpoints(model)
    if not blocks:
        raise ValueError(
            "The model has no inception blocks: give a model that this package's builders made. "
            f"Received: {model.name} with layers {[layer.name for layer in model.layers][:5]}..."
        )
    return list(blocks)[-1]


def strides_of(model: keras.Model) -> dict[str, int]:
    """Layer name -> pixels of the image between neighbours of its output, up to the last block."""
    strides: dict[int, int] = {}
    by_name = {}
    last = model.get_layer(last_endpoint(model)).output
    for step in keras.Model(model.input, last).operations:
        if isinstance(step, layers.InputLayer):
            stride = 1
        else:
            stride = max(strides[id(t)] for t in keras.tree.flatten(step.input))
            stride *= getattr(step, "strides", (1,))[0]
        strides[id(step.output)] = by_name[step.name] = stride
    return by_name


def multiply_adds(model: keras.Model) -> dict[str, int]:
    """Multiplications with addition that one image costs, by layer (convolutions and dense).

    Args:
        model: A model with a known input size. Biases, BatchNorm, pools and activations are not
            counted, as the papers do not.

    Raises:
        ValueError: the input size is open.
    """
    check_flat(model)
    if None in model.input_shape[1:]:
        raise ValueError(
            "The cost depends on the image's size: build the model with `input_shape`. "
            f"Received: input_shape={model.input_shape[1:]}"
        )
    costs = {}
    for layer in model.layers:
        if isinstance(layer, layers.SeparableConv2D):
            kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
        elif isinstance(layer, layers.Conv2D | layers.Dense):
            kernels = [layer.kernel]
        else:
            continue
        width = layer.units if isinstance(layer, layers.Dense) else layer.filters
        places = int(np.prod(layer.output.shape[1:])) // width
        costs[layer.name] = places * sum(int(np.prod(kernel.shape)) for kernel in kernels)
    return costs


def summary_by_block(model: keras.Model) -> list[dict[str, Any]]:
    """What every block gives and costs, from the image to the last: to hold against a paper.

    Args:
        model: A model with a known input size.

    Returns:
        Rows of "block" (an endpoint; "stem", "aux" and the top's layers stand for themselves),
        "output" (shape without the batch), "parameters" (trainable) and "multiply_adds".

    Raises:
        ValueError: the input size is open.
    """
    costs = multiply_adds(model)
    blocks = endpoints(model)
    rows: dict[str, dict[str, Any]] = {}
    for layer in model.layers:
        name, block = layer.name, block_of(layer.name, blocks)
        parameters = sum(int(np.prod(w.shape)) for w in layer.trainable_weights)
        alone = block == name and block not in blocks
        if alone and not parameters and not costs.get(name):
            continue
        row = rows.setdefault(block, {"block": block, "parameters": 0, "multiply_adds": 0})
        row["output"] = tuple((blocks[block] if block in blocks else layer.output).shape[1:])
        row["parameters"] += parameters
        row["multiply_adds"] += costs.get(name, 0)
    return list(rows.values())
