"""Image files -> parts of a data set; what folders and tables of files have in common."""

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

from keras_inception.data.decode import Decoding
from keras_inception.data.facts import find_facts
from keras_inception.data.headers import FORMATS
from keras_inception.data.kept import state_of
from keras_inception.data.listing import FOLLOWED, LEFTOVER
from keras_inception.data.plain import FIRST_NEED, PROBLEMS
from keras_inception.data.splits import Checked, Split, check_images
from keras_inception.messages import printable, some


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """An image file of a data set: where it lies, its name within the data set, its class."""

    path: str
    name: str
    label: int


def open_files(
    parts: dict[str, list[ImageFile]],
    decoding: Decoding,
    where: str,
    left_out: dict[str, list[str]],
    prefix: str,
) -> tuple[Checked, dict[str, Any]]:
    """Parts of image files, every one of them decoded once.

    Args:
        parts: Part -> its files.
        decoding: How they are decoded.
        where: Names the data set in messages.
        left_out: Kind -> names of what is not used; files that need a package are added.
        prefix: What stands before a file's name in messages.

    Returns:
        The checked parts, and what provenance says of images that Pillow made plain.
    """
    splits, kinds = {}, Counter[str]()
    for part, files in parts.items():
        split = _split(files, prefix)
        states = state_of([file.path for file in files])
        facts = find_facts(split.image, states, decoding, f"{where} {part}")
        lacks_package = facts["problem"] >= FIRST_NEED
        for i in np.flatnonzero(lacks_package):
            kind = f"images of which {PROBLEMS[facts['problem'][i]]}"
            left_out.setdefault(kind, []).append(files[i].name)
        kinds.update(FORMATS[code] for code in facts["format"][facts["odd"] == 1])
        splits[part] = dataclasses.replace(split, facts=facts).subset(
            np.flatnonzero(~lacks_package)
        )
    if kinds:
        logging.info("Pillow decoded %s once, into the cache.", _counts(kinds))
    return check_images(splits, decoding, where), ({"converted": dict(kinds)} if kinds else {})


def _split(files: Sequence[ImageFile], prefix: str) -> Split:
    labels = np.array([file.label for file in files], np.int64)
    paths = tf.constant([os.fsencode(file.path) for file in files], tf.string)

    def image(i: tf.Tensor) -> tf.Tensor:
        return tf.io.read_file(tf.gather(paths, i))

    return Split(labels, image, lambda i: files[i].name, where=prefix)


def _counts(kinds: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def say_left_out(left_out: dict[str, list[str]], where: str) -> dict[str, Any]:
    """Warns of files that are not used; returns what provenance says of them."""
    for kind, names in sorted(left_out.items()):
        shown = some([printable(name) for name in sorted(names)])
        # Leftovers were never meant as images, and the images behind links are used.
        level = logging.INFO if kind in (LEFTOVER, FOLLOWED) else logging.WARNING
        logging.log(level, "Left out of %s: %s (%d): %s", where, kind, len(names), shown)
    return {
        "left_out": {
            kind: {"count": len(names), "examples": [printable(n) for n in sorted(names)[:3]]}
            for kind, names in sorted(left_out.items())
        }
    }


def check_training_images(splits: dict[str, Split], classes: Sequence[str], where: str) -> None:
    """Raises ValueError for a class without an image in the training part."""
    present = set(splits["train"].labels.tolist())
    lacking = [printable(name) for label, name in enumerate(classes) if label not in present]
    if lacking:
        raise ValueError(f"The training part of {where} has no readable images of {some(lacking)}.")


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
