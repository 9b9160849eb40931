"""What a classifier's answers on held-out images say about it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

KEPT = 5  # best classes that are kept of an image
KEPT_ROWS = ("top", "scores", "rank", "true_score")  # what `Predictions` holds of each image
PAIRS = 20  # of classes that are mixed up most often
CALIBRATION_BINS = 15  # as in Guo et al. 2017


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What the metrics need of a classifier's probabilities: a few numbers an image.

    Attributes:
        labels: int64 (images,), the true classes.
        top: int32 (images, k), the best classes, best first; of equal scores the lower class first.
        scores: float32 (images, k), their probabilities.
        rank: int32 (images,), classes before the true one: 0 where the answer is right.
        true_score: float32 (images,), the true class's probability.
        classes: How many classes can be answered.
    """

    labels: np.ndarray
    top: np.ndarray
    scores: np.ndarray
    rank: np.ndarray
    true_score: np.ndarray
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def right(self) -> np.ndarray:
        """bool (images,): where the best class is the true one."""
        return self.rank == 0

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray) -> Predictions:
        """The answers in probabilities.

        Args:
            probabilities: float (images, classes).
            labels: int (images,).

        Raises:
            ValueError: the arrays do not fit together, a label is no class, or a probability is
                not finite.
        """
        probabilities, labels = np.asarray(probabilities), np.asarray(labels, np.int64)
        if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
            raise ValueError(
                "`probabilities` should be (images, classes), with a label an image. "
                f"Received: {probabilities.shape} and {len(labels)} labels"
            )
        images, classes = probabilities.shape
        if images and not (0 <= labels.min() and labels.max() < classes):
            raise ValueError(
                f"`labels` should be classes from 0 to {classes - 1}. "
                f"Received: labels from {labels.min()} to {labels.max()}"
            )
        if not np.isfinite(probabilities).all():
            bad = np.flatnonzero(~np.isfinite(probabilities).all(1))
            raise ValueError(
                "`probabilities` should be finite; a network that answers NaN cannot be measured. "
                f"Received: {len(bad)} of {images} images without finite answers, first {bad[0]}"
            )
        true = probabilities[np.arange(images), labels][:, None]
        before = np.arange(classes) < labels[:, None]
        rank = ((probabilities > true) | ((probabilities == true) & before)).sum(1)
        top = np.argsort(-probabilities, axis=1, kind="stable")[:, :KEPT]
        scores = np.take_along_axis(probabilities, top, 1)
        return cls(
            labels,
            top.astype(np.int32),
            scores.astype(np.float32),
            rank.astype(np.int32),
            true[:, 0].astype(np.float32),
            classes,
        )


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): it stays within 0..1 and holds near them.

    Args:
        successes: Such as the number of right answers.
        trials: Such as the number of images, above 0.

    Returns:
        The lower and the upper end.
    """
    # Loaded by who asks: it takes longer to import than all metrics to compute.
    from scipy.stats import binomtest

    interval = binomtest(int(successes), int(trials)).proportion_ci(0.95, "wilson")
    return float(interval.low), float(interval.high)


def confusion(labels: np.ndarray, called: np.ndarray) -> np.ndarray:
    """int64 (entries, 3): true class, called class and images of a confusion matrix's entries.

    Only those that are not zero, in the order of the rows: of 10,000 classes the whole matrix has
    800 MB.
    """
    pairs, images = np.unique(np.stack([labels, called], 1), axis=0, return_counts=True)
    return np.column_stack([pairs, images]).astype(np.int64).reshape(-1, 3)


def per_class(labels: np.ndarray, called: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of every class.

    Args:
        labels, called: int (images,), the true classes and the answers; an answer may be above the
            classes.
        classes: How many.

    Returns:
        "images" int, "precision", "recall" and "f1" float, each (classes,); 0 where the
        denominator is.
    """
    hits, support, answered = (
        np.bincount(numbers, minlength=classes)[:classes]
        for numbers in (labels[labels == called], labels, called)
    )
    return per_class_shares(hits, support, answered)


def per_class_shares(
    hits: np.ndarray, support: np.ndarray, answered: np.ndarray
) -> dict[str, np.ndarray]:
    """What `per_class` returns, of how often each class was right, true and answered."""
    return {
        "images": support,
        "precision": hits / np.maximum(answered, 1),
        "recall": hits / np.maximum(support, 1),
        "f1": 2 * hits / np.maximum(support + answered, 1),
    }


