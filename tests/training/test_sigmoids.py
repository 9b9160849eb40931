"""Several labels an image: the loss, the thresholds, the probe, and whole trainings."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception.training import balance
from keras_inception.training.linear import fit_head
from keras_inception.training.step import binary_cross_entropy, rightness
from keras_inception.training.thresholds import best_thresholds

RNG = np.random.default_rng(0)


def test_the_loss_is_kerass_in_sum_over_the_classes():
    label = RNG.integers(0, 2, (4, 3)).astype(np.float32)
    logits = RNG.normal(size=(4, 3)).astype(np.float32)
    got = binary_cross_entropy(tf.constant(label), tf.constant(logits), 0.1)
    theirs = keras.losses.binary_crossentropy(label, logits, from_logits=True, label_smoothing=0.1)
    np.testing.assert_allclose(got, 3 * np.asarray(theirs), rtol=1e-5)
    weights = np.array([2.0, 1.0, 0.5], np.float32)
    weighted = binary_cross_entropy(tf.constant(label), tf.constant(logits), weights=weights)
    each = np.logaddexp(0, logits) - label * logits
    np.testing.assert_allclose(weighted, (each * np.where(label > 0, weights, 1)).sum(1), rtol=1e-5)


def test_how_right_an_answer_is():
    label = tf.constant([[1, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]], tf.float32)
    logits = tf.constant([[2, -1, 3], [-1, -1, -1], [1, -1, -1], [5, -1, -1]], tf.float32)
    assert rightness(label, logits).numpy().tolist() == pytest.approx([1 / 3, 1, 0, 1])
    assert rightness(tf.constant([0, 2, 0, 0], tf.int64), logits).numpy().tolist() == [0, 0, 1, 1]


def test_weights_of_positive_labels():
    labels = np.array([[1, 0], [1, 0], [1, 1], [0, 0]], np.uint8)
    assert balance.class_weights(labels, 2).tolist() == pytest.approx([4 / 6, 2])


def test_thresholds_are_those_of_the_best_f1():
    labels = (RNG.random((200, 4)) < [0.5, 0.2, 0.05, 0.0]).astype(np.uint8)
    scores = np.clip(labels * 0.2 + RNG.random((200, 4)), 0, 1.2) / 1.2
    scores[:, 0] = scores[:, 0].round(1)  # with equal ones
    found = best_thresholds(scores, labels)

    def f1(threshold, label):
        named = scores[:, label] >= threshold
        return 2 * (named & (labels[:, label] > 0)).sum() / (named.sum() + labels[:, label].sum())

    for label in range(3):
        best = max(f1(t, label) for t in scores[:, label])
        assert f1(found[label], label) == best and found[label] not in scores[:, label]
    assert found[3] == 0.5  # no image has it


@pytest.mark.parametrize("balanced", [False, True])
def test_the_probe_of_several_labels_is_scikit_learns(balanced):
    from sklearn.linear_model import LogisticRegression

    features = RNG.normal(size=(500, 12)) * 10 ** RNG.uniform(-0.5, 0.5, 12) + 3
    kernel = RNG.normal(size=(12, 3))
    labels = (RNG.random((500, 3)) < 1 / (1 + np.exp(-(features - 3) @ kernel - 0.5))).astype(int)
    weights = np.array([0.5, 1.0, 3.0]) if balanced else None
    parts = features[:400], labels[:400], features[400:], labels[400:]
    head = fit_head(*parts, 3, weights)
    mean, scale = features[:400].mean(0), np.sqrt(features[:400].var(0).mean())
    for label in range(3):
        theirs = LogisticRegression(
            C=1 / (head.penalty * 400),
            max_iter=5000,
            tol=1e-8,
            class_weight={1: weights[label], 0: 1.0} if balanced else None,
        ).fit((features[:400] - mean) / scale, labels[:400, label])
        want = theirs.predict_proba((features[400:] - mean) / scale)[:, 1]
        logits = features[400:] @ head.kernel[:, label] + head.bias[label]
        np.testing.assert_allclose(1 / (1 + np.exp(-logits)), want, atol=2e-4)
    chosen = next(row for row in head.path if row["penalty"] == head.penalty)
    assert chosen["validation_loss"] == min(row["validation_loss"] for row in head.path)
    named, true = (parts[2] @ head.kernel + head.bias) > 0, parts[3] > 0
    either = (named | true).sum(1)
    shares = np.where(either, (named & true).sum(1) / np.maximum(either, 1), 1)
    assert chosen["validation_accuracy"] == pytest.approx(shares.mean())
