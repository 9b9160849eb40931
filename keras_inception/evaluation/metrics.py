"""What a classifier's answers on held-out images say about it. numpy only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def wilson_interval(successes: float, trials: float, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): it stays within 0..1 and holds near them.

    Args:
        successes: Such as the number of right answers.
        trials: Such as the number of images, above 0.
        z: Quantile of the normal distribution; 1.96 for 95 %.

    Returns:
        The lower and the upper end.
    """
    share, square = successes / trials, z * z / trials
    center = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / trials + square / (4 * trials))
    return max(0.0, center - half), min(1.0, center + half)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64 (classes, classes): images of class [row] that were called class [column]."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def summarize(probabilities: np.ndarray, labels: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Accuracy and what it has to be held against.

    Args:
        probabilities: float (images, classes).
        labels: int (images,).
        names: Class names in the order of the columns.

    Returns:
        examples, accuracy, accuracy_interval (95 %, Wilson), majority_baseline (the share of the
        most frequent class: what always answering it reaches), balanced_accuracy (the mean of the
        classes' recalls, over classes that occur), top5_accuracy (with more than five classes),
        and per_class: name, images, precision, recall, f1 (0 where nothing was right).

    Raises:
        ValueError: the arrays do not fit together.
    """
    if probabilities.shape != (len(labels), len(names)) or not len(labels):
        raise ValueError(
            "`probabilities` should be (images, classes), with a label an image and a name a "
            f"class. Received: {probabilities.shape}, {len(labels)} labels, {len(names)} names"
        )
    matrix = confusion_matrix(labels, probabilities.argmax(1), len(names))
    hits, support, called = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    recall = hits / np.maximum(support, 1)
    precision = hits / np.maximum(called, 1)
    f1 = 2 * hits / np.maximum(support + called, 1)
    result = {
        "examples": len(labels),
        "accuracy": hits.sum() / len(labels),
        "accuracy_interval": wilson_interval(int(hits.sum()), len(labels)),
        "majority_baseline": support.max() / len(labels),
        "balanced_accuracy": recall[support > 0].mean(),
    }
    if len(names) > 5:
        top5 = np.argpartition(-probabilities, 5, axis=1)[:, :5]
        result["top5_accuracy"] = (top5 == labels[:, None]).any(1).mean()
    result["per_class"] = [
        {"name": n, "images": int(s), "precision": p, "recall": r, "f1": f}
        for n, s, p, r, f in zip(names, support, precision, recall, f1, strict=True)
    ]
    result["confusion_matrix"] = matrix.tolist()
    return _plain(result)


def _plain(value: Any) -> Any:
    """numpy's numbers as Python's, rounded to 6 digits: what JSON holds."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 6)
    return value
