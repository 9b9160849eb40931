"""Classes with few images beside classes with many: what is said of them, and what is done."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_inception import messages
from keras_inception.data import Source
from keras_inception.data.inspection import imbalance
from keras_inception.recipes import Recipe

_SHOWN = 20


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """float32 (classes,): images / (classes x images of the class); 1 where a class has none.

    The mean over the images is 1, and every class has the same weight in sum. Where images have
    several labels, these take the images' place.
    """
    if labels.ndim == 1:
        counts = np.bincount(labels, minlength=classes)
    else:
        counts = labels.sum(0, dtype=np.int64)
    return np.where(counts, counts.sum() / (classes * np.maximum(counts, 1)), 1.0).astype("float32")


def with_equal_classes(source: Source, seed: int) -> Source:
    """The source with the images of smaller classes repeated in the training part.

    Every class comes as often as the largest one. The images that come once more than others of
    their class are drawn by `seed`.

    Raises:
        ValueError: images may have several labels.
    """
    if source.several:
        raise ValueError(
            "`class_weight=sampling` repeats the images of a class, and here an image has several "
            "labels: `class_weight=balanced` weighs them in the loss."
        )
    train, rng = source.splits["train"], np.random.default_rng(seed)
    most, indices = int(np.bincount(train.labels).max()), []
    for label in np.unique(train.labels):
        members = np.flatnonzero(train.labels == label)
        whole, rest = divmod(most, len(members))
        indices += [np.tile(members, whole), rng.permutation(members)[:rest]]
    repeated = train.subset(np.sort(np.concatenate(indices)))
    return dataclasses.replace(source, splits={**source.splits, "train": repeated})


def describe(recipe: Recipe, source: Source) -> list[str]:
    """Lines that say how many training images each class has, and what comes of it."""
    labels, names = source.splits["train"].labels, source.class_names
    counts = source.splits["train"].counts(len(names))
    weights = class_weights(labels, len(names))
    order = np.argsort(counts, kind="stable")
    weighted = recipe.class_weight == "balanced"
    shown = [
        f"{names[i]} {counts[i]}" + (f" (weight {weights[i]:.3g})" if weighted else "")
        for i in order
    ]
    lines = [f"Training images of each class: {messages.some(shown, _SHOWN)}."]
    if recipe.class_weight == "sampling":
        lines.append(f"Every class is shown {counts.max()} times in an epoch.")
    elif not weighted:
        lines += imbalance(names, counts, source.several)
    return lines
