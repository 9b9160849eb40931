"""Images of an evaluation."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

MOST_NAMES = 40  # classes up to which names and numbers can be read
LONGEST_NAME = 30  # characters of a name that are drawn


def confusion(matrix: np.ndarray, names: list[str], path: Path) -> None:
    """The confusion matrix as a PNG image: rows are true classes, as shares of their images.

    Args:
        matrix: int (classes, classes).
        names: Class names in the order of the rows. Where a name cannot be drawn, its number
            stands instead, from 0.
        path: Where the image is written.
    """
    from matplotlib.figure import Figure

    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    readable = len(names) <= MOST_NAMES
    side = min(12.0, max(4.0, 1.6 + 0.55 * len(names))) if readable else 9.0
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if readable:
        shown, fonts = drawable(names)
        text: dict[str, Any] = {"parse_math": False, "fontfamily": fonts}
        axes.set_xticks(range(len(names)), shown, rotation=45, ha="right", **text)
        axes.set_yticks(range(len(names)), shown, **text)
        for row, column in zip(*np.nonzero(matrix), strict=True):
            axes.text(
                column,
                row,
                str(matrix[row, column]),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if shares[row, column] > 0.5 else "black",
            )
    figure.savefig(path, dpi=110)


def drawable(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names as matplotlib can draw them, and the fonts that it takes.

    matplotlib takes the next font of a list for a character that the first one lacks. It neither
    joins nor reorders characters, as Arabic, Hebrew or Devanagari need: such a name, and one that
    no font of this machine has all characters of, becomes "class" and its number.

    Args:
        names: Any Unicode strings.

    Returns:
        As many strings, of at most `LONGEST_NAME` characters, and names of font families.
    """
    names = [unicodedata.normalize("NFC", name) for name in names]
    fonts: list[str] = ["DejaVu Sans"]  # comes with matplotlib
    have = set(_characters("DejaVu Sans"))
    missing = {c for name in names for c in name if _draws_alone(c)} - have
    for family in _families() if missing else ():
        found = missing & _characters(family)
        if found:
            fonts.append(family)
            missing -= found
    shown = []
    for number, name in enumerate(names):
        can = all(_draws_alone(c) and c not in missing for c in name) and name.strip()
        short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "\u2026"
        shown.append(short if can else f"class {number}")
    return shown, fonts


def _draws_alone(character: str) -> bool:
    """Whether a character stands as it is, from left to right, next to its neighbours."""
    return (
        unicodedata.bidirectional(character) not in ("R", "AL", "AN")
        and unicodedata.category(character)[0] not in "MC"
        and not any(first <= ord(character) <= last for first, last in _JOINING)
    )


# Scripts of India and Southeast Asia, whose letters change shape and place: Unicode's blocks.
_JOINING = ((0x0900, 0x109F), (0x1780, 0x18AF), (0xA840, 0xA8FF), (0xA980, 0xABFF))


@functools.cache
def _families() -> dict[str, str]:
    """Name -> file of the font families on this machine that have an upright style.

    Not the one that comes with matplotlib to draw a box for every character.
    """
    from matplotlib import font_manager

    fonts = [font for font in font_manager.fontManager.ttflist if font.style == "normal"]
    return {font.name: font.fname for font in fonts if not font.name.startswith("Last Resort")}


@functools.cache
def _characters(family: str) -> frozenset[str]:
    """The characters that a font family has; none if its file cannot be read."""
    from matplotlib import font_manager

    try:
        font = font_manager.get_font(_families()[family])
    except (KeyError, OSError, RuntimeError, ValueError):
        return frozenset()
    return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()


def reliability(calibration: dict[str, Any], path: Path) -> None:
    """How often answers are right, by their confidence, and how many there are, as a PNG image.

    Args:
        calibration: What `metrics.calibration` returns.
        path: Where the image is written.
    """
    from matplotlib.figure import Figure

    bins = calibration["bins"]
    centers = [(b["low"] + b["high"]) / 2 for b in bins]
    widths = [0.92 * (b["high"] - b["low"]) for b in bins]
    figure = Figure(figsize=(5.0, 5.4), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    above.plot([0, 1], [0, 1], color="0.5", linestyle="--", label="perfectly calibrated")
    above.bar(centers, [b["accuracy"] for b in bins], widths, color="#2458c5", label="accuracy")
    above.plot(
        [b["confidence"] for b in bins],
        [b["accuracy"] for b in bins],
        "o",
        color="#1c2330",
        label="mean confidence of the bin",
    )
    above.set(
        ylim=(0, 1),
        ylabel="share of right answers",
        title=f"expected calibration error {calibration['expected_calibration_error']:.1%}",
    )
    above.legend(loc="upper left")
    below.bar(centers, [b["images"] for b in bins], widths, color="0.6")
    below.set(xlim=(0, 1), xlabel="confidence", ylabel="images")
    figure.savefig(path, dpi=110)
