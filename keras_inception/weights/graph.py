"""The graph that a Keras model's configuration describes, read as data: nothing in it is run.

A `.keras` file says layer by layer what its network computes. Which variant that is, and whether
the model that is built computes the same, `models.recognition` knows.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_inception.weights.layouts.own import is_first

# Inception-ResNet v2 has about 900; some questions to a graph take the square of the number.
_MOST_LAYERS = 5000


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


def setting(graph: Graph, layer: str, name: str) -> Any:
    """A layer's setting; None if there is no such layer or setting."""
    return graph[layer].settings.get(name) if layer in graph else None


def side(graph: Graph, layer: str, name: str) -> Any:
    """The first number of a square kernel or window."""
    sides = setting(graph, layer, name)
    return sides[0] if isinstance(sides, list) and sides else sides


def image_size(graph: Graph) -> tuple[int, int] | None:
    """(height, width) of the images that a graph takes, or None if they are open."""
    for node in graph.values():
        shape = node.settings.get("batch_shape")
        if node.kind == "InputLayer" and isinstance(shape, list) and len(shape) == 4:
            sides = shape[2:] if data_format(graph) == "channels_first" else shape[1:3]
            if all(type(side) is int and side > 0 for side in sides):
                return sides[0], sides[1]
    return None


def data_format(graph: Graph) -> Any:
    """Keras' `data_format` of a graph's layers; None if they have none."""
    return next(
        (n.settings["data_format"] for n in graph.values() if "data_format" in n.settings), None
    )