def calibration(
    confidence: np.ndarray, right: np.ndarray, bins: int = CALIBRATION_BINS
) -> dict[str, Any]:
    """Whether answers of p % confidence are right in p % of the cases (Guo et al. 2017).

    Args:
        confidence: float (images,), the probability of the class that was answered, 0..1.
        right: bool (images,).
        bins: Number of bins of equal width; a bin holds its upper end, the first also 0.

    Returns:
        "expected_calibration_error": the distance between confidence and accuracy, averaged over
        the bins by their images; "maximum_calibration_error": the largest of a bin; "bins": of
        those that hold images "low", "high", "images", "confidence" and "accuracy" (means).
    """
    number = np.clip(
        np.ceil(np.asarray(confidence, np.float64) * bins).astype(int) - 1, 0, bins - 1
    )
    images = np.bincount(number, minlength=bins)
    filled = images > 0
    sums = [
        np.bincount(number, np.asarray(v, np.float64), minlength=bins) for v in (confidence, right)
    ]
    said, held = (total[filled] / images[filled] for total in sums)
    gaps = np.abs(said - held)
    return {
        "expected_calibration_error": float((gaps * images[filled]).sum() / images.sum()),
        "maximum_calibration_error": float(gaps.max()),
        "bins": [
            {
                "low": i / bins,
                "high": (i + 1) / bins,
                "images": int(images[i]),
                "confidence": float(c),
                "accuracy": float(a),
            }
            for i, c, a in zip(np.flatnonzero(filled), said, held, strict=True)
        ],
    }


def compare(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Two classifiers on the same images: is one better, and by how much?

    McNemar's test, exact (two-sided binomial), and the 95 % interval of the difference of two
    paired shares by Newcombe 1998, method 10: made of Wilson's intervals, so that it holds for
    small counts.

    Args:
        first: bool (images,), where the first is right.
        second: The same of the second.

    Returns:
        "images", "both", "only_first", "only_second", "neither" (counts), "difference" (the
        first's accuracy minus the second's), "difference_interval" and "p_value".

    Raises:
        ValueError: the arrays differ in length, or are empty.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise ValueError(
            "A paired comparison takes the answers to the same images, at least one. "
            f"Received: {first.shape} and {second.shape}"
        )
    images = len(first)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    one, other = int((first & ~second).sum()), int((~first & second).sum())
    return {
        "images": images,
        "both": both,
        "only_first": one,
        "only_second": other,
        "neither": neither,
        "difference": (one - other) / images,
        "difference_interval": _newcombe(both, one, other, neither),
        "p_value": _mcnemar(one, other),
    }


def _mcnemar(one: int, other: int) -> float:
    """P(at least as uneven a division of the images on which only one is right)."""
    from scipy.stats import binomtest

    return float(binomtest(one, one + other).pvalue) if one + other else 1.0


def _newcombe(both: int, one: int, other: int, neither: int) -> tuple[float, float]:
    images = both + one + other + neither
    share_1, share_2 = (both + one) / images, (both + other) / images
    low_1, high_1 = wilson_interval(both + one, images)
    low_2, high_2 = wilson_interval(both + other, images)
    margins = (both + one) * (other + neither) * (both + other) * (one + neither)
    product: float = both * neither - one * other
    if product > 0:  # the continuity correction of the correlation
        product = max(product - images / 2, 0)
    phi = product / math.sqrt(margins) if margins else 0.0
    difference = share_1 - share_2

    def distance(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))

    return (
        difference - distance(share_1 - low_1, high_2 - share_2),
        difference + distance(high_1 - share_1, share_2 - low_2),
    )


def summarize(
    probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str], others: Sequence[str] = ()
) -> dict[str, Any]:
    """Accuracy and what it has to be held against.

    Args:
        probabilities: float (images, classes).
        labels: int (images,).
        names: Class names in the order of the columns.
        others: Names of further columns, which are no classes of the data set: answers that are
            always wrong.

    Returns:
        See `summarize_predictions`.

    Raises:
        ValueError: the arrays do not fit together.
    """
    return summarize_predictions(Predictions.of(probabilities, labels), names, others)


