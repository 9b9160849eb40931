"""What an evaluation found: as data, as files and as text."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

import keras_inception
from keras_inception import archives, files, pictures
from keras_inception.budget import refusing
from keras_inception.data import views
from keras_inception.evaluation import several
from keras_inception.evaluation.groups import accuracy_interval, difference_interval
from keras_inception.evaluation.metrics import (
    KEPT_ROWS,
    Predictions,
    compare,
    summarize_predictions,
)
from keras_inception.evaluation.published import published_figures
from keras_inception.evaluation.several import Answers, summarize_several
from keras_inception.evaluation.task import Entrant, Task
from keras_inception.messages import some
from keras_inception.result import Result, scalars

RESULT, PREDICTIONS = "evaluation.json", "predictions.npz"
_DIGEST = "predictions"  # in evaluation.json: what tells predictions.npz apart
MOST_ROWS = 50  # classes that `table` prints


def collect(task: Task, rows: dict[str, np.ndarray]) -> dict[str, Any]:
    """What evaluation.json holds.

    Args:
        task: What was asked.
        rows: What was noted of each image: see `read_predictions`.

    Returns:
        "dataset", "provenance", "part", "images", "sample" (which of the part's), "crops",
        "restriction" (what was left out of the answers, or ""), "unreadable" (names of images that
        were left out), "version", and

        - "results", one a network, then the ensemble's: "name", "variant", "engine", "protocol",
          "preprocessing", "weights", "output" ("softmax", or "sigmoid" where images may have
          several labels), "published" (see `published_figures`), "trained_on" (how many
          of the images its run trained on, None if that is not known), with crops="mirror"
          "single_view_accuracy" (without the mirror images), of images in groups "groups" (how
          many) and "accuracy_interval_of_groups", and what `summarize_predictions` or
          `several.summarize_several` returns;
        - "comparisons", every two on the same images: "first", "second", and what `compare`
          returns; of images in groups "difference_interval_of_groups".
    """
    labels, groups = rows["labels"], task.groups(rows["index"])
    found = [_answers(task, rows, i) for i in range(len(task.names))]
    results = []
    for i, predictions in enumerate(found):
        one = _measured(task, i, predictions)
        if task.crops == "mirror" and not task.several:
            alone = rows["single_view"][:, i] == labels
            one["single_view_accuracy"] = round(float(alone.mean()), 6)
        if groups is not None:
            one["groups"] = len(np.unique(groups))
            ends = accuracy_interval(predictions.right, groups)
            one["accuracy_interval_of_groups"] = [round(end, 6) for end in ends]
        results.append(one)
    return {
        "dataset": task.source.name,
        "provenance": task.source.provenance,
        "part": task.part,
        "images": len(labels),
        "sample": task.sample,
        "crops": task.crops,
        "restriction": task.restriction,
        "unreadable": [
            task.split.describe(int(i)) for i in np.setdiff1d(task.numbers, rows["index"])
        ],
        "results": results,
        "comparisons": [
            {"first": task.names[a], "second": task.names[b]}
            | _compared(found[a].right, found[b].right, groups)
            for a, b in itertools.combinations(range(len(found)), 2)
        ],
        "version": keras_inception.__version__,
    }


def _compared(first: np.ndarray, second: np.ndarray, groups: np.ndarray | None) -> dict[str, Any]:
    """An element of "comparisons", but for the names."""
    result = compare(first, second)
    if groups is not None:
        ends = difference_interval(first.astype(float) - second, groups)
        result["difference_interval_of_groups"] = [round(end, 6) for end in ends]
    return result


def _answers(task: Task, rows: dict[str, np.ndarray], number: int) -> Predictions | Answers:
    """The answers of one of `Task.names`."""
    labels = rows["labels"]
    if task.several:
        groups = task.groups(rows["index"])
        return Answers(rows["probabilities"][:, number], labels, task.thresholds[number], groups)
    kept = {name: rows[name][:, number] for name in KEPT_ROWS}
    return Predictions(labels, **kept, classes=len(task.answer_names))


def _measured(task: Task, number: int, answers: Predictions | Answers) -> dict[str, Any]:
    """An element of "results"."""
    entrant = task.entrants[number] if number < len(task.entrants) else None
    others = task.answer_names[len(task.class_names) :]
    if isinstance(answers, Answers):
        summary = summarize_several(answers, task.class_names)
    else:
        summary = summarize_predictions(answers, task.class_names, others)
    return {
        "name": task.names[number],
        "output": "sigmoid" if task.several else "softmax",
        **(_about(entrant, task) if entrant else _about_all(task)),
        "trained_on": _trained_on(entrant, task) if entrant else None,
        "published": published_figures(
            entrant.source if entrant else "",
            entrant.classifier.identity.variant if entrant else "",
            task.crops,
            summary,
            _is_imagenet(task),
        ),
        **summary,
    }


def _is_imagenet(task: Task) -> bool:
    """Whether figures published for ImageNet's validation images can stand beside these."""
    name, whole = task.source.name, len(task.class_names) == 1000 and not task.restrict
    return whole and name.startswith(("imagenet:", "tfds:imagenet2012"))


def _trained_on(entrant: Entrant, task: Task) -> int | None:
    count = entrant.trained_on(task.split, task.numbers)
    if count and task.part != "train":
        logging.warning("%s: %s", entrant.name, _TRAINED.format(count, len(task.numbers)))
    return count


_TRAINED = "{} of the {} images are ones that its run trained on, so the figures say too much"


def _about(entrant: Entrant, task: Task) -> dict[str, Any]:
    contract = entrant.classifier.preprocessing
    return {
        "variant": entrant.classifier.identity.variant,
        "engine": entrant.classifier.engine.name,
        "protocol": _and(views.describe(contract, task.crops), task.restriction),
        "preprocessing": contract.to_dict(),
        "weights": entrant.weights,
    }


def _about_all(task: Task) -> dict[str, Any]:
    engines = dict.fromkeys(e.classifier.engine.name for e in task.entrants)
    averaged = f"probabilities of {len(task.entrants)} models averaged, each by its own protocol"
    return {
        "variant": "",
        "engine": ", ".join(engines),
        "protocol": _and(averaged, task.restriction),
        "preprocessing": None,
        "weights": "; ".join(f"{e.name}: {e.weights}" for e in task.entrants),
    }


def _and(text: str, more: str) -> str:
    return f"{text}, {more}" if more else text


def write(folder: Path, task: Task, rows: dict[str, np.ndarray], result: dict[str, Any]) -> None:
    """Writes evaluation.json, predictions.npz and the pictures; see `collect`.

    Of one network these are confusion_matrix.png and reliability.png, of several
    confusion_matrix_0.png and so on. Where images may have several labels there is no matrix. A
    kill between the files' renamings leaves the earlier evaluation.json beside the new
    predictions.npz, which `read_predictions` refuses then: `result` gets the digest of these.
    """
    kept: dict[str, Any] = {k: v for k, v in rows.items() if k != "content"}
    kept |= {"names": np.array(task.names), "answers": np.array(task.answer_names)}
    contents: dict[Path, files.Content] = {
        folder / PREDICTIONS: lambda path: np.savez_compressed(path, **kept)
    }
    for i, one in enumerate(result["results"]):
        ending = f"_{i}.png" if len(result["results"]) > 1 else ".png"
        reliability = functools.partial(pictures.reliability, one["calibration"])
        if "confusion_matrix" in one:
            entries = np.array(one["confusion_matrix"])
            confusion = functools.partial(pictures.confusion, entries, task.class_names)
            contents[folder / f"confusion_matrix{ending}"] = confusion
        contents[folder / f"reliability{ending}"] = reliability
    result[_DIGEST] = _digest(kept)
    contents[folder / RESULT] = json.dumps(result, indent=1) + "\n"
    files.write_all(contents)


def read(folder: Path) -> dict[str, Any] | None:
    """What `write` left as evaluation.json in a run folder or another; None before.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / RESULT
    if not path.exists():
        return None
    with refusing(path):
        result = json.loads(files.read(path))
        if not result["results"]:
            raise ValueError("it holds no result")
    return result


def read_predictions(folder: Path) -> dict[str, np.ndarray] | None:
    """What `write` left as predictions.npz; None before.

    Returns:
        Of each image that could be read "index" and "labels" int64 (images,), its number in the
        part and its class; of each image and network "top" int32 and "scores" float32 (images,
        networks, k), "rank" int32 and "true_score" float32 (images, networks), see `Predictions`,
        and "single_view" int64, the best class of the first view alone; "names" (networks,); and
        "answers", what the numbers of classes stand for: the data set's, then what else could be
        answered. Where images may have several labels, "labels" are uint8 (images, classes) and all
        that is kept of the answers are "probabilities" float32 (images, networks, classes).

    Raises:
        ValueError: the file is damaged, or belongs to another evaluation than evaluation.json.
    """
    path = folder / PREDICTIONS
    if not path.exists():
        return None
    found = archives.arrays(path)
    if (read(folder) or {}).get(_DIGEST) not in (None, _digest(found)):
        raise ValueError(
            f"{path} belongs to another evaluation than {RESULT} beside it: one was stopped while "
            "it wrote them. Evaluate again."
        )
    return found


def _digest(columns: dict[str, np.ndarray]) -> str:
    """Tells the contents of predictions.npz apart."""
    digest = hashlib.sha256()
    for name, column in sorted(columns.items()):
        digest.update(f"{name} {column.dtype.str} {column.shape}".encode() + column.tobytes())
    return digest.hexdigest()


def table(result: dict[str, Any]) -> str:
    """An evaluation as text."""
    networks = result["results"]
    # The second digit says something from 10,000 images on.
    digits = 2 if result["images"] >= 10_000 else 1
    mark = f" [{result['restriction']}]" if result["restriction"] else ""
    lines = [
        f"{result['dataset']}, {result['part']} part: {result['images']} images of "
        f"{len(networks[0]['per_class'])} classes ({result['sample']})"
    ]
    for one in networks:
        lines.append(f"{one['name']}: {one['protocol']}; {one['weights']}; {one['engine']}")
        lines += [f"  {line}{mark}" for line in _lines(result, one, digits)]
    if len(networks) == 1:
        draw = several.class_lines if _is_several(networks[0]) else _class_lines
        head, *rows = draw(networks[0]["per_class"][:MOST_ROWS])
        lines += [f"  {head}{mark}", *(f"  {row}" for row in rows)]
        more = len(networks[0]["per_class"]) - MOST_ROWS
        lines += [f"  and {more} more in {RESULT}"] if more > 0 else []
    for pair in result["comparisons"]:
        low, high = pair["difference_interval"]
        lines.append(
            f"{pair['first']} minus {pair['second']}: {pair['difference']:+.2%} "
            f"({low:+.2%} to {high:+.2%}{_by_groups(pair)}); right alone {pair['only_first']} and "
            f"{pair['only_second']} images, McNemar p = {pair['p_value']:.2g}{mark}"
        )
    if result["unreadable"]:
        names = some(result["unreadable"], 5)
        lines.append(f"left out {len(result['unreadable'])} unreadable images: {names}")
    return "\n".join(lines)


def _by_groups(pair: dict[str, Any]) -> str:
    low, high = pair.get("difference_interval_of_groups", (None, None))
    return "" if low is None else f"; drawing groups {low:+.2%} to {high:+.2%}"


class Evaluation(Result):
    """What evaluation.json holds: see `collect`."""

    def __repr__(self) -> str:
        return table(self)

    def rows(self) -> list[dict[str, Any]]:
        """A row a network."""
        return [scalars(one) for one in self["results"]]


def _lines(result: dict[str, Any], one: dict[str, Any], digits: int) -> list[str]:
    """What was measured of one network."""

    def share(name: str) -> str:
        return f"{one[name]:.{digits}%}"

    def interval(name: str, ending: str = "") -> str:
        low, high = one[f"{name}_interval{ending}"]
        return f"95 % interval {low:.{digits}%} to {high:.{digits}%}"

    trained = [_TRAINED.format(one["trained_on"], result["images"])] if one["trained_on"] else []
    if _is_several(one):
        return several.lines(result["part"], one, digits) + trained
    lines = [
        f"{result['part'].capitalize()} accuracy {share('accuracy')} ({interval('accuracy')}, "
        f"{one['examples']} images); always the most frequent class: "
        f"{share('majority_baseline')}; balanced accuracy {share('balanced_accuracy')}"
    ]
    if "groups" in one:
        lines.append(
            f"of {one['groups']} groups, whose images are not independent: "
            f"{interval('accuracy', '_of_groups')}"
        )
    if "single_view_accuracy" in one:
        lines.append(
            "(probabilities of an image and its mirror image averaged; the image alone: "
            f"{share('single_view_accuracy')})"
        )
    if one["outside"]:
        images = sum(row["images"] for row in one["outside"])
        called = some([f"{row['name']} ({row['images']})" for row in one["outside"]], 5)
        lines.append(f"{images} wrong answers are no class of the data: {called}")
    if "top5_accuracy" in one:
        five = f"{share('top5_accuracy')} ({interval('top5_accuracy')})"
        lines.append(f"right class among the best five: {five}")
    error = one["calibration"]["expected_calibration_error"]
    lines.append(f"macro F1 {share('macro_f1')}, expected calibration error {error:.{digits}%}")
    lines += [figure["text"] for figure in one["published"]]
    return lines + trained


def _is_several(one: dict[str, Any]) -> bool:
    """Whether an element of "results" is of images that may have several labels."""
    return one.get("output") == "sigmoid"


def _class_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Precision, recall and F1 of each class."""
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'class':{width}}  images  precision  recall     f1"]
    lines += [
        f"{row['name']:{width}}  {row['images']:6d}  {row['precision']:9.1%}  "
        f"{row['recall']:6.1%}  {row['f1']:5.1%}"
        for row in rows
    ]
    return lines
