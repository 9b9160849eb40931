"""Wrong labels: a classifier that has not seen an image contradicts what it is called.

The probe is fitted in folds, so that every training image gets probabilities of a classifier that
was fitted to others. Images are ranked by the probability of their own class, as in confident
learning (Northcutt et al. 2021, arXiv:1911.00068). How many labels are wrong, and between which
classes, is read off the images that the classifier is surest of, as by anchor points (Patrini et
al. 2017, arXiv:1609.03683): whoever gave the wrong labels did so to easy images, too, and there the
classifier makes few mistakes of its own. Confident learning's own estimate counts these.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.special import softmax

from keras_inception.curation.network import Network
from keras_inception.data.parts import stratified, what_stays_together
from keras_inception.data.splits import Source
from keras_inception.training.linear import fit_head

FOLDS = 5
ROUNDS = 2
AXES = 256
_SHARES = tuple(i / 10 for i in range(1, 11))  # of the images that are taken for a class


@dataclasses.dataclass(frozen=True)
class LabelCheck:
    """What contradicts the labels of images.

    Attributes:
        order: int64 (n,), the images, the most suspicious first.
        suggestions: int64 (n,), of each image the likeliest class other than its own.
        own, other: float32 (n,), the probabilities of its own class and of the suggestion.
        probabilities: float32 (n, classes), of a classifier that was not fitted to the image.
        joint: float (classes, classes), an estimate of how many images of each label (row) are of
            each class (column).
    """

    order: np.ndarray
    suggestions: np.ndarray
    own: np.ndarray
    other: np.ndarray
    joint: np.ndarray
    probabilities: np.ndarray

    @property
    def wrong(self) -> int:
        """The estimate of how many labels are wrong."""
        return round(float(self.joint.sum() - np.trace(self.joint)))

    @property
    def suspects(self) -> np.ndarray:
        """int64 (wrong,): as many images as labels seem to be wrong, most suspicious first."""
        return self.order[: self.wrong]

    def pairs(self, most: int = 10) -> list[tuple[int, int, int]]:
        """(label, class, images) where a label stands for another class, the most images first."""
        off = np.where(np.eye(len(self.joint), dtype=bool), 0, self.joint)
        rows, columns = np.unravel_index(np.argsort(-off, axis=None, kind="stable"), off.shape)
        found = zip(rows.tolist(), columns.tolist(), strict=True)
        return [(i, j, round(float(off[i, j]))) for i, j in found if off[i, j] >= 0.5][:most]


def find_wrong_labels(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> LabelCheck:
    """Ranks images by how much a classifier of their features contradicts their labels.

    Args:
        features: float (n, channels), such as those of `Network.of_split`, of a network that was
            not trained on these labels.
        labels: int (n,).
        classes: Number of classes.
        groups: int (n,): images of one group, such as equal ones, are never judged by each other.
        seed: Draws the folds.

    Raises:
        ValueError: a feature is not finite.
    """
    if not np.isfinite(features).all():
        raise ValueError("The network's features are not finite: its weights cannot be used.")
    features = _compact(features)
    labels, keep = np.asarray(labels), np.ones(len(labels), bool)
    fold = _folds(labels, groups, seed)
    penalty = None
    for _ in range(ROUNDS):  # the second classifier is fitted without the first one's suspects
        probabilities, penalty = _out_of_fold(features, labels, classes, fold, keep, penalty)
        found = judge(probabilities, labels)
        keep = np.ones(len(labels), bool)
        keep[found.suspects] = False
    return found


def judge(probabilities: np.ndarray, labels: np.ndarray) -> LabelCheck:
    """The same of probabilities (n, classes) that were not fitted to the images' labels."""
    number = np.arange(len(labels))
    own = probabilities[number, labels]
    others = probabilities.copy()
    others[number, labels] = -1
    suggestions = others.argmax(1)
    other = others[number, suggestions]
    order = np.argsort(own, kind="stable")
    joint = _joint(probabilities, labels)
    return LabelCheck(order, suggestions, own, other, joint, probabilities)


def _joint(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How often each label (row) was given to images of each class (column).

    Of the images that the classifier takes for a class, the surest ones count, and stand for all
    of them. How many of the surest: as long as labels contradict the classifier no more often,
    within two standard errors, than among fewer of them.
    """
    classes = probabilities.shape[1]
    called, sure = probabilities.argmax(1), probabilities.max(1)
    count = np.bincount(called, minlength=classes)
    place = np.empty(len(labels))  # among those of one class, the share of surer images
    place[np.lexsort((-sure, called))] = np.concatenate([np.arange(n) / n for n in count if n])
    least, chosen = np.inf, place < _SHARES[0]
    for share in _SHARES:
        taken = place < share
        images, against = taken.sum(), (called != labels)[taken].sum()
        if against / images > least:
            break
        smooth = (against + 1) / (images + 2)  # no certainty where none contradicts
        least = min(least, against / images + 2 * np.sqrt(smooth * (1 - smooth) / images))
        chosen = taken
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[chosen], called[chosen]), 1)
    return joint * (count / np.maximum(joint.sum(0), 1))


def _compact(features: np.ndarray) -> np.ndarray:
    """float32 (n, at most 256): the features along the axes on which they differ most.

    Ten classifiers are fitted, and the axes are found without the labels.
    """
    centered = np.asarray(features, np.float32) - features.mean(0, dtype=np.float64)
    if features.shape[1] <= AXES:
        return centered.astype(np.float32)
    _, axes = np.linalg.eigh((centered.T @ centered) / len(features))
    return (centered @ axes[:, ::-1][:, :AXES]).astype(np.float32)


def _folds(labels: np.ndarray, groups: np.ndarray | None, seed: int) -> np.ndarray:
    """int (n,): in which fold each image is judged; the classes spread over them, groups whole."""
    fold, rest = np.full(len(labels), FOLDS - 1), np.arange(len(labels))
    for i in range(FOLDS - 1):
        together = None if groups is None else groups[rest]
        kept, held = stratified(labels[rest], 1 / (FOLDS - i), seed + i, together)
        fold[rest[held]] = i
        rest = rest[kept]
    return fold


def _out_of_fold(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    fold: np.ndarray,
    keep: np.ndarray,
    penalty: float | None,
) -> tuple[np.ndarray, float]:
    """float32 (n, classes), and the regularization, which the first fold chooses if it is None."""
    found = np.zeros((len(labels), classes), np.float32)
    for i in range(FOLDS):
        held = fold == i
        fitted = ~held & keep
        if not held.any():
            continue
        rows, own = features[fitted], labels[fitted]
        if penalty is None:
            head = fit_head(rows, own, features[held], labels[held], classes)
            penalty = head.penalty
        else:
            head = fit_head(rows, own, rows[:1], own[:1], classes, penalties=(penalty,))
        found[held] = softmax(features[held] @ head.kernel + head.bias, axis=1)
    assert penalty is not None
    return found, penalty


def check_labels(
    source: Source, model: Any = None, verbose: int = 1
) -> tuple[LabelCheck, np.ndarray]:
    """Looks for wrong labels in the training part of a data set.

    Args:
        source: The data set.
        model: What `load_classifier` takes, or a weights file; None for what the recipe `probe`
            starts from. A network that was trained on these labels has learned the wrong ones, too.
        verbose: 1 shows the progress, 0 nothing.

    Returns:
        What was found, and float32 (n, channels), the features of the training images.
    """
    network, train = Network.open(model), source.splits["train"]
    features = network.of_split(train, verbose=verbose)
    together = what_stays_together(train)
    return find_wrong_labels(features, train.labels, len(source.class_names), together), features
