"""Numbered examples in three parts: what every data set is opened as."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.data.decode import crop, decode, decode_crop, unreadable, with_channels
from keras_inception.data.kept import kept

SPLITS = ("train", "validation", "test")
# Share of unreadable images above which a data set is refused rather than used without them.
UNREADABLE_LIMIT = 0.01


@dataclasses.dataclass(frozen=True)
class Split:
    """Numbered examples with random access.

    Attributes:
        labels: int64 (n,), class of each example.
        image: scalar int64 tensor i -> the image: either its encoded bytes (string scalar) or
            its pixels (uint8, (height, width, channels)).
        describe: i -> what names the example in a message, such as its file.
    """

    labels: np.ndarray
    image: Callable[[tf.Tensor], tf.Tensor]
    describe: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, i: tf.Tensor | int, channels: int = 3) -> tf.Tensor:
        """An example's image: uint8 (height, width, channels); gray is repeated for 3 channels."""
        image = self.image(tf.cast(i, tf.int64))
        return (decode if image.dtype == tf.string else with_channels)(image, channels)

    def crop(
        self, i: tf.Tensor, choose: Callable[[tf.Tensor], tf.Tensor], channels: int = 3
    ) -> tf.Tensor:
        """A rectangle of `pixels(i)`; of a JPEG only that part is decoded.

        Args:
            i: int64 scalar.
            choose: int32 (2,), the image's height and width -> int32 (4,): top, left, height,
                width of the rectangle.
            channels: 3 or 1.
        """
        image = self.image(i)
        if image.dtype == tf.string:
            return decode_crop(image, choose, channels)
        return crop(with_channels(image, channels), choose)

    def file(self, i: int) -> bytes:
        """An example as an image file's bytes: its own, or a PNG where the source has no files."""
        image = self.image(tf.constant(i, tf.int64))
        return (image if image.dtype == tf.string else tf.io.encode_png(image)).numpy()

    def subset(self, indices: np.ndarray) -> Split:
        """The examples `indices`, renumbered from 0."""
        kept = tf.constant(indices, tf.int64)

        def image(i: tf.Tensor) -> tf.Tensor:
            return self.image(tf.gather(kept, i))

        def describe(i: int) -> str:
            return self.describe(int(indices[i]))

        return Split(self.labels[indices], image, describe)


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set: its name, its classes, its three splits and how they were made.

    Attributes:
        name: The dataset string that opened it.
        class_names: Names in the order of the labels.
        splits: "train", "validation" (may be empty) and "test".
        provenance: How the splits were made, as JSON can hold it.
    """

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    provenance: dict[str, Any]

    def num_examples(self, split: str) -> int:
        return len(self.splits[split])

    def describe(self, split: str, index: int) -> str:
        return self.splits[split].describe(index)


def stratified(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (kept, held out): `fraction` of every class is held out, rounded, drawn by `seed`.

    A class keeps at least one example.
    """
    rng = np.random.default_rng(seed)
    held = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held.append(members[: min(round(len(members) * fraction), len(members) - 1)])
    out = np.sort(np.concatenate(held)) if held else np.zeros(0, int)
    return np.setdiff1d(np.arange(len(labels)), out), out


def without_unreadable(splits: dict[str, Split], state: object, where: str) -> dict[str, Split]:
    """Decodes every image once; takes out those that fail, or refuses the data set.

    Args:
        splits: Parts whose images are encoded bytes.
        state: What changes when an image does; the result is kept for it.
        where: Names the data set in messages.
    """
    bad = kept(
        "unreadable", state, lambda: {s: unreadable(v.image, len(v)) for s, v in splits.items()}
    )
    names = [splits[part].describe(int(i)) for part, numbers in bad.items() for i in numbers]
    if not names:
        return splits
    everything = sum(map(len, splits.values()))
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    if len(names) > UNREADABLE_LIMIT * everything:
        raise ValueError(
            f"{len(names)} of {everything} images in {where} cannot be read (the limit is "
            f"{UNREADABLE_LIMIT:.0%}); mend or remove them: {shown}"
        )
    logging.warning("Left out %d unreadable images: %s", len(names), shown)
    return {s: v.subset(np.setdiff1d(np.arange(len(v)), bad[s])) for s, v in splits.items()}


def array_split(images: np.ndarray, labels: np.ndarray, noun: str) -> Split:
    """uint8 (n, height, width, channels) in memory as a split; `noun` names an example."""
    pixels = tf.constant(images, tf.uint8)

    def image(i: tf.Tensor) -> tf.Tensor:
        return tf.gather(pixels, i)

    def describe(i: int) -> str:
        return f"{noun} {i}"

    return Split(labels.astype(np.int64), image, describe)
