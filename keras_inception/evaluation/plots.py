"""Images of an evaluation."""

from __future__ import annotations

from pathlib import Path

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
