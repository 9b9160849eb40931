"""What a network's probabilities say of images that may have several labels, or none."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_inception.evaluation.metrics import calibration, per_class_shares, plain, wilson_interval

# Resamples of an interval, at most and at least, and the numbers that they may go through in all.
RESAMPLES, FEWEST, _WORK = 1000, 100, 2e9
_AT_ONCE = 50  # resamples


@dataclasses.dataclass(frozen=True)
class Answers:
    """A network's probabilities, the labels, and the thresholds from which classes are named.

    Attributes:
        probabilities: float32 (images, classes).
        labels: uint8 (images, classes) of 0 and 1.
        thresholds: float32 (classes,).
        groups: int (images,): images of one group are no independent ones, so that intervals draw
            whole groups. None: each image is alone.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    thresholds: np.ndarray
    groups: np.ndarray | None = None

    @property
    def named(self) -> np.ndarray:
        """bool (images, classes): which classes the network names."""
        return self.probabilities >= self.thresholds

    @property
    def right(self) -> np.ndarray:
        """bool (images,): where it names all labels of an image and no other."""
        return (self.named == (self.labels > 0)).all(1)


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """The average precision of a class: the precision at each label that is found, as a mean.

    It is scikit-learn's: the sum over the distinct scores, from the highest on, of the recall that
    is gained times the precision there, without interpolation. NaN if no image has the label.

    Args:
        labels: (images,) of 0 and 1.
        scores: float (images,).
    """
    return float(_average_precisions(labels, scores, np.ones((1, len(labels)), np.int64))[0])


