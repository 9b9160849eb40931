"""Inception-ResNet v1 and v2 (Szegedy et al. 2016, arXiv:1602.07261): figures 10 to 19.

Block outputs keep the names that Keras users know: mixed_5b, block35_1, mixed_6a, ..., conv_7b.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from keras_inception.models import inception_v4
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
    conv_bn,
    dense_bn,
    max_pool,
    residual,
)
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights.graph import Graph, setting

PREPROCESSING = Preprocessing(size=(299, 299))
preprocess_input = preprocess_input_by(PREPROCESSING)

# How much of a residual is added (section 3.3): of block35, block17 and block8, as released. The
# last block8 adds all of it and has no ReLU.
SCALES = (0.17, 0.10, 0.20)


def check_scales(residual_scale: tuple[float, float, float] | float) -> tuple[float, ...]:
    """One scale a kind of block."""
    scales = (residual_scale,) * 3 if isinstance(residual_scale, int | float) else residual_scale
    if len(scales) != 3:
        raise ValueError(
            "`residual_scale` should be one number, or three: of block35, block17 and block8. "
            f"Received: residual_scale={residual_scale}"
        )
    return tuple(scales)


def scale_in(graph: Graph) -> Any:
    """`residual_scale` as a graph shows it."""
    kinds = ("block35", "block17", "block8")
    scales = [setting(graph, f"{kind}_1_scale", "scale") for kind in kinds]
    # Of a kind that has no block, or only the last block8, which adds all of its residual, any
    # scale is as good.
    scales = [1.0 if scale is None else scale for scale in scales]
    return scales[0] if scales[0] == scales[1] == scales[2] else tuple(scales)


# ------------------------------------------------------------------------------ Inception-ResNet v1


def stem_v1(x: Tensor) -> Tensor:
    """Figure 14: 299 x 299 x 3 -> 35 x 35 x 256."""
    x = chain(x, "stem_0", (32, 3, 2, V), (32, 3, 1, V), (64, 3))  # 147 x 147 x 64
    x = max_pool(x, "stem_0")  # 73 x 73 x 64
    return chain(x, "stem_1", (80, 1, 1, V), (192, 3, 1, V), (256, 3, 2, V))


def block35_v1(x: Tensor, name: str, scale: float) -> Tensor:
    """Inception-ResNet-A (figure 10) on 35 x 35 x 256."""
    return residual(
        x,
        name,
        scale,
        chain(x, f"{name}_branch0", (32, 1)),
        chain(x, f"{name}_branch1", (32, 1), (32, 3)),
        chain(x, f"{name}_branch2", (32, 1), (32, 3), (32, 3)),
    )


def block17_v1(x: Tensor, name: str, scale: float) -> Tensor:
    """Inception-ResNet-B (figure 11) on 17 x 17 x 896."""
    return residual(
        x,
        name,
        scale,
        chain(x, f"{name}_branch0", (128, 1)),
        chain(x, f"{name}_branch1", (128, 1), (128, (1, 7)), (128, (7, 1))),
    )


def block8_v1(x: Tensor, name: str, scale: float, activation: str | None = "relu") -> Tensor:
    """Inception-ResNet-C (figure 13) on 8 x 8 x 1792."""
    return residual(
        x,
        name,
        scale,
        chain(x, f"{name}_branch0", (192, 1)),
        chain(x, f"{name}_branch1", (192, 1), (192, (1, 3)), (192, (3, 1))),
        activation=activation,
    )


def reduction_b(x: Tensor, name: str, p: int, q: int, r: int) -> Tensor:
    """Reduction-B (figure 12: 256, 256, 256; figure 18: 288, 288, 320): 17 x 17 -> 8 x 8."""
    return concat(
        name,
        chain(x, f"{name}_branch0", (256, 1), (384, 3, 2, V)),
        chain(x, f"{name}_branch1", (256, 1), (p, 3, 2, V)),
        chain(x, f"{name}_branch2", (256, 1), (q, 3), (r, 3, 2, V)),
        max_pool(x, f"{name}_branch3"),
    )


def features_v1(x: Tensor, *, blocks: tuple[int, int, int], scales: tuple[float, ...]) -> Tensor:
    """Figure 15 with figures 10-14."""
    a, b, c = blocks
    x = stem_v1(x)  # 35 x 35 x 256
    for i in range(1, a + 1):
        x = block35_v1(x, f"block35_{i}", scales[0])
    x = inception_v4.reduction_a(x, "mixed_6a", k=192, l=192, m=256, n=384)  # 17 x 17 x 896
    for i in range(1, b + 1):
        x = block17_v1(x, f"block17_{i}", scales[1])
    x = reduction_b(x, "mixed_7a", p=256, q=256, r=256)  # 8 x 8 x 1792
    for i in range(1, c):
        x = block8_v1(x, f"block8_{i}", scales[2])
    return block8_v1(x, f"block8_{c}", 1.0, activation=None)


def bottleneck(x: Tensor, width: int) -> Tensor:
    """FaceNet's embedding: a linear layer with BatchNorm instead of a bias, on pooled features."""
    return dense_bn(x, width, name="bottleneck")


