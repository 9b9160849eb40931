"""What an evaluation asks: which networks, about which images, in which views."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import buckets
from keras_inception.data import Fingerprint, Source, views
from keras_inception.data.decode import Decoding
from keras_inception.data.facts import digest
from keras_inception.data.groups import numbers_of
from keras_inception.data.splits import Split
from keras_inception.evaluation.outputs import named_outputs, occurring
from keras_inception.messages import some
from keras_inception.preprocessing import Preprocessing
from keras_inception.runs import RunFolder
from keras_inception.runtime import Classifier, load_classifier
from keras_inception.runtime.classifier import BATCH

ENSEMBLE = "ensemble"
RESTRICTIONS = ("", "data")


@dataclasses.dataclass(frozen=True)
class Look:
    """How a network sees an image file.

    Attributes:
        contract: How it is cropped and resized.
        channels: 3 or 1.
        decoding: How it becomes pixels: as in the network's run, if there is one.
    """

    contract: Preprocessing
    channels: int
    decoding: Decoding


@dataclasses.dataclass(frozen=True)
class Entrant:
    """One network in an evaluation.

    Attributes:
        name: What it is called in the results.
        classifier: What answers.
        outputs: What its outputs are called, in the data set's names.
        weights: Whether it holds averaged weights, as far as that is known.
        source: What the caller named it by, if that was text.
        run: The run folder that it comes from, or None.
    """

    name: str
    classifier: Classifier
    outputs: tuple[str, ...]
    weights: str
    source: str
    run: RunFolder | None

    def answers(self, images: np.ndarray, task: Task) -> np.ndarray:
        """Probabilities (images, answers) of all that can be answered; see `Task.answer_names`.

        This is the one place where outputs are left out, and only if that was asked for: then the
        sum of the others is 1. Of sigmoids, which stand alone, it stays what it is.

        Args:
            images: What `Classifier.predict` takes.
            task: What is asked.
        """
        found = self.classifier.predict(images, task.batch_size)
        answers = np.zeros((len(images), len(task.answer_names)))
        kept, places = task.columns[self.name]
        answers[:, places] = found[:, kept]
        if task.restrict and self.classifier.thresholds is None:
            answers /= np.maximum(answers.sum(1, keepdims=True), np.finfo(np.float32).tiny)
        return answers

    def look(self, split: Split) -> Look:
        """How it sees the images of a part."""
        classifier = self.classifier
        decoding = classifier.decoding if classifier.run else split.decoding
        return Look(classifier.preprocessing, classifier.input_shape[2], decoding)

    def answers_to_noise(self) -> np.ndarray:
        """float32 (5,): how the network answers to noise. Other weights answer otherwise."""
        noise = np.random.default_rng(0).integers(0, 256, (1, *self.classifier.input_shape))
        (answer,) = self.classifier.predict(noise.astype(np.uint8))
        order = np.arange(1, len(answer) + 1)
        sums = [answer**2, answer * np.cos(order), answer * np.sin(order)]
        return np.array([answer.max(), answer.argmax(), *(s.sum() for s in sums)], np.float32)

    def trained_on(self, split: Split, numbers: np.ndarray) -> int | None:
        """How many images the network's run trained on, by their contents.

        Args:
            split: A part of a data set.
            numbers: int (images,), which of its examples.

        Returns:
            The count; None if it comes from no run, or the contents are not known.
        """
        if self.run is None or "digest" not in split.facts:
            return None
        record = self.run.data_path
        if not record.exists():
            return None
        seen = {digest for _, _, digest in Fingerprint.read(record).parts.get("train", [])}
        return sum(row.tobytes().hex() in seen for row in split.facts["digest"][numbers])


@dataclasses.dataclass(frozen=True)
class Task:
    """What an evaluation asks.

    Attributes:
        entrants: The networks.
        source, part: The data set and its part.
        numbers: int (images,): which of the part's examples.
        crops: Views of each image: one of `data.views.CROPS`.
        ensemble: Whether the average of all networks is measured, too.
        batch_size: Views that a network is given at once.
        restrict: "data" leaves out the answers that are no class of the data set; "" lets all
            compete.
        tolerant: Whether images that cannot be read are left out and named; else the error of the
            first is raised.
    """

    entrants: Sequence[Entrant]
    source: Source
    part: str
    numbers: np.ndarray
    crops: str
    ensemble: bool
    batch_size: int
    restrict: str = ""
    tolerant: bool = True

    @property
    def split(self) -> Split:
        return self.source.splits[self.part]

    @property
    def names(self) -> list[str]:
        """Of the results: the networks', then perhaps the ensemble's."""
        own = [entrant.name for entrant in self.entrants]
        return own + [ENSEMBLE + " of all" * (ENSEMBLE in own)] * self.ensemble

    @property
    def several(self) -> bool:
        """Whether images may have several labels."""
        return self.source.several

    @functools.cached_property
    def thresholds(self) -> np.ndarray:
        """float32 (results, answers): from which each network names each class.

        Those of the ensemble are the networks' mean. Only where images may have several labels.
        """
        found = np.ones((len(self.entrants), len(self.answer_names)), np.float32)
        for row, entrant in zip(found, self.entrants, strict=True):
            kept, places = self.columns[entrant.name]
            row[places] = np.array(entrant.classifier.identity.thresholds, np.float32)[kept]
        return np.concatenate([found, found.mean(0, keepdims=True)])[: len(self.names)]

    @functools.cached_property
    def classes(self) -> np.ndarray:
        """int64 (classes,): which of the data set's classes have an image in any of its parts."""
        return occurring(self.source)

    @functools.cached_property
    def class_names(self) -> list[str]:
        """Their names."""
        return [self.source.class_names[i] for i in self.classes]

    @functools.cached_property
    def answer_names(self) -> list[str]:
        """What can be answered: the data set's classes, then all others that a network has."""
        if self.restrict or self.several:  # of several, no answer competes with another
            return self.class_names
        outputs = [name for entrant in self.entrants for name in entrant.outputs]
        return list(dict.fromkeys(self.class_names + outputs))

    @functools.cached_property
    def columns(self) -> dict[str, tuple[list[int], list[int]]]:
        """Of each network by its name: the outputs that compete, and their places as answers."""
        place = {name: i for i, name in enumerate(self.answer_names)}
        found = {}
        for entrant in self.entrants:
            kept = [i for i, name in enumerate(entrant.outputs) if name in place]
            found[entrant.name] = kept, [place[entrant.outputs[i]] for i in kept]
        return found

    @property
    def restriction(self) -> str:
        """What stands beside every figure if answers are left out, else nothing."""
        if not self.restrict:
            return ""
        return f"restricted to the {len(self.class_names)} classes of the data"

    @property
    def sample(self) -> str:
        """Which of the part's images these are, in words."""
        chosen, all_of_them = len(self.numbers), len(self.split)
        if chosen == all_of_them:
            return "all images"
        return f"{chosen} of {all_of_them} images, drawn by seed 0"

    def labels(self, numbers: np.ndarray) -> np.ndarray:
        """int64 (n,): the true classes of some examples, as places among the answers.

        Where images may have several labels, uint8 (n, answers) of 0 and 1.
        """
        if self.several:
            return self.split.labels[numbers][:, self.classes]
        return np.searchsorted(self.classes, self.split.labels[numbers])

    def groups(self, numbers: np.ndarray) -> np.ndarray | None:
        """int64 (n,): the groups that some examples belong to; None if none has company."""
        if self.split.groups is None:
            return None
        found = numbers_of(self.split.groups[numbers])
        return found if len(np.unique(found)) < len(found) else None

    def content(self, number: int, image: Any = None) -> np.ndarray:
        """uint8 (16,): what tells the contents of examples apart.

        Args:
            number: Which example.
            image: What `Split.encoded` gave for it, if that was asked.
        """
        if "digest" in self.split.facts:
            return self.split.facts["digest"][number]
        content = (self.split.encoded(int(number)) if image is None else image).numpy()
        return digest(content if isinstance(content, bytes) else content.tobytes())

    def protocol(self) -> dict[str, Any]:
        """What the answers depend on, besides weights and pixels, as JSON holds it."""
        examples = [[self.split.name(int(i)), self.split.labels[i].tolist()] for i in self.numbers]
        return {
            "dataset": self.source.name,
            "part": self.part,
            "examples": hashlib.sha256(json.dumps(examples).encode()).hexdigest(),
            "answers": hashlib.sha256(json.dumps(self.answer_names).encode()).hexdigest(),
            "crops": self.crops,
            "restrict": self.restrict,
            "names": self.names,
            "contracts": [e.classifier.preprocessing.to_dict() for e in self.entrants],
            "decodings": [e.look(self.split).decoding.to_dict() for e in self.entrants],
        }


