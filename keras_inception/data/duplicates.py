"""Images of equal or nearly equal content in different parts, or with different labels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.data.facts import as_scalars
from keras_inception.data.splits import SPLITS, Source, Split
from keras_inception.messages import some

Pair = tuple[str, str]
_ALL_BITS = 64
# Bands of 16 bits: two hashes that differ in at most 3 bits agree in one band.
_BANDS, NEAR = 4, 3


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


def near_across_parts(source: Source) -> dict[str, list[Pair]]:
    """Examples of one part that look like one of another part, as `equal_across_parts`.

    They are told by a difference hash of 64 bits: an image is made gray, 8 high and 9 wide, and a
    bit says whether a pixel is brighter than its neighbour. Copies of another size or
    compression differ in few bits; up to 3 are taken for the same.
    """
    hashes = {part: _difference_hashes(split) for part, split in source.splits.items()}
    return _across(source, lambda part, other: _near(hashes[part], hashes[other]))


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


def _difference_hashes(split: Any) -> np.ndarray:
    """uint64 (n,)."""

    @tf.autograph.experimental.do_not_convert
    def bits(i: tf.Tensor) -> tf.Tensor:
        gray = tf.image.rgb_to_grayscale(tf.cast(split.pixels(i), tf.float32))
        small = tf.image.resize(gray, (8, 9), "area", antialias=True)[..., 0]
        return tf.reshape(small[:, 1:] > small[:, :-1], (-1,))

    rows = tf.data.Dataset.range(len(split)).map(bits, num_parallel_calls=tf.data.AUTOTUNE)
    table = np.array([row for row in rows.as_numpy_iterator()], bool).reshape(-1, _ALL_BITS)
    return np.packbits(table, axis=1).view(np.uint64).ravel()


def _near(mine: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
    """(i, j): for each of `mine` the first of `others` that differs in at most 3 bits."""
    best: dict[int, int] = {}
    for band in range(_BANDS):
        shift = np.uint64(16 * band)
        buckets: dict[int, list[int]] = {}
        for j, value in enumerate(((others >> shift) & np.uint64(0xFFFF)).tolist()):
            buckets.setdefault(value, []).append(j)
        for i, value in enumerate(((mine >> shift) & np.uint64(0xFFFF)).tolist()):
            if i in best or value not in buckets:
                continue
            candidates = np.array(buckets[value])
            differing = _set_bits(others[candidates] ^ mine[i])
            if differing.min() <= NEAR:
                best[i] = int(candidates[differing.argmin()])
    return sorted(best.items())


def _set_bits(values: np.ndarray) -> np.ndarray:
    """How many bits of each uint64 are 1; numpy has a function for it from version 2.0 on."""
    return np.unpackbits(values.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1)
