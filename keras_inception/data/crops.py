"""Random crops, mirrors and colors of training images; stateless, keyed by (seed, position)."""

from __future__ import annotations

import tensorflow as tf

# 1409.4842 section 6: patches of 8-100 % of the image's area at an aspect of 3/4 to 4/3.
AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)

# What one example draws its independent random numbers for.
_CROP, _MIRROR, _COLOR = 0, 1, 2


def _key(key: tf.Tensor, purpose: int) -> tf.Tensor:
    """A seed of its own for each purpose of one example."""
    return tf.random.experimental.stateless_fold_in(tf.cast(key, tf.int64), purpose)


def random_crop_box(size: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """A crop of random area and aspect.

    Args:
        size: int32 (2,), the image's height and width.
        key: int64 (2,), (seed, position).

    Returns:
        int32 (4,): top, left, height, width, inside the image.
    """
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([size, [3]], 0),
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=_key(key, _CROP),
        min_object_covered=AREA[0],
        aspect_ratio_range=ASPECT,
        area_range=AREA,
        max_attempts=100,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], extent[:2]], 0)


def random_mirror(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """The image or, as often, its left-right mirror image."""
    return tf.image.stateless_random_flip_left_right(image, _key(key, _MIRROR))


def distort_color(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """TF-Slim's fast distortion: brightness by up to 32/255, saturation by 0.5 to 1.5.

    Args:
        image: float32 (height, width, 3) in 0..255.
    """
    seeds = tf.random.split(_key(key, _COLOR), 2)
    image = tf.image.stateless_random_brightness(image / 255.0, 32.0 / 255.0, seeds[0])
    image = tf.image.stateless_random_saturation(image, 0.5, 1.5, seeds[1])
    return tf.clip_by_value(image * 255.0, 0.0, 255.0)
