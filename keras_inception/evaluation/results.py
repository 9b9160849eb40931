"""What an evaluation found: as data, as files and as text."""

from __future__ import annotations

import functools
import itertools
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

import keras_inception
from keras_inception.data.splits import Source
from keras_inception.data.views import describe
from keras_inception.evaluation import plots
from keras_inception.evaluation.entrants import Entrant, trained_on
from keras_inception.evaluation.metrics import (
    Answers,
    compare,
    confusion_matrix,
    summarize_answers,
)
from keras_inception.evaluation.published import published_figures
from keras_inception.files import write

MOST_CLASSES = 100  # of a confusion matrix in evaluation.json
UNREADABLE = -1  # in place of a rank: the image could not be read


def collect(
    entrants: list[Entrant],
    source: Source,
    part: str,
    numbers: np.ndarray,
    crops: str,
    rows: dict[str, np.ndarray],
    names: list[str],
    limit: int,
) -> dict[str, Any]:
    """What evaluation.json holds; see `protocol.evaluate`.

    Args:
        entrants: The networks.
        source, part, numbers: The data set, its part and which of its examples.
        crops: How many views of each.
        rows: What `protocol` noted of each image.
        names: Of the results: the networks', then perhaps the ensemble's.
        limit: How many images were asked for; 0 for all.

    Raises:
        ValueError: no image can be read.
    """
    split = source.splits[part]
    readable = (rows["rank"] != UNREADABLE).all(0)
    if not readable.any():
        raise ValueError(f"None of the {len(numbers)} images of {source.name} can be read.")
    labels = split.labels[numbers[readable]]
    answers = {
        name: Answers(
            labels,
            rows["top"][i][readable],
            rows["scores"][i][readable],
            rows["rank"][i][readable],
            len(source.class_names),
        )
        for i, name in enumerate(names)
    }
    results = []
    for name in names:
        entrant = next((e for e in entrants if e.name == name), None)
        summary = summarize_answers(answers[name], source.class_names)
        if len(source.class_names) > MOST_CLASSES:  # answers.npz holds it
            del summary["confusion_matrix"]
        results.append(
            {
                "name": name,
                **(_about(entrant, crops) if entrant else _about_all(entrants, crops)),
                "trained_on": _trained_on(entrant, source, part, numbers) if entrant else None,
                "published": published_figures(
                    entrant.source if entrant else "",
                    entrant.classifier.identity.variant if entrant else "",
                    crops,
                    summary,
                    source.name.startswith(("imagenet:", "tfds:imagenet2012")),
                ),
                **summary,
            }
        )
    return {
        "dataset": source.name,
        "provenance": source.provenance,
        "part": part,
        "images": int(readable.sum()),
        "sample": f"{limit} of {len(split)} images, drawn by seed 0" if limit else "all images",
        "crops": crops,
        "unreadable": [split.describe(int(i)) for i in numbers[~readable]],
        "results": results,
        "comparisons": [
            {"first": a, "second": b, **compare(answers[a].right, answers[b].right)}
            for a, b in itertools.combinations(names, 2)
        ],
        "version": keras_inception.__version__,
    }


def _trained_on(entrant: Entrant, source: Source, part: str, numbers: np.ndarray) -> int | None:
    count = trained_on(entrant, source.splits[part], numbers)
    if count and part != "train":
        logging.warning("%s: %s", entrant.name, _TRAINED.format(count, len(numbers)))
    return count


_TRAINED = "{} of the {} images are ones that its run trained on, so the figures say too much"


def _about(entrant: Entrant, crops: str) -> dict[str, Any]:
    contract = entrant.classifier.preprocessing
    return {
        "variant": entrant.classifier.identity.variant,
        "engine": entrant.classifier.engine.name,
        "protocol": describe(contract, crops),
        "preprocessing": contract.to_dict(),
        "weights": entrant.weights,
    }


def _about_all(entrants: list[Entrant], crops: str) -> dict[str, Any]:
    return {
        "variant": "",
        "engine": ", ".join(dict.fromkeys(e.classifier.engine.name for e in entrants)),
        "protocol": f"probabilities of {len(entrants)} models averaged, each by its own protocol",
        "preprocessing": None,
        "weights": "; ".join(f"{e.name}: {e.weights}" for e in entrants),
    }


def write_results(
    folder: Path,
    result: dict[str, Any],
    rows: dict[str, np.ndarray],
    numbers: np.ndarray,
    names: list[str],
    source: Source,
) -> None:
    """Writes evaluation.json, answers.npz and the plots; see `collect`."""
    labels = source.splits[result["part"]].labels[numbers]
    answers = {**rows, "index": numbers, "labels": labels, "names": np.array(names)}
    write(folder / "answers.npz", lambda path: np.savez_compressed(path, **answers))
    for i, one in enumerate(result["results"]):
        seen = rows["rank"][i] != UNREADABLE
        called = rows["top"][i, seen, 0]
        matrix = confusion_matrix(labels[seen], called, len(source.class_names))
        draw = functools.partial(plots.confusion, matrix, list(source.class_names))
        write(folder / f"confusion_matrix_{i}.png", draw)
        draw = functools.partial(plots.reliability, one["calibration"])
        write(folder / f"reliability_{i}.png", draw)
    write(folder / "evaluation.json", json.dumps(result, indent=1) + "\n")


def table(result: dict[str, Any]) -> str:
    """An evaluation as text."""
    lines = [
        f"{result['dataset']}, {result['part']} part: {result['images']} images "
        f"({result['sample']}), {len(result['results'][0]['per_class'])} classes"
    ]
    for one in result["results"]:
        lines.append(f"{one['name']}: {_percent(one, 'accuracy')} top-1")
        if "top5_accuracy" in one:
            lines[-1] += f", {_percent(one, 'top5_accuracy')} top-5"
        lines.append(
            f"  balanced {one['balanced_accuracy']:.2%}, macro F1 {one['macro_f1']:.2%}, "
            "expected calibration error "
            f"{one['calibration']['expected_calibration_error']:.2%}; always the most frequent "
            f"class: {one['majority_baseline']:.2%}"
        )
        lines.append(f"  {one['protocol']}; {one['weights']}; {one['engine']}")
        lines += [f"  {figure['text']}" for figure in one["published"]]
        if one["trained_on"]:
            lines.append(f"  {_TRAINED.format(one['trained_on'], result['images'])}")
    for pair in result["comparisons"]:
        low, high = pair["difference_interval"]
        lines.append(
            f"{pair['first']} minus {pair['second']}: {pair['difference']:+.2%} "
            f"({low:+.2%} to {high:+.2%}); right alone {pair['only_first']} and "
            f"{pair['only_second']} images, McNemar p = {pair['p_value']:.2g}"
        )
    if result["unreadable"]:
        shown = ", ".join(result["unreadable"][:5])
        more = len(result["unreadable"]) - 5
        lines.append(
            f"left out {len(result['unreadable'])} unreadable images: {shown}"
            + (f" and {more} more" if more > 0 else "")
        )
    return "\n".join(lines)


def _percent(one: dict[str, Any], name: str) -> str:
    low, high = one[f"{name}_interval"]
    return f"{one[name]:.2%} ({low:.2%} to {high:.2%})"
