"""Our own layer names, which native files and Keras files of our models have."""

from __future__ import annotations

import re

_OURS = re.compile(
    r"(stem_\d|inception_\d|mixed_?\d|block(8|17|35)_\d|conv_7b_|bottleneck|aux\d?_|predictions\b)"
)
_HEAD = re.compile(r"(bottleneck|aux\d?_|predictions\b)")
_FIRST = re.compile(r"stem_0(_0)?_(conv|pad)")


def is_ours(layer: str) -> bool:
    """Whether a builder of this package names its layers so."""
    return _OURS.match(layer) is not None


def in_head(layer: str) -> bool:
    """Whether one of our layers belongs to a classifier: the main one or an auxiliary one."""
    return _HEAD.match(layer) is not None


def is_first(layer: str) -> bool:
    """Whether one of our layers takes the image: a network's first convolution, or its padding."""
    return _FIRST.fullmatch(layer) is not None
