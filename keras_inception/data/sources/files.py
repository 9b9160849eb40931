"""Image files -> a data set: what class folders and tables have in common."""

from __future__ import annotations

import dataclasses
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.data.checked import check_images
from keras_inception.data.decode import Decoding
from keras_inception.data.facts import find_facts
from keras_inception.data.headers import FORMATS
from keras_inception.data.kept import state_of
from keras_inception.data.listing import FOLLOWED, LEFTOVER
from keras_inception.data.parts import draw_missing_parts
from keras_inception.data.plain import FIRST_NEED, PROBLEMS
from keras_inception.data.sources.opening import Opening
from keras_inception.data.splits import Source, Split
from keras_inception.messages import printable, some


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """An image file of a data set: where it lies, its name within the data set, its class."""

    path: str
    name: str
    label: int


@dataclasses.dataclass(frozen=True)
class Files:
    """Image files in class folders or in a table.

    Attributes:
        kind: What opened them: "folder" or "csv".
        where: Names the data set in messages.
        prefix: What stands before a file's name in messages.
        class_names: In the order of the labels.
        parts: Part -> its files.
        left_out: Kind -> names of what is not used.
    """

    kind: str
    where: str
    prefix: str
    class_names: Sequence[str]
    parts: dict[str, list[ImageFile]]
    left_out: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def open(self, opening: Opening) -> Source:
        """The files as a data set, every one of them decoded once.

        Raises:
            ValueError: too many cannot be read, or a class has none in the training part.
        """
        splits, kinds = {}, Counter[str]()
        for part, files in self.parts.items():
            where = f"{self.where} {part}"
            splits[part] = self._decoded(files, where, opening.decoding, kinds)
        if kinds:
            logging.info("Pillow decoded %s once, into the cache.", _counts(kinds))
        names, left_out = tuple(self.class_names), self.left_out
        source = check_images(
            Source(self.where, names, splits, {}, left_out=left_out, decoding=opening.decoding)
        )
        self._check_training_images(source.splits["train"])
        fraction, seed = opening.validation_fraction, opening.seed
        splits, drawn = draw_missing_parts(source.splits, fraction, seed)
        said = {"left_out": self._say_left_out(), "converted": dict(kinds)}
        provenance = {self.kind: self.where, "seed": seed, "held_out": drawn}
        provenance |= {key: value for key, value in said.items() if value}
        return dataclasses.replace(source, splits=splits, drawn=tuple(drawn), provenance=provenance)

    def _decoded(
        self, files: list[ImageFile], where: str, decoding: Decoding, kinds: Counter[str]
    ) -> Split:
        """A part with its facts; what Pillow made plain is counted in `kinds`."""
        split = _split(files, self.prefix)
        states = state_of([file.path for file in files])
        facts = find_facts(split.image, states, decoding, where)
        lacks_package = facts["problem"] >= FIRST_NEED
        for i in np.flatnonzero(lacks_package):
            kind = f"images of which {PROBLEMS[facts['problem'][i]]}"
            self.left_out.setdefault(kind, []).append(files[i].name)
        kinds.update(FORMATS[code] for code in facts["format"][facts["odd"] == 1])
        return dataclasses.replace(split, facts=facts).subset(np.flatnonzero(~lacks_package))

    def _check_training_images(self, train: Split) -> None:
        present = set(train.labels.tolist())
        names = enumerate(self.class_names)
        lacking = [printable(name) for label, name in names if label not in present]
        if lacking:
            raise ValueError(
                f"The training part of {self.where} has no readable images of {some(lacking)}."
            )

    def _say_left_out(self) -> dict[str, Any]:
        """Warns of files that are not used; returns what provenance says of them."""
        said = {}
        for kind, names in sorted(self.left_out.items()):
            shown = [printable(name) for name in sorted(names)]
            # Leftovers were never meant as images, and the images behind links are used.
            level = logging.INFO if kind in (LEFTOVER, FOLLOWED) else logging.WARNING
            where = self.where
            logging.log(level, "Left out of %s: %s (%d): %s", where, kind, len(names), some(shown))
            said[kind] = {"count": len(names), "examples": shown[:3]}
        return said


def _split(files: Sequence[ImageFile], prefix: str) -> Split:
    labels = np.array([file.label for file in files], np.int64)
    paths = tf.constant([os.fsencode(file.path) for file in files], tf.string)

    def image(i: tf.Tensor) -> tf.Tensor:
        return tf.io.read_file(tf.gather(paths, i))

    return Split(labels, image, lambda i: files[i].name, where=prefix)


def _counts(kinds: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def check_class_names(names: Sequence[str], where: str) -> None:
    """Raises ValueError for a class name that a list of a name a line cannot hold."""
    for name in names:
        bad = [c for c in name if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
        if bad or not name.strip():
            shown = ", ".join(f"U+{ord(c):04X}" for c in bad) or "nothing but spaces"
            raise ValueError(
                f"A class name should be one line of Unicode text without control characters. "
                f"Received: {printable(name)!r} with {shown} in {where}; rename the class."
            )
    alike = Counter(unicodedata.normalize("NFC", name) for name in names)
    twins = [name for name, count in alike.items() if count > 1]
    if twins:
        raise ValueError(
            f"{where} has two classes that are written alike and differ only in how their accents "
            f"are encoded: {', '.join(twins)}. Merge them."
        )
