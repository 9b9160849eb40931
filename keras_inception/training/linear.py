"""Multinomial logistic regression on features: the classifier that a frozen network needs.

A linear layer on frozen features has one best solution for each strength of regularization, which
a second-order method finds in seconds; stochastic gradient descent through the whole network takes
epochs and ends far from it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
from scipy import optimize

# Penalties that are tried, from strong to weak: each fit starts from the one before.
PENALTIES = tuple(10.0 ** (exponent / 2) for exponent in range(2, -13, -1))
# The search stops when so many penalties in a row did not improve on the best one.
PATIENCE = 4
MAX_ITERATIONS = 300
# Rows of features that are multiplied at once, which bounds the memory beside the features.
_ROWS = 16384


@dataclasses.dataclass(frozen=True)
class Head:
    """A fitted linear layer: `features @ kernel + bias` are logits.

    Attributes:
        kernel: float32 (features, classes).
        bias: float32 (classes,).
        penalty: The strength of the regularization that was chosen.
        path: One row for each penalty that was tried, from strong to weak: "penalty", "loss",
            "accuracy", "validation_loss" and "validation_accuracy".
    """

    kernel: np.ndarray
    bias: np.ndarray
    penalty: float
    path: list[dict[str, float]]


def fit_head(
    features: np.ndarray,
    labels: np.ndarray,
    validation_features: np.ndarray,
    validation_labels: np.ndarray,
    classes: int,
    class_weights: np.ndarray | None = None,
    penalties: Sequence[float] = PENALTIES,
) -> Head:
    """Fits the classifier and chooses its regularization by the loss on the validation part.

    The features are standardized for the fit, and the result is given for the features as they
    are. The objective is the mean cross-entropy plus penalty / 2 times the sum of squares of the
    kernel for standardized features; the bias is free. (scikit-learn's `C` is
    1 / (penalty * images).)

    Args:
        features: float (images, features), of the training part.
        labels: int (images,), the class of each row.
        validation_features: float (images, features), of the validation part; not empty.
        validation_labels: int (images,).
        classes: Number of classes, at least 2.
        class_weights: float (classes,), the weight of each class's images; all equal by default.
        penalties: The strengths of the regularization that are tried, from strong to weak.

    Raises:
        ValueError: a feature is not finite, or there is no validation image.
    """
    if not len(validation_labels):
        raise ValueError(
            "The regularization is chosen on validation images, and there are none. Hold some out "
            "(`validation_fraction` above 0). Received: 0 validation images"
        )
    mean, deviation = _moments(features)
    if not np.isfinite(mean).all() or not np.isfinite(deviation).all():
        raise ValueError("The network's features are not finite: its weights cannot be used.")
    weights = np.ones(len(labels)) if class_weights is None else class_weights[labels]
    weights = weights / weights.sum()
    parameters = np.zeros((features.shape[1] + 1, classes))
    best: tuple[float, np.ndarray, float, bool] | None = None
    path: list[dict[str, float]] = []
    since_best = 0
    for penalty in penalties:
        found = optimize.minimize(
            _objective,
            parameters.ravel(),
            (features, labels, weights, mean, deviation, penalty),
            method="L-BFGS-B",
            jac=True,
            options={"maxiter": MAX_ITERATIONS, "ftol": 1e-12, "gtol": 1e-6},
        )
        parameters = found.x.reshape(parameters.shape)
        kernel, bias = _for_raw_features(parameters, mean, deviation)
        loss, accuracy = _measure(features, labels, kernel, bias)
        held_loss, held_accuracy = _measure(validation_features, validation_labels, kernel, bias)
        path.append(
            {
                "penalty": penalty,
                "loss": loss,
                "accuracy": accuracy,
                "validation_loss": held_loss,
                "validation_accuracy": held_accuracy,
            }
        )
        if best is None or held_loss < best[0]:
            converged = found.nit < MAX_ITERATIONS
            best, since_best = (held_loss, parameters, penalty, converged), 0
        else:
            since_best += 1
        if since_best >= PATIENCE:
            break
    assert best is not None
    if not best[3]:
        logging.warning(
            "The linear classifier did not converge in %d iterations at penalty %.3g.",
            MAX_ITERATIONS,
            best[2],
        )
    kernel, bias = _for_raw_features(best[1], mean, deviation)
    return Head(kernel.astype(np.float32), bias.astype(np.float32), best[2], path)


def _objective(
    flat: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
    penalty: float,
) -> tuple[float, np.ndarray]:
    """The weighted cross-entropy with its penalty, and its gradient, of standardized features."""
    parameters = flat.reshape(len(mean) + 1, -1)
    kernel, bias = _for_raw_features(parameters, mean, deviation)
    # float64: the line search cannot tell float32's rounding from the slope near the optimum.
    total = penalty / 2 * float((parameters[:-1] ** 2).sum())
    slope = np.zeros_like(kernel)  # with respect to the kernel for raw features
    sums = np.zeros(len(bias))
    for begin in range(0, len(labels), _ROWS):
        rows = slice(begin, begin + _ROWS)
        x, y, w = features[rows].astype(np.float64), labels[rows], weights[rows]
        logs = _log_softmax(x @ kernel + bias)
        at = np.arange(len(y))
        total -= float(w @ logs[at, y])
        residual = np.exp(logs) * w[:, None]
        residual[at, y] -= w
        slope += x.T @ residual
        sums += residual.sum(0)
    gradient = np.empty_like(parameters)
    gradient[:-1] = (slope - mean[:, None] * sums) / deviation[:, None] + penalty * parameters[:-1]
    gradient[-1] = sums
    return total, gradient.ravel()


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature; 1 where a feature is constant."""
    mean = features.mean(0, dtype=np.float64)
    square = np.zeros_like(mean)
    for begin in range(0, len(features), _ROWS):
        square += ((features[begin : begin + _ROWS] - mean) ** 2).sum(0)
    deviation = np.sqrt(square / len(features))
    deviation[deviation < 1e-6 * max(1.0, float(np.abs(mean).max(initial=0.0)))] = 1.0
    return mean, deviation


def _for_raw_features(
    parameters: np.ndarray, mean: np.ndarray, deviation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias that give raw features the logits of standardized ones."""
    kernel = parameters[:-1] / deviation[:, None]
    return kernel, parameters[-1] - mean @ kernel


def _measure(
    features: np.ndarray, labels: np.ndarray, kernel: np.ndarray, bias: np.ndarray
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy."""
    loss, hits = 0.0, 0
    for begin in range(0, len(labels), _ROWS):
        x, y = features[begin : begin + _ROWS], labels[begin : begin + _ROWS]
        logs = _log_softmax(x @ kernel + bias)
        loss -= float(logs[np.arange(len(y)), y].sum())
        hits += int((logs.argmax(1) == y).sum())
    return loss / len(labels), hits / len(labels)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
