"""Odd images: blank, dark, blurred, tiny, of another aspect than the rest, or unlike all others.

What is odd is measured against the data set itself: a set of night scenes has no dark images, one
of thin sections no odd aspects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_inception.data.splits import SPLITS, Source, Split
from keras_inception.data.stream import stream

_WORK = 256  # the longer side of the gray image that is measured, in pixels
_BLANK = 2.0  # standard deviation of gray values, of 255, below which an image shows nothing
_DARK = 40.0  # what 95 % of the pixels of a dark image are below
_TINY, _ASPECT = 4.0, 2.0  # factors between an image and the median of all
_FENCE = 3.0  # how many interquartile ranges outside of the quartiles an image is far out (Tukey)
_ALONE = 2.0  # the same of distances in feature space
_NEIGHBORS = 5  # nearest others, whose distance says how alone an image is; copies are fewer
_FEW = 50  # images of which none is called unlike the others
_BLOCK = 1024


class Odd(NamedTuple):
    """An odd image: its part, its number there, and what is odd with the number that says so."""

    part: str
    number: int
    kind: str
    measured: str


def find_odd(source: Source, features: Callable[[Split], np.ndarray] | None = None) -> list[Odd]:
    """The odd images of a data set, in the order of the parts; an image is named for one reason.

    Args:
        source: The data set.
        features: From a part to float (images, channels), such as `curation.Network.of_split`: by
            these, images that are far from all others are odd, too.
    """
    parts = [part for part in SPLITS if len(source.splits[part])]
    table = np.concatenate([_measure(source.splits[part]) for part in parts])
    place = [(part, i) for part in parts for i in range(len(source.splits[part]))]
    height, width, contrast, bright, sharp = table.T
    side, aspect = np.minimum(height, width), np.log(width / height)
    shows = contrast >= _BLANK
    logs = np.where(shows, np.log(np.maximum(sharp, 1e-6)), np.nan)
    usual = np.median(side), np.median(aspect)
    is_aspect = _far_out(aspect, -1) | _far_out(aspect, 1)
    rules = {
        "blank": (~shows, [f"its gray values vary by {c:.1f} of 255" for c in contrast]),
        "tiny": (
            side * _TINY < usual[0],
            [f"{w:.0f} x {h:.0f} pixels" for w, h in zip(width, height, strict=True)],
        ),
        "dark": (
            (bright < _DARK) & _far_out(bright, -1),
            [f"95 % of its pixels are below {b:.0f} of 255" for b in bright],
        ),
        "blurred": (
            shows & _far_out(logs, -1),
            [
                f"its edges are {np.exp(np.nanmedian(logs)) / max(s, 1e-6):.0f} times weaker than "
                "usual"
                for s in sharp
            ],
        ),
        "of an odd aspect": (
            is_aspect & (np.abs(aspect - usual[1]) > np.log(_ASPECT)),
            [f"{w:.0f} x {h:.0f} pixels" for w, h in zip(width, height, strict=True)],
        ),
    }
    if features is not None:
        alone = _alone(np.concatenate([features(source.splits[part]) for part in parts]))
        rules["unlike all others"] = (
            _far_out(np.log(alone), 1, _ALONE) & (len(alone) >= _FEW),
            [f"{a:.1f} times as far from its nearest images as usual" for a in alone],
        )
    found, seen = [], set()
    for kind, (is_odd, measured) in rules.items():
        for i in np.flatnonzero(is_odd).tolist():
            if i not in seen:
                part, number = place[i]
                found.append((i, Odd(part, number, kind, measured[i])))
                seen.add(i)
    return [odd for _, odd in sorted(found)]


def _alone(features: np.ndarray) -> np.ndarray:
    """float (n,): the distance to the fifth nearest other image, by the angle between features,
    divided by the median of these distances.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    place = max(len(unit) - 1 - _NEIGHBORS, 0)  # in ascending likeness, of which the last is 1
    likeness = [
        np.partition(unit[begin : begin + _BLOCK] @ unit.T, place, axis=1)[:, place]
        for begin in range(0, len(unit), _BLOCK)
    ]
    distance = np.sqrt(np.maximum(2 - 2 * np.concatenate(likeness), 1e-9))
    return distance / np.median(distance)


def _far_out(values: np.ndarray, direction: int, fence: float = _FENCE) -> np.ndarray:
    """bool (n,): which values lie far below (-1) or above (1) the others."""
    low, high = np.nanquantile(values, [0.25, 0.75])
    beyond = values - high if direction > 0 else low - values
    return np.nan_to_num(beyond, nan=-1.0) > max(fence * (high - low), 1e-9)


def _measure(split: Split) -> np.ndarray:
    """float (n, 5): height, width, spread of gray values, their 95 % quantile, and sharpness.

    Sharpness is the spread of the Laplacian divided by that of the gray values.
    """
    from PIL import Image

    def look(i: int) -> tuple[float, ...]:
        pixels = split.pixels(i).numpy()
        height, width = pixels.shape[:2]
        image = Image.fromarray(pixels).convert("L")
        image.thumbnail((_WORK, _WORK), Image.Resampling.BOX)
        gray = np.asarray(image, np.float32)
        padded = np.pad(gray, 1, mode="edge")
        around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        contrast = float(gray.std())
        sharpness = float((around - 4 * gray).std()) / max(contrast, 1.0)
        return height, width, contrast, float(np.quantile(gray, 0.95)), sharpness

    rows = np.zeros((len(split), 5))
    for i, seen in stream(range(len(split)), look):
        if isinstance(seen, Exception):
            raise seen
        rows[i] = seen
    return rows
