"""Encoded images -> pixels, the same for every stage, and which of them cannot be read."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf


def decode(encoded: tf.Tensor, channels: int = 3) -> tf.Tensor:
    """Decodes one image, with TensorFlow's operations only: also inside an exported graph.

    Args:
        encoded: string scalar: the bytes of a JPEG, PNG, GIF (its first image) or BMP.
        channels: 3 (RGB) or 1 (gray).

    Returns:
        uint8 (height, width, channels).
    """
    pixels = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    return tf.ensure_shape(pixels, (None, None, channels))


def decode_crop(
    encoded: tf.Tensor, choose: Callable[[tf.Tensor], tf.Tensor], channels: int = 3
) -> tf.Tensor:
    """A rectangle of `decode`'s result; of a JPEG only that part is decoded.

    Args:
        encoded: As for `decode`.
        choose: int32 (2,), the image's height and width -> int32 (4,): top, left, height, width.
        channels: 3 or 1.

    Returns:
        uint8 (height, width, channels) of the rectangle.
    """

    def fused() -> tf.Tensor:
        size = tf.io.extract_jpeg_shape(encoded)[:2]
        return tf.io.decode_and_crop_jpeg(encoded, choose(size), channels=channels)

    def whole() -> tf.Tensor:
        return crop(decode(encoded, channels), choose)

    pixels = tf.cond(tf.io.is_jpeg(encoded), fused, whole)
    return tf.ensure_shape(pixels, (None, None, channels))


def crop(pixels: tf.Tensor, choose: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """The rectangle of an image (height, width, channels) that `choose` picks for its size."""
    top, left, height, width = tf.unstack(choose(tf.shape(pixels)[:2]))
    return pixels[top : top + height, left : left + width]


def with_channels(pixels: tf.Tensor, channels: int) -> tf.Tensor:
    """uint8 (height, width, 1 or 3) as RGB or gray."""
    if pixels.shape[-1] == channels:
        return pixels
    if pixels.shape[-1] == 1:
        return tf.repeat(pixels, channels, axis=-1)
    return tf.cast(tf.round(tf.image.rgb_to_grayscale(tf.cast(pixels, tf.float32))), tf.uint8)


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
