"""Images and labels of a batch mixed with one another, as pure functions of a key.

keras-cv's layers of the same names draw from a generator whose state a resumed run does not have.
"""

from __future__ import annotations

import tensorflow as tf

MIXES = ("none", "mixup", "cutmix", "either")
MIXUP_ALPHA, CUTMIX_ALPHA = 0.2, 1.0

Pair = tuple[tf.Tensor, tf.Tensor]


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
