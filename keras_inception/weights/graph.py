"""The graph that a Keras model's configuration describes, read as data: nothing in it is run.

A `.keras` file says layer by layer what its network computes. `arguments_in` takes the builder's
arguments from that, and `check` holds it against the model that was built with them, so that a
difference is an error and never another answer.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import keras

from keras_inception.identity import Identity
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights.layouts.own import is_first

# Settings that change no answer of a trained network, or that the shapes of its arrays show.
_WITHOUT_EFFECT = {
    "name",
    "trainable",
    "dtype",
    "sparse",
    "ragged",
    "optional",
    "filters",
    "units",
    "use_bias",
    "center",
    "momentum",
    "synchronized",
    "renorm",
    "renorm_clipping",
    "renorm_momentum",
    "rate",
    "seed",
    "noise_shape",
    "quantization_config",
}
_WITHOUT_EFFECT_ENDINGS = ("_initializer", "_regularizer", "_constraint")
# Dropout does nothing when a network is asked; its layer is there or not, as the rate is 0 or not.
_TRANSPARENT = {"Dropout"}
_IMAGE = "the image"
# Inception-ResNet v2 has about 900; some questions to a graph take the square of the number.
_MOST_LAYERS = 5000

# Layers of convolutions, with the figure's number of filters: their ratio to a file's is the
# width multiplier. Wide and narrow ones, so that the ratio is narrowed down.
_FIGURES = {
    "InceptionV1": {
        "stem_0_conv": 64,
        "stem_1_1_conv": 192,
        "inception_4e_branch1_1_conv": 320,
        "inception_5b_branch0_0_conv": 384,
    },
    "BNInception": {
        "stem_1_1_conv": 192,
        "inception_4a_branch0_0_conv": 224,
        "inception_5b_branch0_0_conv": 352,
        "inception_5b_branch1_1_conv": 320,
    },
    "InceptionV2": {
        "stem_1_0_conv": 80,
        "stem_1_2_conv": 288,
        "mixed11_branch0_0_conv": 320,
        "mixed11_branch2_0_conv": 448,
    },
    "InceptionV3": {
        "stem_1_0_conv": 80,
        "stem_1_1_conv": 192,
        "mixed9_branch0_0_conv": 320,
        "mixed9_branch2_0_conv": 448,
    },
    "InceptionV4": {
        "stem_0_2_conv": 64,
        "mixed_6b_branch1_1_conv": 224,
        "mixed_7b_branch2_1_conv": 448,
        "mixed_7b_branch2_2_conv": 512,
    },
    "InceptionResNetV1": {
        "stem_1_0_conv": 80,
        "stem_1_2_conv": 256,
        "mixed_6a_branch1_0_conv": 192,
        "mixed_6a_branch0_0_conv": 384,
    },
    "InceptionResNetV2": {
        "stem_0_2_conv": 64,
        "mixed_7a_branch2_1_conv": 288,
        "mixed_7a_branch2_2_conv": 320,
        "mixed_6a_branch0_0_conv": 384,
    },
}


@dataclasses.dataclass(frozen=True)
class Node:
    """One layer, or one operation, of a graph.

    Attributes:
        kind: Its class, such as "Conv2D".
        settings: Its configuration, as JSON holds it.
        inputs: What it is called with: names of other nodes, and constants.
    """

    kind: str
    settings: dict[str, Any]
    inputs: tuple[Any, ...]


Graph = Mapping[str, Node]


def read(text: str) -> Graph:
    """The graph in a model's JSON: the flat network with our layers, also inside another model.

    Args:
        text: What `model.to_json()` gives, `config.json` of a `.keras` file, or nothing.

    Returns:
        Nodes by name; empty if no network with our layer names is in it.

    Raises:
        ValueError: the text is not a Keras model's configuration.
    """
    try:
        for config in _networks(json.loads(text or '{"config": {}}')):
            graph = {str(layer["name"]): _node(layer) for layer in _layers(config)}
            if any(is_first(name) for name in graph):
                return graph
    except (AttributeError, IndexError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"the model's configuration (config.json) is damaged: {type(error).__name__} {error}"
        ) from error
    return {}


def text_of(model: keras.Model) -> str:
    """A model's JSON if our layers are in it, and else an empty text, which `read` takes, too."""
    pending = list(getattr(model, "layers", []))
    while pending:
        layer = pending.pop()
        if is_first(layer.name):
            return model.to_json()
        pending += getattr(layer, "layers", [])
    return ""


