"""Evaluation as the papers did it: any networks on the same views of the same images.

A data set's images are decoded once each; every network gets the views that its own contract asks
for, and its probabilities are averaged over the views. What is kept of an image is a few numbers,
so 50,000 images of 1,000 classes take a few megabytes, and an evaluation that was stopped goes on.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import keras_inception
from keras_inception.data.splits import Source, Split
from keras_inception.data.stream import stream
from keras_inception.data.views import CROPS, check, describe, take
from keras_inception.evaluation import plots
from keras_inception.evaluation.metrics import (
    Answers,
    compare,
    confusion_matrix,
    summarize_answers,
)
from keras_inception.evaluation.published import published_figures
from keras_inception.files import write
from keras_inception.models.imagenet import class_names, imagenet_classes
from keras_inception.preprocessing import Preprocessing
from keras_inception.runs import RunFolder
from keras_inception.runtime import Classifier, load_classifier

BATCH = 64
SAVE_EVERY = 30.0  # seconds between two notes of how far it has come
MOST_CLASSES = 100  # of a confusion matrix in evaluation.json
UNREADABLE = -1  # in place of a rank: the image could not be read

ENSEMBLE = "ensemble"


@dataclasses.dataclass(frozen=True)
class _Entrant:
    """One network in an evaluation.

    Attributes:
        name: What it is called in the results.
        classifier: What answers.
        columns: int (classes,): which of its outputs is each class of the data set.
        weights: Whether it holds averaged weights, as far as that is known.
        source: What the caller named it by, if that was text.
    """

    name: str
    classifier: Classifier
    columns: np.ndarray
    weights: str
    source: str


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
) -> dict[str, Any]:
    """Measures networks on a data set.

    Args:
        models: What `load_classifier` takes (a run folder, a file, a published name, a model), or
            a list of such.
        dataset: What `--dataset` of training takes; "imagenet:PATH", ImageNet's validation images
            in class folders or in one folder; or an opened `Source`.
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

    Returns:
        What evaluation.json holds: "dataset", "part", "images", "crops", "unreadable" (names of
        images that were left out), "results" (one a model, then the ensemble: "name", "protocol",
        "preprocessing", "weights", "published" and what `metrics.summarize_answers` returns; the
        confusion matrix with at most 100 classes) and
        "comparisons" (every two on the same images: see `metrics.compare`).

    Raises:
        ValueError: an argument is out of range, a model's classes are not the data set's, or
            `output` holds another evaluation.
    """
    given = list(models) if isinstance(models, list | tuple) else [models]
    if not given:
        raise ValueError("`models` should name at least one model. Received: an empty list")
    if ensemble and len(given) < 2:
        raise ValueError(f"An ensemble takes at least two models. Received: {len(given)}")
    if crops not in CROPS:
        raise ValueError(f"`crops` should be one of {', '.join(CROPS)}. Received: crops={crops!r}")
    source = (
        dataset
        if isinstance(dataset, Source)
        else _open(dataset, Path(ground_truth) if ground_truth else None, data_dir)
    )
    if part not in source.splits or not len(source.splits[part]):
        have = [name for name, split in source.splits.items() if len(split)]
        raise ValueError(f"{source.name} has no images for `part`={part!r}; it has {have}.")
    split = source.splits[part]
    entrants = _entrants(given, source)
    for entrant in entrants:
        check(entrant.classifier.preprocessing, crops)
    numbers = np.arange(len(split))
    if 0 < limit < len(split):
        numbers = np.sort(np.random.default_rng(0).permutation(len(split))[:limit])
    names = [entrant.name for entrant in entrants] + ([ENSEMBLE] if ensemble else [])
    notes = _Notes(
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
        np.stack([_fingerprint(entrant.classifier) for entrant in entrants]),
        fresh,
    )
    rows = _answer(entrants, split, numbers, crops, ensemble, batch_size, notes, progress)
    result = _result(entrants, source, part, numbers, crops, rows, names, limit)
    if output:
        _write(Path(output), result, rows, numbers, names, source)
        notes.done()
    return result


def _open(dataset: str, ground_truth: Path | None, data_dir: str) -> Source:
    from keras_inception.data import open_source
    from keras_inception.data.sources.imagenet import open_imagenet

    kind, _, rest = dataset.partition(":")
    if kind == "imagenet" and rest:
        return open_imagenet(Path(rest).expanduser(), ground_truth)
    if ground_truth:
        raise ValueError(
            "`ground_truth` lists the classes of imagenet:PATH; other data sets have their own. "
            f"Received: ground_truth={ground_truth} with {dataset}"
        )
    return open_source(dataset, data_dir=data_dir)


def _entrants(given: Sequence[Any], source: Source) -> list[_Entrant]:
    entrants: list[_Entrant] = []
    for one in given:
        classifier = load_classifier(one)
        text = os.fspath(one) if isinstance(one, str | os.PathLike) else ""
        name = text or getattr(one, "name", "") or classifier.identity.variant or "model"
        name = Path(name).name if os.path.exists(name) else name
        twins = sum(e.name == name or e.name.startswith(f"{name} (") for e in entrants)
        entrants.append(
            _Entrant(
                f"{name} ({twins + 1})" if twins else name,
                classifier,
                columns(classifier, source.class_names, text or name),
                _weights_of(text),
                text,
            )
        )
    return entrants


def columns(classifier: Classifier, names: Sequence[str], what: str) -> np.ndarray:
    """Which of a classifier's outputs is each class of a data set.

    ImageNet's classes are told by their WordNet ids; then a network has 1,000 outputs, or 1,001
    with the background first, which is left out. Other classes are told by their names, and by
    their number where the network has no names.

    Args:
        classifier: A network.
        names: The data set's classes.
        what: Names the network in messages.

    Returns:
        int (classes of the data set,).

    Raises:
        ValueError: the network's classes are others.
    """
    outputs = classifier.engine.classes
    ids = {c.wordnet_id: i for i, c in enumerate(imagenet_classes())}
    known = list(classifier.identity.class_names)
    if classifier.identity.arguments.get("last_pool") == "max" and not known:
        raise ValueError(
            f"{what} is Google's graph of 2015, whose outputs stand in an order of their own: it "
            "is published for its features (keras_inception.explain.fid_features)."
        )
    if set(names) <= set(ids):
        if set(names) <= set(known):
            return np.array([known.index(name) for name in names])
        if outputs in (1000, 1001) and (not known or set(class_names()) <= set(known)):
            return np.array([ids[name] + outputs - 1000 for name in names])
        raise ValueError(
            f"{what} cannot be measured on ImageNet's classes: it has {outputs} outputs, not 1000 "
            f"or 1001{', such as ' + known[0] if known else ''}."
        )
    if known:
        missing = [name for name in names if name not in known]
        if missing:
            raise ValueError(
                f"{what} does not know the data set's class {missing[0]!r}; its {len(known)} "
                f"classes are {', '.join(known[:5])}{', ...' if len(known) > 5 else ''}."
            )
        if len(known) > len(names):
            logging.warning(
                "%s has %d classes, the data set %d: the others are left out.",
                what,
                len(known),
                len(names),
            )
        return np.array([known.index(name) for name in names])
    if outputs != len(names):
        raise ValueError(
            f"{what} has {outputs} outputs and the data set {len(names)} classes, such as "
            f"{names[0]!r}."
        )
    logging.warning(
        "%s does not say what its classes are called: taken to be those of the data set, in the "
        "same order.",
        what,
    )
    return np.arange(outputs)


def _weights_of(source: str) -> str:
    """Which weights a run's model holds: the averaged ones or the last."""
    if not source or not (Path(source) / "config.json").exists():
        return "as in the file" if source else "as given"
    recipe = RunFolder(source).recipe
    kept = "moving average" if recipe.ema else "raw"
    return f"{kept} weights of the {recipe.keep} epoch"


