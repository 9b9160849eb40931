"""The page's part on the answers to the test images, and on the mistakes among them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_inception import pictures
from keras_inception.data import Source
from keras_inception.data.splits import SPLITS
from keras_inception.evaluation import results
from keras_inception.explaining import GradCAM
from keras_inception.messages import printable
from keras_inception.report import images
from keras_inception.report.table import BLANK, Cell, Table, number, share, text
from keras_inception.runs import RunFolder

MISTAKES = 24  # that are shown
FEW = 20  # classes up to which they stand in their own order, else the worst first
_SIDE = 176  # pixels of a mistake's longer side


def describe(evaluation: dict[str, Any]) -> dict[str, Any]:
    """What a run's evaluation.json holds.

    Args:
        evaluation: See `results.read`.

    Returns:
        "tiles" ((figure, what it is) of the head of the page), "several" (whether images may have
        several labels), "matrix" (a picture; None with many classes, or with several labels),
        "confused" (a table of the pairs of classes that were mixed up most, or None),
        "calibration" (a picture) and "sentence" (what it says).
    """
    one = evaluation["results"][0]
    several = one.get("output") == "sigmoid"
    calibration, matrix, names = one["calibration"], None, [row["name"] for row in one["per_class"]]
    if len(names) <= pictures.MOST_NAMES and not several:
        entries = np.array(one["confusion_matrix"])
        matrix = images.drawn(functools.partial(pictures.confusion, entries, names))
    return {
        "tiles": _tiles_of_several(one) if several else _tiles(one),
        "several": several,
        "matrix": matrix,
        "confused": None if several else _confused(one),
        "calibration": images.drawn(functools.partial(pictures.reliability, calibration)),
        "sentence": "Of answers with p % confidence, p % should be right (the diagonal). On "
        f"average the two are {calibration['expected_calibration_error']:.1%} apart (expected "
        "calibration error), in the worst bin "
        f"{calibration['maximum_calibration_error']:.1%}.",
    }


def _tiles_of_several(one: dict[str, Any]) -> list[tuple[str, str]]:
    def interval(name: str) -> str:
        low, high = one[f"{name}_interval"]
        return f"{low:.1%} to {high:.1%}"

    mean = f"mean average precision ({interval('mean_average_precision')})"
    return [
        (f"{one['mean_average_precision']:.1%}", mean),
        (f"{one['micro_average_precision']:.1%}", "average precision of all pairs together"),
        (f"{one['macro_f1']:.1%}", "macro F1 at the thresholds"),
        (f"{one['micro_f1']:.1%}", "micro F1 at the thresholds"),
        (f"{one['accuracy']:.1%}", f"all labels right and no other ({interval('accuracy')})"),
        (f"{one['majority_baseline']:.1%}", "always the most frequent set of labels"),
        (
            f"{one['calibration']['expected_calibration_error']:.1%}",
            "expected calibration error",
        ),
        (f"{one['examples']:,}", "held-out images"),
    ]


def _tiles(one: dict[str, Any]) -> list[tuple[str, str]]:
    def interval(name: str, ending: str = "") -> str:
        low, high = one[f"{name}_interval{ending}"]
        return f"{low:.1%} to {high:.1%}"

    tiles = [(f"{one['accuracy']:.1%}", f"test accuracy ({interval('accuracy')})")]
    if "groups" in one:
        ends = interval("accuracy", "_of_groups")
        tiles.append((f"{one['groups']:,}", f"groups of test images; drawing them: {ends}"))
    if "single_view_accuracy" in one:
        alone = f"{one['single_view_accuracy']:.1%}"
        tiles.append((alone, "from the image alone, without its mirror image"))
    if "top5_accuracy" in one:
        top5 = f"{one['top5_accuracy']:.1%}"
        tiles.append((top5, f"among the best five ({interval('top5_accuracy')})"))
    if one["outside"]:
        outside = sum(row["images"] for row in one["outside"])
        tiles.append((f"{outside:,}", "wrong answers that are no class of the data"))
    error = one["calibration"]["expected_calibration_error"]
    return [
        *tiles,
        (f"{one['majority_baseline']:.1%}", "always the most frequent class"),
        (f"{one['balanced_accuracy']:.1%}", "balanced accuracy"),
        (f"{error:.1%}", "expected calibration error"),
        (f"{one['examples']:,}", "held-out images"),
    ]


def classes(
    labels: list[str], counts: dict[str, np.ndarray], evaluation: dict[str, Any] | None
) -> Table:
    """A row a class: its images in each part, precision, recall and F1.

    Args:
        labels: Class names in the order of the outputs.
        counts: Part -> images of each class.
        evaluation: What evaluation.json holds, or None.
    """
    found = evaluation["results"][0]["per_class"] if evaluation else []
    measured = {row["name"]: row for row in found}
    # What matters first: a phone shows three columns.
    several = any("threshold" in row for row in found)
    own = ["F1", "precision", "recall", *(["AP", "threshold"] if several else []), "test"]
    head = ["class", *(own if measured else [])]
    parts = [part for part in SPLITS if part in counts and part not in head]
    head += [*parts, "number"]
    rows = []
    for i, name in enumerate(labels):
        row = [text(name, "name")]
        if measured:
            mine = measured.get(name, {"images": 0})
            keys = ("f1", "precision", "recall")
            row += [share(mine[key]) if key in mine else BLANK for key in keys]
            if several:
                row += [_precision(mine), number(float(mine.get("threshold", 0)))]
            row += [number(int(mine["images"]))]
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
        "AP": "average precision: the mean precision where each of the class's images is found",
        "threshold": "the probability from which the class is named",
        "train": "training images",
        "validation": "validation images",
        "test": "test images",
    }
    return Table(head, rows, frozenset(range(1, len(head))), hints, order)


def _precision(row: dict[str, Any]) -> Cell:
    """A class's average precision with its interval."""
    value = row.get("average_precision")
    if value is None:
        return BLANK
    low, high = row["average_precision_interval"]
    return Cell(f"{value:.1%} ({low:.0%} to {high:.0%})", value)


