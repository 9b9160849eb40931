"""Noise with classes in it."""

from __future__ import annotations

import numpy as np

from keras_inception.data.parts import draw_missing_parts
from keras_inception.data.sources.opening import Opening
from keras_inception.data.splits import Source, array_split


def open_fake(opening: Opening) -> Source:
    """Noise whose mean brightness tells the class: for measuring and for trying things out."""
    rng = np.random.default_rng(opening.seed)
    labels = rng.integers(0, 4, 640)
    noise = rng.integers(0, 64, (640, 64, 64, 3))
    images = (noise + 48 * labels[:, None, None, None]).astype(np.uint8)
    source = Source(
        name="fake",
        class_names=("darkest", "dark", "bright", "brightest"),
        splits={"train": array_split(images, labels, "fake example")},
        provenance={"fake": "640 images, 64 x 64"},
    )
    return draw_missing_parts(source, opening.validation_fraction, opening.seed)
