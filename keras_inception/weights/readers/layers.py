"""The arrays of a weights file by layer and variable, and what no trained network has."""

from __future__ import annotations

import numpy as np

from keras_inception.messages import some

# layer, by the file's name for it -> variable, by Keras' name for it -> array in Keras' layout
Layers = dict[str, dict[str, np.ndarray]]


def add(layers: Layers, layer: str, variable: str, array: np.ndarray) -> None:
    """Puts an array under its names. Raises ValueError if there is one already."""
    if variable in layers.setdefault(layer, {}):
        raise ValueError(f"it holds {layer}/{variable} twice")
    layers[layer][variable] = array


def check_values(layers: Layers) -> None:
    """Raises ValueError for values that no trained network has: NaN, Inf, negative variances."""
    problems = [
        f"{layer}/{variable}"
        for layer, variables in layers.items()
        for variable, array in variables.items()
        if (array.dtype.kind == "f" and not np.isfinite(array).all())
        or (variable == "moving_variance" and array.size and array.min() < 0)
    ]
    if problems:
        raise ValueError(
            "these hold NaN, infinite values or a negative variance: " + some(sorted(problems), 6)
        )
