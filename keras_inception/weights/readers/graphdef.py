"""Frozen TensorFlow graphs (GraphDef, .pb), read as data: nothing in them is run.

A layer is a convolution or a matrix product whose kernel is a constant; what stands behind it tells
its bias, also where a tool folded BatchNorm into it. The operations in front of the first one are
the preprocessing that the graph does by itself.
"""

from __future__ import annotations

import json
import logging
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_inception import files
from keras_inception.budget import Budget
from keras_inception.protobuf import Message, fields, varint
from keras_inception.weights.readers.layers import Layers, add

# What stands for retrain.py's classifier: it gave it two scopes and, over the years, many names.
RETRAINED = "final_training_ops"

# Field numbers of graph.proto, node_def.proto, attr_value.proto, tensor.proto, tensor_shape.proto.
_NODE = 1
_NAME, _OP, _INPUT, _ATTRIBUTE = 1, 2, 3, 5
_KEY, _VALUE = 1, 2
_TEXT, _NUMBER, _FLOAT, _TENSOR = 2, 3, 4, 8
_TRUTH = 5
_DTYPE, _SHAPE, _CONTENT = 1, 2, 4
_DIM, _SIZE = 2, 1
# TensorFlow's numbers of dtypes -> numpy's, and the field of values that are not packed as bytes.
_DTYPES = {
    1: ("<f4", 5),
    2: ("<f8", 6),
    3: ("<i4", 7),
    9: ("<i8", 10),
    19: ("<f2", 13),
    11: ("i1", 7),  # qint8
    12: ("u1", 7),  # quint8
}
_VARINTS = (7, 10, 13)
_LAYERS = {"Conv2D": "kernel", "DepthwiseConv2dNative": "depthwise_kernel", "MatMul": "kernel"}
_KERNEL = re.compile(
    r"(.+?)(?:/(?:weights|kernel|conv2d_params|depthwise_weights|pointwise_weights)|_w)"
)
_NORM = re.compile(r"(.+)/(gamma|beta|moving_mean|moving_variance)")
_SAME = {"Identity", "StopGradient", "Cast", "PlaceholderWithDefault"}
_SUMS = {"BiasAdd", "Add", "AddV2"}
_LONGEST_CHAIN = 50  # operations in a row that are followed
_RESIZES = {"ResizeBilinear": "bilinear", "ResizeBicubic": "bicubic"}


class _Node(NamedTuple):
    op: str
    inputs: list[str]
    attributes: dict[str, Message]


def is_graph(start: bytes) -> bool:
    """Whether a file may be a GraphDef: it begins with a node, which begins with name and op."""
    try:
        _, at = varint(start, 1)
        length, name = varint(start, at + 1)
    except ValueError:
        return False
    return start[0] == start[at] == 0x0A and start[name + length : name + length + 1] == b"\x12"


def read(data: memoryview, budget: Budget) -> tuple[Layers, dict[str, str]]:
    """The layers of a frozen graph, and what its operations show.

    Returns:
        The layers in Keras' layout, and {"shown": JSON} with the builder's "arguments" and the
        fields of the "preprocessing" that can be read off the operations.

    Raises:
        ValueError: the graph is damaged, or holds no constant kernels.
    """
    graph = _Graph(data, budget)
    layers = graph.layers()
    if not layers:
        raise ValueError(
            "it is a graph without weights: it was not frozen. Give the checkpoint that belongs to "
            "it, or freeze it with TensorFlow's convert_variables_to_constants"
        )
    shown = {"arguments": graph.arguments(), "preprocessing": graph.preprocessing()}
    return layers, {"shown": json.dumps(shown)}