def arguments_in_v1(graph: Graph) -> dict[str, Any] | None:
    """What a graph shows of the arguments that only this variant has; None for another's graph."""
    if "block8_1" not in graph or "mixed_5a" in graph or "mixed_5b" in graph:
        return None
    # "block35_1" is the output of a block, "block35_1_mixed" is inside of it.
    kinds = [name.rpartition("_")[0] for name in graph]
    return {
        "residual_scale": scale_in(graph),
        "embedding": setting(graph, "bottleneck", "units"),
        "blocks": tuple(kinds.count(kind) for kind in ("block35", "block17", "block8")),
    }


@builder(PREPROCESSING, arguments_in_v1)
def InceptionResNetV1(
    include_top: bool = True,
    weights: WeightsLike = "imagenet",
    input_tensor: Tensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str = "inception_resnet_v1",
    *,
    aux_logits: bool = False,
    dropout: float = 0.2,
    include_preprocessing: bool | Preprocessing = False,
    width_multiplier: float = 1.0,
    batch_norm: bool = True,
    embedding: int | None = None,
    blocks: tuple[int, int, int] = (5, 10, 6),
    residual_scale: tuple[float, float, float] | float = SCALES,
    bn_scale: bool = False,
    bn_epsilon: float = 1e-3,
    bn_momentum: float = 0.99,
) -> Parts:
    """Inception-ResNet v1, in its ImageNet form or, with `embedding=512`, in FaceNet's.

    FaceNet's embedding is `InceptionResNetV1(include_top=False, pooling="avg", embedding=512,
    input_shape=(160, 160, 3), ...)`; l2-normalise it to compare faces.

    Args:
        aux_logits: Whether to add v2's auxiliary classifier on the last block17 (no published file
            has it). The model then returns {"predictions", "aux_logits"}.
        embedding: Width of a linear layer with BatchNorm between the pooled features and the
            classifier; None for none. Without top it needs `pooling`.
        blocks: How many of block35, block17 and block8. Released networks have 5, 10 and 6, the
            paper 5, 10 and 5.
        residual_scale: Factor of the residuals: one number for all blocks, or one each for block35,
            block17 and block8. The last block8 adds all of its residual.

    Reference:
        Szegedy et al., arXiv:1602.07261: figures 7, 10 to 15, Table 1, section 3.3. The body of
        davidsandberg/facenet, src/models/inception_resnet_v1.py.
    """
    if embedding and not include_top and pooling is None:
        raise ValueError(
            '`embedding` stands on the pooled features: give `pooling="avg"` too. '
            f"Received: embedding={embedding}, pooling=None"
        )
    if len(blocks) != 3 or not all(0 <= number <= 100 for number in blocks):
        raise ValueError(
            "`blocks` should be three numbers from 0 to 100: of block35, block17 and block8. "
            f"Received: blocks={blocks}"
        )
    return Parts(
        functools.partial(features_v1, blocks=blocks, scales=check_scales(residual_scale)),
        auxiliary={"aux_logits": (f"block17_{blocks[1]}", auxiliary_head)},
        neck=functools.partial(bottleneck, width=embedding) if embedding else None,
    )


# ------------------------------------------------------------------------------ Inception-ResNet v2


def stem_v2(x: Tensor) -> Tensor:
    """As released, v3's stem and a block of its own: 299 x 299 x 3 -> 35 x 35 x 320."""
    x = chain(x, "stem_0", (32, 3, 2, V), (32, 3, 1, V), (64, 3))  # 147 x 147 x 64
    x = max_pool(x, "stem_0")  # 73 x 73 x 64
    x = chain(x, "stem_1", (80, 1, 1, V), (192, 3, 1, V))  # 71 x 71 x 192
    x = max_pool(x, "stem_1")  # 35 x 35 x 192
    return concat(
        "mixed_5b",  # 35 x 35 x 320
        chain(x, "mixed_5b_branch0", (96, 1)),
        chain(x, "mixed_5b_branch1", (48, 1), (64, 5)),
        chain(x, "mixed_5b_branch2", (64, 1), (96, 3), (96, 3)),
        chain(avg_pool(x, "mixed_5b_branch3"), "mixed_5b_branch3", (64, 1)),
    )


def block35_v2(x: Tensor, name: str, scale: float) -> Tensor:
    """Inception-ResNet-A (figure 16) on 35 x 35."""
    return residual(
        x,
        name,
        scale,
        chain(x, f"{name}_branch0", (32, 1)),
        chain(x, f"{name}_branch1", (32, 1), (32, 3)),
        chain(x, f"{name}_branch2", (32, 1), (48, 3), (64, 3)),
    )


