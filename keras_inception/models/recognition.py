"""A graph recognised: which variant it is, with which arguments, and whether a model computes it.

`weights` reads what a file holds. Here it is held against the variants: `identified` completes what
a file says of itself by what its graph shows, and `check` compares the graph with the model that
was built, so that a difference is an error and never another answer.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import math
import random
from fractions import Fraction
from typing import Any

import keras
import numpy as np

from keras_inception.identity import Identity
from keras_inception.models import registry
from keras_inception.models.arguments import check_recorded, recorded
from keras_inception.models.layers import Conventions, conventions, conventions_in
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights import Loaded
from keras_inception.weights.graph import Graph, Node, data_format, image_size, read, text_of
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

# Values of the smallest variant, InceptionV1, without its classifier: 5.6 million.
_FEWEST_VALUES = 4e6


def identified(loaded: Loaded, variant: str = "") -> Loaded:
    """What was read, with the variant and the arguments that its graph shows.

    Args:
        loaded: What `weights.read` or `weights.resolve` gave.
        variant: The builder that will be called; empty for the file's own.

    Raises:
        ValueError: the file belongs to another variant, it claims arguments that the builder does
            not take, or a width that its arrays cannot have.
    """
    identity = loaded.identity
    try:
        if loaded.graph:
            identity = identity_in(loaded.graph, identity)
        check_arguments(identity, variant)
    except ValueError as error:
        raise ValueError(f"{loaded.source} cannot be used: {error}") from error
    if variant and identity.variant not in ("", variant):
        raise ValueError(
            f"{loaded.source} holds weights of {identity.variant}. Received: variant {variant}"
        )
    width = identity.arguments.get("width_multiplier", 1)
    values = sum(array.size for array in loaded.arrays.values())
    if width > 1 and values < _FEWEST_VALUES * width**2:
        raise ValueError(
            f"{loaded.source} says width_multiplier={width}, and holds the {values:,} values of a "
            "narrower network."
        )
    return dataclasses.replace(loaded, identity=identity)


def check_arguments(identity: Identity, variant: str = "") -> None:
    """Holds the arguments that a file claims against its variant's builder, or against another's.

    Raises:
        ValueError: there is no such variant, or its builder does not take an argument or its value.
    """
    if identity.variant or variant:
        check_recorded(registry.builder_of(identity.variant or variant), identity.arguments)


def identity_in(graph: Graph, known: Identity) -> Identity:
    """The identity that a graph shows; its variant is empty for a network of another kind.

    Args:
        graph: A graph with our layer names.
        known: What is known besides: the contract, which a graph does not hold, and arguments.

    Raises:
        ValueError: a layer with one of our names has a setting that the builder does not take.
    """
    for variant in registry.list_models():
        builder = registry.builder_of(variant)
        own_arguments = builder.arguments_in(graph)
        if own_arguments is None:
            continue
        shown = {**conventions_in(graph), **own_arguments}
        shown = {name: value for name, value in shown.items() if name in recorded(builder)}
        if "predictions" in graph:
            activation = graph["predictions"].settings.get("activation")
            shown["classifier_activation"] = None if activation == "linear" else activation
        found = Identity.create(variant, {**shown, **known.arguments})
        check_arguments(found)
        arguments = found.arguments
        if "width_multiplier" not in arguments:
            arguments["width_multiplier"] = _width(graph, variant, found.builder_arguments)
        read = Identity.create(variant, arguments, known.preprocessing, known.class_names)
        if known.output == "sigmoid":
            return read.replace(output=known.output, thresholds=known.thresholds)
        return read
    return known


def shown_by(model: keras.Model) -> Identity:
    """What a model's graph shows of it; without a variant for a network of another kind."""
    return identity_in(read(text_of(model)), Identity(""))


def _width(graph: Graph, variant: str, arguments: tuple[tuple[str, Any], ...]) -> float:
    """The width multiplier: the simplest number that gives the filters of the graph."""
    ends = ("batch_norm", "bn_scale", "bn_epsilon", "classifier_activation")
    body = tuple(pair for pair in arguments if pair[0] not in ends)
    kernels = frozenset(f"{name}/kernel" for name, node in graph.items() if node.kind == "Conv2D")
    low, high, both = Fraction(0), Fraction(2**20), []
    for layer, figure in _filters(variant, body, kernels).items():
        filters = graph[layer].settings.get("filters") if layer in graph else None
        if type(filters) is not int or filters < 1:
            continue
        both.append((figure, filters))
        high = min(high, Fraction(filters + 1, figure))
        if filters > 16:  # 16 may also be the least that a convolution keeps
            low = max(low, Fraction(filters, figure))
    if low <= 1 < high:
        return 1.0
    for digits in range(1, 8):
        # Filters are the whole part of a float's product, which may lie on either side.
        for tenths in (math.ceil(low * 10**digits), math.floor(low * 10**digits)):
            how = Conventions(width_multiplier=max(1, tenths) / 10**digits)
            if all(how.filters(figure) == filters for figure, filters in both):
                return how.width_multiplier
    return float(low)


