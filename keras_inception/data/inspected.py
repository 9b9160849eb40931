"""`inspect`: what a data set holds, as a table of classes and a list of findings."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_inception.data import inspection
from keras_inception.data.sources import open_for
from keras_inception.data.sources.memory import named_or_held
from keras_inception.data.splits import SPLITS, Split
from keras_inception.messages import nearest, printable, unlogged
from keras_inception.recipes import Recipe
from keras_inception.result import Result


class Inspection(Result):
    """What a data set holds.

    It holds "dataset"; "classes", a row each of class and images in the training, validation and
    test part; and "findings", the lines that it prints as.
    """

    def __repr__(self) -> str:
        return "\n".join(self["findings"])

    def rows(self) -> list[dict[str, Any]]:
        """A row a class."""
        return self["classes"]


def inspect(
    data: Any,
    *,
    validation: Any = None,
    test: Any = None,
    groups: Any = None,
    near: bool = False,
    odd: bool = False,
    features: Callable[[Split], np.ndarray] | None = None,
    output: str | os.PathLike | None = None,
    download: bool = False,
    verbose: int = 1,
    **fields: Any,
) -> Inspection:
    """What a data set holds and what is wrong with it, before any training.

    Args:
        data: What `train` takes as data.
        validation, test: These parts of data that is no path, by default drawn out of it.
        groups: What belongs in one part; see `train`.
        near: Whether images that look alike are searched for as well, across and within parts.
        odd: Whether odd images are searched for: blank, dark, blurred and so on.
        features: A function from a part to its images' features, float (images, channels), such as
            `keras_inception.curation.Network.open(MODEL).of_split`. By these, images that are
            unlike all others are odd, too.
        output: An .html file, into which a page is written: images of each class, odd ones, and
            pairs that look alike.
        download: Whether TFDS may fetch a data set.
        verbose: 1 shows the progress of a first look at the images, 2 in lines, 0 nothing.
        **fields: Fields of a recipe that say how a data set is opened, such as `data_dir`, `split`,
            `keys`, `validation_fraction`, `seed`, `max_pixels` and `bands`.

    Raises:
        TypeError: there is no such field.
        ValueError: training would refuse the data set, or `output` has another ending.
    """
    known = [field.name for field in dataclasses.fields(Recipe)]
    for name in fields:
        if name not in known:
            raise TypeError(f"`inspect` has no argument {name!r}{nearest(name, known)}")
    if output and not os.fspath(output).endswith(".html"):
        raise ValueError(f"`output` should end in .html. Received: output={os.fspath(output)!r}")
    given, held = named_or_held(data, validation, test, groups)
    recipe = Recipe(**given, **fields)
    recipe.check()
    with unlogged(logging.getLogger(), logging.ERROR) as warnings:
        source = open_for(recipe, download=download, held=held, verbose=verbose)
    counts = {
        inspection.PART_WORDS[part]: source.splits[part].counts(len(source.class_names)).tolist()
        for part in SPLITS
    }
    classes = [
        {"class": name, **{part: numbers[i] for part, numbers in counts.items()}}
        for i, name in enumerate(source.class_names)
    ]
    findings = inspection.inspect(source, near, odd, features, output)
    findings += dict.fromkeys(printable(warning.getMessage()) for warning in warnings)
    return Inspection(dataset=source.name, classes=classes, findings=findings)
