"""Weights by name: what a builder's `weights` argument may be, and how it gets into a model."""

from __future__ import annotations

from typing import Any

import keras


def resolve(weights: Any, variant: str) -> Any:
    if weights is None:
        return None
    raise ValueError(f"weights={weights!r} for {variant}: not there yet")


def load_into(model: keras.Model, record: Any) -> None:
    raise NotImplementedError
