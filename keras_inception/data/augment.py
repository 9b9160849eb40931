"""Augmentation policies of keras-cv, for tf.data only; the one place that imports it.

Its RandAugment is 12 times faster there than Keras' own. It is not used inside models: it does not
trace there, and an exported model has no use for it.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf


def rand_augment(seed: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """RandAugment (Cubuk et al. 2019, arXiv:1909.13719): two operations a picture.

    Args:
        seed: Of keras-cv's own generator. Its draws depend on what was drawn before, so a resumed
            run augments otherwise than one that was never stopped.

    Returns:
        A function of float32 pictures (batch, height, width, 3) in 0..255 to the same.
    """
    from keras_cv.layers import RandAugment

    before = keras.config.dtype_policy()
    # Its inner layers take the global policy, and fail under a 16-bit one.
    keras.config.set_dtype_policy("float32")
    try:
        layer = RandAugment(
            value_range=(0, 255), augmentations_per_image=2, magnitude=0.5, seed=seed
        )
        layer(tf.zeros((1, 8, 8, 3)))  # builds the inner layers under that policy
    finally:
        keras.config.set_dtype_policy(before)
    return lambda images: tf.clip_by_value(layer(images, training=True), 0.0, 255.0)
