"""The networks of an evaluation, and which of their outputs is each class of the data set."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import buckets
from keras_inception.data import Fingerprint, Source
from keras_inception.data.splits import Split
from keras_inception.models.imagenet import class_names, imagenet_classes
from keras_inception.runs import RunFolder
from keras_inception.runtime import Classifier, load_classifier


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


def enter(given: Sequence[Any], source: Source) -> list[Entrant]:
    """Opens networks, each under a name of its own.

    Args:
        given: What `load_classifier` takes, each.
        source: The data set.

    Raises:
        ValueError: see `load_classifier` and `columns`.
    """
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
                columns(classifier, source.class_names, text or name),
                _weights_of(text),
                text,
                run_of(one),
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


def run_of(model: Any) -> RunFolder | None:
    """The run folder that a path is, or that an exported file lies in; None of everything else."""
    if not isinstance(model, str | os.PathLike):
        return None
    path = Path(buckets.local(model))
    folders = (path, path.parent)
    return next((RunFolder(f) for f in folders if (f / "config.json").is_file()), None)


def trained_on(entrant: Entrant, split: Split, numbers: np.ndarray) -> int | None:
    """How many images a network's run trained on, by their contents.

    Args:
        entrant: The network.
        split: A part of a data set.
        numbers: int (images,), which of its examples.

    Returns:
        The count; None if it comes from no run, or the contents are not known.
    """
    if entrant.run is None or "digest" not in split.facts:
        return None
    record = entrant.run.data_path
    if not record.exists():
        return None
    seen = {digest for _, _, digest in Fingerprint.read(record).parts.get("train", [])}
    return sum(row.tobytes().hex() in seen for row in split.facts["digest"][numbers])


def _weights_of(source: str) -> str:
    """Which weights a run's model holds: the averaged ones or the last."""
    if not source or not (Path(buckets.local(source)) / "config.json").exists():
        return "as in the file" if source else "as given"
    recipe = RunFolder(source).recipe
    kept = "moving average" if recipe.ema else "raw"
    return f"{kept} weights of the {recipe.keep} epoch"


def answers_to_noise(classifier: Classifier) -> np.ndarray:
    """float32 (5,): how a network answers to noise. Other weights answer otherwise."""
    noise = np.random.default_rng(0).integers(0, 256, (1, *classifier.input_shape))
    (answer,) = classifier.predict(noise.astype(np.uint8))
    order = np.arange(1, len(answer) + 1)
    sums = [answer**2, answer * np.cos(order), answer * np.sin(order)]
    return np.array([answer.max(), answer.argmax(), *(s.sum() for s in sums)], np.float32)
