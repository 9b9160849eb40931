"""The images that are chosen lie between classes, and not all in one place."""

from __future__ import annotations

import numpy as np

from keras_inception.curation import choose_next


def test_unsure_and_different_images_are_chosen():
    rng = np.random.default_rng(0)
    centers = np.array([[4.0, 0, 0, 1], [0, 4.0, 0, 1]])
    labels = np.arange(80) % 2
    features = centers[labels] + rng.normal(0, 0.3, (80, 4))
    sure = centers[np.arange(200) % 2] + rng.normal(0, 0.3, (200, 4))
    middle = centers.mean(0) + rng.normal(0, 0.02, (30, 4))  # between the classes, all alike
    other = centers.mean(0) + [0, 0, 3, 0] + rng.normal(0, 0.02, (5, 4))  # and something new
    unlabelled = np.concatenate([sure, middle, other]).astype(np.float32)
    chosen, probabilities = choose_next(features, labels, unlabelled, 2, count=6)
    assert chosen[0] >= 230 and (chosen >= 200).sum() >= 4
    assert len(set(chosen.tolist())) == 6 and probabilities.shape == (235, 2)
    assert len(choose_next(features, labels, unlabelled[:3], 2, count=6)[0]) == 3
