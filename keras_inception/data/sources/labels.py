"""The labels of examples, and the order of classes: one rule for all sources."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from keras_inception.data.splits import Source, Split
from keras_inception.messages import numbered, printable, some

NO_LABEL = -1  # of an example that says none


def labelled(parts: dict[str, Split], where: str) -> dict[str, Split]:
    """The parts that have labels. A part that has none is left out, which is said.

    Publishers write -1 or nothing for what has no label, or 0 where classes count from 1.

    Args:
        parts: "train" and others, with whole-number labels as the source has them.
        where: Names the data set.

    Raises:
        ValueError: of one part, or of the training part, some examples have no label.
    """
    kept = {}
    counts_from_zero = not parts["train"].labels.all()
    for part, split in parts.items():
        missing = split.labels < 0
        no_label = missing if counts_from_zero else missing | (split.labels == 0)
        if part != "train" and len(split) and no_label.all():
            logging.warning(
                "The %s part of %s (%d images) has no labels and is left out.",
                part,
                where,
                len(split),
            )
        elif missing.any():
            i = int(missing.argmax())
            raise ValueError(
                f"{split.describe(i)} in {where} has no label, or a negative one, and others of "
                f"the {part} part have one: {missing.sum()} of {len(split)} lack it. Label them, "
                "or take them out."
            )
        else:
            kept[part] = split
    return kept


def numbered_from_zero(parts: dict[str, Split], where: str) -> tuple[dict[str, Split], list[int]]:
    """Labels such as 7, 300 and 90000 as 0, 1 and 2.

    Returns:
        The parts, and the labels that stood for the classes 0, 1, ...

    Raises:
        ValueError: a label occurs in no training example.
    """
    known = np.unique(parts["train"].labels)
    for split in parts.values():
        strange = ~np.isin(split.labels, known)
        if strange.any():
            i = int(strange.argmax())
            raise ValueError(
                f"{split.describe(i)} in {where} has the label {split.labels[i]}, which no "
                f"training example has; those have {some(map(str, known.tolist()), 5)}."
            )
    found = {
        part: dataclasses.replace(split, labels=np.searchsorted(known, split.labels))
        for part, split in parts.items()
    }
    return found, known.tolist()


def check_training_images(source: Source) -> None:
    """Raises ValueError if a class has no training image."""
    counts = np.bincount(source.splits["train"].labels, minlength=len(source.class_names))
    lacking = np.flatnonzero(counts == 0)
    if not len(lacking):
        return
    examples = (
        split.describe(int(i))
        for split in source.splits.values()
        for i in np.flatnonzero(split.labels == lacking[0])[:1]
    )
    example = next(examples, "")
    raise ValueError(
        f"The training part of {source.name} has no readable images of "
        f"{some(printable(source.class_names[label]) for label in lacking)}"
        + (f", which other parts have ({example})." if example else ".")
    )


def in_order_of_numbers(source: Source) -> Source:
    """Classes that are called by whole numbers in the order of the numbers: 2 before 10."""
    names = source.class_names
    if not all(name.isdecimal() for name in names):
        return source
    order = sorted(range(len(names)), key=lambda i: (int(names[i]), names[i]))
    rank = np.argsort(order)
    splits = {
        part: dataclasses.replace(split, labels=rank[split.labels])
        for part, split in source.splits.items()
    }
    return dataclasses.replace(source, class_names=tuple(names[i] for i in order), splits=splits)


def about_numbers(class_names: Sequence[str]) -> list[str]:
    """A sentence if classes are called by numbers, and one may think of others or another order."""
    named = all(name.isdecimal() for name in class_names)
    if not named or list(class_names) == sorted(map(str, range(len(class_names)))):
        return []
    pairs = numbered(class_names)
    return [f"Each number is a class, and they stand in the numbers' order: {pairs}."]
