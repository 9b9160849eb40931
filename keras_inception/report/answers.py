"""The page's part on the answers to the test images, and on the mistakes among them."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np

from keras_inception.data import Source
from keras_inception.data.splits import SPLITS
from keras_inception.explain import GradCAM
from keras_inception.messages import printable
from keras_inception.report import images
from keras_inception.report.images import Picture
from keras_inception.report.table import Reliability, Table, number, reliability, share, text
from keras_inception.runs import RunFolder

MISTAKES = 24  # that are shown
MATRIX = 30  # classes up to which the confusion matrix is shown whole
FEW = 20  # classes up to which they stand in their own order, else the worst first
_SIDE = 176  # pixels of a mistake's longer side


@dataclasses.dataclass(frozen=True)
class Answers:
    """What the page says of an evaluation.

    Attributes:
        tiles: (figure, what it is) of the head of the page.
        comparison: What to hold the figures against, or "".
        matrix: Images by true class (rows) and called class; empty with many classes.
        confused: The pairs of classes that were mixed up most.
        calibration: The reliability chart and what it says, or None where it was not computed.
        sentence: What the chart says, or that it was not computed.
    """

    tiles: list[tuple[str, str]]
    comparison: str
    matrix: list[list[int]]
    confused: Table | None
    calibration: Reliability | None
    sentence: str


def describe(evaluation: dict[str, Any]) -> Answers:
    """What evaluation.json holds.

    Args:
        evaluation: Its content.
    """
    rows = evaluation["per_class"]
    calibration = evaluation.get("calibration")
    sentence = "Measured by an earlier version; train or evaluate again to see it."
    if calibration:
        sentence = (
            f"Of answers with p % confidence, p % should be right (the diagonal). On average the "
            f"two are {calibration['expected_calibration_error']:.1%} apart (expected calibration "
            f"error), in the worst bin {calibration['maximum_calibration_error']:.1%}."
        )
    return Answers(
        _tiles(evaluation),
        evaluation.get("comparison", ""),
        evaluation.get("confusion_matrix", []) if len(rows) <= MATRIX else [],
        _confused(evaluation),
        reliability(calibration["bins"]) if calibration else None,
        sentence,
    )


def _tiles(evaluation: dict[str, Any]) -> list[tuple[str, str]]:
    def interval(name: str) -> str:
        low, high = evaluation[f"{name}_interval"]
        return f"{low:.1%} to {high:.1%}"

    tiles = [(f"{evaluation['accuracy']:.1%}", f"test accuracy ({interval('accuracy')})")]
    if evaluation.get("views") == "mirror":
        alone = f"{evaluation['single_view_accuracy']:.1%}"
        tiles.append((alone, "from the image alone, without its mirror image"))
    if "top5_accuracy" in evaluation:
        top5 = f"{evaluation['top5_accuracy']:.1%}"
        tiles.append((top5, f"among the best five ({interval('top5_accuracy')})"))
    tiles.append((f"{evaluation['majority_baseline']:.1%}", "always the most frequent class"))
    tiles.append((f"{evaluation['balanced_accuracy']:.1%}", "balanced accuracy"))
    if "calibration" in evaluation:
        error = evaluation["calibration"]["expected_calibration_error"]
        tiles.append((f"{error:.1%}", "expected calibration error"))
    return [*tiles, (f"{evaluation['examples']:,}", "held-out images")]


def classes(
    labels: list[str], counts: dict[str, np.ndarray], evaluation: dict[str, Any] | None
) -> Table:
    """A row a class: its images in each part, precision, recall and F1.

    Args:
        labels: Class names in the order of the outputs.
        counts: Part -> images of each class.
        evaluation: What evaluation.json holds, or None.
    """
    measured = evaluation["per_class"] if evaluation else []
    # What matters first: a phone shows three columns.
    head = ["class", *(["F1", "precision", "recall", "test"] if measured else [])]
    parts = [part for part in SPLITS if part in counts and part not in head]
    head += [*parts, "number"]
    rows = []
    for i, name in enumerate(labels):
        row = [text(name, "name")]
        if measured:
            row += [share(measured[i][key]) for key in ("f1", "precision", "recall")]
            row += [number(int(measured[i]["images"]))]
        rows.append([*row, *(number(int(counts[part][i])) for part in parts), number(i)])
    order: tuple[int, str] = (len(head) - 1, "ascending")
    if measured and len(labels) > FEW:
        rows.sort(key=lambda row: (float(row[1].sort), float(row[-1].sort)))
        order = (1, "ascending")
    hints = {
        "number": "its place among the network's outputs, from 0",
        "precision": "share of the images called so that are of the class",
        "recall": "share of the class's images that were called so",
        "F1": "harmonic mean of precision and recall",
        "train": "training images",
        "validation": "validation images",
        "test": "test images",
    }
    return Table(head, rows, frozenset(range(1, len(head))), hints, order)


def _confused(evaluation: dict[str, Any]) -> Table | None:
    pairs = evaluation.get("most_confused", [])
    if not pairs or len(evaluation["per_class"]) == 2:
        return None
    of = {row["name"]: row["images"] for row in evaluation["per_class"]}
    rows = [
        [
            text(pair["true"], "name"),
            text(pair["called"], "name"),
            number(pair["images"]),
            share(pair["images"] / of[pair["true"]]),
        ]
        for pair in pairs
    ]
    head = ("true class", "called", "images", "of the class")
    return Table(head, rows, frozenset({2, 3}), sorted_by=(2, "descending"))


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A test image that was called wrong.

    Attributes:
        image: As the network saw it.
        heat: The same under Grad-CAM of the class that it was called, or None.
        called, true: Names of classes.
        probability, true_probability: What the network gave each.
    """

    image: Picture
    heat: Picture | None
    called: str
    true: str
    probability: float
    true_probability: float


