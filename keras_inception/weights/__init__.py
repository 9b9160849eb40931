"""Weights by name: what a builder's `weights` argument may be, and how it gets into a model."""

from __future__ import annotations

import os
from typing import Any

from keras_inception.weights.named import Weights, load_into, read, save_weights

__all__ = ["Weights", "load_into", "read", "resolve", "save_weights"]


def resolve(weights: Any, variant: str) -> Weights | None:
    """What a builder's `weights` argument means.

    Args:
        weights: None, a `Weights` record, or the path of a .safetensors or .keras file.
        variant: The builder's name.

    Raises:
        ValueError: the value is none of these, or the file belongs to another variant.
    """
    if weights is None:
        return None
    if isinstance(weights, Weights):
        record = weights
    elif isinstance(weights, str | os.PathLike) and os.path.exists(weights):
        record = read(os.fspath(weights))
    else:
        raise ValueError(
            f"`weights` of {variant} should be None or the path of a .safetensors or .keras file; "
            "this version does not load published checkpoints yet. "
            f"Received: weights={weights!r}"
        )
    if record.variant and record.variant != variant:
        raise ValueError(
            f"{record.path} holds weights of {record.variant}. Received: variant {variant}"
        )
    return record
