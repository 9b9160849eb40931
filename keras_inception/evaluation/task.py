"""What an evaluation asks: which networks, about which images, in which views."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import buckets
from keras_inception.data import Fingerprint, Source, views
from keras_inception.data.splits import Split
from keras_inception.messages import some
from keras_inception.models.imagenet import class_names, imagenet_classes
from keras_inception.runs import RunFolder
from keras_inception.runtime import Classifier, load_classifier
from keras_inception.runtime.classifier import BATCH

ENSEMBLE = "ensemble"


@dataclasses.dataclass(frozen=True)
class Entrant:
    """One network in an evaluation.

    Attributes:
        name: What it is called in the results.
        classifier: What answers.
        columns: int (classes,): which of its outputs is each class of the data set.
        weights: Whether it holds averaged weights, as far as that is known.
        source: What the caller named it by, if that was text.
        run: The run folder that it comes from, or None.
    """

    name: str
    classifier: Classifier
    columns: np.ndarray
    weights: str
    source: str
    run: RunFolder | None

    def answers(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        """Probabilities (images, classes) of the data set's classes, and of no others: sums are 1.

        This is where a network's answers are restricted to the classes that are asked for.

        Args:
            images: What `Classifier.predict` takes.
            batch_size: How many the network is given at once.
        """
        answers = self.classifier.predict(images, batch_size)[:, self.columns]
        return answers / answers.sum(1, keepdims=True)

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
    tolerant: bool = True

    @property
    def split(self) -> Split:
        return self.source.splits[self.part]

    @property
    def names(self) -> list[str]:
        """Of the results: the networks', then perhaps the ensemble's."""
        return [entrant.name for entrant in self.entrants] + [ENSEMBLE] * self.ensemble

    @property
    def sample(self) -> str:
        """Which of the part's images these are, in words."""
        chosen, all_of_them = len(self.numbers), len(self.split)
        if chosen == all_of_them:
            return "all images"
        return f"{chosen} of {all_of_them} images, drawn by seed 0"

    def protocol(self) -> dict[str, Any]:
        """What the answers depend on, besides the weights, as JSON holds it."""
        labels = self.split.labels[self.numbers]
        return {
            "dataset": self.source.name,
            "part": self.part,
            "images": len(self.numbers),
            "labels": int((labels * (np.arange(len(labels)) % 9973)).sum()),
            "crops": self.crops,
            "names": self.names,
            "contracts": [e.classifier.preprocessing.to_dict() for e in self.entrants],
        }


def plan(
    given: Sequence[Any],
    source: Source,
    part: str,
    crops: str,
    ensemble: bool = False,
    limit: int = 0,
    batch_size: int = BATCH,
) -> Task:
    """Opens the networks of an evaluation and checks that they can be asked.

    Args:
        given: What `load_classifier` takes, each.
        source, part, crops, ensemble, limit, batch_size: See `protocol.evaluate`.

    Raises:
        ValueError: an argument is out of range, or a model's classes are not the data set's.
    """
    if part not in source.splits or not len(source.splits[part]):
        have = [name for name, split in source.splits.items() if len(split)]
        raise ValueError(f"{source.name} has no images for `part`={part!r}; it has {have}.")
    entrants = _open(given, source)
    for entrant in entrants:
        views.check(entrant.classifier.preprocessing, crops)
    images = len(source.splits[part])
    numbers = np.arange(images)
    if 0 < limit < images:
        numbers = np.sort(np.random.default_rng(0).permutation(images)[:limit])
    return Task(entrants, source, part, numbers, crops, ensemble, batch_size)


def run_of(model: Any) -> RunFolder | None:
    """The run folder that a path is, or that an exported file lies in; None of everything else."""
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
        text = os.fspath(one) if isinstance(one, str | os.PathLike) else ""
        name = text or getattr(one, "name", "") or classifier.identity.variant or "model"
        name = Path(name).name if os.path.exists(name) else name
        twins = sum(e.name == name or e.name.startswith(f"{name} (") for e in entrants)
        entrants.append(
            Entrant(
                f"{name} ({twins + 1})" if twins else name,
                classifier,
                _columns(classifier, source.class_names, text or name),
                _weights_of(text),
                text,
                run_of(one),
            )
        )
    return entrants


def _columns(classifier: Classifier, names: Sequence[str], what: str) -> np.ndarray:
    """Which of a classifier's outputs is each class of a data set.

    ImageNet's classes are told by their WordNet ids. Other classes are told by their names, and by
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
    known = list(classifier.identity.class_names)
    if classifier.identity.arguments.get("last_pool") == "max" and not known:
        raise ValueError(
            f"{what} is Google's graph of 2015, whose outputs stand in an order of their own: it "
            "is published for its features (keras_inception.explain.fid_features)."
        )
    if set(names) <= {c.wordnet_id for c in imagenet_classes()}:
        return _columns_of_imagenet(classifier, names, what)
    if not known:
        outputs = classifier.engine.classes
        if outputs != len(names):
            raise ValueError(
                f"{what} has {outputs} outputs and the data set {len(names)} classes, such as "
                f"{names[0]!r}."
            )
        logging.warning(
            "%s does not say what its classes are called: taken to be those of the data set, in "
            "the same order.",
            what,
        )
        return np.arange(outputs)
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"{what} does not know the data set's class {missing[0]!r}; its {len(known)} classes "
            f"are {some(known, 5)}."
        )
    if len(known) > len(names):
        logging.warning(
            "%s has %d classes, the data set %d: the others are left out.",
            what,
            len(known),
            len(names),
        )
    return np.array([known.index(name) for name in names])


def _columns_of_imagenet(classifier: Classifier, names: Sequence[str], what: str) -> np.ndarray:
    """Of 1,000 outputs, or of 1,001 with the background first, which is left out."""
    outputs, known = classifier.engine.classes, list(classifier.identity.class_names)
    if set(names) <= set(known):
        return np.array([known.index(name) for name in names])
    if outputs in (1000, 1001) and (not known or set(class_names()) <= set(known)):
        number = {c.wordnet_id: i for i, c in enumerate(imagenet_classes())}
        return np.array([number[name] + outputs - 1000 for name in names])
    raise ValueError(
        f"{what} cannot be measured on ImageNet's classes: it has {outputs} outputs, not 1000 or "
        f"1001{', such as ' + known[0] if known else ''}."
    )


def _weights_of(source: str) -> str:
    """Which weights a run's model holds: the averaged ones or the last."""
    if not source or not (Path(buckets.local(source)) / "config.json").exists():
        return "as in the file" if source else "as given"
    recipe = RunFolder(source).recipe
    kept = "moving average" if recipe.ema else "raw"
    return f"{kept} weights of the {recipe.keep} epoch"