def _confused(one: dict[str, Any]) -> Table | None:
    pairs = one["most_confused"]
    if not pairs or len(one["per_class"]) == 2:
        return None
    of = {row["name"]: row["images"] for row in one["per_class"]}
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


def mistakes(run: RunFolder, source: Source | None) -> dict[str, Any] | None:
    """The test images that were called wrong with the highest probability.

    Args:
        run: The run folder.
        source: The data set in the run's parts; None shows no images.

    Returns:
        "wrong" and "images" (how many were called wrong, and how many there are), "shown" (of the
        worst "image" and "heat", pictures of what the network saw and of the evidence for what it
        called, the class "evidence" of that, and "called" and "true": names of classes with their
        probabilities) and "method" (how the evidence was found, or ""). None before the evaluation.
    """
    kept = results.read_predictions(run.path)
    if kept is None:
        return None
    index, names = kept["index"], kept["answers"].tolist()
    wrong, about = _wrong(kept, names, run)
    shown: list[dict[str, Any]] = []
    found = {"wrong": len(wrong), "images": len(index), "shown": shown, "method": ""}
    if source is None or not len(wrong):
        return found
    looks, split = _evidence(run), source.splits["test"]
    for i in wrong[:MISTAKES]:
        pixels = images.read(split, int(index[i]), looks.channels if looks else 3)
        if pixels is None:
            continue
        name, heat = printable(split.name(int(index[i]))), None
        called, texts = about(int(i))
        if looks:
            evidence = looks(pixels, run.class_names.index(names[called]))
            found["method"], pixels = evidence.method, evidence.image
            heat = images.picture(evidence.overlay(), name, _SIDE)
        shown.append(
            {
                "image": images.picture(pixels, name, _SIDE),
                "heat": heat,
                "evidence": names[called],
                **texts,
            }
        )
    return found


def _wrong(
    kept: dict[str, np.ndarray], names: list[str], run: RunFolder
) -> tuple[np.ndarray, Callable[[int], tuple[int, dict[str, Any]]]]:
    """The rows that were called wrong, the most confident first; and what is said of one.

    That is the class that was called wrong and, as (name, probability) pairs, what was called and
    what is true. Of several labels, the class is the one whose probability is furthest off.
    """
    labels = kept["labels"]
    if "probabilities" not in kept:
        called, score, true = kept["top"][:, 0, 0], kept["scores"][:, 0, 0], kept["true_score"]
        wrong = np.flatnonzero(kept["rank"][:, 0] > 0)

        def about(i: int) -> tuple[int, dict[str, Any]]:
            both = (names[called[i]], float(score[i])), (names[labels[i]], float(true[i, 0]))
            return int(called[i]), {"called": [both[0]], "true": [both[1]]}

        return wrong[np.argsort(-score[wrong], kind="stable")], about
    evaluated = results.read(run.path) or {"results": [{"per_class": []}]}
    rows = {row["name"]: row for row in evaluated["results"][0]["per_class"]}
    probabilities = kept["probabilities"][:, 0]
    named = probabilities >= np.array([rows[name]["threshold"] for name in names])
    off = np.where(named != (labels > 0), np.abs(probabilities - labels), -1)

    def sets(i: int) -> tuple[int, dict[str, Any]]:
        def pairs(which: np.ndarray) -> list[tuple[str, float]]:
            return [(names[c], float(probabilities[i, c])) for c in np.flatnonzero(which)]

        return int(off[i].argmax()), {"called": pairs(named[i]), "true": pairs(labels[i])}

    wrong = np.flatnonzero(off.max(1) >= 0)
    return wrong[np.argsort(-off[wrong].max(1), kind="stable")], sets


def _evidence(run: RunFolder) -> GradCAM | None:
    """Grad-CAM of the run's network; None, with a warning, where it has no map to look at."""
    try:
        return GradCAM(run.path)
    except ValueError as error:
        logging.warning("The page shows no Grad-CAM: %s", error)
        return None
