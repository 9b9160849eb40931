"""Inception v1, GoogLeNet (Szegedy et al. 2014, arXiv:1409.4842)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import layers

from keras_inception.models.builder import Auxiliary, Parts, WeightsLike, builder
from keras_inception.models.imagenet import decode_predictions as decode_predictions
from keras_inception.models.imagenet import preprocess_input_by
from keras_inception.models.layers import (
    Tensor,
    V,
    chain,
    channel_axis,
    concat,
    conv_bn,
    logits,
    max_pool,
    named,
)
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights.graph import Graph, setting, side

PREPROCESSING = Preprocessing(size=(224, 224))
preprocess_input = preprocess_input_by(PREPROCESSING)

# Table 1 of the paper, a row an inception block.
# fmt: off
TABLE_1 = {
    #     #1x1  #3x3 reduce  #3x3  #5x5 reduce  #5x5  pool proj
    "3a": ( 64,  96, 128, 16,  32,  32),
    "3b": (128, 128, 192, 32,  96,  64),
    "4a": (192,  96, 208, 16,  48,  64),
    "4b": (160, 112, 224, 24,  64,  64),
    "4c": (128, 128, 256, 24,  64,  64),
    "4d": (112, 144, 288, 32,  64,  64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
# The rows that differ in the graph of 2015 that DeepDream shows (inception5h).
TABLE_2015 = TABLE_1 | {
    "4a": (192,  96, 204, 16,  48,  64),
    "5a": (256, 160, 320, 48, 128, 128),
}
# fmt: on
TABLES = {"paper": TABLE_1, "2015": TABLE_2015}
# Local response normalisation: channels, alpha, beta, bias; the paper's is that of Caffe.
LRN = (5, 1e-4, 0.75, 1.0)


def inception(x: Tensor, row: str, branch5x5: int, widths: str) -> Tensor:
    """Inception module with dimension reduction (figure 2b), widths of a row of Table 1."""
    n1x1, reduce3x3, n3x3, reduce5x5, n5x5, projection = TABLES[widths][row]
    name = f"inception_{row}"
    pooled = max_pool(x, f"{name}_branch3", strides=1, padding="same")
    return concat(
        name,
        chain(x, f"{name}_branch0", (n1x1, 1)),
        chain(x, f"{name}_branch1", (reduce3x3, 1), (n3x3, 3)),
        chain(x, f"{name}_branch2", (reduce5x5, 1), (n5x5, branch5x5)),
        chain(pooled, f"{name}_branch3", (projection, 1)),
    )


def features(
    x: Tensor, *, lrn: tuple | None, branch5x5: int, last_pool: int, widths: str
) -> Tensor:
    """Table 1 from the first convolution to inception (5b); sizes are those of 224 x 224."""
    x = conv_bn(x, 64, 7, 2, name="stem_0")  # 112 x 112 x 64
    x = max_pool(x, "stem_0", padding="same")  # 56 x 56 x 64
    if lrn:
        x = local_response_norm(x, "stem_0_lrn", *lrn)
    x = chain(x, "stem_1", (64, 1), (192, 3))  # 56 x 56 x 192
    if lrn:
        x = local_response_norm(x, "stem_1_lrn", *lrn)
    x = max_pool(x, "stem_1", padding="same")  # 28 x 28 x 192
    for row in ("3a", "3b"):
        x = inception(x, row, branch5x5, widths)  # 28 x 28 x 480
    x = max_pool(x, "inception_3b", padding="same")  # 14 x 14 x 480
    for row in ("4a", "4b", "4c", "4d", "4e"):
        x = inception(x, row, branch5x5, widths)  # 14 x 14 x 832
    # 3 x 3 in the paper's table, 2 x 2 in TF-Slim's and torchvision's code
    x = max_pool(x, "inception_4e", size=last_pool, padding="same")  # 7 x 7 x 832
    for row in ("5a", "5b"):
        x = inception(x, row, branch5x5, widths)  # 7 x 7 x 1024
    return x


def local_response_norm(
    x: Tensor, name: str, neighbours: int, alpha: float, beta: float, bias: float
) -> Tensor:
    """x / (bias + alpha * mean of x^2 over neighbouring channels) ^ beta, as Caffe counts alpha.

    It consists of Keras' own layers, so that a saved model can be loaded without this package: the
    mean over neighbouring channels is an average pool along the channels, which are seen as a row
    of pixels.
    """
    last = "channels_last"
    squares = layers.Multiply(name=f"{name}_squares")([x, x])
    if keras.config.image_data_format() == "channels_first":
        squares = layers.Permute((2, 3, 1), name=f"{name}_last")(squares)
    height, width, depth = squares.shape[1:]
    if height is None or width is None:
        raise ValueError(
            "`lrn=True` needs a known image size, such as input_shape=(224, 224, 3). "
            f"Received: {height} x {width}"
        )
    rows = layers.Reshape((height * width, depth, 1), name=f"{name}_rows")(squares)
    # Zeros beyond the ends count as neighbours, so pad explicitly and average over all of them.
    ends = (neighbours // 2,) * 2
    rows = layers.ZeroPadding2D(((0, 0), ends), last, name=f"{name}_pad")(rows)
    mean = layers.AveragePooling2D((1, neighbours), 1, V, last, name=f"{name}_pool")(rows)
    mean = layers.Reshape((height, width, depth), name=f"{name}_mean")(mean)
    if keras.config.image_data_format() == "channels_first":
        mean = layers.Permute((3, 1, 2), name=f"{name}_first")(mean)
    base = layers.Rescaling(alpha, bias, name=f"{name}_base")(mean)
    # the one step that Keras has no layer for
    factor = named(keras.ops.power(base, -beta), f"{name}_power")
    return layers.Multiply(name=name)([x, factor])


def adaptive_pool_4x4(x: Tensor, name: str) -> Tensor:
    """torch's adaptive average pool to 4 x 4, of a map with even sides.

    Each quarter of the map is pooled to 2 x 2 by overlapping windows. (Keras has a layer for it
    from 3.13 on, which Python 3.10 cannot have.)
    """
    spatial = (1, 2) if channel_axis() == -1 else (2, 3)
    sides = [x.shape[axis] for axis in spatial]
    if any(side is None or side % 2 for side in sides):
        raise ValueError(
            "`adaptive_aux_pool=True` needs an image whose map at stride 16 has even sides, such "
            f"as 224 x 224. Received: a map of {sides[0]} x {sides[1]}"
        )
    half = [side // 2 for side in sides]
    rows = []
    for i, vertical in enumerate([(0, half[0]), (half[0], 0)]):
        row = []
        for j, horizontal in enumerate([(0, half[1]), (half[1], 0)]):
            quarter = layers.Cropping2D((vertical, horizontal), name=f"{name}_crop{i}{j}")(x)
            window, step = [(side + 1) // 2 for side in half], [side // 2 for side in half]
            row.append(layers.AveragePooling2D(window, step, name=f"{name}_pool{i}{j}")(quarter))
        rows.append(layers.Concatenate(spatial[1], name=f"{name}_row{i}")(row))
    return layers.Concatenate(spatial[0], name=f"{name}_pool")(rows)


def auxiliary_head(x: Tensor, classes: int, name: str, *, adaptive: bool = False) -> Tensor:
    """Section 5: average pool 5 x 5 / 3, 1 x 1 convolution 128, 1024 units, dropout 70 %, linear.

    `name` is "aux1_logits" or "aux2_logits"; the layers are `aux1_...` and `aux2_...`. torchvision
    pools adaptively to 4 x 4, which is 4 x 4 windows at 0, 3, 7 and 10 of the 14 x 14 map.
    """
    prefix = name.removesuffix("_logits")
    if adaptive:
        x = adaptive_pool_4x4(x, prefix)
    else:
        x = layers.AveragePooling2D(5, 3, name=f"{prefix}_pool")(x)
    x = conv_bn(x, 128, 1, name=f"{prefix}_0")
    x = layers.Flatten(name=f"{prefix}_flatten")(x)
    x = layers.Dense(1024, activation="relu", name=f"{prefix}_1")(x)
    x = layers.Dropout(0.7, name=f"{prefix}_dropout")(x)
    return logits(x, classes, name)


def auxiliary(adaptive: bool = False) -> Auxiliary:
    """The two heads, after 4a and 4d."""
    head = functools.partial(auxiliary_head, adaptive=adaptive)
    return {"aux1_logits": ("inception_4a", head), "aux2_logits": ("inception_4d", head)}


def lrn_in(graph: Graph) -> Any:
    """A graph's local response normalisation, as the argument `lrn` says it."""
    if "stem_0_lrn" not in graph:
        return False
    window = setting(graph, "stem_0_lrn_pool", "pool_size")
    alpha, bias = (setting(graph, "stem_0_lrn_base", name) for name in ("scale", "offset"))
    power = graph["stem_0_lrn_power"].inputs if "stem_0_lrn_power" in graph else ()
    beta = next((-n for n in power if isinstance(n, float)), None)
    found = (window[-1] if isinstance(window, list) else window, alpha, beta, bias)
    return True if found == LRN else found


