"""Images of equal content in different parts, or with different labels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_inception.data.facts import as_scalars
from keras_inception.data.splits import SPLITS, Source, Split
from keras_inception.messages import some

Pair = tuple[str, str]


def equal_across_parts(source: Source) -> dict[str, list[Pair]]:
    """Examples of one part whose content another part has as well.

    Returns:
        "test in train" and so on -> (an example of the first, its twin in the second) each.
    """
    contents = {part: _contents(split).tolist() for part, split in source.splits.items()}

    def twins(part: str, other: str) -> list[tuple[int, int]]:
        first: dict[bytes, int] = {}
        for j, content in enumerate(contents[other]):
            first.setdefault(content, j)
        return [(i, first[one]) for i, one in enumerate(contents[part]) if one in first]

    return _across(source, twins)


def equal_with_other_labels(source: Source) -> list[Pair]:
    """Examples of equal content and different labels, each with the first of them."""
    first: dict[bytes, tuple[str, Any]] = {}
    found = []
    for split in source.splits.values():
        for i, content in enumerate(_contents(split).tolist()):
            name, label = first.setdefault(content, (split.name(i), split.labels[i].tolist()))
            if label != split.labels[i].tolist():
                found.append((split.name(i), name))
    return found


def _contents(split: Split) -> np.ndarray:
    """What tells the contents apart; nothing where no pass has looked at the images."""
    return as_scalars(split.facts.get("digest", np.zeros((0, 16), np.uint8)))


def say_duplicates(source: Source) -> dict[str, Any]:
    """Warns of equal images in several parts or classes; returns what provenance says of them."""
    across, conflicts = equal_across_parts(source), equal_with_other_labels(source)
    for where, pairs in across.items():
        logging.warning(
            "%s: images of the %s part are in the %s part as well (%d), so that what is measured "
            "on them says too much: %s",
            source.name,
            *where.split(" in "),
            len(pairs),
            _shown(pairs),
        )
    if conflicts:
        logging.warning(
            "%s: the same image has two classes (%d): %s",
            source.name,
            len(conflicts),
            _shown(conflicts),
        )
    found = across | ({"with two classes": conflicts} if conflicts else {})
    said = {
        where: {"count": len(pairs), "examples": [list(pair) for pair in pairs[:3]]}
        for where, pairs in found.items()
    }
    return {"duplicates": said} if said else {}


def _shown(pairs: list[Pair]) -> str:
    return some([f"{one} = {other}" for one, other in pairs])


def _across(
    source: Source, match: Callable[[str, str], list[tuple[int, int]]]
) -> dict[str, list[Pair]]:
    """The names of what `match` finds: examples of one part and their twins in another one."""
    found = {}
    parts = [part for part in SPLITS if part in source.splits]
    for later, part in enumerate(parts):
        for other in parts[:later]:
            mine, others = source.splits[part], source.splits[other]
            pairs = [(mine.name(i), others.name(j)) for i, j in match(part, other)]
            if pairs:
                found[f"{part} in {other}"] = pairs
    return found
