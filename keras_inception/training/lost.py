"""Images that are no longer what they were when the run began."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from keras_inception.data import Source
from keras_inception.data.facts import digest
from keras_inception.training.endings import LostImage

_SHOWN = 8  # names in a message


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
            f"{some(lost)}. The last checkpoint is good: put them back, and start the same command "
            "again."
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


def replaced_images(source: Source, since: float) -> list[str]:
    """Names of images whose files were written after a moment, and hold something else now.

    Args:
        source: The data set; only images that are files of their own on this machine are looked at.
        since: Seconds since the epoch. Earlier changes are found by the size alone.
    """
    replaced = []
    for split in source.splits.values():
        if not {"bytes", "digest"} <= split.facts.keys():
            continue
        for i, (size, known) in enumerate(
            zip(split.facts["bytes"], split.facts["digest"], strict=True)
        ):
            try:
                state = os.stat(split.describe(i))
            except OSError:  # no file of this machine, or gone: then reading it says so
                continue
            if state.st_size != size or state.st_ctime >= since:
                if not np.array_equal(digest(split.file(i)), known):
                    replaced.append(split.describe(i))
    return replaced


def some(names: list[str]) -> str:
    """The first names of many, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
