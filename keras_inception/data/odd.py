"""Odd images: blank, dark, blurred, tiny, or of another aspect than the rest.

What is odd is measured against the data set itself: a set of night scenes has no dark images, one
of thin sections no odd aspects.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_inception.data.splits import SPLITS, Source, Split
from keras_inception.data.stream import stream

_WORK = 256  # the longer side of the gray image that is measured, in pixels
_BLANK = 2.0  # standard deviation of gray values, of 255, below which an image shows nothing
_DARK = 40.0  # what 95 % of the pixels of a dark image are below
_TINY, _ASPECT = 4.0, 2.0  # factors between an image and the median of all
_FENCE = 3.0  # how many interquartile ranges outside of the quartiles an image is far out (Tukey)


class Odd(NamedTuple):
    """An odd image: its part, its number there, and what is odd with the number that says so."""

    part: str
    number: int
    kind: str
    measured: str


def find_odd(source: Source) -> list[Odd]:
    """The odd images of a data set, in the order of the parts; an image is named for one reason."""
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
    found, seen = [], set()
    for kind, (is_odd, measured) in rules.items():
        for i in np.flatnonzero(is_odd).tolist():
            if i not in seen:
                part, number = place[i]
                found.append((i, Odd(part, number, kind, measured[i])))
                seen.add(i)
    return [odd for _, odd in sorted(found)]


def _far_out(values: np.ndarray, direction: int) -> np.ndarray:
    """bool (n,): which values lie far below (-1) or above (1) the others."""
    low, high = np.nanquantile(values, [0.25, 0.75])
    beyond = values - high if direction > 0 else low - values
    return np.nan_to_num(beyond, nan=-1.0) > max(_FENCE * (high - low), 1e-9)


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
