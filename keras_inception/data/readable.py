"""Encoded images -> pixels, and which of them cannot be read."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf


def decode(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """JPEG, PNG, GIF (its first image) or BMP bytes -> uint8 (height, width, channels)."""
    pixels = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    return tf.ensure_shape(pixels, (None, None, channels))


def unreadable(image: Callable[[tf.Tensor], tf.Tensor], count: int) -> np.ndarray:
    """Decodes every image once: the numbers of those that fail.

    Args:
        image: int64 scalar tensor i -> the encoded bytes of image i.
        count: How many there are.
    """
    good = (
        tf.data.Dataset.range(count)
        .map(
            lambda i: (i, tf.size(decode(image(i), 3))),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=False,
        )
        .ignore_errors()
    )
    readable = np.zeros(count, bool)
    shown = time.monotonic()
    for done, (i, _) in enumerate(good.as_numpy_iterator(), start=1):
        readable[i] = True
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            print(f"checked {done} of {count} images", file=sys.stderr, flush=True)
    return np.flatnonzero(~readable)
