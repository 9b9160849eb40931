"""Labels, one or several an example, and the order of classes: one rule for all sources."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from keras_inception.data.splits import Source, Split
from keras_inception.messages import numbered, printable, some

NO_LABEL = -1  # of an example that says none


def indicators(sets: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """uint8 (n, classes) of 0 and 1: what `Split.labels` is where examples have several labels.

    Args:
        sets: Of each example the numbers of its labels; `NO_LABEL` counts for nothing.
        classes: How many there are.
    """
    found = np.zeros((len(sets), classes), np.uint8)
    for row, numbers in zip(found, sets, strict=True):
        row[[number for number in numbers if number != NO_LABEL]] = 1
    return found


def mark_of(labels: Sequence[str], where: str) -> str:
    """What stands between the labels of one image; "" where each has one.

    That is a |. A semicolon or a comma is it if what it divides stands alone elsewhere, which is
    said: names hold both.
    """
    if any("|" in label for label in labels):
        return "|"
    known = set(labels)
    for mark in ";,":
        for label in labels:
            parts = pieces(label, mark)
            if len(parts) > 1 and known & set(parts):
                logging.warning(
                    "%s: labels such as %r are taken for several, with %r between them.",
                    where,
                    label,
                    mark,
                )
                return mark
    return ""


def pieces(label: str, mark: str) -> list[str]:
    """The labels in a text that holds several."""
    return [piece.strip() for piece in label.split(mark) if piece.strip()]


def numbered_lists(
    parts: dict[str, Split], lists: dict[str, np.ndarray], where: str
) -> tuple[dict[str, Split], list[int]]:
    """As `numbered_from_zero`, of examples with several labels each.

    A list of labels has none twice. So lists of one length that hold nothing but 0 and 1, and one
    of them twice, are no labels but say of each class whether an example has it.

    Args:
        parts: The parts; their labels are replaced.
        lists: Of each part int64 (n, most): an example's labels, then `NO_LABEL`.
        where: Names the data set.
    """
    rows = [row for part in lists.values() for row in part]
    if all(np.isin(row, (0, 1)).all() for row in rows) and any(
        len(np.unique(row)) < len(row) for row in rows
    ):
        labels = {part: array.astype(np.uint8) for part, array in lists.items()}
        known = np.arange(lists["train"].shape[1])
    else:
        known = np.setdiff1d(lists["train"], [NO_LABEL])
        place = {number: i for i, number in enumerate(known.tolist())} | {NO_LABEL: NO_LABEL}
        labels = {}
        for part, array in lists.items():
            strange = ~np.isin(array, list(place)).all(1)
            if strange.any():
                i = int(strange.argmax())
                raise ValueError(
                    f"{parts[part].describe(i)} in {where} has the labels {array[i].tolist()}, of "
                    "which no training example has one or more; those have "
                    f"{some(map(str, known.tolist()), 5)}."
                )
            sets = [[place[number] for number in row] for row in array.tolist()]
            labels[part] = indicators(sets, len(known))
    found = {part: dataclasses.replace(split, labels=labels[part]) for part, split in parts.items()}
    return found, known.tolist()


def check_names_of_several(names: Sequence[str], where: str) -> None:
    """Raises ValueError for a name with |, which stands between the labels of one image."""
    odd = [name for name in names if "|" in name]
    if odd:
        raise ValueError(
            "Where images have several labels, | stands between them, so that no class may have "
            f"it in its name. Received: {printable(odd[0])!r} in {where}"
        )


def labelled(parts: dict[str, Split], where: str) -> dict[str, Split]:
    """The parts that have labels. A part that has none is left out, which is said.

    Publishers write -1 or nothing for what has no label, or 0 where classes count from 1. Where
    examples may have several labels, some may have none.

    Args:
        parts: "train" and others, with whole-number labels as the source has them, or 0 and 1.
        where: Names the data set.

    Raises:
        ValueError: of one part, or of the training part, some examples have no label.
    """
    kept = {}
    counts_from_zero = not parts["train"].labels.all()
    for part, split in parts.items():
        if split.several:
            no_label, missing = ~split.labels.any(1), np.zeros(len(split), bool)
        else:
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
    counts = source.splits["train"].counts(len(source.class_names))
    lacking = np.flatnonzero(counts == 0)
    if not len(lacking):
        return
    examples = (
        split.describe(int(i))
        for split in source.splits.values()
        for i in split.of_class(lacking[0])[:1]
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
        part: dataclasses.replace(
            split, labels=split.labels[:, order] if split.several else rank[split.labels]
        )
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
