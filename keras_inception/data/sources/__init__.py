"""Where images come from. Every source ends as three splits of numbered examples.

An example's number is stable, so that order, augmentation and resuming can be computed from it.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.buckets import as_path
from keras_inception.data.decode import Decoding
from keras_inception.data.duplicates import say_duplicates
from keras_inception.data.fingerprint import Changes, Fingerprint
from keras_inception.data.groups import numbers_of, say_shared
from keras_inception.data.sources import tfds as tfds_sets
from keras_inception.data.sources.fake import open_fake
from keras_inception.data.sources.folder import open_folder
from keras_inception.data.sources.imagenet import open_imagenet
from keras_inception.data.sources.labels import (
    about_numbers,
    check_training_images,
    in_order_of_numbers,
)
from keras_inception.data.sources.memory import KINDS, Held, open_held
from keras_inception.data.sources.opening import Opening
from keras_inception.data.sources.records import open_shards
from keras_inception.data.sources.table import open_table
from keras_inception.data.splits import Source, concatenated
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder

EMBEDDED = Path(__file__).parents[1] / "fashion_mnist_mini" / "1.0.0"


class ChangedData(ValueError):
    """The data set is not the one that an earlier run used; `changes` says how."""

    def __init__(self, dataset: str, changes: Changes) -> None:
        super().__init__(f"The data set {dataset} has changed since this run began: {changes}")
        self.changes = changes


def _open_embedded(_: str, opening: Opening) -> Source:
    import tensorflow_datasets as tfds

    return tfds_sets.open_builder(tfds.builder_from_directory(str(EMBEDDED)), opening)


def _open_tfds(name: str, opening: Opening) -> Source:
    builder = tfds_sets.prepared_builder(name, opening.data_dir, opening.download)
    return tfds_sets.open_builder(builder, opening)


def _path(text: str) -> Any:
    return as_path(os.path.expanduser(text))


# Kind -> what follows its name and a colon ("" for nothing), and who opens it.
SOURCES: dict[str, tuple[str, Callable[[str, Opening], Source]]] = {
    "fashion_mnist_mini": ("", _open_embedded),
    "folder": ("PATH", lambda path, opening: open_folder(_path(path), opening)),
    "tfds": ("NAME", _open_tfds),
    "csv": ("FILE", lambda path, opening: open_table(_path(path), opening)),
    "tfrecord": ("PATH", lambda path, opening: open_shards(_path(path), opening)),
    "imagenet": ("PATH", lambda path, opening: open_imagenet(_path(path), opening.ground_truth)),
    "fake": ("", lambda _, opening: open_fake(opening)),
}


def open_source(
    dataset: str | os.PathLike | Held,
    *,
    data_dir: str = "",
    split: str = "",
    validation_fraction: float = 0.1,
    seed: int = 0,
    download: bool = False,
    decoding: Decoding | None = None,
    ground_truth: str | os.PathLike | None = None,
    keys: str = "",
    groups: str = "",
    parts: Fingerprint | None = None,
    verbose: int = 1,
) -> Source:
    """Opens a data set and checks it.

    Args:
        dataset: "fashion_mnist_mini" (embedded), "folder:PATH" (class folders, with or without
            folders for the parts above them), "csv:FILE" (a table with the columns path, label
            and, if it has parts, split), "tfds:NAME", "tfrecord:PATH" (a folder of TFRecord or
            ArrayRecord shards, or a pattern such as "data/*/*.tfrec"), "imagenet:PATH" (the images
            of ImageNet's validation, for evaluation only), "fake" (noise), the path of a folder or
            of a CSV file, or what a program holds: see `sources.memory.Held`.
        data_dir: Where prepared TFDS data lies; empty for TFDS' default.
        split: TFDS' split strings of the training, validation and test part, or of training and
            test, with commas: "train[:80%],train[80%:90%],train[90%:]". Empty: the data set's own.
        validation_fraction: Share of the training part that becomes the validation part, where the
            data set has none of its own.
        seed: Decides which examples those are.
        download: Whether TFDS may download what is not prepared yet.
        decoding: How encoded images become pixels: such as the most that they may have, what lies
            behind transparent ones, and which bands of TIFFs are used.
        ground_truth: A list of the classes of "imagenet:PATH"; see `sources.imagenet`.
        keys: "IMAGE,LABEL", the keys of TFRecord shards or the features of a TFDS data set; empty
            for the usual ones, or those that are found by their types.
        groups: What keeps images in one part, such as those of a patient: of files a regular
            expression whose first group in parentheses names it in each path, or a CSV file with
            the columns path and group; the key of TFRecord shards or the feature of a TFDS data
            set. "" for the column `group` of a table, or none.
        parts: What an earlier run's `Source.fingerprint()` was: its examples are in the same
            parts, in the same order, and nothing is drawn anew. Examples that it does not have are
            left out and named in `Source.added`.
        verbose: 1 shows the progress of a first look at the images, 2 in lines, 0 nothing.

    Raises:
        ChangedData: with `parts`, examples of the earlier run are gone, or their contents, names,
            classes or own parts are others.
        ValueError: the data set is unknown, missing, has fewer than two classes or too many
            unreadable images.
    """
    held = dataset if isinstance(dataset, Held) else None
    dataset = dataset.kind if isinstance(dataset, Held) else _named(os.fspath(dataset))
    kind, opener = _opener(dataset, held, split, ground_truth, keys, groups)
    decoding = decoding or Decoding()
    if parts:
        decoding = dataclasses.replace(decoding, white=parts.white)
    listed = Path(ground_truth) if ground_truth else None
    opening = Opening(
        data_dir,
        split,
        validation_fraction,
        seed,
        download,
        decoding,
        listed,
        keys,
        groups,
        verbose,
    )
    source = _opened(dataset, opener, opening)
    is_measured_on = kind == "imagenet" or (held and held.train is None)
    _check(source, ("test",) if is_measured_on else ("train", "test"))
    source = in_order_of_numbers(source)
    for sentence in about_numbers(source.class_names):
        logging.warning("%s: %s", dataset, sentence)
    source = _with_parts(source, parts) if parts else source
    found = say_duplicates(source) | _said_of_groups(source, groups)
    return dataclasses.replace(source, provenance=source.provenance | found)


def _opened(dataset: str, opener: Callable[[Opening], Source], opening: Opening) -> Source:
    """What an opener gives, under the data set's name. Raises OSError if it cannot be read."""
    try:
        return dataclasses.replace(opener(opening), name=dataset)
    except tf.errors.OpError as error:  # of a bucket, above all
        reason = (error.message.splitlines() or [type(error).__name__])[0]
        raise OSError(f"The data set {dataset} cannot be read: {reason}") from error


def _named(dataset: str) -> str:
    """The name of a data set, also of one that is given as the path of a folder or of a table."""
    if not dataset or dataset.partition(":")[0] in (*SOURCES, *KINDS):
        return dataset
    path = _path(dataset)
    if path.is_dir():
        return f"folder:{dataset}"
    return f"csv:{dataset}" if path.is_file() else dataset


def _opener(
    dataset: str,
    held: Held | None,
    split: str,
    ground_truth: str | os.PathLike | None,
    keys: str,
    groups: str,
) -> tuple[str, Callable[[Opening], Source]]:
    """The kind of a data set, and what opens it.

    Raises:
        ValueError: the data set is unknown, or an argument belongs to another kind.
    """
    kind, _, rest = dataset.partition(":")
    argument, opener = SOURCES.get(kind, ("", None))
    if held:
        argument, opener = "", lambda _, opening: open_held(held, opening)
    elif dataset in KINDS:
        raise ValueError(
            f"The images came out of a program ({dataset}) and lie in no file that is known. Give "
            "them again: to `train`, to `evaluate` or `export` as `dataset`."
        )
    if opener is None or bool(argument) != bool(rest):
        known = ", ".join(k + f":{a}" * bool(a) for k, (a, _) in SOURCES.items())
        raise ValueError(f"The data set should be one of {known}. Received: {dataset!r}")
    if split and kind not in ("tfds", "fashion_mnist_mini"):
        raise ValueError(
            "`split` names the splits of a TFDS data set; other sources have folders or files for "
            f"their parts (docs/data.md). Received: split={split!r} with {dataset}"
        )
    if ground_truth and kind != "imagenet":
        raise ValueError(
            "`ground_truth` lists the classes of imagenet:PATH; other data sets have their own. "
            f"Received: ground_truth={ground_truth} with {dataset}"
        )
    if keys and kind not in ("tfds", "tfrecord"):
        raise ValueError(
            "`keys` names the keys of tfrecord:PATH or tfds:NAME; other data sets have none. "
            f"Received: keys={keys!r} with {dataset}"
        )
    if groups and kind not in (*KINDS, "folder", "csv", "tfrecord", "tfds", "fashion_mnist_mini"):
        raise ValueError(
            "`groups` belongs to folder:PATH, csv:FILE, tfrecord:PATH or tfds:NAME. "
            f"Received: groups={groups!r} with {dataset}"
        )
    return kind, functools.partial(opener, rest)


def _said_of_groups(source: Source, groups: str) -> dict[str, Any]:
    """What provenance says of groups: how many each part has, and which two parts share."""
    known = {part: s.groups for part, s in source.splits.items() if s.groups is not None}
    if not known:
        return {}
    counts = {part: len(np.unique(numbers_of(column))) for part, column in known.items()}
    said = {"groups": {"by": groups or "the data set itself"} | counts}
    return said | say_shared(known, source.name)


def _check(source: Source, needed: tuple[str, ...]) -> None:
    """Raises ValueError for fewer than two classes, or too few images."""
    if len(source.class_names) < (1 if source.several else 2):
        raise ValueError(
            f"A classifier needs at least two classes; {source.name} has "
            f"{len(source.class_names)}: {', '.join(source.class_names)}"
        )
    for part in needed:
        if not len(source.splits[part]):
            raise ValueError(f"{source.name} has no images for the {part} part.")
    if "train" in needed:
        check_training_images(source)


def open_for(
    recipe: Recipe,
    parts: Fingerprint | None = None,
    download: bool = False,
    held: Held | None = None,
    verbose: int = 1,
) -> Source:
    """A recipe's data set; the other arguments and what it raises are those of `open_source`.

    `held` is the data set of a recipe for what a program holds.
    """
    return open_source(
        held or recipe.dataset,
        data_dir=recipe.data_dir,
        split=recipe.split,
        validation_fraction=recipe.validation_fraction,
        seed=recipe.seed,
        download=download,
        decoding=decoding_for(recipe),
        keys=recipe.keys,
        groups=recipe.groups,
        parts=parts,
        verbose=verbose,
    )


def open_run(run: RunFolder, held: Held | None = None, verbose: int = 1) -> Source:
    """The data set of a run, divided as it was.

    Args:
        run: The run folder.
        held: The data set of a run that trained on what a program held.
        verbose: See `open_source`.

    Raises:
        ChangedData: it has changed since.
        ValueError: it cannot be opened.
    """
    record = run.data_path
    parts = Fingerprint.read(record) if record.exists() else None
    return open_for(run.recipe, parts, held=held, verbose=verbose)


def decoding_of(run: RunFolder) -> Decoding:
    """How a run decodes images.

    Raises:
        ValueError: its config.json or its record of the data is damaged.
    """
    decoding, record = decoding_for(run.recipe), run.data_path
    if record.exists():
        decoding = dataclasses.replace(decoding, white=Fingerprint.read(record).white)
    return decoding


def decoding_for(recipe: Recipe) -> Decoding:
    """How a recipe's images are decoded, before the range of those of 16 bits is known."""
    return Decoding(recipe.background_color, recipe.max_pixels, bands=recipe.band_numbers)


def _with_parts(source: Source, before: Fingerprint) -> Source:
    """The examples of an earlier run in the parts that they had."""
    now = source.fingerprint()
    if now == before:
        return source
    changes = now.changes_since(before, source.drawn)
    if changes and not changes.only_added:
        raise ChangedData(source.name, changes)
    everything = concatenated(list(source.splits.values()))
    number = {everything.name(i): i for i in range(len(everything))}
    splits = {
        part: everything.subset(np.array([number[name] for name, _, _ in rows], np.int64))
        for part, rows in before.parts.items()
    }
    return dataclasses.replace(source, splits=splits, added=changes.added)