def plan(
    given: Sequence[Any],
    source: Source,
    part: str,
    crops: str,
    ensemble: bool = False,
    limit: int = 0,
    batch_size: int = BATCH,
    restrict: str = "",
) -> Task:
    """Opens the networks of an evaluation and checks that they can be asked.

    Args:
        given: What `load_classifier` takes, each.
        source, part, crops, ensemble, limit, batch_size, restrict: See `protocol.evaluate`.

    Raises:
        ValueError: an argument is out of range, or a model's classes are not the data set's.
    """
    if part not in source.splits or not len(source.splits[part]):
        have = [name for name, split in source.splits.items() if len(split)]
        raise ValueError(f"{source.name} has no images for `part`={part!r}; it has {have}.")
    entrants = _open(given, source)
    for entrant in entrants:
        if source.several and entrant.classifier.thresholds is None:
            raise ValueError(
                f"{entrant.name} answers with one class an image, and the images of {source.name} "
                "may have several: a network with a sigmoid for each class can be measured on them."
            )
    for entrant in entrants:
        views.check(entrant.classifier.preprocessing, crops)
    images = len(source.splits[part])
    numbers = np.arange(images)
    if 0 < limit < images:
        numbers = np.sort(np.random.default_rng(0).permutation(images)[:limit])
    task = Task(entrants, source, part, numbers, crops, ensemble, batch_size, restrict)
    others = task.answer_names[len(task.classes) :]
    if others:
        logging.warning(
            "Some outputs are no class of %s: %s. These answers count as wrong; "
            '`restrict="data"` leaves them out.',
            source.name,
            some(others),
        )
    return task


