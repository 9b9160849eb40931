"""Numbered examples in three parts: what every data set is opened as."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.buckets import is_remote
from keras_inception.data.decode import Choose, Decoding, crop, with_channels
from keras_inception.data.facts import Facts, digest
from keras_inception.data.fingerprint import Fingerprint
from keras_inception.data.plain import pixels_of, png_path

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Numbered examples with random access.

    Attributes:
        labels: int64 (n,), class of each example; or uint8 (n, classes) of 0 and 1 where an example
            may have several, or none.
        image: scalar int64 tensor i -> the image: either its encoded bytes (string scalar) or
            its pixels (uint8, (height, width, channels)). Whoever wants pixels calls `pixels`.
        name: i -> the example's name within the data set, such as a file's relative path; the
            same on every machine.
        where: What stands before the name in messages, such as the data set's folder.
        facts: What is known of each example; see `data.facts`. Empty for images that are no files.
        decoding: How encoded images become pixels.
        shards: int (n,), the file of each example, where reading a file from its beginning to its
            end is much faster than reading at random: training then shuffles the files, and the
            examples within a window. None: any order is as fast.
        window: How many examples a window holds.
        groups: str (n,): images of one group, such as one patient's, belong in one part; "" for an
            image that is alone. None: nothing is known of groups.
        images: int64 (n,) -> n images' encoded bytes, where reading several in one call is faster
            than one by one. None: it is no faster.
    """

    labels: np.ndarray
    image: Callable[[tf.Tensor], tf.Tensor]
    name: Callable[[int], str]
    where: str = ""
    facts: Facts = dataclasses.field(default_factory=dict)
    decoding: Decoding = Decoding()
    shards: np.ndarray | None = None
    window: int = 0
    groups: np.ndarray | None = None
    images: Callable[[tf.Tensor], tf.Tensor] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def several(self) -> bool:
        """Whether an example may have several labels, or none."""
        return self.labels.ndim == 2

    def counts(self, classes: int) -> np.ndarray:
        """int64 (classes,): how many examples have each label."""
        if self.several:
            return self.labels.sum(0, dtype=np.int64)
        return np.bincount(self.labels, minlength=classes)

    def of_class(self, label: int) -> np.ndarray:
        """int64 (k,): the numbers of the examples that have a label."""
        return np.flatnonzero(self.labels[:, label] if self.several else self.labels == label)

    def describe(self, i: int) -> str:
        """What names an example in a message; a table may name images by their whole paths."""
        name = self.name(i)
        return name if is_remote(name) or os.path.isabs(name) else self.where + name

    def pixels(
        self, i: tf.Tensor | int, channels: int = 3, image: tf.Tensor | None = None
    ) -> tf.Tensor:
        """An example's image: uint8 (height, width, channels); gray is repeated for 3 channels.

        Encoded images without facts are looked at now, so that this cannot be part of a graph.

        Args:
            i: int64 scalar.
            channels: 3 or 1.
            image: What `images` gave for it, if that was asked.
        """
        image = self.encoded(i, image)
        if image.dtype != tf.string:
            return with_channels(image, channels)
        if not self.facts:
            return tf.constant(pixels_of(image.numpy(), self.decoding, channels))
        return self._decoded(
            i,
            lambda turned, plainly: self.decoding.decode(image, channels, turned, plainly),
            channels,
        )

    def crop(
        self,
        i: tf.Tensor,
        choose: Choose,
        channels: int = 3,
        image: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """A rectangle of `pixels(i)`; of a JPEG only that part is decoded.

        Args:
            i: int64 scalar.
            choose: int32 (2,), the image's height and width -> int32 (4,): top, left, height,
                width of the rectangle.
            channels: 3 or 1.
            image: What `images` gave for it, if that was asked.
        """
        image = self.encoded(i, image)
        if image.dtype != tf.string or not self.facts:
            return crop(self.pixels(i, channels, image), choose)
        return self._decoded(
            i,
            lambda turned, plainly: self.decoding.decode_crop(
                image, choose, channels, turned, plainly
            ),
            channels,
        )

    def _decoded(
        self,
        i: tf.Tensor | int,
        decode: Callable[[tf.Tensor | int, bool], tf.Tensor],
        channels: int,
    ) -> tf.Tensor:
        """`decode(orientation, whether TensorFlow alone is right)` of example i."""
        plain = self.facts["plain"] >= (1 if channels == 3 else 2)
        if plain.all():
            return decode(1, True)
        turned = tf.gather(tf.constant(self.facts["orientation"], tf.int32), i)
        pixels = tf.cond(
            tf.gather(tf.constant(plain), i), lambda: decode(1, True), lambda: decode(turned, False)
        )
        return tf.ensure_shape(pixels, (None, None, channels))

    def encoded(self, i: tf.Tensor | int, image: tf.Tensor | None = None) -> tf.Tensor:
        """What `image` gives for an example, or the PNG that was made of an odd one.

        Args:
            i: int64 scalar.
            image: What `image` or `images` gave for it, if that was asked.
        """
        i = tf.cast(i, tf.int64)

        def own() -> tf.Tensor:
            return self.image(i) if image is None else image

        if self._pngs is None:
            return own()
        path = tf.gather(self._pngs, i)
        return tf.cond(tf.strings.length(path) > 0, lambda: tf.io.read_file(path), own)

    @functools.cached_property
    def _pngs(self) -> tf.Tensor | None:
        """The path of each odd example's PNG, and "" for the others; None if none is odd."""
        odd = self.facts.get("odd", np.zeros(0))
        if not odd.any():
            return None
        paths = [
            str(png_path(digest, self.decoding)) if is_odd else ""
            for is_odd, digest in zip(odd, self.facts["digest"], strict=True)
        ]
        with tf.init_scope():  # not of the graph that happens to ask first
            return tf.constant(paths)

    def file(self, i: int) -> bytes:
        """An example as an image file's bytes: its own, or a PNG if it is odd or has no file."""
        image = self.encoded(i)
        return (image if image.dtype == tf.string else tf.io.encode_png(image)).numpy()

    def subset(self, indices: np.ndarray) -> Split:
        """The examples `indices`, renumbered from 0."""
        chosen = tf.constant(indices, tf.int64)

        def image(i: tf.Tensor) -> tf.Tensor:
            return self.image(tf.gather(chosen, i))

        def images(i: tf.Tensor) -> tf.Tensor:
            assert self.images is not None
            return self.images(tf.gather(chosen, i))

        def name(i: int) -> str:
            return self.name(int(indices[i]))

        facts = {key: column[indices] for key, column in self.facts.items()}
        shards = None if self.shards is None else self.shards[indices]
        groups = None if self.groups is None else self.groups[indices]
        return dataclasses.replace(
            self,
            labels=self.labels[indices],
            image=image,
            images=images if self.images else None,
            name=name,
            facts=facts,
            shards=shards,
            groups=groups,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A data set: its name, its classes, its three splits and how they were made.

    Attributes:
        name: The dataset string that opened it.
        class_names: Names in the order of the labels.
        splits: "train", "validation" (may be empty) and "test".
        provenance: How the splits were made, as JSON can hold it.
        unreadable: The images that were left out since they cannot be read, with the reason.
        left_out: Other files that were left out: kind -> their names.
        drawn: Parts that were drawn out of the training part.
        added: Names that the earlier run, whose parts were asked for, did not have; left out.
        decoding: How encoded images become pixels.
    """

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    provenance: dict[str, Any]
    unreadable: tuple[str, ...] = ()
    left_out: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    drawn: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    decoding: Decoding = Decoding()

    @property
    def several(self) -> bool:
        """Whether an image may have several labels, or none: then each class is a yes or no."""
        return any(split.several for split in self.splits.values())

    def num_examples(self, split: str) -> int:
        return len(self.splits[split])

    def label(self, split: Split, i: int) -> str:
        """The class of an example; with several, their names with | between them."""
        if not split.several:
            return self.class_names[split.labels[i]]
        return "|".join(self.class_names[label] for label in np.flatnonzero(split.labels[i]))

    def describe(self, split: str, index: int) -> str:
        return self.splits[split].describe(index)

    def decoded_as(self, decoding: Decoding) -> Source:
        """The same data set with its encoded images decoded in another way, such as a run's."""
        splits = {
            part: dataclasses.replace(split, decoding=decoding)
            for part, split in self.splits.items()
        }
        return dataclasses.replace(self, splits=splits, decoding=decoding)

    def fingerprint(self) -> Fingerprint:
        """Which examples are in which part, with their classes and contents."""
        parts = {}
        for part, split in self.splits.items():
            digests = split.facts.get("digest", np.zeros((len(split), 0), np.uint8))
            parts[part] = [
                (split.name(i), self.label(split, i), digests[i].tobytes().hex())
                for i in range(len(split))
            ]
        return Fingerprint(self.class_names, parts, self.decoding.white)


def array_split(images: np.ndarray, labels: np.ndarray, noun: str) -> Split:
    """uint8 (n, height, width, channels) in memory as a split; `noun` names an example.

    Raises:
        ValueError: the images are of another type.
    """
    if images.dtype != np.uint8:
        small = images.dtype.kind == "f" and images.max(initial=0) <= 1
        way = "multiply values in 0..1 by 255, and round them" if small else "convert them"
        raise ValueError(
            f"Images in memory should be uint8, in 0..255; {way}. Received: {images.dtype} with a "
            f"maximum of {images.max(initial=0):g}"
        )
    pixels = tf.constant(images, tf.uint8)

    def image(i: tf.Tensor) -> tf.Tensor:
        return tf.gather(pixels, i)

    def name(i: int) -> str:
        return f"{noun} {i}"

    facts = {"digest": np.stack([digest(one.tobytes()) for one in images])}
    numbers = labels if labels.ndim == 2 else labels.astype(np.int64)
    return Split(numbers, image, name, facts=facts)


def concatenated(splits: Sequence[Split]) -> Split:
    """Several splits one after the other, with the facts that all of them have."""
    ends = np.cumsum([len(split) for split in splits])
    begins = ends - [len(split) for split in splits]

    def image(i: tf.Tensor) -> tf.Tensor:
        which = tf.searchsorted(tf.constant(ends), i[None], side="right")[0]
        readers = [
            lambda split=split, begin=begin: split.image(i - begin)
            for split, begin in zip(splits, begins, strict=True)
        ]
        return tf.switch_case(which, readers)

    def name(i: int) -> str:
        which = int(np.searchsorted(ends, i, side="right"))
        return splits[which].name(i - int(begins[which]))

    shared = set.intersection(*(set(split.facts) for split in splits))
    shards: list[np.ndarray] = []
    for split in splits:
        if split.shards is not None:
            first = max((int(s.max(initial=-1)) + 1 for s in shards), default=0)
            shards.append(split.shards + first)
    groups = [split.groups for split in splits if split.groups is not None]
    return dataclasses.replace(
        splits[0],
        labels=np.concatenate([split.labels for split in splits]),
        image=image,
        images=None,
        name=name,
        facts={key: np.concatenate([split.facts[key] for split in splits]) for key in shared},
        shards=np.concatenate(shards) if len(shards) == len(splits) else None,
        window=max(split.window for split in splits),
        groups=np.concatenate(groups) if len(groups) == len(splits) else None,
    )
