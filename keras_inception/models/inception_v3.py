"""Inception v3 (Szegedy et al. 2015, arXiv:1512.00567), as released: TF-Slim's and Keras' network.

Block outputs keep the names that Keras users know: mixed0 ... mixed10.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

from keras_inception.models.builder import Parts, WeightsLike, builder
from keras_inception.models.imagenet import decode_predictions as decode_predictions
from keras_inception.models.imagenet import preprocess_input_by
from keras_inception.models.layers import (
    Tensor,
    V,
    auxiliary_head,
    avg_pool,
    chain,
    concat,
    max_pool,
)
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights.graph import Graph

PREPROCESSING = Preprocessing(size=(299, 299))
preprocess_input = preprocess_input_by(PREPROCESSING)


def stem(x: Tensor) -> Tensor:
    """Table 1, down to the first inception block: 299 x 299 x 3 -> 35 x 35 x 192."""
    x = chain(x, "stem_0", (32, 3, 2, V), (32, 3, 1, V), (64, 3))  # 147 x 147 x 64
    x = max_pool(x, "stem_0")  # 73 x 73 x 64
    x = chain(x, "stem_1", (80, 1, 1, V), (192, 3, 1, V))  # 71 x 71 x 192; 80 is 1x1 as released
    return max_pool(x, "stem_1")  # 35 x 35 x 192


def inception_a(x: Tensor, name: str, projection: int) -> Tensor:
    """Figure 5 on 35 x 35; the second branch is one 5 x 5 in the released network."""
    return concat(
        name,
        chain(x, f"{name}_branch0", (64, 1)),
        chain(x, f"{name}_branch1", (48, 1), (64, 5)),
        chain(x, f"{name}_branch2", (64, 1), (96, 3), (96, 3)),
        chain(avg_pool(x, f"{name}_branch3"), f"{name}_branch3", (projection, 1)),
    )


def reduction_a(x: Tensor, name: str) -> Tensor:
    """Figure 10: 35 x 35 x 288 -> 17 x 17 x 768."""
    return concat(
        name,
        chain(x, f"{name}_branch0", (384, 3, 2, V)),
        chain(x, f"{name}_branch1", (64, 1), (96, 3), (96, 3, 2, V)),
        max_pool(x, f"{name}_branch2"),
    )


def inception_b(x: Tensor, name: str, n: int) -> Tensor:
    """Figure 6 with 7 x 7 convolutions factorised: 17 x 17 x 768 -> the same."""
    return concat(
        name,
        chain(x, f"{name}_branch0", (192, 1)),
        chain(x, f"{name}_branch1", (n, 1), (n, (1, 7)), (192, (7, 1))),
        chain(x, f"{name}_branch2", (n, 1), (n, (7, 1)), (n, (1, 7)), (n, (7, 1)), (192, (1, 7))),
        chain(avg_pool(x, f"{name}_branch3"), f"{name}_branch3", (192, 1)),
    )


def reduction_b(x: Tensor, name: str) -> Tensor:
    """As figure 10, with a factorised branch: 17 x 17 x 768 -> 8 x 8 x 1280."""
    return concat(
        name,
        chain(x, f"{name}_branch0", (192, 1), (320, 3, 2, V)),
        chain(x, f"{name}_branch1", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2, V)),
        max_pool(x, f"{name}_branch2"),
    )


def inception_c(x: Tensor, name: str, pool: str = "avg") -> Tensor:
    """Figure 7: 8 x 8 -> 8 x 8 x 2048."""
    fork1 = chain(x, f"{name}_branch1", (384, 1))
    fork2 = chain(x, f"{name}_branch2", (448, 1), (384, 3))
    if pool == "max":
        pooled = max_pool(x, f"{name}_branch3", strides=1, padding="same")
    else:
        pooled = avg_pool(x, f"{name}_branch3")
    return concat(
        name,
        chain(x, f"{name}_branch0", (320, 1)),
        chain(fork1, f"{name}_branch1a", (384, (1, 3))),
        chain(fork1, f"{name}_branch1b", (384, (3, 1))),
        chain(fork2, f"{name}_branch2a", (384, (1, 3))),
        chain(fork2, f"{name}_branch2b", (384, (3, 1))),
        chain(pooled, f"{name}_branch3", (192, 1)),
    )


def features(x: Tensor, *, last_pool: str) -> Tensor:
    """3 x figure 5, 4 x figure 6 as released (Table 1, which is v2's, has 5) and 2 x figure 7."""
    x = stem(x)
    x = inception_a(x, "mixed0", projection=32)  # 35 x 35 x 256
    x = inception_a(x, "mixed1", projection=64)  # 35 x 35 x 288
    x = inception_a(x, "mixed2", projection=64)  # 35 x 35 x 288
    x = reduction_a(x, "mixed3")  # 17 x 17 x 768
    x = inception_b(x, "mixed4", n=128)
    x = inception_b(x, "mixed5", n=160)
    x = inception_b(x, "mixed6", n=160)
    x = inception_b(x, "mixed7", n=192)
    x = reduction_b(x, "mixed8")  # 8 x 8 x 1280
    x = inception_c(x, "mixed9")  # 8 x 8 x 2048
    return inception_c(x, "mixed10", pool=last_pool)


def arguments_in(graph: Graph) -> dict[str, Any] | None:
    """What a graph shows of the arguments that only this variant has; None for another's graph."""
    if "mixed10" not in graph or "mixed11" in graph:
        return None
    pool = graph.get("mixed10_branch3_pool")
    return {"last_pool": "max" if pool and pool.kind == "MaxPooling2D" else "avg"}


@builder(PREPROCESSING, arguments_in)
def InceptionV3(
    include_top: bool = True,
    weights: WeightsLike = "imagenet",
    input_tensor: Tensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str = "inception_v3",
    *,
    aux_logits: bool = False,
    dropout: float = 0.2,
    include_preprocessing: bool | Preprocessing = False,
    width_multiplier: float = 1.0,
    batch_norm: bool = True,
    last_pool: Literal["avg", "max"] = "avg",
    avg_pool_counts_padding: bool = False,
    bn_scale: bool = False,
    bn_epsilon: float = 1e-3,
    bn_momentum: float = 0.99,
) -> Parts:
    """Inception v3 as released, with the batch-normalized auxiliary head if asked for.

    Args:
        aux_logits: Whether to add the auxiliary classifier on mixed7. The model then returns
            {"predictions", "aux_logits"}.
        last_pool: The pool of mixed10's fourth branch: "avg", or "max" as in the network of
            2015-12-05 that computes FID.

    Reference:
        Szegedy et al., Rethinking the Inception architecture for computer vision,
        arXiv:1512.00567: Table 1, figures 5 to 7 and 10, sections 4 and 6.
    """
    return Parts(
        functools.partial(features, last_pool=last_pool),
        auxiliary={"aux_logits": ("mixed7", auxiliary_head)},
    )
