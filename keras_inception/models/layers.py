"""The vocabulary that the papers' figures are drawn with.

A block is written once and reads like its figure: `concat` of branches, a branch being a `chain` of
convolutions, each one a tuple of Conv2D's own positional arguments
`(filters, kernel_size[, strides[, padding]])`. `V` marks unpadded layers, as the figures do.

Layer names are an interface: weights are published and loaded by `layer/variable`. The names are
made here from block, branch and position, and contain neither kernel sizes nor the model's name.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import re
from collections.abc import Iterator, Set
from typing import Any

import keras
from keras import layers

from keras_inception.weights.graph import Graph

V = "valid"

Tensor = Any  # a symbolic keras.KerasTensor


@dataclasses.dataclass(frozen=True)
class Conventions:
    """Layer settings that differ between checkpoints of one architecture.

    Attributes:
        width_multiplier: Share of every convolution's filters; 1 in all published checkpoints.
        batch_norm: Whether convolutions are followed by BatchNorm; if not, they have biases.
        bn_scale: Whether BatchNorm has a gamma. TF-Slim and Keras leave it out, since a ReLU
            follows; every torch-born file has it.
        bn_epsilon: What BatchNorm adds to the variance.
        bn_momentum: Share of its moving statistics that BatchNorm keeps at each training step.
        avg_pool_counts_padding: Whether padded 3 x 3 average pools divide by 9 at the border, too
            (torch's v3, Caffe's BN-Inception), or by the number of real pixels (TensorFlow).
        symmetric_padding: Whether padded convolutions with stride 2 pad the same number of pixels
            on every side (torch, Caffe: 3 for a 7 x 7) or as TensorFlow's SAME does (2 and 3 on
            even inputs).
        symmetric_pool_padding: The same for max pools: 1 on every side (tf2cv).
        loaded: "layer/kernel" of kernels that a file gives. They are drawn as zeros: random numbers
            take half of a network's building time.
        batch_norm_layer: A layer with BatchNormalization's variables that computes the same in
            another way; for networks that get in no file.
    """

    width_multiplier: float = 1.0
    batch_norm: bool = True
    bn_scale: bool = False
    bn_epsilon: float = 1e-3
    bn_momentum: float = 0.99
    avg_pool_counts_padding: bool = False
    symmetric_padding: bool = False
    symmetric_pool_padding: bool = False
    loaded: Set[str] = frozenset()
    batch_norm_layer: type[layers.BatchNormalization] = layers.BatchNormalization

    def __post_init__(self) -> None:
        if self.width_multiplier <= 0:
            raise ValueError(
                "`width_multiplier` should be above 0; 1 is the paper's network. "
                f"Received: width_multiplier={self.width_multiplier}"
            )

    def filters(self, figure: int) -> int:
        """The figure's number of filters times the width, at least 16 as in TF-Slim."""
        return max(int(figure * self.width_multiplier), min(figure, 16))


_USUAL = Conventions()

# Ambient while a builder runs, as dtype and data_format are in Keras. If every line of a block
# passed them on, the block could no longer be compared with its figure.
_conventions: contextvars.ContextVar[Conventions] = contextvars.ContextVar(
    "conventions", default=_USUAL
)


@contextlib.contextmanager
def conventions(**changes: Any) -> Iterator[None]:
    """Builds the layers of the `with` block by these fields of `Conventions`."""
    token = _conventions.set(dataclasses.replace(_conventions.get(), **changes))
    try:
        yield
    finally:
        _conventions.reset(token)


def conventions_in(graph: Graph) -> dict[str, Any]:
    """The conventions that a graph shows by the layers below, all but the width."""
    norms = [n for n in graph.values() if n.kind == "BatchNormalization"]
    norms = [n for n in norms if n.settings.get("name") != "bottleneck_bn"] or norms
    found: dict[str, Any] = {
        "batch_norm": bool(norms),
        "avg_pool_counts_padding": any(name.endswith("_branch3_pad") for name in graph),
        "symmetric_padding": any(re.search(r"_\d+_pad$", name) for name in graph),
        "symmetric_pool_padding": any(name.endswith("_pool_pad") for name in graph),
    }
    if norms:
        found["bn_scale"] = norms[0].settings.get("scale")
        found["bn_epsilon"] = norms[0].settings.get("epsilon")
    return found


# How the kernels of layers with these endings are drawn.
_INITIALIZERS = {"conv": "he_normal", "up": "glorot_uniform"}


def _initializer(layer: str) -> str:
    """The initializer to build a convolution with: zeros, if its kernel will be loaded."""
    # Auxiliary heads may stay as they are initialised although the file has some.
    if f"{layer}/kernel" in _conventions.get().loaded and not layer.startswith("aux"):
        return "zeros"
    return _INITIALIZERS[layer.rpartition("_")[2]]


def restore_initializers(model: keras.Model, loaded: Set[str]) -> None:
    """Lets the layers say how they are initialised, as those of a model without weights do."""
    for layer in model.layers:
        usual = _INITIALIZERS.get(layer.name.rpartition("_")[2])
        if usual and f"{layer.name}/kernel" in loaded:
            layer.kernel_initializer = keras.initializers.get(usual)


def channel_axis() -> int:
    """The axis of the channels under keras.config's data format."""
    return -1 if keras.config.image_data_format() == "channels_last" else 1


def channels(x: Tensor) -> int:
    return x.shape[channel_axis()]


