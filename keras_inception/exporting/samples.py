"""Images that exports are compared on and calibrated with."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import tensorflow as tf

from keras_inception import data
from keras_inception.evaluation.outputs import named_outputs
from keras_inception.exporting.exportable import Exportable
from keras_inception.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True)
class Samples:
    """What an export is compared on.

    Attributes:
        images: float32 (n, height, width, channels) in 0..255, fitted by the contract.
        labels: int64 (n,), the outputs that are right, or bool (n, classes) where images may have
            several; None where the images' classes are not the network's.
        encoded: One image as a file's bytes.
        pixels: The same as uint8 (height, width, channels).
        origin: Where the images come from, for people.
    """

    images: np.ndarray
    labels: np.ndarray | None
    encoded: bytes
    pixels: np.ndarray
    origin: str


def drawn(source: data.Source, part: str, network: Exportable, count: int) -> dict[str, np.ndarray]:
    """Examples of a part at even distances, so of many classes: "image" in 0..255 and "label"."""
    split = source.splits[part]
    if not len(split):
        raise ValueError(f"{source.name} has no images in its {part} part.")
    spread = np.unique(np.linspace(0, len(split) - 1, count).astype(int))
    some = dataclasses.replace(source, splits={part: split.subset(spread)})
    channels, batch = network.input_shape[2], min(64, len(spread))
    found: dict[str, list[np.ndarray]] = {"image": [], "label": []}
    batches = data.evaluation_batches(
        some, part, network.preprocessing, batch_size=batch, channels=channels, scale=False
    )
    for one in batches:
        real = one["weight"].numpy() > 0
        for name, columns in found.items():
            columns.append(one[name].numpy()[real])
    return {name: np.concatenate(columns) for name, columns in found.items()}


def held_out(source: data.Source, network: Exportable, count: int) -> Samples:
    some = drawn(source, "test", network, count)
    encoded = source.splits["test"].file(0)
    origin = f"test images of {source.name}"
    pixels = source.splits["test"].pixels(0, network.input_shape[2]).numpy()
    labels = _outputs(source, network, some["label"])
    if (labels is not None and labels.ndim == 2) != (network.thresholds is not None):
        labels = None
    return Samples(some["image"], labels, encoded, pixels, origin)


def _outputs(source: data.Source, network: Exportable, labels: np.ndarray) -> np.ndarray | None:
    """See `Samples`: the outputs that labels stand for."""
    known = network.identity.class_names
    if not known:
        return None
    try:
        names = named_outputs(known, len(known), source, "The network")
    except ValueError as error:
        logging.warning("The accuracy is not measured. %s", error)
        return None
    if labels.ndim == 1:
        return np.array([names.index(source.class_names[label]) for label in labels], np.int64)
    found = np.zeros((len(labels), len(names)), bool)
    for label in np.flatnonzero(labels.any(0)):
        found[:, names.index(source.class_names[label])] = labels[:, label] > 0
    return found


def made_up(network: Exportable, count: int) -> Samples:
    """Smooth colored noise at several scales, where no data set is at hand."""
    rng, (height, width, channels) = np.random.default_rng(0), network.input_shape
    images = []
    for i in range(count):
        coarse = rng.uniform(0, 255, (2 + i % 7, 2 + i % 7, channels)).astype(np.float32)
        smooth = Preprocessing((height, width), crop_fraction=1.0, interpolation="bicubic")
        noise = rng.normal(0, 4 * (i % 5), (height, width, channels))
        images.append(np.clip(smooth.crop_and_resize(coarse) + noise, 0, 255).astype(np.float32))
    pixels = images[0].round().astype(np.uint8)
    encoded = tf.io.encode_png(pixels).numpy()
    origin = "made-up images, since no data set was given"
    return Samples(np.stack(images), None, encoded, pixels, origin)
