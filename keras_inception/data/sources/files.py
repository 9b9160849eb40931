"""Image files -> a data set: what class folders and tables have in common."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.data.checked import check_images
from keras_inception.data.groups import groups_of_names
from keras_inception.data.kept import state_of
from keras_inception.data.parts import draw_missing_parts
from keras_inception.data.sources.labels import indicators, labelled
from keras_inception.data.sources.opening import Opening
from keras_inception.data.splits import Source, Split
from keras_inception.data.twins import BY_TWINS, grouped_by_twins
from keras_inception.messages import printable


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """An image file of a data set: where it lies, its name within the data set, its class.

    `group` is what a table says of it; None if it says nothing.
    Where images may have several labels, `label` holds the numbers of all of them.
    """

    path: str
    name: str
    label: int | tuple[int, ...]
    group: str | None = None


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
            ValueError: too many cannot be read, or a label is missing.
        """
        parts = {
            part: split_of_files(files, self.prefix, opening.group_key, len(self.class_names))
            for part, files in self.parts.items()
        }
        splits = labelled(parts, self.where)
        states = {part: state_of([file.path for file in self.parts[part]]) for part in splits}
        source = Source(
            self.where,
            tuple(self.class_names),
            splits,
            {self.kind: self.where},
            left_out=self.left_out,
            decoding=opening.decoding,
        )
        source = check_images(source, states, opening.verbose)
        if opening.groups == BY_TWINS:
            source = grouped_by_twins(source)
        return draw_missing_parts(source, opening.validation_fraction, opening.seed)


def split_of_files(
    files: Sequence[ImageFile], prefix: str = "", groups: str = "", classes: int = 0
) -> Split:
    """Image files as numbered examples.

    Args:
        files: All with one label each, or all with several.
        prefix: What stands before their names in messages.
        groups: See `groups_of_names`; "" for what the files say.
        classes: How many there are, where images may have several labels.
    """
    given: list[Any] = [file.label for file in files]
    several = bool(given) and isinstance(given[0], tuple)
    labels = indicators(given, classes) if several else np.array(given, np.int64)
    paths = tf.constant([os.fsencode(file.path) for file in files], tf.string)

    def image(i: tf.Tensor) -> tf.Tensor:
        return tf.io.read_file(tf.gather(paths, i))

    own = [file.group for file in files if file.group is not None]
    found = np.array(own, str) if own else None
    split = Split(labels, image, lambda i: files[i].name, where=prefix, groups=found)
    return grouped_by_name(split, groups) if groups else split


def grouped_by_name(split: Split, how: str) -> Split:
    """Examples with the groups that their names say; `how` is that of `groups_of_names`."""
    names = [split.name(i) for i in range(len(split))]
    return dataclasses.replace(split, groups=groups_of_names(names, how))


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
