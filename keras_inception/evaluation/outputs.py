"""Which of a network's outputs is which class of a data set."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from keras_inception import messages
from keras_inception.data import Source
from keras_inception.messages import some
from keras_inception.models.imagenet import class_names, imagenet_classes


def occurring(source: Source) -> np.ndarray:
    """int64 (classes,): which of a data set's classes have an image in any of its parts."""
    counts = [split.counts(len(source.class_names)) for split in source.splits.values()]
    return np.flatnonzero(np.sum(counts, axis=0))


def named_outputs(known: Sequence[str], outputs: int, source: Source, what: str) -> tuple[str, ...]:
    """What a network's outputs are called where a data set has its own names for classes.

    ImageNet's classes are told by their WordNet ids. Other classes are told by their names, and by
    their number where the network has no names.

    Args:
        known: The network's class names; empty if it has none.
        outputs: How many outputs it has.
        source: The data set.
        what: Names the network in messages.

    Returns:
        A name an output, each once, the data set's classes among them.

    Raises:
        ValueError: the network's classes are others.
    """
    names, needed = source.class_names, [source.class_names[i] for i in occurring(source)]
    if set(names) <= {c.wordnet_id for c in imagenet_classes()} and not set(needed) <= set(known):
        return _wordnet_ids(known, outputs, what)
    if not known:
        if outputs != len(names):
            raise ValueError(
                f"{what} has {outputs} outputs and the data set {len(names)} classes, such as "
                f"{names[0]!r}."
            )
        logging.warning(
            "%s does not say what its classes are called: taken to be those of the data set, in "
            "the same order: %s.",
            what,
            messages.numbered(names),
        )
        return tuple(names)
    there = set(known)
    missing = [name for name in needed if name not in there]
    if missing:
        raise ValueError(
            f"{what} does not know the data set's class {missing[0]!r}; its {len(known)} classes "
            f"are {some(known, 5)}."
        )
    first: dict[str, int] = {}
    for number, name in enumerate(known):
        first.setdefault(name, number)
    return tuple(n if first[n] == i else f"{n} (output {i})" for i, n in enumerate(known))


def _wordnet_ids(known: Sequence[str], outputs: int, what: str) -> tuple[str, ...]:
    """Of 1,000 outputs, or of 1,001 with the background first."""
    if outputs in (1000, 1001) and (not known or set(class_names()) <= set(known)):
        background = ("background",) * (outputs - 1000)
        return (*background, *(c.wordnet_id for c in imagenet_classes()))
    raise ValueError(
        f"{what} cannot be measured on ImageNet's classes: it has {outputs} outputs, not 1000 or "
        f"1001{', such as ' + known[0] if known else ''}."
    )