def times_width(figure: int) -> int:
    """The figure's number of filters times the width multiplier."""
    return _conventions.get().filters(figure)


def conv_bn(
    x: Tensor,
    filters: int,
    kernel_size: Any,
    strides: int = 1,
    padding: str = "same",
    *,
    name: str,
    endpoint: bool = False,
) -> Tensor:
    """Convolution, BatchNorm and ReLU, as layers `{name}_conv`, `{name}_bn` and `{name}_relu`.

    With `endpoint=True` the ReLU is called `{name}` itself.
    """
    how = _conventions.get()
    if how.symmetric_padding and strides > 1 and padding == "same":
        x = layers.ZeroPadding2D(int(kernel_size) // 2, name=f"{name}_pad")(x)
        padding = V
    x = layers.Conv2D(
        how.filters(filters),
        kernel_size,
        strides,
        padding,
        use_bias=not how.batch_norm,
        kernel_initializer=_initializer(f"{name}_conv"),
        name=f"{name}_conv",
    )(x)
    if how.batch_norm:
        x = batch_norm(x, f"{name}_bn")
    return layers.Activation("relu", name=name if endpoint else f"{name}_relu")(x)


def dense_bn(x: Tensor, units: int, *, name: str) -> Tensor:
    """Linear layer and BatchNorm, as `{name}` and `{name}_bn`; without BatchNorm it has a bias."""
    normalized = _conventions.get().batch_norm
    x = layers.Dense(units, use_bias=not normalized, name=name)(x)
    return batch_norm(x, f"{name}_bn") if normalized else x


def batch_norm(x: Tensor, name: str) -> Tensor:
    """BatchNorm over the channels, with the settings of the current conventions."""
    how = _conventions.get()
    return how.batch_norm_layer(
        channel_axis() if len(x.shape) == 4 else -1,
        momentum=how.bn_momentum,
        epsilon=how.bn_epsilon,
        scale=how.bn_scale,
        name=name,
    )(x)


def named(x: Tensor, name: str) -> Tensor:
    """Names the graph's operation that made the tensor `x`, and returns `x`.

    Keras numbers operations by what the process has built before; our names must not depend on it.
    """
    x._keras_history.operation.name = name
    return x


def chain(x: Tensor, name: str, *convs: tuple) -> Tensor:
    """One branch of a figure: convolutions in a row, `{name}_0_conv`, `{name}_1_conv`, ..."""
    for i, arguments in enumerate(convs):
        x = conv_bn(x, *arguments, name=f"{name}_{i}")
    return x


def concat(name: str, *branches: Tensor) -> Tensor:
    """Filter concat."""
    return layers.Concatenate(axis=channel_axis(), name=name)(list(branches))


def max_pool(x: Tensor, name: str, size: int = 3, strides: int = 2, padding: str = V) -> Tensor:
    """Max pooling, 3 x 3 / 2 unpadded unless said: `{name}_pool`."""
    if _conventions.get().symmetric_pool_padding and strides > 1 and padding == "same":
        # Zeros never win against what a ReLU let through.
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pool_pad")(x)
        padding = V
    return layers.MaxPooling2D(size, strides, padding, name=f"{name}_pool")(x)


def avg_pool(x: Tensor, name: str) -> Tensor:
    """The padded 3 x 3 / 1 average pool of the inception blocks: `{name}_pool`."""
    if _conventions.get().avg_pool_counts_padding:
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
        return layers.AveragePooling2D(3, 1, V, name=f"{name}_pool")(x)
    return layers.AveragePooling2D(3, 1, "same", name=f"{name}_pool")(x)


def residual(
    x: Tensor, name: str, scale: float, *branches: Tensor, activation: str | None = "relu"
) -> Tensor:
    """relu(x + scale * conv1x1(concat(branches))): 1602.07261 figures 10-19, scaled as in 20.

    The 1 x 1 convolution has a bias, no BatchNorm and no activation ("Linear" in the figures).
    """
    drawn = _initializer(f"{name}_up")
    up = layers.Conv2D(channels(x), 1, kernel_initializer=drawn, name=f"{name}_up")
    up = up(concat(f"{name}_mixed", *branches))
    up = layers.Rescaling(scale, name=f"{name}_scale")(up)
    if activation is None:
        return layers.Add(name=name)([x, up])
    x = layers.Add(name=f"{name}_add")([x, up])
    return layers.Activation(activation, name=name)(x)


def logits(x: Tensor, classes: int, name: str) -> Tensor:
    """An auxiliary head's linear layer, in float32 under every dtype policy: the loss needs it."""
    return layers.Dense(classes, dtype="float32", name=name)(x)


def auxiliary_head(x: Tensor, classes: int, name: str) -> Tensor:
    """The batch-normalized auxiliary classifier of v3, v4 and Inception-ResNet, on a 17 x 17 map.

    1512.00567 sections 4 and 6: average pool 5 x 5 / 3, 1 x 1 convolution 128, 5 x 5 convolution
    768 unpadded, linear. TF-Slim's kernel is as large as the map; it is 5 x 5 at 299 x 299.
    """
    x = layers.AveragePooling2D(5, 3, name="aux_pool")(x)  # 5 x 5
    x = chain(x, "aux", (128, 1), (768, 5, 1, V))  # 1 x 1 x 768
    x = layers.GlobalAveragePooling2D(name="aux_avg_pool")(x)
    return logits(x, classes, name)