def _fingerprint(classifier: Classifier) -> np.ndarray:
    """float32 (5,): how a network answers to noise. Other weights answer otherwise."""
    noise = np.random.default_rng(0).integers(0, 256, (1, *classifier.input_shape))
    (answer,) = classifier.predict(noise.astype(np.uint8))
    order = np.arange(1, len(answer) + 1)
    sums = [answer**2, answer * np.cos(order), answer * np.sin(order)]
    return np.array([answer.max(), answer.argmax(), *(s.sum() for s in sums)], np.float32)


class _Notes:
    """What is known of each image so far, kept in a file so that a stopped evaluation goes on.

    Args:
        folder: Where; None keeps nothing.
        protocol: What the answers depend on, as JSON holds it.
        fingerprints: float32 (models, 5).
        fresh: Whether to start anew.
    """

    def __init__(
        self,
        folder: Path | None,
        protocol: dict[str, Any],
        fingerprints: np.ndarray,
        fresh: bool,
    ) -> None:
        self.path = folder / "unfinished.npz" if folder else None
        self._protocol, self._fingerprints = json.dumps(protocol), fingerprints
        self.rows: dict[str, np.ndarray] = {}
        self._saved = time.monotonic()
        if self.path is None or fresh or not self.path.exists():
            return
        with np.load(self.path) as file:
            same = str(file["protocol"]) == self._protocol and np.allclose(
                file["fingerprints"], fingerprints, atol=1e-3
            )
            if not same:
                raise ValueError(
                    f"{folder} holds an unfinished evaluation of other models, images or crops. "
                    "Give another `output`, or `fresh=True` to start anew."
                )
            self.rows = {k: file[k] for k in file.files if k not in ("protocol", "fingerprints")}

    def save(self, rows: dict[str, list[np.ndarray]]) -> None:
        """Writes the rows so far, if the last time is long enough ago."""
        if self.path is None or time.monotonic() - self._saved < SAVE_EVERY:
            return
        self._saved = time.monotonic()
        columns: dict[str, Any] = {
            **{name: np.concatenate(parts, axis=1) for name, parts in rows.items()},
            "protocol": np.array(self._protocol),
            "fingerprints": self._fingerprints,
        }
        write(self.path, lambda path: np.savez(path, **columns))

    def done(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _answer(
    entrants: list[_Entrant],
    split: Split,
    numbers: np.ndarray,
    crops: str,
    ensemble: bool,
    batch_size: int,
    notes: _Notes,
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
    entrants: list[_Entrant],
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


def _result(
    entrants: list[_Entrant],
    source: Source,
    part: str,
    numbers: np.ndarray,
    crops: str,
    rows: dict[str, np.ndarray],
    names: list[str],
    limit: int,
) -> dict[str, Any]:
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


def _about(entrant: _Entrant, crops: str) -> dict[str, Any]:
    contract = entrant.classifier.preprocessing
    return {
        "variant": entrant.classifier.identity.variant,
        "engine": entrant.classifier.engine.name,
        "protocol": describe(contract, crops),
        "preprocessing": contract.to_dict(),
        "weights": entrant.weights,
    }


def _about_all(entrants: list[_Entrant], crops: str) -> dict[str, Any]:
    return {
        "variant": "",
        "engine": ", ".join(dict.fromkeys(e.classifier.engine.name for e in entrants)),
        "protocol": f"probabilities of {len(entrants)} models averaged, each by its own protocol",
        "preprocessing": None,
        "weights": "; ".join(f"{e.name}: {e.weights}" for e in entrants),
    }


def _write(
    folder: Path,
    result: dict[str, Any],
    rows: dict[str, np.ndarray],
    numbers: np.ndarray,
    names: list[str],
    source: Source,
) -> None:
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
