"""The pictures of a run, drawn once: files of the run folder, which the report shows, too.

They are PNG images with a transparent background, in colors that can be read on white and on black.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

MOST_NAMES = 40  # classes up to which a confusion matrix has names and numbers
MOST_CELLS = 600  # of a confusion matrix's side: of more classes, neighbors share one
LONGEST_NAME = 30  # characters of a name that are drawn

DOTS = 150  # an inch
# The style of the report's page has the same lines.
_INK, _FIRST, _SECOND = "#767e8c", "#3f7fe0", "#d96b0c"


def curves(
    rows: Sequence[dict[str, float]],
    file: Path | IO[bytes],
    by: str = "epoch",
    chosen: float | None = None,
) -> None:
    """Loss and accuracy, training and validation.

    Args:
        rows: The rows of history.csv, or of a probe's path.
        file: Where the image is written.
        by: "epoch", or "penalty" for the strengths of regularization that a probe tried.
        chosen: A value of `by` that is marked.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, label, line in (
            (name, "training", {"color": _FIRST}),
            (f"validation_{name}", "validation", {"color": _SECOND, "linestyle": "--"}),
        ):
            points = [(row[by], row[key]) for row in rows if key in row]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label, **line)
        axes.set_title(name)
        axes.grid(color=_INK, alpha=0.25)
        if by == "penalty":
            axes.set_xlabel("regularization")
            axes.set_xscale("log")
            axes.invert_xaxis()  # from strong to weak, as they are tried
        else:
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if chosen is not None:
            axes.axvline(chosen, color=_INK, linestyle=":", label="chosen")
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _save(figure, file)


def reliability(calibration: dict[str, Any], file: Path | IO[bytes]) -> None:
    """How often answers are right, by their confidence, and how many there are.

    Args:
        calibration: What `evaluation.metrics.calibration` returns.
        file: Where the image is written.
    """
    from matplotlib.figure import Figure

    bins = calibration["bins"]
    centers = [(b["low"] + b["high"]) / 2 for b in bins]
    widths = [0.92 * (b["high"] - b["low"]) for b in bins]
    shares = [b["accuracy"] for b in bins]
    figure = Figure(figsize=(5.0, 5.4), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    above.plot([0, 1], [0, 1], color=_INK, linestyle="--", label="perfectly calibrated")
    above.bar(centers, shares, widths, color=_FIRST, alpha=0.55, label="accuracy")
    said = [b["confidence"] for b in bins]
    above.plot(said, shares, "o", color=_SECOND, label="mean confidence of the bin")
    error = f"expected calibration error {calibration['expected_calibration_error']:.1%}"
    above.set(ylim=(0, 1), ylabel="share of right answers", title=error)
    below.bar(centers, [b["images"] for b in bins], widths, color=_INK, alpha=0.55)
    below.set(xlim=(0, 1), xlabel="confidence", ylabel="images")
    _save(figure, file)


def confusion(entries: np.ndarray, names: Sequence[str], file: Path | IO[bytes]) -> None:
    """The confusion matrix: rows are true classes, as shares of their images.

    Args:
        entries: int (entries, 3): true class, called class and images. What is called and has no
            name is one column behind the others.
        names: Class names in the order of the rows. Where a name cannot be drawn, its number
            stands instead, from 0.
        file: Where the image is written.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure

    together = -(-len(names) // MOST_CELLS)  # classes that share a cell
    rows, has_others = -(-len(names) // together), bool((entries[:, 1] >= len(names)).any())
    matrix = np.zeros((rows, rows + has_others), np.int64)
    called = np.where(entries[:, 1] < len(names), entries[:, 1] // together, rows)
    np.add.at(matrix, (entries[:, 0] // together, called), entries[:, 2])
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    readable = len(names) <= MOST_NAMES
    side = min(12.0, max(4.0, 1.6 + 0.55 * len(names))) if readable else 9.0
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    # A share is the opacity of its cell, so that it can be seen on white and on black.
    cells = np.empty((*shares.shape, 4))
    cells[..., :3], cells[..., 3] = to_rgb(_SECOND), shares
    cells[range(rows), range(rows), :3] = to_rgb(_FIRST)
    axes.imshow(cells)
    grouped = f" (each cell holds {together} classes)" if together > 1 else ""
    axes.set_xlabel(f"predicted{grouped}")
    axes.set_ylabel(f"true{grouped}")
    if readable:
        shown, fonts = drawable(names)
        text: dict[str, Any] = {"parse_math": False, "fontfamily": fonts}
        called_names = [*shown, *["none of these"] * has_others]
        axes.set_xticks(range(len(called_names)), called_names, rotation=45, ha="right", **text)
        axes.set_yticks(range(len(names)), shown, **text)
        for row, column in zip(*np.nonzero(matrix), strict=True):
            axes.text(
                column,
                row,
                str(matrix[row, column]),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if shares[row, column] > 0.5 else _INK,
            )
    _save(figure, file)


def _save(figure: Any, file: Path | IO[bytes]) -> None:
    """Writes a figure as PNG, its text and axes in the one ink."""
    for axes in figure.axes:
        axes.tick_params(which="both", colors=_INK)
        axes.spines[:].set_color(_INK)
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            text.set_color(_INK)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(labelcolor=_INK, framealpha=0, edgecolor=_INK)
    figure.savefig(file, format="png", dpi=DOTS, transparent=True)


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
