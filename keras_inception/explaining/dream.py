"""DeepDream and feature visualization: images that climb what a layer or one channel answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception.explaining.heat import as_rgb, save_image
from keras_inception.explaining.inside import Inside
from keras_inception.models.measure import smallest_input
from keras_inception.preprocessing import Preprocessing

_HALVINGS = 6  # of a step that would lower the objective, before it is left out


@dataclasses.dataclass(frozen=True)
class Dream:
    """An image that was climbed to.

    Attributes:
        image: uint8 (height, width, 3).
        objective: For each octave, smallest first, the objective before the first step and after
            each; it never falls within an octave.
        what: The layer and channel.
    """

    image: np.ndarray
    objective: list[list[float]]
    what: str

    def save(self, path: str | Path) -> None:
        """Writes the image, in the format of the path's ending."""
        save_image(self.image, path)


def deep_dream(
    model: Any,
    image: Any,
    *,
    layer: str | None = None,
    channel: int | None = None,
    octaves: int = 4,
    octave_scale: float = 1.4,
    steps: int = 10,
    step_size: float = 4.0,
    jitter: int = 16,
    seed: int = 0,
    size: int | None = None,
) -> Dream:
    """Lets a network enhance what it sees in an image (Mordvintsev et al. 2015).

    Args:
        model: What `load_classifier` takes, as long as Keras runs it.
        image: A path, or an array uint8 (height, width, channels), of any size.
        layer: An endpoint or any other layer with a map; by default a reduction in the middle.
        channel: One channel of it; None for all.
        octaves: Sizes, from small to the image's own.
        octave_scale: The ratio of two sizes.
        steps: Steps of gradient ascent a size.
        step_size: Mean change of a pixel by a step, in units of 0..255.
        jitter: The image is rolled by up to that many pixels before a gradient is taken, so that
            no grid shows.
        seed: Decides the rolls.
        size: Longer side in pixels that the image is resized to first; None leaves it alone.

    Raises:
        ValueError: there is no such layer or channel, or an argument is out of range.
    """
    from keras_inception.runtime.predict import pixels

    network = Inside.open(model)
    decoding = network.classifier.decoding
    start = np.float32(pixels(image, network.classifier.input_shape[2], decoding=decoding))
    if size is not None:
        factor = size / max(start.shape[:2])
        start = _resized(start, [max(1, round(side * factor)) for side in start.shape[:2]])
    how = _Steps(octaves, octave_scale, steps, step_size, jitter, seed)
    return _Climb(network, layer, channel, squared=True).dream(start, how)


def visualize(
    model: Any,
    layer: str,
    channel: int | None = None,
    *,
    size: int = 256,
    octaves: int = 4,
    octave_scale: float = 1.4,
    steps: int = 30,
    step_size: float = 3.0,
    jitter: int = 16,
    seed: int = 0,
) -> Dream:
    """An image that a channel answers most to, climbed from noise (Olah et al. 2017).

    Args:
        model: What `load_classifier` takes, as long as Keras runs it.
        layer: An endpoint or any other layer; "predictions" shows a class.
        channel: The channel, or the class; None for all channels.
        size: Side of the image in pixels.
        octaves, octave_scale, steps, step_size, jitter: See `deep_dream`.
        seed: Decides the noise and the rolls.

    Raises:
        ValueError: there is no such layer or channel, or an argument is out of range.
    """
    network = Inside.open(model)
    channels = network.classifier.input_shape[2]
    noise = np.random.default_rng(seed).normal(127, 12, (size, size, channels))
    how = _Steps(octaves, octave_scale, steps, step_size, jitter, seed)
    return _Climb(network, layer, channel, squared=False).dream(np.float32(noise), how)


@dataclasses.dataclass(frozen=True)
class _Steps:
    """How an image is climbed: see `deep_dream`.

    Raises:
        ValueError: a number is out of range.
    """

    octaves: int
    octave_scale: float
    steps: int
    step_size: float
    jitter: int
    seed: int

    def __post_init__(self) -> None:
        if (
            min(self.octaves, self.steps) < 1
            or self.octave_scale <= 1
            or self.step_size <= 0
            or self.jitter < 0
        ):
            raise ValueError(
                "`octaves` and `steps` should be at least 1, `octave_scale` above 1, `step_size` "
                "above 0 and `jitter` at least 0. Received: "
                + ", ".join(f"{name}={value}" for name, value in vars(self).items())
            )


