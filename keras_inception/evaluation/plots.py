"""Images of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

MOST_NAMES = 40  # classes up to which names and numbers can be read


def confusion(matrix: np.ndarray, names: list[str], path: Path) -> None:
    """The confusion matrix as a PNG image: rows are true classes, as shares of their images.

    Args:
        matrix: int (classes, classes).
        names: Class names in the order of the rows.
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
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
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