def _average_precisions(labels: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """float64 (resamples,), where image i counts counts[:, i] times; NaN without a label."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # of equal scores
    counts = counts[:, order]
    hits = np.cumsum(counts * labels[order].astype(counts.dtype), axis=1)[:, ends]
    precision = hits / np.maximum(np.cumsum(counts, axis=1)[:, ends], 1)
    gained = np.diff(hits, axis=1, prepend=0)
    with np.errstate(invalid="ignore"):
        return (gained * precision).sum(1) / hits[:, -1]


def _resamples(answers: Answers) -> Iterator[np.ndarray]:
    """int32 (resamples, images), how often each image is drawn with replacement, by seed 0."""
    rng, (images, classes) = np.random.default_rng(0), answers.labels.shape
    own = np.arange(images) if answers.groups is None else answers.groups
    known, group = np.unique(own, return_inverse=True)
    count = len(known)
    wanted = int(np.clip(_WORK / (images * classes), FEWEST, RESAMPLES))
    for begin in range(0, wanted, _AT_ONCE):
        some = min(_AT_ONCE, wanted - begin)
        drawn = rng.integers(count, size=(some, count)) + count * np.arange(some)[:, None]
        times = np.bincount(drawn.ravel(), minlength=some * count).reshape(some, -1)
        yield times.astype(np.int32)[:, group.reshape(-1)]


def _intervals(answers: Answers) -> tuple[np.ndarray, tuple[float, float]]:
    """95 % bootstrap intervals: (classes, 2) of each average precision, and that of their mean."""
    classes = answers.labels.shape[1]
    rows = [
        np.stack(
            [
                _average_precisions(answers.labels[:, c], answers.probabilities[:, c], counts)
                for c in range(classes)
            ],
            axis=1,
        )
        for counts in _resamples(answers)
    ]
    found = np.concatenate(rows)
    occur = answers.labels.any(0)
    each = np.full((classes, 2), np.nan)
    each[occur] = np.nanquantile(found[:, occur], (0.025, 0.975), axis=0).T
    drawn = ~np.isnan(found[:, occur])  # a rare label may be in no image that was drawn
    sums, counts = np.nansum(found[:, occur], axis=1), drawn.sum(1)
    low, high = np.quantile(sums[counts > 0] / counts[counts > 0], (0.025, 0.975))
    return each, (float(low), float(high))


def summarize_several(answers: Answers, names: Sequence[str]) -> dict[str, Any]:
    """How well each class is found, and what it has to be held against.

    Args:
        answers: Of at least one image with a label.
        names: Class names in the order of the columns.

    Returns:
        examples; accuracy and accuracy_interval (95 %, Wilson; an image counts if all its labels
        are named and no other), majority_baseline (the share of the most frequent set of labels:
        what always answering it reaches); mean_average_precision (the mean over classes that occur)
        and mean_average_precision_interval (95 %: images, or the groups that
        they come in, are drawn with replacement),
        micro_average_precision (of all pairs of an image and a class together); macro_ and micro_
        precision, recall and f1 at the thresholds; calibration (see `metrics.calibration`: of all
        pairs, the probability and whether the image has the label); per_class: name, images,
        average_precision and average_precision_interval (None where no image has the label),
        threshold, precision, recall, f1. Plain Python numbers of 6 digits.

    Raises:
        ValueError: no image has a label, or a probability is not finite.
    """
    probabilities, labels = answers.probabilities, answers.labels
    if not labels.any():
        raise ValueError(
            "Precision and recall need at least one image with a label. "
            f"Received: {len(labels)} images without any"
        )
    if not np.isfinite(probabilities).all():
        raise ValueError("A network that answers NaN or infinity cannot be measured.")
    images, right = len(labels), answers.right
    support, named = labels.sum(0, dtype=np.int64), answers.named
    hits, called = (named & (labels > 0)).sum(0), named.sum(0)
    classes, occur = per_class_shares(hits, support, called), support > 0
    micro = per_class_shares(*(counts.sum(keepdims=True) for counts in (hits, support, called)))
    columns = zip(labels.T, probabilities.T, strict=True)
    found = np.array([average_precision(own, scores) for own, scores in columns])
    intervals, interval = _intervals(answers)
    _, frequent = np.unique(labels, axis=0, return_counts=True)
    shares = ("precision", "recall", "f1")
    result: dict[str, Any] = {
        "examples": images,
        "accuracy": right.mean(),
        "accuracy_interval": wilson_interval(int(right.sum()), images),
        "majority_baseline": frequent.max() / images,
        "mean_average_precision": found[occur].mean(),
        "mean_average_precision_interval": interval,
        "micro_average_precision": average_precision(labels.ravel(), probabilities.ravel()),
        **{f"macro_{share}": classes[share][occur].mean() for share in shares},
        **{f"micro_{share}": micro[share][0] for share in shares},
        "calibration": calibration(probabilities.ravel(), labels.ravel() > 0),
        "per_class": [
            {
                "name": name,
                "images": int(support[i]),
                "average_precision": found[i] if occur[i] else None,
                "average_precision_interval": intervals[i].tolist() if occur[i] else None,
                "threshold": answers.thresholds[i],
                **{share: classes[share][i] for share in shares},
            }
            for i, name in enumerate(names)
        ],
    }
    return plain(result)


def lines(part: str, one: dict[str, Any], digits: int) -> list[str]:
    """What was measured of one network, as text.

    Args:
        part: Which part of the data set.
        one: What `summarize_several` returned.
        digits: Of percentages.
    """

    def share(name: str) -> str:
        return f"{one[name]:.{digits}%}"

    def interval(name: str) -> str:
        low, high = one[f"{name}_interval"]
        return f"95 % interval {low:.{digits}%} to {high:.{digits}%}"

    error = one["calibration"]["expected_calibration_error"]
    drawn = f"; intervals draw the {one['groups']} groups of images" if "groups" in one else ""
    return [
        f"{part.capitalize()} mean average precision {share('mean_average_precision')} "
        f"({interval('mean_average_precision')}, {one['examples']} images); of all pairs of an "
        f"image and a class {share('micro_average_precision')}{drawn}",
        f"at the thresholds: macro F1 {share('macro_f1')}, micro F1 {share('micro_f1')} "
        f"(precision {share('micro_precision')}, recall {share('micro_recall')})",
        f"all labels of an image right and no other: {share('accuracy')} "
        f"({interval('accuracy')}); always the most frequent set: {share('majority_baseline')}",
        f"expected calibration error {error:.{digits}%}",
    ]


def class_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Average precision of each class, and precision, recall and F1 at its threshold."""
    width = max(5, *(len(row["name"]) for row in rows))
    head = (
        f"{'class':{width}}  images  average precision        threshold  precision  recall     f1"
    )
    found = [head]
    for row in rows:
        precision = " " * 23
        if row["average_precision"] is not None:
            low, high = row["average_precision_interval"]
            precision = f"{row['average_precision']:6.1%} ({low:6.1%} to {high:6.1%})"
        found.append(
            f"{row['name']:{width}}  {row['images']:6d}  {precision:23}  {row['threshold']:9.3f}  "
            f"{row['precision']:9.1%}  {row['recall']:6.1%}  {row['f1']:5.1%}"
        )
    return found
