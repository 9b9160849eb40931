"""What training does to images, as pure functions of a key.

Random crops, mirrors and colors of one image are keyed by (seed, position); the images and labels
of a batch are mixed by the key of its first position. keras-cv's layers of the same names draw from
a generator whose state a resumed run does not have.
"""

from __future__ import annotations

import tensorflow as tf

# 1409.4842 section 6: patches of 8-100 % of the image's area at an aspect of 3/4 to 4/3.
AREA = (0.08, 1.0)
# For a few hundred images of one's own, which a small patch often does not show.
MILD_AREA = (0.6, 1.0)
MILD_COLOR = (0.06, 0.2)  # of brightness and saturation
ASPECT = (3 / 4, 4 / 3)

# The side of the square that stands for an image of any shape.
_FINE = 2**14

# What one example draws its independent random numbers for.
_CROP, _MIRROR, _COLOR = 0, 1, 2

MIXUP_ALPHA, CUTMIX_ALPHA = 0.2, 1.0

Pair = tuple[tf.Tensor, tf.Tensor]


def _key(key: tf.Tensor, purpose: int) -> tf.Tensor:
    """A seed of its own for each purpose of one example."""
    return tf.random.experimental.stateless_fold_in(tf.cast(key, tf.int64), purpose)


def random_crop_box(
    size: tf.Tensor,
    key: tf.Tensor,
    area: tuple[float, float] = AREA,
    of_its_aspect: bool = False,
) -> tf.Tensor:
    """A crop of random area and aspect.

    Args:
        size: int32 (2,), the image's height and width.
        key: int64 (2,), (seed, position).
        area: Smallest and largest share of the image's area.
        of_its_aspect: Whether the crop's aspect is 3/4 to 4/3 of the image's own, as is right
            where evaluation sees whole images; else 3/4 to 4/3.

    Returns:
        int32 (4,): top, left, height, width, inside the image.
    """
    drawn_in = tf.fill([2], _FINE) if of_its_aspect else size
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([drawn_in, [3]], 0),
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=_key(key, _CROP),
        min_object_covered=area[0],
        aspect_ratio_range=ASPECT,
        area_range=area,
        max_attempts=100,
        use_image_if_no_bounding_boxes=True,
    )
    if not of_its_aspect:
        return tf.concat([begin[:2], extent[:2]], 0)
    first, last = (tf.cast(x[:2], tf.int64) for x in (begin, begin + extent))
    side, whole = tf.constant(_FINE, tf.int64), tf.cast(size, tf.int64)
    first = tf.minimum(first * whole // side, whole - 1)
    last = tf.maximum(last * whole // side, first + 1)
    return tf.cast(tf.concat([first, last - first], 0), tf.int32)


def random_mirror(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """The image or, as often, its left-right mirror image."""
    return tf.image.stateless_random_flip_left_right(image, _key(key, _MIRROR))


def distort_color(
    image: tf.Tensor, key: tf.Tensor, brightness: float = 32.0 / 255.0, saturation: float = 0.5
) -> tf.Tensor:
    """Another brightness and saturation; by default as in TF-Slim's fast distortion.

    Args:
        image: float32 (height, width, 3) in 0..255.
        key: int64 (2,), (seed, position).
        brightness: The most that is added or subtracted, of 1.
        saturation: The most that its factor differs from 1.
    """
    seeds = tf.random.split(_key(key, _COLOR), 2)
    # Both are the same at any scale; at this one no pass over the image is spent on changing it.
    image = tf.image.stateless_random_brightness(image, 255.0 * brightness, seeds[0])
    factors = (1.0 - saturation, 1.0 + saturation)
    image = tf.image.stateless_random_saturation(image, *factors, seeds[1])
    return tf.clip_by_value(image, 0.0, 255.0)


def mix_batch(kind: str, image: tf.Tensor, label: tf.Tensor, key: tf.Tensor) -> Pair:
    """Mixes each image with its neighbour in the batch.

    Args:
        kind: "mixup" (Zhang et al. 2017, arXiv:1710.09412), "cutmix" (Yun et al. 2019,
            arXiv:1905.04899), or "either" (one of them, drawn for the whole batch).
        image: float32 (batch, height, width, channels).
        label: float32 one-hot (batch, classes).
        key: int64 (2,): decides every draw.

    Returns:
        The mixed images and labels; a label's shares are those of its images.
    """
    if kind == "mixup":
        return mixup(image, label, key)
    if kind == "cutmix":
        return cutmix(image, label, key)
    first = tf.random.stateless_uniform((), key + [2, 0]) < 0.5
    return tf.cond(first, lambda: mixup(image, label, key), lambda: cutmix(image, label, key))


def mixup(image: tf.Tensor, label: tf.Tensor, key: tf.Tensor) -> Pair:
    """A weighted mean of two images, one weight a pair, from Beta(0.2, 0.2)."""
    share = _beta(tf.shape(image)[0], MIXUP_ALPHA, key)
    weight = share[:, None, None, None]
    return (
        weight * image + (1.0 - weight) * _neighbour(image),
        share[:, None] * label + (1.0 - share[:, None]) * _neighbour(label),
    )


def cutmix(image: tf.Tensor, label: tf.Tensor, key: tf.Tensor) -> Pair:
    """A rectangle of the neighbour pasted in; its area's share is drawn from Beta(1, 1)."""
    count, height, width = tf.unstack(tf.shape(image)[:3])
    side = tf.sqrt(1.0 - _beta(count, CUTMIX_ALPHA, key))  # of the rectangle, as a share
    center = tf.random.stateless_uniform((count, 2), key + [3, 0])

    def inside(axis: int, pixels: tf.Tensor) -> tf.Tensor:
        """(count, pixels): whether a row or column is in the rectangle."""
        length = tf.cast(pixels, tf.float32)
        at = tf.range(length)[None]
        middle, half = center[:, axis, None] * length, side[:, None] * length / 2
        return (at >= tf.floor(middle - half)) & (at < tf.floor(middle + half))

    box = inside(0, height)[:, :, None] & inside(1, width)[:, None, :]
    share = 1.0 - tf.reduce_mean(tf.cast(box, tf.float32), axis=(1, 2))[:, None]
    return (
        tf.where(box[..., None], _neighbour(image), image),
        share * label + (1.0 - share) * _neighbour(label),
    )


def _neighbour(values: tf.Tensor) -> tf.Tensor:
    return tf.roll(values, 1, axis=0)


def _beta(count: tf.Tensor, alpha: float, key: tf.Tensor) -> tf.Tensor:
    """float32 (count,) from Beta(alpha, alpha)."""
    a, b = (tf.random.stateless_gamma((count,), key + [0, i], alpha) for i in (1, 2))
    return a / tf.maximum(a + b, 1e-30)