class _Climb:
    """Gradient ascent on what a layer answers.

    Args:
        network: The network.
        layer, channel: What is climbed.
        squared: Whether the objective is the mean square of the answers, or their mean.
    """

    def __init__(
        self, network: Inside, layer: str | None, channel: int | None, *, squared: bool
    ) -> None:
        self._contract: Preprocessing = network.classifier.preprocessing
        name = network.map_layer(layer) if layer is not None else _middle(network)
        final = network.model.outputs[0]._keras_history.operation.name
        output = network.logits() if name == final else network.output_of(name)
        width = output.shape[-1]
        if channel is not None and not 0 <= channel < width:
            raise ValueError(
                f"`channel` should be from 0 to {width - 1} for the layer {name!r}. "
                f"Received: channel={channel}"
            )
        self.what = f"{name}, channel {channel}" if channel is not None else name
        self._channel, self._squared = channel, squared
        self._model = _any_size(keras.Model(network.model.inputs[0], output))
        self._least = smallest_input(self._model)
        self._gradient = tf.function(self._climbed, reduce_retracing=True, autograph=False)
        self._value = tf.function(self._objective, reduce_retracing=True, autograph=False)

    def dream(self, start: np.ndarray, how: _Steps) -> Dream:
        """The dream that begins at an image (height, width, channels) in 0..255."""
        sizes = [
            [round(side / how.octave_scale**i) for side in start.shape[:2]]
            for i in reversed(range(how.octaves))
        ]
        sizes = [s for s in sizes if all(a >= b for a, b in zip(s, self._least, strict=True))]
        if not sizes:
            raise ValueError(
                f"{self.what} needs images of at least {self._least[0]} x {self._least[1]} pixels. "
                f"Received: {start.shape[0]} x {start.shape[1]}"
            )
        rng = np.random.default_rng(how.seed)
        image, detail, history = start, np.zeros_like(start), []
        for octave in sizes:
            base = _resized(start, octave)
            image = np.clip(base + _resized(detail, octave), 0, 255)
            image, values = self._octave(image, how, rng)
            detail = image - base
            history.append(values)
        return Dream(as_rgb(image), history, self.what)

    def _octave(
        self, image: np.ndarray, how: _Steps, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[float]]:
        """Steps that never lower the objective."""
        values = [float(self._value(image))]
        for _ in range(how.steps):
            down, right = rng.integers(-how.jitter, how.jitter + 1, 2)
            rolled = np.roll(image, (down, right), (0, 1))
            gradient = np.roll(self._gradient(rolled).numpy(), (-down, -right), (0, 1))
            scale = np.abs(gradient).mean()
            if not scale:
                values.append(values[-1])
                continue
            length = how.step_size / scale
            for _ in range(_HALVINGS):
                next_image = np.float32(np.clip(image + length * gradient, 0, 255))
                value = float(self._value(next_image))
                if value >= values[-1]:
                    image = next_image
                    break
                length /= 2
            values.append(max(value, values[-1]))
        return image, values

    def _objective(self, image: Any) -> Any:
        answers = self._model(self._contract.scale(image[None]), training=False)
        answers = tf.cast(answers, tf.float32)
        if self._channel is not None:
            answers = answers[..., self._channel]
        return tf.reduce_mean(tf.square(answers) if self._squared else answers)

    def _climbed(self, image: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(image)
            value = self._objective(image)
        return tape.gradient(value, image)


def _middle(network: Inside) -> str:
    """The endpoint in the middle of the network: eyes and dogs, not edges and not classes."""
    from keras_inception.models.measure import endpoints

    found = list(endpoints(network.model))
    return found[len(found) // 2] if found else network.map_layer()


def _any_size(model: keras.Model) -> keras.Model:
    """The model for images of any size; shares nothing, since layers hold their input's shape."""
    shape = model.inputs[0].shape
    image = keras.Input((None, None, shape[-1]), dtype=model.inputs[0].dtype)
    copy = keras.models.clone_model(model, input_tensors=image)
    copy.set_weights(model.get_weights())
    return copy


def _resized(image: np.ndarray, size: list[int]) -> np.ndarray:
    if list(image.shape[:2]) == list(size):
        return image
    return tf.image.resize(image, size, "bilinear", antialias=True).numpy()
