"""Inception v1 with three of its nine blocks, or with one, for tests of what is around a network.

Most of the time of a short training is the tracing of its graph.
"""

from __future__ import annotations

from keras_inception.models import inception_v1
from keras_inception.models.layers import chain, conv_bn, max_pool


def features(x, *, lrn, branch5x5, last_pool, widths):
    """Three blocks: enough to learn the classes of the `fake` data set well."""
    x = inception_v1.inception(_stem(x), "3a", branch5x5, widths)
    x = max_pool(x, "inception_3b", padding="same")
    x = inception_v1.inception(x, "4a", branch5x5, widths)
    x = max_pool(x, "inception_4e", size=last_pool, padding="same")
    return inception_v1.inception(x, "5b", branch5x5, widths)


def one_block(x, *, lrn, branch5x5, last_pool, widths):
    """The stem and the last block."""
    return inception_v1.inception(_stem(x), "5b", branch5x5, widths)


def _stem(x):
    x = conv_bn(x, 64, 7, 2, name="stem_0")
    x = max_pool(x, "stem_0", padding="same")
    x = chain(x, "stem_1", (64, 1), (192, 3))
    return max_pool(x, "stem_1", padding="same")


def shorten() -> None:
    """Makes the process build the network of one block as InceptionV1."""
    inception_v1.features = one_block
