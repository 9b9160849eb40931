"""From which probability each class is named, where images may have several: as validation says."""

from __future__ import annotations

import keras
import numpy as np

from keras_inception.data import Source, evaluation_batches
from keras_inception.identity import THRESHOLD
from keras_inception.messages import some
from keras_inception.preprocessing import Preprocessing

_BATCH = 64


def best_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The threshold of each class that gives the best F1.

    It lies halfway between the lowest probability that is named and the next one. Of equally good
    ones the highest is taken.

    Args:
        probabilities: float (images, classes).
        labels: (images, classes) of 0 and 1.

    Returns:
        float64 (classes,); `THRESHOLD` for a class that no image has.
    """
    found = np.full(labels.shape[1], THRESHOLD)
    for label in np.flatnonzero(labels.any(0)):
        scores = probabilities[:, label].astype(np.float64)
        order = np.argsort(-scores, kind="stable")
        scores, hits = scores[order], np.cumsum(labels[order, label], dtype=np.int64)
        f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
        below = np.append(scores[1:], 0.0)
        f1[scores == below] = 0  # equal ones are named together
        best = int(f1.argmax())
        found[label] = (scores[best] + below[best]) / 2
    return found


def chosen(
    network: keras.Model, source: Source, contract: Preprocessing
) -> tuple[tuple[float, ...], str]:
    """The thresholds of a trained network, by its validation part, and a line that says them.

    Args:
        network: Takes images as the contract scales them, and returns probabilities.
        source: The data set.
        contract: Of the network's input.
    """
    names, images = source.class_names, source.num_examples("validation")
    labels, rows = source.splits["validation"].labels, [np.zeros((0, len(names)), np.float32)]
    batches = evaluation_batches(source, "validation", contract, batch_size=_BATCH)
    for batch in batches if images else ():
        answers = np.asarray(network.predict_on_batch(batch["image"].numpy()))
        rows.append(answers[batch["weight"].numpy() > 0])
    thresholds = best_thresholds(np.concatenate(rows), labels)
    without = [name for name, count in zip(names, labels.sum(0), strict=True) if not count]
    said = f"Thresholds of the best F1 on {images} validation images: "
    said += f"{thresholds.min():.2g} to {thresholds.max():.2g}"
    if without:
        said += f"; {THRESHOLD:g} for classes that none of them has: {some(without)}"
    return tuple(round(float(t), 6) for t in thresholds), said