def block17_v2(x: Tensor, name: str, scale: float) -> Tensor:
    """Inception-ResNet-B (figure 17) on 17 x 17."""
    return residual(
        x,
        name,
        scale,
        chain(x, f"{name}_branch0", (192, 1)),
        chain(x, f"{name}_branch1", (128, 1), (160, (1, 7)), (192, (7, 1))),
    )


def block8_v2(x: Tensor, name: str, scale: float, activation: str | None = "relu") -> Tensor:
    """Inception-ResNet-C (figure 19) on 8 x 8."""
    return residual(
        x,
        name,
        scale,
        chain(x, f"{name}_branch0", (192, 1)),
        chain(x, f"{name}_branch1", (192, 1), (224, (1, 3)), (256, (3, 1))),
        activation=activation,
    )


def features_v2(x: Tensor, *, scales: tuple[float, ...]) -> Tensor:
    """As released by TF-Slim and Keras: 10, 20 and 10 blocks, and a last convolution."""
    x = stem_v2(x)  # 35 x 35 x 320
    for i in range(1, 11):
        x = block35_v2(x, f"block35_{i}", scales[0])
    x = inception_v4.reduction_a(x, "mixed_6a", k=256, l=256, m=384, n=384)  # 17 x 17 x 1088
    for i in range(1, 21):
        x = block17_v2(x, f"block17_{i}", scales[1])
    x = reduction_b(x, "mixed_7a", p=288, q=288, r=320)  # 8 x 8 x 2080
    for i in range(1, 10):
        x = block8_v2(x, f"block8_{i}", scales[2])
    x = block8_v2(x, "block8_10", 1.0, activation=None)
    return conv_bn(x, 1536, 1, name="conv_7b", endpoint=True)


def features_v2_paper(x: Tensor, *, scales: tuple[float, ...]) -> Tensor:
    """Figure 15 with figures 3 and 16-19: 5, 10 and 5 blocks on v4's stem.

    The figures print 1154 and 2048 channels for B and C; what arrives there is 1152 and 2144, and
    a sum needs as many.
    """
    x = inception_v4.stem(x)  # 35 x 35 x 384
    for i in range(1, 6):
        x = block35_v2(x, f"block35_{i}", scales[0])
    x = inception_v4.reduction_a(x, "mixed_6a", k=256, l=256, m=384, n=384)  # 17 x 17 x 1152
    for i in range(1, 11):
        x = block17_v2(x, f"block17_{i}", scales[1])
    x = reduction_b(x, "mixed_7a", p=288, q=288, r=320)  # 8 x 8 x 2144
    for i in range(1, 6):
        x = block8_v2(x, f"block8_{i}", scales[2])
    return x


def arguments_in_v2(graph: Graph) -> dict[str, Any] | None:
    """What a graph shows of the arguments that only this variant has; None for another's graph."""
    if "block8_1" not in graph or not ("mixed_5a" in graph or "mixed_5b" in graph):
        return None
    return {"residual_scale": scale_in(graph), "paper": "conv_7b" not in graph}


@builder(PREPROCESSING, arguments_in_v2)
def InceptionResNetV2(
    include_top: bool = True,
    weights: WeightsLike = "imagenet",
    input_tensor: Tensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str = "inception_resnet_v2",
    *,
    aux_logits: bool = False,
    dropout: float = 0.2,
    include_preprocessing: bool | Preprocessing = False,
    width_multiplier: float = 1.0,
    batch_norm: bool = True,
    paper: bool = False,
    residual_scale: tuple[float, float, float] | float = SCALES,
    avg_pool_counts_padding: bool = False,
    bn_scale: bool = False,
    bn_epsilon: float = 1e-3,
    bn_momentum: float = 0.99,
) -> Parts:
    """Inception-ResNet v2, as released, or with the paper's counts.

    Args:
        aux_logits: Whether to add the auxiliary classifier on the last block17. The model then
            returns {"predictions", "aux_logits"}.
        paper: Whether to build the paper's network (v4's stem; 5, 10 and 5 blocks), of which no
            weights are published, instead of the released one (10, 20 and 10 blocks).
        residual_scale: Factor of the residuals: one number for all blocks, or one each for block35,
            block17 and block8. The released network's last block8 adds all of its residual.

    Reference:
        Szegedy et al., arXiv:1602.07261: figures 3, 7, 15 to 20, Table 1, section 3.3.
    """
    return Parts(
        functools.partial(
            features_v2_paper if paper else features_v2, scales=check_scales(residual_scale)
        ),
        auxiliary={"aux_logits": ("block17_10" if paper else "block17_20", auxiliary_head)},
    )