@dataclasses.dataclass(frozen=True)
class Mistakes:
    """The mistakes that were made with the most confidence.

    Attributes:
        wrong, images: How many test images were called wrong, and how many there are.
        shown: The first of them.
        method: How the evidence was found, or "".
    """

    wrong: int
    images: int
    shown: list[Mistake]
    method: str


def mistakes(run: RunFolder, source: Source | None) -> Mistakes | None:
    """The test images that were called wrong with the highest probability.

    Args:
        run: The run folder.
        source: The data set in the run's parts; None shows no images.

    Returns:
        None before the evaluation.
    """
    if not run.predictions_path.exists():
        return None
    with np.load(run.predictions_path) as answers:
        probabilities, labels = answers["probabilities"], answers["labels"]
        index = answers["index"]
    called, names = probabilities.argmax(1), run.class_names
    wrong = np.flatnonzero(called != labels)
    if source is None or not len(wrong):
        return Mistakes(len(wrong), len(labels), [], "")
    worst = wrong[np.argsort(-probabilities[wrong, called[wrong]], kind="stable")][:MISTAKES]
    looks, split = _evidence(run), source.splits["test"]
    channels = looks.channels if looks else 3
    shown, method = [], ""
    for i in worst:
        pixels = images.read(split, int(index[i]), channels)
        if pixels is None:
            continue
        name, heat = printable(split.name(int(index[i]))), None
        if looks:
            found = looks(pixels, int(called[i]))
            method, pixels = found.method, found.image
            heat = images.picture(found.overlay(), name, _SIDE)
        shown.append(
            Mistake(
                images.picture(pixels, name, _SIDE),
                heat,
                names[called[i]],
                names[labels[i]],
                float(probabilities[i, called[i]]),
                float(probabilities[i, labels[i]]),
            )
        )
    return Mistakes(len(wrong), len(labels), shown, method)


def _evidence(run: RunFolder) -> GradCAM | None:
    """Grad-CAM of the run's network; None, with a warning, where it has no map to look at."""
    try:
        return GradCAM(run.path)
    except ValueError as error:
        logging.warning("The page shows no Grad-CAM: %s", error)
        return None
