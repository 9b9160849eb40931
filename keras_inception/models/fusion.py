"""The deployed form of a network: BatchNorm and residual scales folded into the layers before them.

The arrays are folded in float64, so that the answers move by float32's rounding only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_inception import messages
from keras_inception.identity import attach, identity_of
from keras_inception.models.measure import check_flat

# What BatchNorm and a scale fold into: layer class -> the kernel whose last axis is the outputs.
_FOLDS_INTO = {
    layers.Conv2D: "kernel",
    layers.Dense: "kernel",
    layers.SeparableConv2D: "pointwise_kernel",
}

_DRAWN = ("kernel_initializer", "depthwise_initializer", "pointwise_initializer")


def fuse(model: keras.Model, dtype: str | None = None) -> keras.Model:
    """The network as it is deployed: without BatchNorm, and with unscaled residuals.

    BatchNorm by its moving statistics is folded into the convolution (or dense layer) before it,
    which gets a bias, and the scale of a residual into its linear convolution. A variant becomes
    the one that its builder draws with `batch_norm=False` (and `residual_scale=1.0`), with the same
    layer names, and its identity says so: `save_weights`, `save_model`, `export` and
    `load_classifier` take it as they take any model. Train the model itself, not this one.

    Args:
        model: Any variant, with any head: a flat functional model of Keras' own layers. It is not
            changed.
        dtype: "bfloat16" or "float16" computes the features in 16 bits, their kernels stored as
            such. Everything from the global pooling on stays in float32, and so does the scaling of
            `include_preprocessing`. None keeps the layers' dtypes.

    Returns:
        A model of its own. A BatchNorm that cannot be folded (not directly behind a convolution
        without activation, or one whose output is used elsewhere) is still in it.

    Raises:
        ValueError: the model is not flat, or `dtype` is another one.
    """
    check_flat(model)
    if dtype not in (None, "float32", "bfloat16", "float16"):
        raise ValueError(
            "`dtype` should be None, float32, bfloat16 or float16. "
            f"Received: dtype={messages.shown(dtype)}"
        )
    folded = dict(_foldable(model))
    fused = _copied(model, folded, dtype)
    arrays = {layer.name: _arrays(layer) for layer in model.layers}
    for step, base in folded.items():  # in the graph's order
        _fold(model.get_layer(step), base, arrays[base.name])
    for layer in fused.layers:
        layer.set_weights([arrays[layer.name][weight.name] for weight in layer.weights])
        for name in _DRAWN:
            if hasattr(layer, name):
                setattr(layer, name, getattr(model.get_layer(layer.name), name))
    identity = identity_of(model)
    if identity is None:
        fused.preprocessing = getattr(model, "preprocessing", None)
        return fused
    if any(isinstance(layer, layers.BatchNormalization) for layer in fused.layers):
        return attach(fused, identity.replace(variant="", builder_arguments=()))
    arguments = identity.arguments
    for name, value in (("batch_norm", False), ("residual_scale", 1.0)):
        if name in arguments:
            arguments[name] = value
    return attach(fused, identity.replace(builder_arguments=tuple(sorted(arguments.items()))))


def _copied(model: keras.Model, folded: dict[str, layers.Layer], dtype: str | None) -> keras.Model:
    """The graph without what is folded, its weights not yet set."""
    # A flat graph's layer is called once, so that its name says what its copy stands for.
    bases = {base.name for base in folded.values()}

    def copy(step: Any) -> Any:
        if not isinstance(step, layers.Layer):
            return step  # an operation without weights
        config = step.get_config()
        if step.name in bases:
            config["use_bias"] = True
        if step.name in folded and isinstance(step, layers.Rescaling):
            config["scale"] = 1.0
        # Random numbers would take longer than all the rest.
        config.update({name: "zeros" for name in _DRAWN if name in config})
        if dtype and not _stays_in_float32(step):
            config["dtype"] = dtype
        return type(step).from_config(config)

    def call(step: Any, *args: Any, **kwargs: Any) -> Any:
        if step.name in folded and isinstance(step, layers.BatchNormalization):
            return args[0]
        return step(*args, **kwargs)

    return keras.models.clone_model(model, clone_function=copy, call_function=call)


def _foldable(model: keras.Model) -> Iterator[tuple[str, layers.Layer]]:
    """(name of a BatchNorm or scale, the layer that it folds into), from the image on."""
    users: dict[int, int] = {}
    for step in model.operations:
        if isinstance(step, layers.InputLayer):
            continue
        for tensor in keras.tree.flatten(step.input):
            users[id(tensor)] = users.get(id(tensor), 0) + 1
    outputs = {id(tensor) for tensor in model.outputs}
    into: dict[int, layers.Layer] = {}  # id of a tensor -> the layer that can change its scale
    for step in model.operations:
        if type(step) in _FOLDS_INTO:
            if step.activation is keras.activations.linear:
                into[id(step.output)] = step
            continue
        if not isinstance(step, layers.BatchNormalization | layers.Rescaling):
            continue
        base = into.get(id(step.input))
        if base is None or users[id(step.input)] > 1 or id(step.input) in outputs:
            continue
        if isinstance(step, layers.BatchNormalization) and step.axis not in _axes(base):
            continue
        if isinstance(step, layers.Rescaling) and not _is_residual_scale(step):
            continue
        into[id(step.output)] = base
        yield step.name, base


def _axes(base: layers.Layer) -> tuple[int, ...]:
    """The axis of a layer's outputs, counted from either end."""
    rank = len(base.output.shape)
    axis = 1 if getattr(base, "data_format", "") == "channels_first" else rank - 1
    return axis, axis - rank


def _is_residual_scale(step: layers.Rescaling) -> bool:
    return np.ndim(step.scale) == 0 and np.ndim(step.offset) == 0 and step.offset == 0


def _arrays(layer: layers.Layer) -> dict[str, np.ndarray]:
    return {
        weight.name: np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32")))
        for weight in layer.weights
        if "float" in str(weight.dtype)
    }


def _fold(step: layers.Layer, base: layers.Layer, arrays: dict[str, np.ndarray]) -> None:
    """Changes the arrays of `base` so that it computes what `step` makes of its outputs."""
    if isinstance(step, layers.Rescaling):
        factor, offset = np.float64(step.scale), np.float64(0)
    else:
        own = {name: array.astype(np.float64) for name, array in _arrays(step).items()}
        factor = own.get("gamma", 1.0) / np.sqrt(own["moving_variance"] + step.epsilon)
        offset = own.get("beta", 0.0) - own["moving_mean"] * factor
    kernel = _FOLDS_INTO[type(base)]
    arrays[kernel] = arrays[kernel] * factor
    bias = arrays.get("bias", np.zeros(arrays[kernel].shape[-1]))
    arrays["bias"] = bias * factor + offset


def _stays_in_float32(layer: layers.Layer) -> bool:
    """Whether a layer is the scaling in front, the pooling, or comes behind the pooling."""
    (output, *_) = keras.tree.flatten(layer.output)
    return len(output.shape) <= 2 or layer.name == "preprocessing"
