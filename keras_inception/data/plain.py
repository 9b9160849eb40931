"""TensorFlow's own decoding, the fastest, and the images for which it is right."""

from __future__ import annotations

import tensorflow as tf

from keras_inception.data.decode import Choose, crop
from keras_inception.data.headers import FORMATS, bytes_at, image_format, little_endian


def decode_plainly(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """TensorFlow's own decoding, the fastest: right for images that a first pass found plain."""
    pixels = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    return tf.ensure_shape(pixels, (None, None, channels))


def decode_crop_plainly(encoded: tf.Tensor, choose: Choose, channels: int) -> tf.Tensor:
    """A rectangle of `decode_plainly`'s result; of a JPEG only that part is decoded."""

    def fused() -> tf.Tensor:
        size = tf.io.extract_jpeg_shape(encoded)[:2]
        return tf.io.decode_and_crop_jpeg(encoded, choose(size), channels=channels)

    def whole() -> tf.Tensor:
        return crop(decode_plainly(encoded, channels), choose)

    pixels = tf.cond(tf.io.is_jpeg(encoded), fused, whole)
    return tf.ensure_shape(pixels, (None, None, channels))


def is_plain(encoded: tf.Tensor, decoded: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """int32: whether `decode_plainly` is right: 0 never, 1 for 3 channels, 2 for 1 channel as well.

    Args:
        encoded: string scalar.
        decoded: What `Decoding.decode` gave for 3 channels.
        orientation: What `exif_orientation` gave.
    """
    head = bytes_at(encoded, 0, 30)

    def jpeg() -> tf.Tensor:
        return tf.where(tf.io.extract_jpeg_shape(encoded)[2] == 4, 1, 2)

    def png() -> tf.Tensor:
        same = tf.reduce_all(tf.io.decode_png(encoded, 3) == decoded)
        return tf.where(same & (head[24] <= 8), 2, 0)

    def bmp() -> tf.Tensor:
        return tf.where(little_endian(head, 28, 2) == 24, 1, 0)

    def webp() -> tf.Tensor:
        lossless = (head[15] == ord("L")) & (head[24] & 0x10 == 0)
        return tf.where((head[15] == ord(" ")) | lossless, 1, 0)

    def never() -> tf.Tensor:
        return tf.constant(0)

    branches = [never, jpeg, png, never, bmp, webp]
    upright = tf.equal(orientation, 1)
    return tf.cond(
        upright, lambda: tf.switch_case(image_format(encoded), branches), lambda: tf.constant(0)
    )


def sixteen_bit_maximum(encoded: tf.Tensor) -> tf.Tensor:
    """int32: the largest value of a 16-bit PNG; 0 for every other image."""

    def largest() -> tf.Tensor:
        return tf.cast(tf.reduce_max(tf.io.decode_png(encoded, 3, tf.uint16)), tf.int32)

    is_deep = (image_format(encoded) == FORMATS.index("PNG")) & (bytes_at(encoded, 24, 1)[0] == 16)
    return tf.cond(is_deep, largest, lambda: tf.constant(0))
