"""Inception v2 of 'Rethinking the Inception architecture' (arXiv:1512.00567), Table 1.

Not BN-Inception, which TF-Slim calls inception_v2. No weights of this network were published.
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
    """The first seven rows of Table 1: 299 x 299 x 3 -> 35 x 35 x 288."""
    x = chain(x, "stem_0", (32, 3, 2, V), (32, 3, 1, V), (64, 3))  # 147 x 147 x 64
    x = max_pool(x, "stem_0")  # 73 x 73 x 64
    return chain(x, "stem_1", (80, 3, 1, V), (192, 3, 2, V), (288, 3))  # 35 x 35 x 288


def figure_5(x: Tensor, name: str) -> Tensor:
    """Figure 5, 5 x 5 as two 3 x 3: 35 x 35 x 288 -> the same. Widths of v3's mixed1."""
    return concat(
        name,
        chain(x, f"{name}_branch0", (64, 1)),
        chain(x, f"{name}_branch1", (48, 1), (64, 3)),
        chain(x, f"{name}_branch2", (64, 1), (96, 3), (96, 3)),
        chain(avg_pool(x, f"{name}_branch3"), f"{name}_branch3", (64, 1)),
    )


def figure_6(x: Tensor, name: str, n: int) -> Tensor:
    """Figure 6 with n = 7, 7 x 7 as 1 x 7 and 7 x 1: 17 x 17 x 768 -> the same."""
    return concat(
        name,
        chain(x, f"{name}_branch0", (192, 1)),
        chain(x, f"{name}_branch1", (n, 1), (n, (1, 7)), (192, (7, 1))),
        chain(x, f"{name}_branch2", (n, 1), (n, (1, 7)), (n, (7, 1)), (n, (1, 7)), (192, (7, 1))),
        chain(avg_pool(x, f"{name}_branch3"), f"{name}_branch3", (192, 1)),
    )


def figure_7(x: Tensor, name: str) -> Tensor:
    """Figure 7, wide at the end: 8 x 8 -> 8 x 8 x 2048. Widths of v3's mixed9."""
    fork1 = chain(x, f"{name}_branch1", (384, 1))
    fork2 = chain(x, f"{name}_branch2", (448, 1), (384, 3))
    return concat(
        name,
        chain(x, f"{name}_branch0", (320, 1)),
        chain(fork1, f"{name}_branch1a", (384, (1, 3))),
        chain(fork1, f"{name}_branch1b", (384, (3, 1))),
        chain(fork2, f"{name}_branch2a", (384, (1, 3))),
        chain(fork2, f"{name}_branch2b", (384, (3, 1))),
        chain(avg_pool(x, f"{name}_branch3"), f"{name}_branch3", (192, 1)),
    )


def reduction(x: Tensor, name: str, n3x3: tuple[int, int], double: tuple[int, int]) -> Tensor:
    """Figure 10: convolutions of stride 2 beside a pool, which keeps all its channels."""
    return concat(
        name,
        chain(x, f"{name}_branch0", (n3x3[0], 1), (n3x3[1], 3, 2, V)),
        chain(x, f"{name}_branch1", (double[0], 1), (double[1], 3), (double[1], 3, 2, V)),
        max_pool(x, f"{name}_branch2"),
    )


def features(x: Tensor) -> Tensor:
    """Table 1 as it is printed: 3 x figure 5, 5 x figure 6, 2 x figure 7.

    The table has no rows for the two reductions of figure 10; here they stand between its rows.
    It can also be read so that they are the last of the 3 and of the 5, as in the released v3,
    which has as many blocks from mixed1 on. That network is shallower (45 layers against 53; the
    paper says 42) and costs 5.3 billion multiply-adds against 6.1 (the paper says 3.8): neither
    reading gives the paper's numbers, so the printed counts of figures decide.

    The paper leaves branch widths to a supplement that was never released: they are v3's where
    the stages fit, and chosen in the reductions to reach the 768 and 1280 channels of the table.
    """
    x = stem(x)
    for i in range(3):
        x = figure_5(x, f"mixed{i}")  # 35 x 35 x 288
    x = reduction(x, "mixed3", n3x3=(64, 384), double=(64, 96))  # 17 x 17 x 768
    for i, n in enumerate((128, 160, 160, 160, 192), start=4):
        x = figure_6(x, f"mixed{i}", n)
    x = reduction(x, "mixed9", n3x3=(192, 320), double=(192, 192))  # 8 x 8 x 1280
    for i in (10, 11):
        x = figure_7(x, f"mixed{i}")  # 8 x 8 x 2048
    return x


def arguments_in(graph: Graph) -> dict[str, Any] | None:
    """What a graph shows of the arguments that only this variant has; None for another's graph."""
    return {} if "mixed11" in graph else None


@builder(PREPROCESSING, arguments_in)
def InceptionV2(
    include_top: bool = True,
    weights: WeightsLike = None,
    input_tensor: Tensor | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str = "inception_v2",
    *,
    aux_logits: bool = False,
    dropout: float = 0.2,
    include_preprocessing: bool | Preprocessing = False,
    width_multiplier: float = 1.0,
    batch_norm: bool = True,
    bn_scale: bool = False,
    bn_epsilon: float = 1e-3,
    bn_momentum: float = 0.99,
) -> Parts:
    """Inception v2 of 'Rethinking', with the three kinds of modules of its Table 1.

    No weights were published for it; the network that TF-Slim calls inception_v2 is `BNInception`.

    Args:
        weights: None (random weights), a `Weights` record, or the path of a weights file.
        aux_logits: Whether to add the auxiliary classifier on mixed8. The model then returns
            {"predictions", "aux_logits"}.

    Reference:
        Szegedy et al., Rethinking the Inception architecture for computer vision,
        arXiv:1512.00567: Table 1, figures 5, 6, 7 and 10.
    """
    return Parts(features, auxiliary={"aux_logits": ("mixed8", auxiliary_head)})
