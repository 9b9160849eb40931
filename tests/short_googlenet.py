"""Inception v1 with three of its nine blocks, for tests of what happens around a network.

Most of the time of a short training is the tracing of its graph.
"""

from __future__ import annotations

from keras_inception.models import inception_v1
from keras_inception.models.layers import chain, conv_bn, max_pool


def features(x, *, lrn, branch5x5, last_pool):
    x = conv_bn(x, 64, 7, 2, name="stem_0")
    x = max_pool(x, "stem_0", padding="same")
    x = chain(x, "stem_1", (64, 1), (192, 3))
    x = max_pool(x, "stem_1", padding="same")
    x = inception_v1.inception(x, "3a", branch5x5)
    x = max_pool(x, "inception_3b", padding="same")
    x = inception_v1.inception(x, "4a", branch5x5)
    x = max_pool(x, "inception_4e", size=last_pool, padding="same")
    return inception_v1.inception(x, "5b", branch5x5)


def shorten() -> None:
    """Makes the process build this network as InceptionV1."""
    inception_v1.features = features
