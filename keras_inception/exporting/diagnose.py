"""Finds the layer from which on an exported form departs from the Keras model."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_inception.exporting.checks import layers_of
from keras_inception.exporting.networks import Network
from keras_inception.exporting.targets import Settings, Target
from keras_inception.models.measure import block_of, endpoints

IMAGES = 4  # those whose answers moved most; each layer's output is held in memory
INPUT = "the scaled image"
# The converters merge these into a convolution before them, whose own output then does not exist.
_MERGED = (
    keras.layers.BatchNormalization,
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.Dropout,
)


@dataclasses.dataclass(frozen=True)
class LayerError:
    """How far a layer's output in an exported form is from the Keras model's.

    Attributes:
        layer: Its name; "outer/inner" in a model inside the model.
        block: The inception block that it belongs to, or its own name.
        error: Root mean square of the difference, over that of the output: of the whole output or
            of its median channel, whichever is larger, since one channel of large values hides the
            others. Infinite where numbers are not finite.
    """

    layer: str
    block: str
    error: float


def layer_errors(
    network: Network,
    target: Target,
    settings: Settings,
    images: np.ndarray,
    answers: np.ndarray,
    want: np.ndarray,
) -> list[LayerError]:
    """Compares every layer's output in a form of export with the Keras model's, in its order.

    The network is written once more in that form, with its layers' outputs, and run in a process
    of its own.

    Args:
        network, target, settings: As the file was written.
        images: float32 (n, height, width, channels) in 0..255.
        answers, want: The probabilities of the file and of the Keras model, (n, classes).

    Raises:
        ExportCheckError: what was written cannot be run.
        ValueError: it cannot be written.
    """
    moved = np.nan_to_num(np.abs(answers - want).max(axis=-1), nan=np.inf)
    some = images[np.argsort(-moved, kind="stable")[:IMAGES]]
    names: list[str] = []

    def outputs(image: tf.Tensor) -> dict[str, tf.Tensor]:
        found = _outputs_by_layer(network, image)
        names[:] = found
        return {f"layer_{i:04}": output for i, output in enumerate(found.values())}

    image = tf.TensorSpec((None, *network.input_shape), tf.float32, "image")
    expected = [output.numpy() for output in outputs(tf.constant(some)).values()]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / (target.runs or target.file)
        target.write_function(outputs, image, path, settings)
        found = layers_of(path, some)
    blocks = _blocks(network, names)
    return [
        LayerError(name, block_of(name, blocks), relative_error(found[f"layer_{i:04}"], output))
        for i, (name, output) in enumerate(zip(names, expected, strict=True))
    ]


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    """The `LayerError.error` of an output (images, ..., channels)."""
    got = got.reshape(want.shape).astype(np.float64)
    if not np.isfinite(got).all() or not np.isfinite(want).all():
        return float("inf")

    def squares(values: np.ndarray) -> np.ndarray:
        return np.mean(np.square(values, dtype=np.float64), axis=tuple(range(values.ndim - 1)))

    moved, size = squares(got - want), squares(want)
    whole = moved.mean() / max(float(size.mean()), 1e-30)
    # What is as good as zero cannot be compared, and numbers without places have no channels.
    alive = size > 1e-12 * size.mean()
    if want.ndim < 4 or not alive.any():
        return float(np.sqrt(whole))
    return float(np.sqrt(max(whole, np.median(moved[alive] / size[alive]))))


def verdict(errors: list[LayerError], limit: float) -> str:
    """Which layer departs first, as a sentence without a period."""
    before = 0.0
    for one in errors:
        if not one.error <= limit:
            inside = f" of {one.block}" if one.block != one.layer else ""
            return (
                f"The first layer whose output departs is {one.layer}{inside}, with a relative "
                f"error of {one.error:.2g} (limit {limit:g}; at most {before:.2g} before it)"
            )
        before = max(before, one.error)
    worst = max(errors, key=lambda one: one.error)
    return (
        f"No layer's output departs by itself (limit {limit:g}); the largest relative error is "
        f"{worst.error:.2g}, of {worst.layer}"
    )


def table(errors: list[LayerError]) -> str:
    """The errors of the blocks' last layers, as text."""
    last = {one.block: one.error for one in errors}
    width = max(map(len, last))
    return "\n".join(f"    {block:{width}}  {error:.2g}" for block, error in last.items())


def _outputs_by_layer(network: Network, image: tf.Tensor) -> dict[str, tf.Tensor]:
    scaled = network.preprocessing.scale(image)
    return {INPUT: scaled, **_outputs(network.model, scaled)}


def _outputs(model: keras.Model, images: tf.Tensor, prefix: str = "") -> dict[str, tf.Tensor]:
    """What the layers of a functional model return, from the image on, by their names."""
    nodes = [
        node
        for _, level in sorted(model._nodes_by_depth.items(), reverse=True)
        for node in level
        if not node.is_input
    ]
    readers: dict[int, list[keras.Operation]] = {}
    for node in nodes:
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), []).append(node.operation)
    watched = [
        node
        for node in nodes
        if len(node.outputs) == 1
        and not _is_merged(node.operation, readers.get(id(node.outputs[0]), []))
    ]
    wanted = [(node.input_tensors[0], node.outputs[0]) for node in watched]
    values = keras.Model(model.inputs, wanted)(images, training=False)
    found: dict[str, tf.Tensor] = {}
    for node, (given, returned) in zip(watched, values, strict=True):
        name, step = f"{prefix}{node.operation.name}", node.operation
        if isinstance(step, keras.Sequential):
            step = keras.Model(step.inputs, step.outputs)
        if hasattr(step, "_nodes_by_depth") and len(step.inputs) == 1:
            found |= _outputs(step, given, f"{name}/")
        found[name] = returned
    return found


def _is_merged(step: keras.Operation, readers: list[keras.Operation]) -> bool:
    """Whether what reads a layer's output is merged into the layer."""
    activation = getattr(getattr(step, "activation", None), "__name__", "linear")
    merged = bool(readers) and all(isinstance(reader, _MERGED) for reader in readers)
    return merged and activation == "linear"


def _blocks(network: Network, names: list[str]) -> list[str]:
    """The inception blocks; none where layers are not named by them."""
    nested = any("/" in name for name in names)
    return list(endpoints(network.model)) if network.identity.variant and not nested else []