@functools.lru_cache(maxsize=8)
def _filters(
    variant: str, arguments: tuple[tuple[str, Any], ...], kernels: frozenset[str]
) -> dict[str, int]:
    """The filters of each convolution as the figures print them: the variant is drawn once."""
    state = random.getstate()  # Keras' seeds come from it, and must not depend on what is known
    with conventions(loaded=kernels):  # none is drawn by random numbers
        model = registry.get_model(
            variant, weights=None, classes=1, batch_norm=False, **dict(arguments)
        )
    random.setstate(state)
    # A residual's last convolution is as wide as its input, whatever the figure prints.
    return {v.name: v.filters for v in model.layers if v.name.endswith("_conv")}


def contract_in(loaded: Loaded, default: Preprocessing) -> Preprocessing:
    """The contract of a file's network; says what is assumed where the file does not."""
    known, scaling = loaded.identity.preprocessing, _scaling_in(loaded.graph)
    if known is not None and scaling and not _alike(scaling, (known.mean, known.std)):
        raise ValueError(
            f"{loaded.source} scales its images by itself, by mean {scaling[0]} and std "
            f"{scaling[1]}. Leave `preprocessing` out. "
            f"Received: mean {known.mean} and std {known.std}"
        )
    if known is not None:
        return known
    size = image_size(loaded.graph)
    contract = default.replace(size=size) if size else default
    if scaling:
        contract = contract.replace(mean=scaling[0], std=scaling[1])
    unknown = _unknown_in_front(loaded.graph, scaling is not None)
    if unknown:
        logging.warning(
            "%s has layers between the image and the network that the model does not have: %s.",
            loaded.source,
            ", ".join(unknown),
        )
    logging.warning(
        "%s does not say how its images were prepared. Assumed is %s; if that is wrong, set "
        "`model.preprocessing`.",
        loaded.source,
        contract,
    )
    return contract


def _scaling_in(graph: Graph) -> tuple[Any, Any] | None:
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


def _alike(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    """Whether two scalings, (mean, std) each, are the same but for rounding."""
    pairs = zip(one, other, strict=True)
    return all(np.allclose(a, b, 1e-4, 1e-4) for a, b in pairs if np.size(a) in (1, np.size(b)))


def _numbers(value: Any) -> list[float]:
    return [float(v) for v in (value if isinstance(value, list) else [value])]


def _unknown_in_front(graph: Graph, scaled: bool) -> list[str]:
    """Layers between the image and the network that are not one scaling of the images."""
    known = {"InputLayer", *_TRANSPARENT, *(["Rescaling"] if scaled else [])}
    return [name for name in _in_front(graph) if graph[name].kind not in known]


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


def check(loaded: Loaded, model: keras.Model) -> None:
    """Holds a file's graph against the model that was built for it, layer by layer.

    Compared are the class, the settings that matter and the connections of every layer of the
    model between the image and its heads, and of those heads that both have. The classifier's own
    activation is the caller's choice.

    Args:
        loaded: What was read. In front of further layers a classifier is another one than ours and
            was made anew.
        model: A model that a builder has just made.

    Raises:
        ValueError: a layer differs; the message names the first that does, and the setting.
    """
    graph, built, source = loaded.graph, read(text_of(model)), loaded.source
    same_size = image_size(graph) == image_size(built)
    formats = tuple(data_format(g) for g in (graph, built))
    front = _in_front(built)
    # The training loop's layers stand for Keras' own, which they are subclasses of.
    kinds = {v.name: [kind.__name__ for kind in type(v).__mro__] for v in model.layers}
    for name, ours in built.items():
        if ours.kind == "InputLayer" or ours.kind in _TRANSPARENT or name in front:
            continue
        theirs = graph.get(name)
        if loaded.foreign and _in_head(name):
            continue
        if theirs is None:
            if _in_head(name) or name in ("avg_pool", "max_pool"):
                continue
            raise _difference(source, name, "the layer", "is missing", f"a {ours.kind}")
        if theirs.kind not in kinds.get(name, [ours.kind]):
            raise _difference(source, name, "its class", theirs.kind, ours.kind)
        ours = dataclasses.replace(ours, kind=theirs.kind)
        left, right = (
            _effective(name, node, same_size, layout)
            for node, layout in zip((theirs, ours), formats, strict=True)
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


def _effective(name: str, node: Node, same_size: bool, layout: Any) -> dict[str, Any]:
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
    if settings.get("data_format") == layout:
        del settings["data_format"]
    axis = settings.get("axis")
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis in ((1,) if layout == "channels_first" else (-1, 3)):
        settings["axis"] = "channels"
    if not same_size:
        settings.pop("target_shape", None)
        if node.kind in ("Cropping2D", "AveragePooling2D") and _in_head(name):
            settings = {}  # torch's adaptive pool, drawn for a size
    return settings


def _shown(inputs: list[Any]) -> str:
    return ", ".join(map(str, inputs)) or "nothing"
