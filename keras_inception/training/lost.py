"""Images that are no longer what they were when the run began."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from keras_inception import messages
from keras_inception.data import Source
from keras_inception.training.endings import LostImage


@contextlib.contextmanager
def naming_lost_images(
    source: Source, part: str, indices: Callable[[], Iterable[int]] | None = None
) -> Iterator[None]:
    """Turns TensorFlow's error about an image that is gone or damaged into a LostImage.

    Args:
        source: The data set.
        part: The part whose images are read inside the `with` block.
        indices: Gives the numbers of the images that may have been read; by default all.
    """
    try:
        yield
    except tf.errors.OpError as error:
        everything = range(source.num_examples(part))
        lost = lost_images(source, part, indices() if indices else everything)
        if not lost:
            raise
        raise LostImage(
            f"{len(lost)} images of the {part} part can no longer be read since the run began: "
            f"{messages.some(lost, 8)}. The last checkpoint is good: put them back, and start the "
            "same command again."
        ) from error


def lost_images(source: Source, part: str, indices: Iterable[int]) -> list[str]:
    """Names of the images of a part, among `indices`, that cannot be decoded now."""
    lost = []
    for i in indices:
        try:
            source.splits[part].pixels(i)
        except tf.errors.OpError:
            lost.append(source.describe(part, i))
    return lost
