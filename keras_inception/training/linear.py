"""Logistic regression on features: the classifier that a frozen network needs.

It is multinomial where an image has one class, and a regression for each class where it may have
several.

A linear layer on frozen features has one best solution for each strength of regularization, which
a second-order method finds in seconds; stochastic gradient descent through the whole network takes
epochs and ends far from it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import optimize, sparse
from scipy.special import expit, log_softmax

# Penalties that are tried, from strong to weak: each fit starts from the one before.
PENALTIES = tuple(10.0 ** (exponent / 2) for exponent in range(2, -13, -1))
# The search stops when so many penalties in a row did not improve on the best one.
PATIENCE = 2
MAX_ITERATIONS = 300
# Rows of features that are multiplied at once, in float64; so few are projected once.
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
        converged: Whether the fit ended before the limit of iterations.
    """

    kernel: np.ndarray
    bias: np.ndarray
    penalty: float
    path: list[dict[str, float]]
    converged: bool


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

    For the fit the features are centered and divided by one number, the root of their mean
    variance. They are not standardized one by one: a feature that hardly any training image has
    would then be huge wherever an image has it. The objective is the mean cross-entropy plus
    penalty / 2 times the sum of squares of the kernel for features of that scale; the bias is
    free. (scikit-learn's `C` is 1 / (penalty * images).) The result is given for the features as
    they are.

    Args:
        features: float (images, features), of the training part.
        labels: int (images,), the class of each row; or (images, classes) of 0 and 1, which fits
            a regression for each class. All classes then share one regularization: few validation
            images have a rare class, too few to choose its own by.
        validation_features: float (images, features), of the validation part; not empty.
        validation_labels: The same of theirs.
        classes: Number of classes.
        class_weights: float (classes,), the weight of each class's images; all equal by default.
            With several labels it is the weight of a class's positive ones.
        penalties: The strengths of the regularization that are tried, from strong to weak.

    Raises:
        ValueError: a feature is not finite, or there is no validation image.
    """
    if not len(validation_labels):
        raise ValueError(
            "The regularization is chosen on validation images, and there are none. Hold some out "
            "(`validation_fraction` above 0). Received: 0 validation images"
        )
    weights = np.ones(len(labels)) if class_weights is None else _weights(labels, class_weights)
    held = validation_features, validation_labels
    heads: list[Head] = []
    weights = weights / (weights.sum() if weights.ndim == 1 else len(labels))
    for head in _fits(features, labels, weights, held, classes, penalties):
        heads.append(head)
        losses = [one.path[0]["validation_loss"] for one in heads]
        best = losses.index(min(losses))
        if len(heads) - 1 - best >= PATIENCE:
            break
    if not heads[best].converged:
        logging.warning(
            "The linear classifier did not converge in %d iterations at penalty %.3g.",
            MAX_ITERATIONS,
            heads[best].penalty,
        )
    return dataclasses.replace(heads[best], path=[row for head in heads for row in head.path])


def _weights(labels: np.ndarray, class_weights: np.ndarray) -> np.ndarray:
    """The weight of each row, or with several labels that of each row and class."""
    if labels.ndim == 1:
        return class_weights[labels]
    return np.where(labels > 0, class_weights.astype(np.float64), 1.0)


def _fits(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    held: tuple[np.ndarray, np.ndarray],
    classes: int,
    penalties: Sequence[float],
) -> Iterator[Head]:
    """The classifier for each penalty, with its row of the path; each fit starts from the last.

    `weights` are those of the images, 1 in sum, or of each image and class; `held` are features and
    labels of the validation part.
    """
    mean, scale, variances, axes = _moments(features)
    if not np.isfinite(mean).all() or not np.isfinite(scale):
        raise ValueError("The network's features are not finite: its weights cannot be used.")
    directions = axes / scale  # from raw features to their coordinates along the axes
    rows, center, projected = features, mean, len(features) <= _ROWS
    if projected:
        rows, center = (features - mean) @ directions, np.zeros(directions.shape[1])
    point, bias = np.zeros((directions.shape[1], classes)), np.zeros(classes)
    curvature = (classes - 1) / classes**2  # of the cross-entropy, where all classes are as likely
    if labels.ndim == 2:
        curvature = 1 / 4
    for penalty in penalties:
        # Along each principal axis, in steps that suit the objective's curvature there.
        steps = np.sqrt(variances * curvature + penalty)
        basis = sparse.diags(1 / steps) if projected else directions / steps
        found = optimize.minimize(
            _objective,
            np.concatenate([point * steps[:, None], bias[None]]).ravel(),
            (rows, labels, weights, center, basis, penalty / steps**2),
            method="L-BFGS-B",
            jac=True,
            options={"maxiter": MAX_ITERATIONS, "ftol": 1e-10, "gtol": 1e-6},
        )
        parameters = found.x.reshape(-1, classes)
        point, bias = parameters[:-1] / steps[:, None], parameters[-1]
        kernel = directions @ point
        raw = kernel, bias - mean @ kernel  # for features as they are
        loss, accuracy, curvature = _measure(features, labels, *raw)
        held_loss, held_accuracy, _ = _measure(*held, *raw)
        row = {"penalty": penalty, "loss": loss, "accuracy": accuracy}
        row |= {"validation_loss": held_loss, "validation_accuracy": held_accuracy}
        single = kernel.astype(np.float32), raw[1].astype(np.float32)
        yield Head(*single, penalty, [row], found.nit < MAX_ITERATIONS)


def _objective(
    flat: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    center: np.ndarray,
    basis: np.ndarray | sparse.dia_matrix,
    penalties: np.ndarray,
) -> tuple[float, np.ndarray]:
    """The weighted cross-entropy with its penalty, and its gradient.

    Its parameters are coordinates of a kernel for `rows - center` in a basis, the columns of
    `basis`, each with a penalty of its own; and a bias.
    """
    parameters = flat.reshape(basis.shape[1] + 1, -1)
    kernel = basis @ parameters[:-1]
    bias = parameters[-1] - center @ kernel
    # float64: the line search cannot tell float32's rounding from the slope near the optimum.
    total = float((penalties @ parameters[:-1] ** 2).sum()) / 2
    slope, sums = np.zeros_like(kernel), np.zeros(len(bias))
    for begin in range(0, len(labels), _ROWS):
        chosen = slice(begin, begin + _ROWS)
        x, y, w = rows[chosen].astype(np.float64, copy=False), labels[chosen], weights[chosen]
        loss, residual = _cross_entropy(x @ kernel + bias, y, w)
        total += loss
        slope += x.T @ residual
        sums += residual.sum(0)
    gradient = np.empty_like(parameters)
    gradient[:-1] = basis.T @ (slope - center[:, None] * sums)
    gradient[:-1] += penalties[:, None] * parameters[:-1]
    gradient[-1] = sums
    return total, gradient.ravel()


def _cross_entropy(logits: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[float, np.ndarray]:
    """The weighted cross-entropy of some rows in sum, and its slope along the logits."""
    if y.ndim == 2:
        w = w.reshape(len(w), -1)
        losses = w * (np.logaddexp(0, logits) - y * logits)
        return float(losses.sum()), w * (expit(logits) - y)
    logs, at = log_softmax(logits, axis=1), np.arange(len(y))
    residual = np.exp(logs) * w[:, None]
    residual[at, y] -= w
    return -float(w @ logs[at, y]), residual


def _moments(features: np.ndarray) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """What the features are scaled by, and how they are spread then.

    Returns:
        The mean of each feature; the root of their mean variance, 1 where all are constant; the
        variances of scaled features along those principal axes on which they differ; these
        axes, as columns.
    """
    mean = features.mean(0, dtype=np.float64)
    products = np.zeros((features.shape[1], features.shape[1]))
    for begin in range(0, len(features), _ROWS):
        x = features[begin : begin + _ROWS] - mean
        products += x.T @ x
    products /= len(features)
    scale = float(np.sqrt(np.trace(products) / len(products)))
    if not np.isfinite(scale):
        return mean, scale, mean, products
    if scale < 1e-6 * max(1.0, float(np.abs(mean).max(initial=0.0))):
        scale = 1.0
    variances, axes = np.linalg.eigh(products / scale**2)
    used = variances > 1e-12 * len(variances)  # fewer images than features leave axes unused
    return mean, scale, variances[used], axes[:, used]


def _measure(
    features: np.ndarray, labels: np.ndarray, kernel: np.ndarray, bias: np.ndarray
) -> tuple[float, float, float]:
    """Mean cross-entropy, accuracy, and the mean variance p (1 - p) of the answers.

    The accuracy of several labels is that of `step.rightness`.
    """
    loss, hits, variance = 0.0, 0.0, 0.0
    for begin in range(0, len(labels), _ROWS):
        x, y = features[begin : begin + _ROWS], labels[begin : begin + _ROWS]
        logits = x @ kernel + bias
        if y.ndim == 2:
            loss += _cross_entropy(logits, y, np.ones(len(y)))[0]
            both, either = ((y > 0) & (logits > 0)).sum(1), ((y > 0) | (logits > 0)).sum(1)
            hits += float(np.where(either, both / np.maximum(either, 1), 1.0).sum())
            likely = expit(logits)
        else:
            logs = log_softmax(logits, axis=1)
            loss -= float(logs[np.arange(len(y)), y].sum())
            hits += int((logs.argmax(1) == y).sum())
            likely = np.exp(logs)
        variance += float((likely * (1 - likely)).mean(1).sum())
    return loss / len(labels), hits / len(labels), variance / len(labels)
