"""Occlusion (Zeiler and Fergus 2014): what the answer loses where the image is covered."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from keras_inception.explaining.heat import Heat, as_rgb
from keras_inception.explaining.inside import target_of
from keras_inception.runtime import load_classifier
from keras_inception.runtime.predict import pixels


def occlusion(
    model: Any,
    image: Any,
    *,
    target: int | str | None = None,
    window: int | None = None,
    stride: int | None = None,
    batch_size: int = 64,
) -> Heat:
    """How much of a class's probability each place is worth; for every engine.

    A square of the image's mean color slides over the image; a place counts by the mean loss of
    the squares that cover it.

    Args:
        model: What `load_classifier` takes.
        image: A path, or an array uint8 (height, width, channels).
        target: The class, by number or name; None for the one that the network answers.
        window: Side of the square in pixels of the network's input; by default a fifth of it.
        stride: Pixels from one square to the next; by default half a window.
        batch_size: Covered images computed at once.

    Raises:
        ValueError: there is no such class, or the window does not fit.
    """
    classifier = load_classifier(model)
    height, width, channels = classifier.input_shape
    window = window or max(1, min(height, width) // 5)
    stride = stride or max(1, window // 2)
    if not (1 <= window <= min(height, width) and 1 <= stride <= window):
        raise ValueError(
            f"`window` should be from 1 to {min(height, width)} pixels, and `stride` from 1 to the "
            f"window. Received: window={window}, stride={stride}"
        )
    fitted = classifier.crop_and_resize(pixels(image, channels, decoding=classifier.decoding))
    (probabilities,) = classifier.predict(fitted[None])
    number = target_of(classifier, target, probabilities)
    squares = list(
        itertools.product(_begins(height, window, stride), _begins(width, window, stride))
    )
    color = fitted.mean((0, 1))
    lost, covers = np.zeros((2, height, width))
    for first in range(0, len(squares), batch_size):
        some = squares[first : first + batch_size]
        covered = np.repeat(fitted[None], len(some), 0)
        for one, (top, left) in zip(covered, some, strict=True):
            one[top : top + window, left : left + window] = color
        answers = classifier.predict(covered, batch_size)[:, number]
        for answer, (top, left) in zip(answers, some, strict=True):
            place = np.s_[top : top + window, left : left + window]
            lost[place] += probabilities[number] - answer
            covers[place] += 1
    heat = np.maximum(lost / covers, 0)
    return Heat(
        as_rgb(fitted),
        np.float32(heat / heat.max() if heat.max() else heat),
        classifier.class_names[number],
        float(probabilities[number]),
        f"occlusion by {window} x {window}, at most -{heat.max():.1%}",
    )


def _begins(side: int, window: int, stride: int) -> list[int]:
    """Where squares begin; the last touches the border."""
    return [*range(0, side - window, stride), side - window]