def labels_beside(path: Path, outputs: int) -> tuple[str, ...]:
    """The class names in the text file beside a retrained graph, if it has one a line and output.

    It is called retrained_labels.txt beside retrained_graph.pb, NAME.txt or labels.txt.
    """
    for name in (f"{path.stem.replace('graph', 'labels')}.txt", f"{path.stem}.txt", "labels.txt"):
        file = path.with_name(name)
        if outputs and file.is_file():
            lines = files.read_text(file).split("\n")
            names = tuple(line.strip() for line in lines if line.strip())
            if len(names) == outputs:
                logging.info("%s gives the names of its classes.", file)
                return names
            logging.warning("%s has %d names for %d outputs.", file, len(names), outputs)
    return ()


class _Graph:
    """A graph's nodes, by their names."""

    def __init__(self, data: memoryview, budget: Budget) -> None:
        self._budget = budget
        self.nodes: dict[str, _Node] = {}
        self.users: dict[str, list[str]] = {}
        for field, value in fields(data, budget):
            if field != _NODE or isinstance(value, int):
                continue
            message = Message(value, budget)
            name = message.text(_NAME)
            inputs = [str(i, "utf-8") for i in message.all(_INPUT)]
            inputs = [i.removesuffix(":0") for i in inputs if i[:1] != "^"]
            entries = message.messages(_ATTRIBUTE)
            attributes = {entry.text(_KEY): entry.message(_VALUE) for entry in entries}
            if name in self.nodes:
                raise ValueError(f"it holds two nodes called {name!r:.80}")
            self.nodes[name] = _Node(message.text(_OP), inputs, attributes)
            for i in inputs:
                self.users.setdefault(i, []).append(name)

    def layers(self) -> Layers:
        """The layers with constant kernels, and the BatchNorms that are called so."""
        found: Layers = {}
        unused = set()  # a gamma is there even where it is not used: an attribute decides
        for node in self.nodes.values():
            if node.op == "BatchNormWithGlobalNormalization" and len(node.inputs) == 5:
                if not node.attributes["scale_after_normalization"].number(_TRUTH):
                    unused.add(self._origin(node.inputs[4]))
        for name, node in self.nodes.items():
            norm = _NORM.fullmatch(name)
            if norm and node.op in ("Const", "Dequantize"):
                if name not in unused and self._is_used(name):
                    add(found, norm[1], norm[2], self._array(name))
            elif node.op in _LAYERS and len(node.inputs) == 2:
                self._add_layer(found, name, node)
        return found

    def _add_layer(self, found: Layers, name: str, node: _Node) -> None:
        """A layer's kernel and bias, with whatever else was folded out of a BatchNorm behind it."""
        origin = self._origin(node.inputs[1])
        kernel = self._constant(origin)
        if kernel is None:
            return
        if node.op == "MatMul" and self._attribute(node, "transpose_b", _TRUTH):
            kernel = kernel.T
        known = _KERNEL.fullmatch(origin)
        layer = known[1] if known else origin.rpartition("/")[0] or origin
        if origin.startswith(("final_training_ops/", "final_retrain_ops/")):
            layer = RETRAINED
        scale, bias = self._behind(name, kernel.shape[-1])
        if node.op != "DepthwiseConv2dNative":
            kernel = kernel if scale is None else kernel * scale
        pointwise = origin.endswith("/pointwise_weights")
        add(found, layer, "pointwise_kernel" if pointwise else _LAYERS[node.op], kernel)
        if bias is not None:
            add(found, layer, "bias", bias)

    def _behind(self, name: str, width: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The factors and the sums, one a channel, by constants behind a node; None for none."""
        scale: np.ndarray | None = None
        bias: np.ndarray | None = None
        for _ in range(_LONGEST_CHAIN):
            users = self.users.get(name, [])
            node = self.nodes[users[0]] if len(users) == 1 else None
            if node is None or node.op not in _SUMS | {"Mul", "Sub"} or len(node.inputs) != 2:
                break
            other = node.inputs[node.inputs[0] == name]
            value = self._constant(self._origin(other))
            if value is None or value.shape != (width,):
                break
            if node.op == "Mul":
                scale = value if scale is None else scale * value
                bias = None if bias is None else bias * value
            else:
                value = -value if node.op == "Sub" else value
                bias = value if bias is None else bias + value
            name = users[0]
        return scale, bias

    def arguments(self) -> dict[str, Any]:
        """Builder arguments that the operations show.

        Raises:
            ValueError: operations of one kind differ, which no builder draws.
        """
        epsilons, norms, kinds = set(), set(), set()
        for node in self.nodes.values():
            kinds.add(node.op)
            if node.op.startswith("FusedBatchNorm"):
                epsilons.add(_rounded(self._attribute(node, "epsilon", _FLOAT, 1e-4)))
            elif node.op == "BatchNormWithGlobalNormalization":
                epsilons.add(_rounded(self._attribute(node, "variance_epsilon", _FLOAT, 0.0)))
            elif node.op == "Rsqrt" and node.inputs and node.inputs[0] in self.nodes:
                parts = [self._constant(self._origin(i)) for i in self.nodes[node.inputs[0]].inputs]
                epsilons |= {_rounded(p) for p in parts if p is not None and p.ndim == 0}
            elif node.op == "LRN":
                channels = 2 * self._attribute(node, "depth_radius", _NUMBER, 5) + 1
                settings = [("alpha", 1.0), ("beta", 0.5), ("bias", 1.0)]
                alpha, *rest = (self._attribute(node, n, _FLOAT, usual) for n, usual in settings)
                norms.add((channels, _rounded(alpha * channels), *map(_rounded, rest)))
        found: dict[str, Any] = {}
        for argument, values in (("bn_epsilon", epsilons), ("lrn", norms)):
            if len(values) > 1:
                raise ValueError(f"its layers have several {argument}: {sorted(values)[:3]}")
            if values:
                found[argument] = values.pop()
        if "Sigmoid" in kinds and "Softmax" not in kinds:
            found["classifier_activation"] = "sigmoid"
        return found

    def preprocessing(self) -> dict[str, Any]:
        """The fields of a contract that the operations in front of the first convolution show."""
        first = next((n for n in self.nodes.values() if n.op in _LAYERS and n.op != "MatMul"), None)
        if first is None or not first.inputs:
            return {}
        name, scale, offset = first.inputs[0], np.ones(1), np.zeros(1)
        found: dict[str, Any] = {}
        scaled = False
        for _ in range(_LONGEST_CHAIN):
            node = self.nodes.get(name)
            if node is None or not node.inputs or node.op.startswith("Decode"):
                break
            name = node.inputs[0]
            value = self._constant(self._origin(node.inputs[1])) if len(node.inputs) > 1 else None
            value = None if value is None else value.reshape(-1)
            if node.op in _RESIZES and value is not None and value.shape == (2,):
                found |= {"size": [int(side) for side in value], "crop_fraction": 1.0}
                found |= {"aspect": "stretch", "antialias": False}
                found["interpolation"] = _RESIZES[node.op]
            elif node.op in _SUMS | {"Sub"} and value is not None:
                offset = offset + scale * (-value if node.op == "Sub" else value)
                scaled = True
            elif node.op in ("Mul", "Div", "RealDiv") and value is not None:
                scale = scale * value if node.op == "Mul" else scale / value
                scaled = True
            elif node.op not in _SAME | {"ExpandDims", "Reshape", "Squeeze"}:
                logging.warning("What the graph does to its images is not read: %s.", node.op)
                return {}
        if scaled and scale.size in (1, 3) and offset.size in (1, 3) and (scale > 0).all():
            mean, std = np.broadcast_arrays(-offset / scale, 1 / scale)
            # A placeholder may take images in 0..1, as TF-Hub's modules do.
            unit = 255 if max(abs(mean).max(), std.max()) <= 1 else 1
            found |= {"mean": _plain(mean * unit), "std": _plain(std * unit)}
        return found

    def _attribute(self, node: _Node, name: str, field: int, usual: Any = 0) -> Any:
        """An attribute's value: a number, or a float; the usual one if it is not there."""
        if name not in node.attributes:
            return usual
        if field == _FLOAT:
            return float(np.frombuffer(node.attributes[name].bytes(field), "<f4")[0])
        return node.attributes[name].number(field)

    def _is_used(self, name: str) -> bool:
        """Whether an operation takes a constant: tools leave those behind that they folded."""
        users = self.users.get(name, [])
        return any(self.nodes[u].op != "Identity" or u in self.users for u in users)

    def _origin(self, name: str) -> str:
        """The node that a value comes from, past nodes that change nothing."""
        for _ in range(_LONGEST_CHAIN):
            node = self.nodes.get(name)
            if node is None or node.op not in _SAME or not node.inputs:
                break
            name = node.inputs[0]
        return name

    def _constant(self, name: str) -> np.ndarray | None:
        """A constant's values; None for any other node."""
        node = self.nodes.get(name)
        return self._array(name) if node and node.op in ("Const", "Dequantize") else None

    def _array(self, name: str) -> np.ndarray:
        node = self.nodes[name]
        if node.op == "Dequantize":
            return self._dequantized(name, node)
        tensor = node.attributes["value"].message(_TENSOR)
        number = tensor.number(_DTYPE)
        if number not in _DTYPES:
            raise ValueError(f"{name!r:.80} has TensorFlow's dtype {number}, which is not read")
        kind, field = _DTYPES[number]
        dtype = np.dtype(kind)
        shape = [dim.number(_SIZE) for dim in tensor.message(_SHAPE).messages(_DIM)]
        count = self._budget.array(name, shape, dtype)
        packed = tensor.bytes(_CONTENT)
        if packed or field not in _VARINTS:
            values = np.frombuffer(packed or b"".join(tensor.all(field)), dtype)
        else:
            numbers = np.array(tensor.numbers(field), np.uint64)
            values = numbers.astype(f"<u{dtype.itemsize}").view(dtype)
        if len(values) > count or (len(values) < count and packed):
            raise ValueError(f"{name!r:.80} has {len(values):,} values for a shape of {shape}")
        if len(values) < count:  # the last one is written once
            last = values[-1] if len(values) else 0
            values = np.concatenate([values, np.full(count - len(values), last, dtype)])
        return values.reshape(shape)

    def _dequantized(self, name: str, node: _Node) -> np.ndarray:
        """8-bit values by their minimum and maximum, as TensorFlow computes them."""
        mode = node.attributes["mode"].text(_TEXT) if "mode" in node.attributes else "MIN_COMBINED"
        parts = [self._constant(self._origin(i)) for i in node.inputs[:3]]
        values, *ends = (p for p in parts if p is not None)
        if len(ends) != 2 or mode not in ("MIN_FIRST", "MIN_COMBINED") or values.itemsize != 1:
            raise ValueError(f"{name!r:.80} is quantized in a way that is not read ({mode})")
        self._budget.array(name, values.shape, np.dtype("<f4"))
        low, high = (float(end.reshape(-1)[0]) for end in ends)
        step = (high - low) / 255
        if mode == "MIN_FIRST" and step:
            low = math.copysign(math.floor(abs(low / step) + 0.5), low) * step  # as C rounds
        least = -128 if values.dtype.kind == "i" else 0
        return ((values.astype(np.float32) - least) * np.float32(step) + np.float32(low)).astype(
            np.float32
        )


def _rounded(value: Any) -> float:
    """Seven digits: what a float32 was written as."""
    return float(f"{float(value):.6g}")


def _plain(values: np.ndarray) -> float | list[float]:
    """One number, or one a channel."""
    rounded = [abs(n) if n == 0 else n for n in map(_rounded, values)]
    return rounded[0] if len(set(rounded)) == 1 else rounded