def arguments_in(graph: Graph) -> dict[str, Any] | None:
    """What a graph shows of the arguments that only this variant has; None for another's graph."""
    if "inception_5b" not in graph or "inception_3c" in graph:
        return None
    filters = [setting(graph, f"inception_4{x}_branch1_1_conv", "filters") for x in "ac"]
    narrower = all(type(n) is int for n in filters) and filters[0] < 208 * filters[1] // 256
    return {
        "lrn": lrn_in(graph),
        "widths": "2015" if narrower else "paper",
        "branch5x5": side(graph, "inception_3a_branch2_1_conv", "kernel_size"),
        "last_pool": side(graph, "inception_4e_pool", "pool_size"),
        "adaptive_aux_pool": "aux1_crop00" in graph,
    }


@builder(PREPROCESSING, arguments_in)
def InceptionV1(
    include_top: bool = True,
    weights: WeightsLike = "imagenet",
    input_tensor: Tensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str = "inception_v1",
    *,
    aux_logits: bool = False,
    dropout: float = 0.2,
    include_preprocessing: bool | Preprocessing = False,
    width_multiplier: float = 1.0,
    batch_norm: bool = True,
    lrn: bool | tuple[int, float, float, float] = False,
    widths: Literal["paper", "2015"] = "paper",
    branch5x5: Literal[3, 5] = 3,
    last_pool: int = 2,
    symmetric_padding: bool = False,
    adaptive_aux_pool: bool = False,
    bn_scale: bool = False,
    bn_epsilon: float = 1e-3,
    bn_momentum: float = 0.99,
) -> Parts:
    """GoogLeNet, by default in the batch-normalized form whose weights are published.

    The paper's own network is `InceptionV1(weights=None, batch_norm=False, lrn=True, branch5x5=5,
    last_pool=3, dropout=0.4, aux_logits=True)`.

    Args:
        aux_logits: Whether to add the two auxiliary classifiers after 4a and 4d. The model then
            returns {"predictions", "aux1_logits", "aux2_logits"}.
        dropout: Share of the pooled features that training drops: 0.2 in TF-Slim and torchvision,
            0.4 in the paper.
        lrn: Whether to normalise local responses in the stem, as the paper does; or (channels,
            alpha, beta, bias) of another such normalisation: True is (5, 1e-4, 0.75, 1.0).
        widths: Filters of 4a and 5a: "paper" for Table 1, or "2015" for the graph of 2015 that
            DeepDream shows, with 204 instead of 208 and 48 instead of 32.
        branch5x5: Kernel of the "5 x 5" branch: 5 in the paper, 3 in the published weights.
        last_pool: Kernel of the pool before (5a): 3 in the paper, 2 in the published weights.
        adaptive_aux_pool: Whether the auxiliary heads pool adaptively to 4 x 4, as torchvision's.

    Reference:
        Szegedy et al., Going deeper with convolutions, arXiv:1409.4842: Table 1, figures 2 and 3.
    """
    norm = LRN if lrn is True else lrn or None
    if norm and (len(norm) != 4 or norm[0] % 2 == 0):
        raise ValueError(
            "`lrn` should be True, False or (channels, alpha, beta, bias) with an odd number of "
            f"channels. Received: lrn={lrn!r}"
        )
    return Parts(
        functools.partial(
            features, lrn=norm, branch5x5=branch5x5, last_pool=last_pool, widths=widths
        ),
        auxiliary(adaptive_aux_pool),
    )
