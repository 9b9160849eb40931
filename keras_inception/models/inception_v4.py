"""Inception v4 (Szegedy et al. 2016, arXiv:1602.07261): figures 3 to 9.

Endpoints have TF-Slim's names, in lower case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
    """Figure 3: 299 x 299 x 3 -> 35 x 35 x 384."""
    x = chain(x, "stem_0", (32, 3, 2, V), (32, 3, 1, V), (64, 3))  # 147 x 147 x 64
    x = concat(
        "mixed_3a",  # 73 x 73 x 160
        max_pool(x, "mixed_3a_branch0"),
        chain(x, "mixed_3a_branch1", (96, 3, 2, V)),
    )
    x = concat(
        "mixed_4a",  # 71 x 71 x 192; 1x7 before 7x1 as released, the figure has 7x1 first
        chain(x, "mixed_4a_branch0", (64, 1), (96, 3, 1, V)),
        chain(x, "mixed_4a_branch1", (64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3, 1, V)),
    )
    return concat(
        "mixed_5a",  # 35 x 35 x 384
        chain(x, "mixed_5a_branch0", (192, 3, 2, V)),
        max_pool(x, "mixed_5a_branch1"),
    )


def inception_a(x: Tensor, name: str) -> Tensor:
    """Inception-A (figure 4): 35 x 35 x 384 -> the same."""
    return concat(
        name,
        chain(x, f"{name}_branch0", (96, 1)),
        chain(x, f"{name}_branch1", (64, 1), (96, 3)),
        chain(x, f"{name}_branch2", (64, 1), (96, 3), (96, 3)),
        chain(avg_pool(x, f"{name}_branch3"), f"{name}_branch3", (96, 1)),
    )


def reduction_a(x: Tensor, name: str, k: int, l: int, m: int, n: int) -> Tensor:
    """Reduction-A (figure 7; k, l, m, n from Table 1): 35 x 35 -> 17 x 17."""
    return concat(
        name,
        chain(x, f"{name}_branch0", (n, 3, 2, V)),
        chain(x, f"{name}_branch1", (k, 1), (l, 3), (m, 3, 2, V)),
        max_pool(x, f"{name}_branch2"),
    )


def inception_b(x: Tensor, name: str) -> Tensor:
    """Inception-B (figure 5): 17 x 17 x 1024 -> the same."""
    return concat(
        name,
        chain(x, f"{name}_branch0", (384, 1)),
        chain(x, f"{name}_branch1", (192, 1), (224, (1, 7)), (256, (7, 1))),
        # 7x1 first as released, the figure has 1x7 first
        chain(
            x,
            f"{name}_branch2",
            (192, 1),
            (192, (7, 1)),
            (224, (1, 7)),
            (224, (7, 1)),
            (256, (1, 7)),
        ),
        chain(avg_pool(x, f"{name}_branch3"), f"{name}_branch3", (128, 1)),
    )


def reduction_b(x: Tensor, name: str) -> Tensor:
    """Reduction-B (figure 8): 17 x 17 x 1024 -> 8 x 8 x 1536."""
    return concat(
        name,
        chain(x, f"{name}_branch0", (192, 1), (192, 3, 2, V)),
        chain(x, f"{name}_branch1", (256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2, V)),
        max_pool(x, f"{name}_branch2"),
    )


def inception_c(x: Tensor, name: str) -> Tensor:
    """Inception-C (figure 6): 8 x 8 x 1536 -> the same."""
    fork1 = chain(x, f"{name}_branch1", (384, 1))
    # 3x1 first as released, the figure has 1x3 first
    fork2 = chain(x, f"{name}_branch2", (384, 1), (448, (3, 1)), (512, (1, 3)))
    return concat(
        name,
        chain(x, f"{name}_branch0", (256, 1)),
        chain(fork1, f"{name}_branch1a", (256, (1, 3))),
        chain(fork1, f"{name}_branch1b", (256, (3, 1))),
        chain(fork2, f"{name}_branch2a", (256, (1, 3))),
        chain(fork2, f"{name}_branch2b", (256, (3, 1))),
        chain(avg_pool(x, f"{name}_branch3"), f"{name}_branch3", (256, 1)),
    )


def features(x: Tensor) -> Tensor:
    """Figure 9."""
    x = stem(x)
    for s in "bcde":  # 4 x Inception-A
        x = inception_a(x, f"mixed_5{s}")
    x = reduction_a(x, "mixed_6a", k=192, l=224, m=256, n=384)
    for s in "bcdefgh":  # 7 x Inception-B
        x = inception_b(x, f"mixed_6{s}")
    x = reduction_b(x, "mixed_7a")
    for s in "bcd":  # 3 x Inception-C
        x = inception_c(x, f"mixed_7{s}")
    return x


def arguments_in(graph: Graph) -> dict[str, Any] | None:
    """What a graph shows of the arguments that only this variant has; None for another's graph."""
    return {} if "mixed_7d" in graph else None


@builder(PREPROCESSING, arguments_in)
def InceptionV4(
    include_top: bool = True,
    weights: WeightsLike = "imagenet",
    input_tensor: Tensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str = "inception_v4",
    *,
    aux_logits: bool = False,
    dropout: float = 0.2,
    include_preprocessing: bool | Preprocessing = False,
    width_multiplier: float = 1.0,
    batch_norm: bool = True,
    avg_pool_counts_padding: bool = False,
    bn_scale: bool = False,
    bn_epsilon: float = 1e-3,
    bn_momentum: float = 0.99,
) -> Parts:
    """Inception v4, the pure Inception network (figure 9).

    Args:
        aux_logits: Whether to add the auxiliary classifier on mixed_6h. The model then returns
            {"predictions", "aux_logits"}.

    Reference:
        Szegedy et al., Inception-v4, Inception-ResNet and the impact of residual connections on
        learning, arXiv:1602.07261: figures 3 to 9, Table 1.
    """
    return Parts(features, auxiliary={"aux_logits": ("mixed_6h", auxiliary_head)})
