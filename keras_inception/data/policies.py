"""Augmentation policies of keras-cv, for tf.data only; the one place that imports it.

Its RandAugment is 12 times faster there than Keras' own. It is not used inside models: it does not
trace there, and an exported model has no use for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import keras
import tensorflow as tf

# Name -> keras-cv's layer and its arguments.
POLICIES: dict[str, tuple[str, dict[str, Any]]] = {
    # Cubuk et al. 2019, arXiv:1909.13719: two operations an image
    "randaugment": (
        "RandAugment",
        {"value_range": (0, 255), "augmentations_per_image": 2, "magnitude": 0.5},
    ),
    # Hendrycks et al. 2019, arXiv:1912.02781
    "augmix": ("AugMix", {"value_range": (0, 255)}),
    # Chen et al. 2020, arXiv:2001.04086
    "gridmask": ("GridMask", {}),
    # DeVries & Taylor 2017, arXiv:1708.04552: a black rectangle
    "cutout": ("RandomCutout", {"height_factor": (0.1, 0.5), "width_factor": (0.1, 0.5)}),
}


def make_policy(name: str, size: tuple[int, int]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """One of `POLICIES` as a pure function: the same images and key give the same result.

    Args:
        name: A key of `POLICIES`.
        size: Height and width of the images.

    Returns:
        A function of float32 images (batch, *size, 3) in 0..255 and a key, int64 (2,), to such
        images. To be called by one thread at a time, as `Dataset.map` does unless asked for more.
    """
    import keras_cv

    layer, arguments = POLICIES[name]
    generator = tf.random.Generator.from_seed(0)
    before = keras.config.dtype_policy()
    # keras-cv's inner layers take the global policy, and fail under a 16-bit one.
    keras.config.set_dtype_policy("float32")
    try:
        with _tf_random_draws_from(generator):
            augment = getattr(keras_cv.layers, layer)(**arguments)
            traced = tf.function(lambda images: augment(images, training=True))
            traced = traced.get_concrete_function(tf.TensorSpec((None, *size, 3), tf.float32))
    finally:
        keras.config.set_dtype_policy(before)

    def policy(images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        generator.reset_from_key_counter(key[0], tf.stack([key[1], tf.constant(0, tf.int64)]))
        return tf.clip_by_value(traced(images), 0.0, 255.0)

    return policy


@contextlib.contextmanager
def _tf_random_draws_from(generator: tf.random.Generator) -> Iterator[None]:
    """What is traced inside draws from `generator`, whose state can be set.

    keras-cv draws partly from TensorFlow's global generator and partly by operations such as
    tf.random.uniform, whose state is out of reach: a resumed run could not repeat them.
    """

    def draw(name: str) -> Callable[..., tf.Tensor]:
        return lambda *args, seed=None, **kwargs: getattr(generator, name)(*args, **kwargs)

    def gamma(shape: Any, alpha: Any, beta: Any = None, **kwargs: Any) -> tf.Tensor:
        kwargs.pop("seed", None)
        whole = tf.TensorShape(shape).concatenate(tf.convert_to_tensor(alpha).shape)
        return tf.random.stateless_gamma(
            whole, generator.make_seeds(1)[:, 0], alpha, beta, **kwargs
        )

    with mock.patch.multiple(
        tf.random,
        get_global_generator=lambda: generator,
        normal=draw("normal"),
        uniform=draw("uniform"),
        gamma=gamma,
    ):
        yield
