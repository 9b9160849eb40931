"""Data sets of Hugging Face's package `datasets`, with an image column and a ClassLabel column.

They are known by what they can do: the package itself is not imported.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception import buckets
from keras_inception.data.splits import Split
from keras_inception.messages import printable, some


def splits_of(data: Any) -> dict[str, Any] | None:
    """The splits of a `DatasetDict` by name, or {"": data} of a `Dataset`; None of others."""
    named = dict(data) if isinstance(data, dict) and data else {"": data}
    known = all(hasattr(one, "features") and hasattr(one, "cast_column") for one in named.values())
    return named if known else None


class Encoded(Sequence[bytes]):
    """The encoded images in a column, each read when it is asked for.

    Args:
        dataset: A `datasets.Dataset`.
        column: Its image column.
    """

    def __init__(self, dataset: Any, column: str) -> None:
        encoded = dataclasses.replace(dataset.features[column], decode=False)
        self._column = column
        self._rows = dataset.select_columns([column]).with_format(None).cast_column(column, encoded)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: Any) -> Any:
        image = self._rows[int(i)][self._column]
        if image["bytes"] is not None:
            return image["bytes"]
        return buckets.read(image["path"])

    def states(self) -> list[tuple[str, int]]:
        """For each image, what changes when the data set does: the package's own fingerprint."""
        # Without one, nothing that was kept is taken for it.
        fingerprint = getattr(self._rows, "_fingerprint", None) or os.urandom(16).hex()
        return [(fingerprint, i) for i in range(len(self))]

    def split(self, labels: np.ndarray, noun: str) -> Split:
        """The images as a split; `noun` names an example."""

        def image(i: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(tf.numpy_function(self.__getitem__, [i], tf.string), ())

        return Split(labels.astype(np.int64), image, lambda i: f"{noun} {i}")


def images_of(dataset: Any) -> Encoded:
    """The images of a `datasets.Dataset`. Raises ValueError as `labelled_images` does."""
    return Encoded(dataset, _column(dataset, "Image"))


def labelled_images(dataset: Any) -> tuple[Encoded, np.ndarray, list[str]]:
    """The images, int64 (n,) labels and class names of a `datasets.Dataset`.

    Raises:
        ValueError: it is read as a stream, or has not one image column and one ClassLabel column.
    """
    images, name = images_of(dataset), _column(dataset, "ClassLabel")
    labels = dataset.select_columns([name]).with_format("numpy")[:][name]
    return images, np.asarray(labels, np.int64), list(dataset.features[name].names)


def _column(dataset: Any, kind: str) -> str:
    """The only column of a kind."""
    if not hasattr(dataset, "__len__"):
        raise ValueError(
            "A Hugging Face data set should be one with random access: load it without "
            f"`streaming=True`. Received: {type(dataset).__name__}"
        )
    names = [name for name, f in dataset.features.items() if type(f).__name__ == kind]
    if len(names) != 1:
        columns = some(map(printable, dataset.features), 8)
        raise ValueError(
            "A Hugging Face data set should have one Image and one ClassLabel column: "
            "`select_columns` chooses among several, `class_encode_column` makes a ClassLabel. "
            f"Received: {len(names)} {kind} columns among {columns}"
        )
    return names[0]