def _networks(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A model's configuration and those of the models inside it."""
    yield config
    for layer in _layers(config):
        if "layers" in layer.get("config", {}):
            yield from _networks(layer)


def _layers(config: dict[str, Any]) -> list[dict[str, Any]]:
    layers = config["config"].get("layers", [])
    if len(layers) > _MOST_LAYERS:
        raise ValueError(f"the model's configuration has more than {_MOST_LAYERS:,} layers")
    return [{"name": layer["config"].get("name"), **layer} for layer in layers]


def _node(layer: dict[str, Any]) -> Node:
    calls = layer.get("inbound_nodes", [])
    if len(calls) > 1:
        calls = [{"args": ["called more than once"]}]
    return Node(str(layer["class_name"]), dict(layer["config"]), tuple(_called_with(calls)))


def _called_with(value: Any) -> Iterator[Any]:
    """Names of nodes and constants, in the order of a call's arguments."""
    if isinstance(value, dict) and "keras_history" in value.get("config", {}):
        yield str(value["config"]["keras_history"][0])
    elif isinstance(value, dict):
        for key in sorted(value):
            if key not in ("mask", "training"):
                yield from _called_with(value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _called_with(item)
    elif value is not None:
        yield value


# ----------------------------------------------------------------- the builder and its arguments


def variant_in(graph: Graph) -> str:
    """Name of the builder whose layers a graph has; empty if there is none."""
    if "block8_1" in graph:
        released_or_paper = "mixed_5b" in graph or "mixed_5a" in graph
        return "InceptionResNetV2" if released_or_paper else "InceptionResNetV1"
    for variant, layer in (
        ("InceptionV4", "mixed_7d"),
        ("InceptionV2", "mixed11"),
        ("InceptionV3", "mixed10"),
        ("BNInception", "inception_3c"),
        ("InceptionV1", "inception_5b"),
    ):
        if layer in graph:
            return variant
    return ""


def arguments_in(graph: Graph) -> dict[str, Any]:
    """The builder's arguments that a graph shows: all that decide what is computed.

    They are not checked here: `Identity.create` holds them against the builder's, and `check` the
    graph against what was built with them.

    Args:
        graph: A graph with the layers of a variant.
    """
    variant = variant_in(graph)
    if not variant:
        return {}
    norms = [n for name, n in graph.items() if n.kind == "BatchNormalization"]
    norms = [n for n in norms if n.settings.get("name") != "bottleneck_bn"] or norms
    found: dict[str, Any] = {
        "width_multiplier": _width(graph, variant),
        "batch_norm": bool(norms),
    }
    if norms:
        found["bn_scale"] = norms[0].settings.get("scale")
        found["bn_epsilon"] = norms[0].settings.get("epsilon")
    if "predictions" in graph:
        activation = graph["predictions"].settings.get("activation")
        found["classifier_activation"] = None if activation == "linear" else activation
    found |= {
        "InceptionV1": _of_v1,
        "BNInception": _of_bn_inception,
        "InceptionV2": lambda graph: {},
        "InceptionV3": _of_v3,
        "InceptionV4": _of_padded_averages,
        "InceptionResNetV1": _of_resnet_v1,
        "InceptionResNetV2": _of_resnet_v2,
    }[variant](graph)
    return found


def identity_in(text: str, preprocessing: Preprocessing | None = None) -> Identity:
    """The identity that a model's JSON shows; its variant is empty for a network of another kind.

    Args:
        text: What `model.to_json()` gives, or `config.json` of a `.keras` file.
        preprocessing: The contract, which a graph does not hold.

    Raises:
        ValueError: the text is not a Keras model's configuration, or a layer with one of our names
            has a setting that the builder does not know.
    """
    graph = read(text)
    return Identity.create(variant_in(graph), arguments_in(graph), preprocessing)


def _setting(graph: Graph, layer: str, name: str) -> Any:
    """A layer's setting; None if there is no such layer or setting."""
    return graph[layer].settings.get(name) if layer in graph else None


def _side(graph: Graph, layer: str, name: str) -> Any:
    """The first number of a square kernel or window."""
    sides = _setting(graph, layer, name)
    return sides[0] if isinstance(sides, list) and sides else sides


def _of_v1(graph: Graph) -> dict[str, Any]:
    return {
        "lrn": "stem_0_lrn" in graph,
        "branch5x5": _side(graph, "inception_3a_branch2_1_conv", "kernel_size"),
        "last_pool": _side(graph, "inception_4e_pool", "pool_size"),
        "symmetric_padding": "stem_0_pad" in graph,
        "adaptive_aux_pool": "aux1_crop00" in graph,
    }


def _of_bn_inception(graph: Graph) -> dict[str, Any]:
    # 4b's and 4c's pool projections are as wide in Caffe's, and 4c's is narrower in TF-Slim's.
    widths = [_setting(graph, f"inception_4{x}_branch3_0_conv", "filters") for x in "bc"]
    return {
        **_of_padded_averages(graph),
        "separable_stem": "stem_0_conv" in graph and graph["stem_0_conv"].kind != "Conv2D",
        "widths": "caffe" if widths[0] == widths[1] else "slim",
        "symmetric_padding": "inception_3c_branch0_1_pad" in graph,
        "symmetric_pool_padding": "stem_0_pool_pad" in graph,
    }


def _of_v3(graph: Graph) -> dict[str, Any]:
    pool = graph["mixed10_branch3_pool"].kind if "mixed10_branch3_pool" in graph else ""
    return {
        **_of_padded_averages(graph),
        "last_pool": "max" if pool == "MaxPooling2D" else "avg",
    }


def _of_padded_averages(graph: Graph) -> dict[str, Any]:
    return {"avg_pool_counts_padding": any(name.endswith("_branch3_pad") for name in graph)}


def _of_residuals(graph: Graph) -> dict[str, Any]:
    kinds = ("block35", "block17", "block8")
    scales = [_setting(graph, f"{kind}_1_scale", "scale") for kind in kinds]
    # Of a kind that has no block, or only the last block8, which adds all of its residual, any
    # scale is as good.
    scales = [1.0 if scale is None else scale for scale in scales]
    return {"residual_scale": scales[0] if scales[0] == scales[1] == scales[2] else tuple(scales)}


def _of_resnet_v1(graph: Graph) -> dict[str, Any]:
    kinds = ("block35", "block17", "block8")
    numbers = [sum(_is_block(name, kind) for name in graph) for kind in kinds]
    return {
        **_of_residuals(graph),
        "embedding": _setting(graph, "bottleneck", "units"),
        "blocks": tuple(numbers),
    }


def _of_resnet_v2(graph: Graph) -> dict[str, Any]:
    return {
        **_of_residuals(graph),
        **_of_padded_averages(graph),
        "paper": "conv_7b" not in graph,
    }


def _is_block(name: str, kind: str) -> bool:
    """Whether a node is the output of a residual block: "block35_1", not "block35_1_mixed"."""
    return name.rpartition("_")[0] == kind


def _width(graph: Graph, variant: str) -> float:
    """The width multiplier: the simplest number that gives the filters of the graph."""
    low, high = Fraction(0), Fraction(2**20)
    for layer, figure in _FIGURES[variant].items():
        filters = _setting(graph, layer, "filters")
        if not isinstance(filters, int) or isinstance(filters, bool) or filters < 1:
            continue
        high = min(high, Fraction(filters + 1, figure))
        if filters > 16:  # 16 may also be the least that a convolution keeps
            low = max(low, Fraction(filters, figure))
    if low <= 1 < high:
        return 1.0
    for digits in range(1, 8):
        width = Fraction(max(1, math.ceil(low * 10**digits)), 10**digits)
        if width < high:
            return float(width)
    return float(low)


def scaling_in(graph: Graph) -> tuple[Any, Any] | None:
    """The (mean, std) of images in 0..255 that a graph scales by itself, or None.

    Each is one number, or one a channel.
    """
    front = [name for name in _in_front(graph) if graph[name].kind == "Rescaling"]
    if len(front) != 1:
        return None
    settings = graph[front[0]].settings
    try:
        scale, offset = (_numbers(settings[name]) for name in ("scale", "offset"))
        count = max(len(scale), len(offset))
        scale, offset = (v * count if len(v) == 1 else v for v in (scale, offset))
        # Ten digits undo the rounding of 1 / std.
        std = [float(f"{1 / s:.10g}") for s in scale]
        mean = [float(f"{-o / s:.10g}") for s, o in zip(scale, offset, strict=True)]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    mean, std = ([abs(v) if v == 0 else v for v in values] for values in (mean, std))
    return tuple(v[0] if len(set(v)) == 1 else tuple(v) for v in (mean, std))  # type: ignore[return-value]


def _numbers(value: Any) -> list[float]:
    return [float(v) for v in (value if isinstance(value, list) else [value])]


def unknown_in_front(graph: Graph) -> list[str]:
    """Layers between the image and the network that are not one scaling of the images."""
    known = {"InputLayer", *_TRANSPARENT, *(["Rescaling"] if scaling_in(graph) else [])}
    return [
        name
        for name in _in_front(graph)
        # An earlier version of this package had operations of these names there.
        if graph[name].kind not in known and not name.startswith("preprocessing_")
    ]


def _in_front(graph: Graph) -> list[str]:
    """Names of the nodes that the network's first layer is computed from."""
    found: list[str] = []
    pending = [i for name in graph if is_first(name) for i in graph[name].inputs]
    while pending:
        name = pending.pop()
        if isinstance(name, str) and name in graph and name not in found and not is_first(name):
            found.append(name)
            pending += graph[name].inputs
    return found


# ----------------------------------------------------------------------------------- the check


def check(graph: Graph, model: keras.Model, source: str) -> None:
    """Holds a file's graph against the model that was built for it, layer by layer.

    Compared are the class, the settings that matter and the connections of every layer of the
    model between the image and its heads, and of those heads that both have. The classifier's own
    activation is the caller's choice.

    Args:
        graph: The file's graph.
        model: A model that a builder has just made.
        source: The file, for the message.

    Raises:
        ValueError: a layer differs; the message names the first that does, and the setting.
    """
    built = read(text_of(model))
    same_size = image_size(graph) == image_size(built)
    formats = tuple(_data_format(g) for g in (graph, built))
    front = _in_front(built)
    for name, ours in built.items():
        if ours.kind == "InputLayer" or ours.kind in _TRANSPARENT or name in front:
            continue
        theirs = graph.get(name)
        if theirs is None:
            if _in_head(name) or name in ("avg_pool", "max_pool"):
                continue
            raise _difference(source, name, "the layer", "is missing", f"a {ours.kind}")
        if theirs.kind != ours.kind:
            raise _difference(source, name, "its class", theirs.kind, ours.kind)
        left, right = (
            _effective(name, node, same_size, data_format)
            for node, data_format in zip((theirs, ours), formats, strict=True)
        )
        for setting in sorted({*left, *right}):
            a, b = left.get(setting), right.get(setting)
            # Some versions of Keras leave out settings that are None or False.
            if a != b and (a or b):
                raise _difference(source, name, f"`{setting}`", a, b)
        if not is_first(name):
            a, b = (
                [_origin(i, g) for i in node.inputs] for node, g in ((theirs, graph), (ours, built))
            )
            if a != b:
                raise _difference(source, name, "its input", _shown(a), _shown(b))


def _difference(source: str, layer: str, what: str, theirs: Any, ours: Any) -> ValueError:
    return ValueError(
        f"{source} holds another network than the one that was built: of layer {layer}, {what} is "
        f"{theirs} in the file and {ours} in the model. Leave out the builder's arguments that say "
        "otherwise than the file; if the network was changed after it was built, load the file "
        "with keras.models.load_model."
    )


def _in_head(name: str) -> bool:
    """Whether a layer belongs to a classifier that a file or a model may lack."""
    return name == "predictions" or name.partition("_")[0] in ("aux", "aux1", "aux2")


def _origin(value: Any, graph: Graph) -> Any:
    """An input's name, past layers that do nothing."""
    seen = set()
    while isinstance(value, str) and value in graph and value not in seen:
        seen.add(value)
        node = graph[value]
        if node.kind not in _TRANSPARENT or not node.inputs:
            break
        value = node.inputs[0]
    return value


def _effective(name: str, node: Node, same_size: bool, data_format: Any) -> dict[str, Any]:
    """A node's settings that change what it computes, in a form that two files share."""
    settings = {
        key: json.loads(json.dumps(value))
        for key, value in node.settings.items()
        if key not in _WITHOUT_EFFECT and not key.endswith(_WITHOUT_EFFECT_ENDINGS)
    }
    if node.kind == "BatchNormalization":
        settings.pop("scale", None)  # whether there is a gamma shows in the arrays
    if name == "predictions":
        settings.pop("activation", None)
    if settings.get("data_format") == data_format:
        del settings["data_format"]
    axis = settings.get("axis")
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis in ((1,) if data_format == "channels_first" else (-1, 3)):
        settings["axis"] = "channels"
    if not same_size:
        settings.pop("target_shape", None)
        if node.kind in ("Cropping2D", "AveragePooling2D") and _in_head(name):
            settings = {}  # torch's adaptive pool, drawn for a size
    return settings


def image_size(graph: Graph) -> tuple[int, int] | None:
    """(height, width) of the images that a graph takes, or None if they are open."""
    for node in graph.values():
        shape = node.settings.get("batch_shape")
        if node.kind == "InputLayer" and isinstance(shape, list) and len(shape) == 4:
            sides = shape[2:] if _data_format(graph) == "channels_first" else shape[1:3]
            if all(type(side) is int and side > 0 for side in sides):
                return sides[0], sides[1]
    return None


def _data_format(graph: Graph) -> Any:
    return next(
        (n.settings["data_format"] for n in graph.values() if "data_format" in n.settings), None
    )


def _shown(inputs: list[Any]) -> str:
    return ", ".join(map(str, inputs)) or "nothing"
