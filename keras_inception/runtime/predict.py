"""Names for images: a file, a folder, a pattern or arrays, as a stream of records."""

from __future__ import annotations

import dataclasses
import glob
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_inception import buckets, messages
from keras_inception.bar import Bar
from keras_inception.buckets import as_path
from keras_inception.data import views
from keras_inception.data.listing import LEFTOVER, SUFFIXES, list_images
from keras_inception.data.stream import stream
from keras_inception.files import LARGEST_IMAGE
from keras_inception.recipes import Recipe
from keras_inception.runtime.classifier import BATCH, Classifier, load_classifier, warn_of_floats

_KINDS = str | os.PathLike | np.ndarray | bytes  # what one of several images may be


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a network says of one image.

    Attributes:
        image: The image's path, or its number among arrays.
        top: (class name, probability) pairs, best first; empty if the image could not be read, or
            if no class of a network with thresholds reaches its own.
        error: Why the image could not be read, else empty.
    """

    image: str
    top: tuple[tuple[str, float], ...]
    error: str = ""

    def __str__(self) -> str:
        found = ", ".join(f"{name} {probability:.1%}" for name, probability in self.top)
        return f"{self.image}: {self.error or found}"

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON holds it."""
        record: dict[str, Any] = {"image": self.image}
        if self.error:
            return record | {"error": self.error}
        return record | {"top": [{"label": n, "probability": round(p, 6)} for n, p in self.top]}


def predict(
    model: Any,
    images: Any,
    *,
    top: int | None = None,
    crops: str = "1",
    batch_size: int = BATCH,
    max_pixels: int | None = None,
    bands: str = "",
    verbose: int = 1,
) -> Iterator[Prediction]:
    """Names the classes of images, one record after the other and in bounded memory.

    Args:
        model: What `load_classifier` takes: a run folder, a file, a published name, a model.
        images: The path of an image, of a folder (searched through and through) or a pattern such
            as "photos/*.jpg"; an array uint8 (height, width, channels) in 0..255; a list of paths,
            arrays and the bytes of image files; a generator of paths; or labelled images as
            `train` takes them, whose labels are not looked at.
        top: How many classes an image at most: by default five, or of a network with thresholds
            all that reach theirs.
        crops: "1", "mirror", "10", "12" or "144" views whose probabilities are averaged.
        batch_size: Views that the network is given at once.
        max_pixels: Images with more pixels cannot be read, by their headers; by default those with
            more than 150 million.
        bands: Of TIFFs those that are red, green and blue, such as "4,3,2", or the one that is
            gray; "" for those that the model's run was trained with, if it comes from one.
        verbose: 1 shows the progress of more than one batch, 2 in lines, 0 nothing.

    Returns:
        An iterator with a record an image, in the order of the paths. An image that cannot be read
        has an `error` and no classes.

    Raises:
        ValueError: there are no such images, or an option is out of range.
    """
    if top is not None and top < 1:
        raise ValueError(f"`top` should be at least 1. Received: top={top}")
    if max_pixels is not None and max_pixels < 1:
        raise ValueError(f"`max_pixels` should be at least 1. Received: max_pixels={max_pixels}")
    recipe = Recipe(bands=bands)
    recipe.check()
    listed = image_list(images)
    classifier = load_classifier(model)
    views.check(classifier.preprocessing, crops)
    decoding = classifier.decoding
    if bands:
        decoding = dataclasses.replace(decoding, bands=recipe.band_numbers)
    if max_pixels:
        decoding = dataclasses.replace(decoding, max_pixels=max_pixels)
    return _records(classifier, listed, top, crops, batch_size, decoding, verbose)


