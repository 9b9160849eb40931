"""BN-Inception (Ioffe & Szegedy 2015, arXiv:1502.03167): what TF-Slim calls inception_v2.

Endpoints have the paper's names: inception_3a ... inception_5b.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

from keras import layers

from keras_inception.models.builder import Parts, WeightsLike, builder
from keras_inception.models.imagenet import decode_predictions as decode_predictions
from keras_inception.models.imagenet import preprocess_input_by
from keras_inception.models.inception_v1 import auxiliary
from keras_inception.models.layers import (
    Tensor,
    avg_pool,
    chain,
    concat,
    conv_bn,
    max_pool,
    times_width,
)
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights.graph import Graph, setting

PREPROCESSING = Preprocessing(size=(224, 224))
preprocess_input = preprocess_input_by(PREPROCESSING)

# Figure 5 of the paper, a row an inception block of stride 1.
# fmt: off
FIGURE_5 = {
    #     #1x1  #3x3 reduce  #3x3  double reduce  double  pool proj
    "3a": ( 64,  64,  64,  64,  96,  32),
    "3b": ( 64,  64,  96,  64,  96,  64),
    "4a": (224,  64,  96,  96, 128, 128),
    "4b": (192,  96, 128,  96, 128, 128),
    "4c": (160, 128, 160, 128, 160, 128),
    "4d": ( 96, 128, 192, 160, 192, 128),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}
# fmt: on
# As TF-Slim released it, the pool projections of 4c and 4d are narrower.
SLIM_PROJECTION = {"4c": 96, "4d": 96}


def inception(x: Tensor, row: str, slim: bool) -> Tensor:
    """A block of stride 1: 1x1 | 3x3 | double 3x3 | pool (average; max in 5b)."""
    n1x1, reduce3, n3x3, reduce_double, double, projection = FIGURE_5[row]
    if slim:
        projection = SLIM_PROJECTION.get(row, projection)
    name = f"inception_{row}"
    if row == "5b":
        pooled = max_pool(x, f"{name}_branch3", strides=1, padding="same")
    else:
        pooled = avg_pool(x, f"{name}_branch3")
    return concat(
        name,
        chain(x, f"{name}_branch0", (n1x1, 1)),
        chain(x, f"{name}_branch1", (reduce3, 1), (n3x3, 3)),
        chain(x, f"{name}_branch2", (reduce_double, 1), (double, 3), (double, 3)),
        chain(pooled, f"{name}_branch3", (projection, 1)),
    )


def reduction(
    x: Tensor, name: str, reduce3: int, n3x3: int, reduce_double: int, double: int
) -> Tensor:
    """A block of stride 2: 3x3 | double 3x3 | max pool."""
    return concat(
        name,
        chain(x, f"{name}_branch0", (reduce3, 1), (n3x3, 3, 2)),
        chain(x, f"{name}_branch1", (reduce_double, 1), (double, 3), (double, 3, 2)),
        max_pool(x, f"{name}_branch2", padding="same"),
    )


def separable_stem(x: Tensor) -> Tensor:
    """TF-Slim's first layer: 7 x 7 / 2, depthwise to 8 maps a channel, then 1 x 1 to 64.

    It has biases and no BatchNorm.
    """
    x = layers.SeparableConv2D(
        times_width(64), 7, 2, "same", depth_multiplier=8, name="stem_0_conv"
    )(x)
    return layers.Activation("relu", name="stem_0_relu")(x)


def features(x: Tensor, *, separable: bool, slim: bool) -> Tensor:
    """Figure 5; sizes are those of 224 x 224."""
    x = separable_stem(x) if separable else conv_bn(x, 64, 7, 2, name="stem_0")  # 112 x 112 x 64
    x = max_pool(x, "stem_0", padding="same")  # 56 x 56 x 64
    x = chain(x, "stem_1", (64, 1), (192, 3))  # 56 x 56 x 192
    x = max_pool(x, "stem_1", padding="same")  # 28 x 28 x 192
    for row in ("3a", "3b"):
        x = inception(x, row, slim)  # 28 x 28 x 320
    x = reduction(x, "inception_3c", 128, 160, 64, 96)  # 14 x 14 x 576
    for row in ("4a", "4b", "4c", "4d"):
        x = inception(x, row, slim)  # 14 x 14 x 576, or 608 from 4c on
    x = reduction(x, "inception_4e", 128, 192, 192, 256)  # 7 x 7 x 1024, or 1056
    for row in ("5a", "5b"):
        x = inception(x, row, slim)  # 7 x 7 x 1024
    return x


def arguments_in(graph: Graph) -> dict[str, Any] | None:
    """What a graph shows of the arguments that only this variant has; None for another's graph."""
    if "inception_3c" not in graph:
        return None
    # 4b's and 4c's pool projections are as wide in Caffe's, and 4c's is narrower in TF-Slim's.
    projections = [setting(graph, f"inception_4{x}_branch3_0_conv", "filters") for x in "bc"]
    return {
        "separable_stem": "stem_0_conv" in graph and graph["stem_0_conv"].kind != "Conv2D",
        "widths": "caffe" if projections[0] == projections[1] else "slim",
    }


@builder(PREPROCESSING, arguments_in)
def BNInception(
    include_top: bool = True,
    weights: WeightsLike = "imagenet",
    input_tensor: Tensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str = "bn_inception",
    *,
    aux_logits: bool = False,
    dropout: float = 0.2,
    include_preprocessing: bool | Preprocessing = False,
    width_multiplier: float = 1.0,
    batch_norm: bool = True,
    separable_stem: bool = True,
    widths: Literal["slim", "caffe"] = "slim",
    symmetric_padding: bool = False,
    symmetric_pool_padding: bool = False,
    avg_pool_counts_padding: bool = False,
    bn_scale: bool = False,
    bn_epsilon: float = 1e-3,
    bn_momentum: float = 0.99,
) -> Parts:
    """BN-Inception, by default as TF-Slim released it (inception_v2).

    The torch ports' form, which follows Caffe's, is `BNInception(separable_stem=False,
    widths="caffe", symmetric_padding=True, avg_pool_counts_padding=True, bn_scale=True,
    bn_epsilon=1e-5)`.

    Args:
        aux_logits: Whether to add GoogLeNet's two auxiliary classifiers, here after 4a and 4d (no
            published file has them). The model then returns {"predictions", "aux1_logits",
            "aux2_logits"}.
        separable_stem: Whether the 7 x 7 convolution is TF-Slim's depthwise separable one.
        widths: Pool projections of 4c and 4d: "slim" for 96 filters, "caffe" for the figure's 128.
        symmetric_padding: Whether padded convolutions with stride 2 pad the same number of pixels
            on every side, as torch and Caffe do. TF-Slim's separable 7 x 7 never does.
        symmetric_pool_padding: Whether max pools with stride 2 pad one pixel on every side (tf2cv)
            instead of as many as the last window lacks.

    Reference:
        Ioffe & Szegedy, Batch normalization, arXiv:1502.03167: figure 5. TF-Slim,
        nets/inception_v2.py.
    """
    return Parts(
        functools.partial(features, separable=separable_stem, slim=widths == "slim"), auxiliary()
    )
