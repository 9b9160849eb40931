"""Which layout a file has: one module a publisher holds the tables."""

from __future__ import annotations

import re

from keras_inception.weights.layouts import (
    caffe,
    keras_applications,
    pytorchcv,
    slim,
    torch_ports,
)
from keras_inception.weights.layouts.layout import Layout
from keras_inception.weights.readers import Layers

LAYOUTS = {
    layout.name: layout
    for module in (slim, keras_applications, torch_ports, pytorchcv, caffe)
    for layout in module.LAYOUTS
}

_NUMBERED = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?")


def recognise(layers: Layers) -> tuple[Layout, Layers] | None:
    """The layout that shares most names with a file, and the file's layers by its names.

    Args:
        layers: What a reader found.

    Returns:
        None if no layout shares more than half of the names (ours, then, or nobody's we know).
    """
    layers = _numbered_from_zero(_dotted(layers))
    given = set(layers)
    best = max(LAYOUTS.values(), key=lambda layout: _overlap(given, layout))
    return (best, layers) if _overlap(given, best) > 0.5 else None


def _overlap(given: set[str], layout: Layout) -> float:
    """Share of the names in either that are in both."""
    names = set(layout.names)
    return len(given & names) / len(given | names)


def _numbered_from_zero(layers: Layers) -> Layers:
    """keras.applications' automatic names, counted from 0 in their order."""
    renamed = dict(layers)
    for kind in ("conv2d", "batch_normalization"):
        numbers = {
            name: int(found[2] or 0)
            for name in layers
            if (found := _NUMBERED.fullmatch(name)) and found[1] == kind
        }
        for name in numbers:
            del renamed[name]
        for i, name in enumerate(sorted(numbers, key=lambda n: numbers[n])):
            renamed[f"{kind}_{i}"] = layers[name]
    return renamed


def _dotted(layers: Layers) -> Layers:
    """tf2cv's nested Keras names with dots, as its torch twin has them; others as they are."""
    if not any(name.startswith("features/") for name in layers):
        return layers
    return {name.replace("/", "."): values for name, values in layers.items()}
