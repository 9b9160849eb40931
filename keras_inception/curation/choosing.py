"""Which unlabelled images to label next: those that the classifier is unsure of, and unlike others.

Margin sampling finds images between two classes; the k-centre choice among them (Sener and
Savarese 2018, arXiv:1708.00489) avoids a hundred of the same.
"""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from keras_inception.data.parts import stratified
from keras_inception.training.linear import fit_head

_CANDIDATES = 5  # unsure images, for each one that is chosen


def choose_next(
    features: np.ndarray,
    labels: np.ndarray,
    unlabelled: np.ndarray,
    classes: int,
    count: int = 100,
    groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses images to label.

    Args:
        features: float (n, channels), of labelled images.
        labels: int (n,).
        unlabelled: float (m, channels), of the others, by the same network.
        classes: Number of classes.
        count: How many are chosen.
        groups: int (n,): labelled images that belong together.

    Returns:
        int64 (count,), numbers of unlabelled images in the order in which they help; and float32
        (m, classes), the probabilities of all of them.
    """
    kept, held = stratified(labels, 0.2, 0, groups)
    head = fit_head(features[kept], labels[kept], features[held], labels[held], classes)
    probabilities = softmax(unlabelled @ head.kernel + head.bias, axis=1).astype(np.float32)
    best = np.sort(probabilities, axis=1)
    unsure = np.argsort(best[:, -1] - best[:, -2], kind="stable")[: _CANDIDATES * count]
    mine, others = _unit(unlabelled[unsure]), _unit(features)
    nearest = np.max(mine @ others.T, axis=1)  # cosine similarity to what is labelled or chosen
    chosen: list[int] = []
    for _ in range(min(count, len(unsure))):
        i = int(nearest.argmin())
        chosen.append(i)
        nearest = np.maximum(nearest, mine @ mine[i])
        nearest[chosen] = np.inf
    return unsure[chosen], probabilities


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