def summarize_predictions(
    predictions: Predictions, names: Sequence[str], others: Sequence[str] = ()
) -> dict[str, Any]:
    """Accuracy and what it has to be held against.

    Args:
        predictions: At least one.
        names: Class names of the data set.
        others: What else can be answered, always wrongly: names of the classes behind those.

    Returns:
        examples, accuracy, accuracy_interval (95 %, Wilson), majority_baseline (the share of the
        most frequent class: what always answering it reaches), balanced_accuracy (the mean of the
        classes' recalls, over classes that occur), macro_precision and macro_f1 (the same of
        theirs), top5_accuracy and top5_accuracy_interval (with more than five possible answers),
        calibration (see `calibration`), per_class: name, images, precision, recall, f1 (0 where
        nothing was right), outside (the `others` that were answered, the most frequent first:
        name, images), most_confused (the worst pairs: true, called, images), and confusion_matrix
        (its entries that are not zero: number of the true class, of the called class, images;
        the classes of `outside` are numbered behind the data set's). Plain Python numbers of 6
        digits.

    Raises:
        ValueError: there are no answers, or the names are not as many as the classes.
    """
    every = [*names, *others]
    if len(every) != predictions.classes or not len(predictions):
        raise ValueError(
            f"There should be at least one answer, and a name for each of {predictions.classes} "
            f"classes. Received: {len(predictions)} labels, {len(every)} names"
        )
    images = len(predictions)
    classes = per_class(predictions.labels, predictions.top[:, 0], len(names))
    occur = classes["images"] > 0
    result: dict[str, Any] = {
        "examples": images,
        "accuracy": predictions.right.mean(),
        "accuracy_interval": wilson_interval(int(predictions.right.sum()), images),
        "majority_baseline": classes["images"].max() / images,
        "balanced_accuracy": classes["recall"][occur].mean(),
        "macro_precision": classes["precision"][occur].mean(),
        "macro_f1": classes["f1"][occur].mean(),
    }
    if predictions.classes > 5:
        hits = int((predictions.rank < 5).sum())
        result["top5_accuracy"] = hits / images
        result["top5_accuracy_interval"] = wilson_interval(hits, images)
    result["calibration"] = calibration(predictions.scores[:, 0], predictions.right)
    result["per_class"] = [
        {"name": n, "images": int(s), "precision": p, "recall": r, "f1": f}
        for n, s, p, r, f in zip(names, *classes.values(), strict=True)
    ]
    return plain(result) | _confused(predictions, names, others)


def _confused(
    predictions: Predictions, names: Sequence[str], others: Sequence[str]
) -> dict[str, Any]:
    """Which classes are taken for which: see `summarize_predictions`."""
    entries = confusion(predictions.labels, predictions.top[:, 0])
    entries, outside = _outside_last(entries, len(names))
    shown = [*names, *(others[number - len(names)] for number, _ in outside)]
    wrong = entries[entries[:, 0] != entries[:, 1]]
    worst = wrong[np.argsort(-wrong[:, 2], kind="stable")][:PAIRS].tolist()
    return {
        "outside": [
            {"name": shown[len(names) + i], "images": count} for i, (_, count) in enumerate(outside)
        ],
        "most_confused": [
            {"true": shown[true], "called": shown[called], "images": count}
            for true, called, count in worst
        ],
        "confusion_matrix": entries.tolist(),
    }


def _outside_last(entries: np.ndarray, classes: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The classes behind the data set's that were answered, numbered by how often.

    Args:
        entries: See `confusion`.
        classes: How many the data set has.

    Returns:
        The entries with these numbers, and (number before, images) of each.
    """
    is_outside = entries[:, 1] >= classes
    numbers, place = np.unique(entries[is_outside, 1], return_inverse=True)
    counts = np.bincount(place.reshape(-1), entries[is_outside, 2], len(numbers)).astype(int)
    order = np.argsort(-counts, kind="stable")
    entries = entries.copy()
    entries[is_outside, 1] = classes + np.argsort(order)[place.reshape(-1)]
    return entries, [(int(numbers[i]), int(counts[i])) for i in order]


def plain(value: Any) -> Any:
    """numpy's numbers as Python's, rounded to 6 digits: what JSON holds."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 6)
    return value