def _records(
    classifier: Classifier,
    listed: Sequence[Any],
    top: int | None,
    crops: str,
    batch_size: int,
    decoding: Any,
    verbose: int,
) -> Iterator[Prediction]:
    def look(numbered: tuple[int, Any]) -> np.ndarray:
        image = pixels(numbered[1], classifier.input_shape[2], decoding=decoding)
        return views.take(image, classifier.preprocessing, crops)

    group = max(1, batch_size // views.CROPS[crops])
    progress = Bar(verbose if len(listed) > group else 0)
    pending: list[tuple[str, Any]] = []
    for (number, image), seen in stream(enumerate(listed), look):
        is_path = isinstance(image, str | os.PathLike)
        name = os.fspath(image) if is_path else f"image {number}"
        pending.append((name, seen))
        if len(pending) == group or number + 1 == len(listed):
            yield from _named(classifier, pending, top, batch_size)
            pending = []
            progress(number + 1, len(listed))


def _named(
    classifier: Classifier, pending: list[tuple[str, Any]], top: int | None, batch_size: int
) -> Iterator[Prediction]:
    readable = [seen for _, seen in pending if not isinstance(seen, Exception)]
    answers: Iterator[np.ndarray] = iter(())
    if readable:
        probabilities = classifier.predict(np.concatenate(readable), batch_size)
        per_image = probabilities.reshape(len(readable), -1, probabilities.shape[1])
        answers = iter(per_image.mean(1, dtype=np.float64))
    for name, seen in pending:
        if isinstance(seen, Exception):
            yield Prediction(name, (), _reason(seen))
            continue
        yield Prediction(name, tuple(classifier.named(next(answers), top)))


def pixels(
    image: str | os.PathLike | np.ndarray | bytes,
    channels: int = 3,
    max_pixels: int | None = None,
    decoding: Any = None,
) -> np.ndarray:
    """An image as uint8 (height, width, channels), decoded as everywhere in the package.

    Args:
        image: A path, the bytes of an image file, or an array in 0..255 that is given back.
        channels: 3 (RGB) or 1 (gray).
        max_pixels: The largest image, height times width, that is decoded; by default that of
            `decoding`, or 150 million.
        decoding: A `data.decode.Decoding`, such as a classifier's.

    Raises:
        OSError: the file cannot be opened, is too large, or is no image that can be read.
        ValueError: the array has another shape.
    """
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != channels or not image.size:
            raise ValueError(
                f"An image should be (height, width, {channels}). Received: shape {image.shape}"
            )
        warn_of_floats(image)
        return image
    import tensorflow as tf

    from keras_inception.data.decode import Decoding
    from keras_inception.data.plain import pixels_of

    decoding = decoding or Decoding()
    if max_pixels:
        decoding = dataclasses.replace(decoding, max_pixels=max_pixels)
    try:
        encoded = image if isinstance(image, bytes) else buckets.read(image, LARGEST_IMAGE)
    except tf.errors.OpError as error:  # of a bucket
        raise OSError(error.message) from error
    if not encoded:
        raise OSError("the file is empty")
    return pixels_of(encoded, decoding, channels)


def image_list(images: Any) -> Sequence[Any]:
    """The images that an argument means: paths, arrays and the bytes of files.

    Raises:
        ValueError: there are none.
    """
    if isinstance(images, np.ndarray):
        return list(images) if images.ndim == 4 else [images]
    pair = isinstance(images, tuple) and len(images) in (2, 3) and np.ndim(images[1]) in (1, 2)
    if pair or any(hasattr(images, name) for name in ("columns", "element_spec", "cast_column")):
        from keras_inception.data.sources.memory import images_of

        found = images_of(images)
        return list(found) if isinstance(found, np.ndarray) else found
    if not isinstance(images, str | os.PathLike):
        return _listed(images)
    path = as_path(os.path.expanduser(images))
    if path.is_dir():
        listing = list_images(path)
        others = {kind: len(files) for kind, files in listing.left_out.items() if kind != LEFTOVER}
        if others:
            what = ", ".join(f"{count} {kind}" for kind, count in others.items())
            logging.warning("%s: left out %s", path, what)
        if not listing.images:
            raise ValueError(f"{path} holds no images ({', '.join(SUFFIXES)}).")
        return list(listing.images)
    if path.exists():
        return [path]
    matches = sorted(glob.glob(os.path.expanduser(os.fspath(images)), recursive=True))
    if not (found := [match for match in matches if os.path.isfile(match)]):
        folders = " Folders match it; add /* to name the files in them." if matches else ""
        raise ValueError(
            f"There is no image, no folder and no file of the pattern {images}.{folders}"
        )
    return found


def _listed(images: Any) -> list[Any]:
    """Paths, arrays and bytes of image files; of a generator, which may have no end, paths only.

    Raises:
        ValueError: there are none, or one is something else.
    """
    kinds = str | os.PathLike if isinstance(images, Iterator) else _KINDS
    found: list[Any] = []
    for one in images if isinstance(images, Iterable) else ():
        if not isinstance(one, kinds):
            found = []
            break
        found.append(one)
    if not found:
        raise ValueError(
            "`images` should be a path, a pattern, an array, a list of paths, arrays and bytes of "
            "image files, or a generator of paths, at least one. "
            f"Received: {messages.shown(images)}"
        )
    return found


def _reason(error: Exception) -> str:
    """The first line of an error."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    lines = [line.strip() for line in str(error).splitlines()]
    return next(filter(None, lines), type(error).__name__)
