"""Grad-CAM (Selvaraju et al. 2017): which places of the last map speak for a class."""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception.explaining.heat import Heat, as_rgb
from keras_inception.explaining.inside import Inside, target_of


def grad_cam(
    model: Any, image: Any, *, target: int | str | None = None, layer: str | None = None
) -> Heat:
    """Where a network sees the evidence for a class.

    The class's logit is differentiated by a map; each channel counts by the mean of its gradient,
    and what speaks against the class is cut off. All of the family end in average pooling and a
    linear layer, where this is the class activation map itself, so its successors (Grad-CAM++,
    Score-CAM) have nothing to mend there.

    Args:
        model: What `load_classifier` takes, as long as Keras runs it.
        image: A path, or an array uint8 (height, width, channels).
        target: The class, by number or name; None for the one that the network answers.
        layer: The layer whose map is looked at; None finds the last with places: see
            `Inside.map_layer`.

    Raises:
        ValueError: there is no such class or layer, or the network is not run by Keras.
    """
    return GradCAM(model, layer)(image, target)


class GradCAM:
    """`grad_cam` for many images of one network.

    Args:
        model, layer: See `grad_cam`.

    Raises:
        ValueError: there is no such layer, or the network is not run by Keras.
    """

    def __init__(self, model: Any, layer: str | None = None) -> None:
        self._network = Inside.open(model)
        self.layer = self._network.map_layer(layer)
        outputs = [self._network.output_of(self.layer), self._network.logits()]
        self._inside = keras.Model(self._network.model.inputs[0], outputs)

    @property
    def channels(self) -> int:
        """How many channels the network's images have."""
        return self._network.classifier.input_shape[2]

    def __call__(self, image: Any, target: int | str | None = None) -> Heat:
        """See `grad_cam`."""
        classifier = self._network.classifier
        fitted = self._network.fitted(image)
        x = tf.constant(classifier.preprocessing.scale(fitted[None]))
        (probabilities,) = classifier.predict(fitted[None])
        number = target_of(classifier, target, probabilities)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            places, logits = self._inside(x, training=False)
            score = tf.cast(logits[0, number], tf.float32)
        gradient = tape.gradient(score, places)
        if gradient is None or len(places.shape) != 4:
            raise ValueError(
                f"The answer does not depend on a map of the layer {self.layer!r}; give another "
                "`layer`."
            )
        places, gradient = (tf.cast(t, tf.float32)[0].numpy() for t in (places, gradient))
        heat = (places * gradient.mean((0, 1))).sum(-1)
        return Heat(
            as_rgb(fitted),
            _enlarged(heat, fitted.shape[:2], self.layer),
            classifier.class_names[number],
            float(probabilities[number]),
            f"Grad-CAM of {self.layer}, {heat.shape[0]} x {heat.shape[1]}",
        )


def _enlarged(heat: np.ndarray, size: tuple[int, ...], layer: str) -> np.ndarray:
    """The positive part of a map at the image's size, 1 at the most."""
    heat = np.maximum(heat, 0)
    if not heat.max():
        logging.warning("Nothing in the map of %s speaks for the class: the heat is 0.", layer)
        return np.zeros(size, np.float32)
    large = tf.image.resize(heat[..., None], size, "bicubic").numpy()[..., 0]
    return np.clip(large, 0, None) / large.max()