def run_of(model: Any) -> RunFolder | None:
    """The run folder that a path is, or that an exported file lies in; None of everything else."""
    model = model.source if isinstance(model, Classifier) and model.source else model
    if not isinstance(model, str | os.PathLike):
        return None
    path = Path(buckets.local(model))
    folders = (path, path.parent)
    return next((RunFolder(f) for f in folders if (f / "config.json").is_file()), None)


def _open(given: Sequence[Any], source: Source) -> list[Entrant]:
    """Opens networks, each under a name of its own."""
    entrants: list[Entrant] = []
    for one in given:
        classifier = load_classifier(one)
        text = classifier.source
        name = text or getattr(one, "name", "") or classifier.identity.variant or "model"
        name = Path(name).name if os.path.exists(name) else name
        twins = sum(e.name == name or e.name.startswith(f"{name} (") for e in entrants)
        entrants.append(
            Entrant(
                f"{name} ({twins + 1})" if twins else name,
                classifier,
                named_outputs(
                    classifier.identity.class_names,
                    classifier.engine.classes,
                    source,
                    text or name,
                ),
                _weights_of(text),
                text,
                run_of(one),
            )
        )
    return entrants


def _weights_of(source: str) -> str:
    """Which weights a run's model holds: the averaged ones or the last."""
    if not source or not (Path(buckets.local(source)) / "config.json").exists():
        return "as in the file" if source else "as given"
    recipe = RunFolder(source).recipe
    kept = "moving average" if recipe.ema else "raw"
    return f"{kept} weights of the {recipe.keep} epoch"
