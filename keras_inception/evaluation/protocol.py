"""Evaluation as the papers did it: any networks on the same views of the same images.

A data set's images are decoded once each; every network gets the views that its own contract asks
for, and its probabilities are averaged over the views. What is kept of an image is a few numbers,
so 50,000 images of 1,000 classes take a few megabytes, and an evaluation that was stopped goes on.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.buckets import as_path, is_remote
from keras_inception.data.splits import Source, Split
from keras_inception.data.stream import stream
from keras_inception.data.views import CROPS, check, take
from keras_inception.evaluation.entrants import Entrant, answers_to_noise, enter, run_of
from keras_inception.evaluation.metrics import Answers
from keras_inception.evaluation.notes import Notes
from keras_inception.evaluation.results import UNREADABLE, collect, write_results
from keras_inception.preprocessing import Preprocessing
from keras_inception.runtime import Classifier

BATCH = 64
SOME_IMAGES = 16  # that an engine is held against before it is measured
ENSEMBLE = "ensemble"


def evaluate(
    models: Any,
    dataset: str | Source,
    *,
    crops: str = "1",
    ensemble: bool = False,
    part: str = "test",
    ground_truth: str | os.PathLike | None = None,
    data_dir: str = "",
    limit: int = 0,
    batch_size: int = BATCH,
    output: str | os.PathLike | None = None,
    fresh: bool = False,
    progress: Callable[[int, int], None] | None = None,
    engine: Callable[[Classifier, np.ndarray], Classifier] | None = None,
) -> dict[str, Any]:
    """Measures networks on a data set.

    Args:
        models: What `load_classifier` takes (a run folder, a file, a published name, a model), or
            a list of such.
        dataset: What `--dataset` of training takes; "imagenet:PATH", ImageNet's validation images
            in class folders or in one folder; or an opened `Source`. The data set of a run among
            the models is opened in the parts that the run had.
        crops: "1", "mirror", "10", "12" or "144" views of an image: see `data.views.views`.
        ensemble: Whether to measure the average of all models' probabilities, too.
        part: "test", "validation" or "train".
        ground_truth: With "imagenet:PATH", a list of the images' classes: see
            `data.sources.imagenet.open_imagenet`.
        data_dir: Where prepared TFDS data lies; empty for TFDS' default.
        limit: Measure that many images, drawn by a fixed seed; 0 for all.
        batch_size: Views that a network is given at once.
        output: A folder for evaluation.json, answers.npz and plots. An evaluation of the same
            models, images and protocol that was stopped goes on from there.
        fresh: Start anew in `output`.
        progress: Called with (images done, images) now and then.
        engine: Is given each classifier and some of the images, fitted to it, and returns the
            classifier that is measured in its place; `keras_inception.optimize` is such a function.

    Returns:
        What evaluation.json holds: "dataset", "part", "images", "crops", "unreadable" (names of
        images that were left out), "results" (one a model, then the ensemble: "name", "protocol",
        "preprocessing", "weights", "published", "trained_on" (how many of the images the run
        trained on, None if that is not known) and what `metrics.summarize_answers` returns; the
        confusion matrix with at most 100 classes) and "comparisons" (every two on the same images:
        see `metrics.compare`).

    Raises:
        ValueError: an argument is out of range, a model's classes are not the data set's, or
            `output` holds another evaluation or is a run folder.
        ChangedData: the data set of a run has changed since.
    """
    given = list(models) if isinstance(models, list | tuple) else [models]
    if not given:
        raise ValueError("`models` should name at least one model. Received: an empty list")
    if ensemble and len(given) < 2:
        raise ValueError(f"An ensemble takes at least two models. Received: {len(given)}")
    if is_remote(output):
        raise ValueError(
            f"`output` should be a folder on this machine. Received: output={output!r}"
        )
    if crops not in CROPS:
        raise ValueError(f"`crops` should be one of {', '.join(CROPS)}. Received: crops={crops!r}")
    if output and (Path(output) / "config.json").exists():
        raise ValueError(
            "`output` is a run folder, which has an evaluation.json of its own. Give a folder in "
            f"it, such as {Path(output) / 'evaluations' / f'crops-{crops}'}. Received: {output}"
        )
    source = (
        dataset
        if isinstance(dataset, Source)
        else _open(dataset, Path(ground_truth) if ground_truth else None, data_dir, given)
    )
    if part not in source.splits or not len(source.splits[part]):
        have = [name for name, split in source.splits.items() if len(split)]
        raise ValueError(f"{source.name} has no images for `part`={part!r}; it has {have}.")
    split = source.splits[part]
    entrants = enter(given, source)
    for entrant in entrants:
        check(entrant.classifier.preprocessing, crops)
    numbers = np.arange(len(split))
    if 0 < limit < len(split):
        numbers = np.sort(np.random.default_rng(0).permutation(len(split))[:limit])
    if engine is not None:
        entrants = [
            dataclasses.replace(
                e, classifier=engine(e.classifier, _some_images(split, numbers, e.classifier))
            )
            for e in entrants
        ]
    names = [entrant.name for entrant in entrants] + ([ENSEMBLE] if ensemble else [])
    notes = Notes(
        Path(output) if output else None,
        {
            "dataset": source.name,
            "part": part,
            "images": len(numbers),
            "labels": int((split.labels[numbers] * (np.arange(len(numbers)) % 9973)).sum()),
            "crops": crops,
            "names": names,
            "contracts": [e.classifier.preprocessing.to_dict() for e in entrants],
        },
        np.stack([answers_to_noise(entrant.classifier) for entrant in entrants]),
        fresh,
    )
    rows = _answer(entrants, split, numbers, crops, ensemble, batch_size, notes, progress)
    result = collect(entrants, source, part, numbers, crops, rows, names, limit)
    if output:
        write_results(Path(output), result, rows, numbers, names, source)
        notes.done()
    return result


def _some_images(split: Split, numbers: np.ndarray, classifier: Classifier) -> np.ndarray:
    """float32 (n, *input_shape): some of the images that can be read, fitted to a network."""
    fitted = []
    spread = numbers[:: max(1, len(numbers) // SOME_IMAGES)][:SOME_IMAGES]
    channels = classifier.input_shape[2]
    for _, seen in stream(
        spread, lambda n: classifier.crop_and_resize(split.pixels(int(n), channels))
    ):
        if not isinstance(seen, Exception):
            fitted.append(seen)
    return np.stack(fitted) if fitted else np.zeros((0, *classifier.input_shape), np.float32)


def _open(dataset: str, ground_truth: Path | None, data_dir: str, models: list[Any]) -> Source:
    from keras_inception.data import open_run, open_source
    from keras_inception.data.sources.imagenet import open_imagenet

    kind, _, rest = dataset.partition(":")
    if kind == "imagenet" and rest:
        return open_imagenet(as_path(os.path.expanduser(rest)), ground_truth)
    if ground_truth:
        raise ValueError(
            "`ground_truth` lists the classes of imagenet:PATH; other data sets have their own. "
            f"Received: ground_truth={ground_truth} with {dataset}"
        )
    for run in filter(None, map(run_of, models)):
        # Drawn anew, the test part would hold images that the run has trained on.
        if run.recipe.dataset == dataset:
            return open_run(run)
    return open_source(dataset, data_dir=data_dir)


def _answer(
    entrants: list[Entrant],
    split: Split,
    numbers: np.ndarray,
    crops: str,
    ensemble: bool,
    batch_size: int,
    notes: Notes,
    progress: Callable[[int, int], None] | None,
) -> dict[str, np.ndarray]:
    """Asks every network about every image.

    Returns:
        "top" int32 and "scores" float32 (names, images, k), "rank" int32 (names, images): -1
        where the image cannot be read.
    """
    contracts = list(dict.fromkeys(e.classifier.preprocessing for e in entrants))
    channels = {e.classifier.preprocessing: e.classifier.input_shape[2] for e in entrants}

    def look(number: int) -> dict[Preprocessing, np.ndarray]:
        pixels = {c: split.pixels(int(number), c) for c in set(channels.values())}
        return {c: take(pixels[channels[c]], c, crops) for c in contracts}

    rows = {name: [array] for name, array in notes.rows.items()}
    done = notes.rows["rank"].shape[1] if notes.rows else 0
    group = max(1, batch_size // CROPS[crops])
    pending: list[tuple[int, Any]] = []
    for number, seen in stream(numbers[done:], look):
        pending.append((number, seen))
        done += 1
        if len(pending) == group or done == len(numbers):
            answers = _ask(pending, entrants, split, crops, ensemble, batch_size)
            for name, array in answers.items():
                rows.setdefault(name, []).append(array)
            pending = []
            if progress:
                progress(done, len(numbers))
            notes.save(rows)
    return {name: np.concatenate(arrays, axis=1) for name, arrays in rows.items()}


def _ask(
    pending: list[tuple[int, Any]],
    entrants: list[Entrant],
    split: Split,
    crops: str,
    ensemble: bool,
    batch_size: int,
) -> dict[str, np.ndarray]:
    """The answers to some images; see `_answer`."""
    names = len(entrants) + ensemble
    classes = len(entrants[0].columns)
    kept = min(5, classes)
    top = np.zeros((names, len(pending), kept), np.int32)
    scores = np.zeros((names, len(pending), kept), np.float32)
    rank = np.full((names, len(pending)), UNREADABLE, np.int32)
    for number, seen in pending:
        if isinstance(seen, Exception):
            reason = (str(seen).splitlines() or [type(seen).__name__])[0]
            logging.warning("%s cannot be read: %s", split.describe(int(number)), reason)
    readable = [i for i, (_, seen) in enumerate(pending) if not isinstance(seen, Exception)]
    if not readable:
        return {"top": top, "scores": scores, "rank": rank}
    labels = split.labels[[int(pending[i][0]) for i in readable]]
    together = np.zeros((len(readable), classes), np.float64)
    for row, entrant in enumerate(entrants):
        views = np.concatenate([pending[i][1][entrant.classifier.preprocessing] for i in readable])
        answers = entrant.classifier.predict(views, batch_size)[:, entrant.columns]
        answers = answers / answers.sum(1, keepdims=True)
        mean = answers.reshape(len(readable), CROPS[crops], -1).mean(1, dtype=np.float64)
        together += mean / len(entrants)
        _put(Answers.of(mean, labels), row, readable, top, scores, rank)
    if ensemble:
        _put(Answers.of(together, labels), names - 1, readable, top, scores, rank)
    return {"top": top, "scores": scores, "rank": rank}


def _put(
    answers: Answers,
    row: int,
    places: list[int],
    top: np.ndarray,
    scores: np.ndarray,
    rank: np.ndarray,
) -> None:
    top[row, places], scores[row, places] = answers.top, answers.scores
    rank[row, places] = answers.rank
