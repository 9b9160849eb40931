"""Where images come from. Every source ends as three splits of numbered examples.

    open_source("fashion_mnist_mini" | "folder:PATH" | "tfds:NAME" | "tfrecord:PATH" | "elpv" | ...)

An example's number is stable, so that order, augmentation and resuming can be computed from it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from keras_inception.data.sources import tfds as tfds_sets
from keras_inception.data.sources.elpv import open_elpv
from keras_inception.data.sources.fake import open_fake
from keras_inception.data.sources.folder import open_folder
from keras_inception.data.sources.records import open_shards
from keras_inception.data.splits import Source
from keras_inception.runs import RunFolder

EMBEDDED = Path(__file__).parents[1] / "fashion_mnist_mini" / "1.0.0"


def open_source(
    dataset: str,
    *,
    data_dir: str = "",
    split: str = "",
    validation_fraction: float = 0.1,
    seed: int = 0,
    download: bool = False,
) -> Source:
    """Opens a data set and checks it.

    Args:
        dataset: "fashion_mnist_mini" (embedded), "folder:PATH" (class folders, with or without
            train/, validation/ and test/ above them), "tfds:NAME", "tfrecord:PATH" (a folder of
            ImageNet's shards), "elpv" (solar cells) or "fake".
        data_dir: Where prepared TFDS data lies; empty for TFDS' default.
        split: TFDS' split strings of the training, validation and test part, or of training and
            test, with commas: "train[:80%],train[80%:90%],train[90%:]". Empty: the data set's own.
        validation_fraction: Share of the training part that becomes the validation part, where the
            data set has none of its own.
        seed: Decides which examples those are.
        download: Whether TFDS may download what is not prepared yet.

    Raises:
        ValueError: the data set is unknown, missing, has fewer than two classes or too many
            unreadable images.
    """
    kind, _, rest = dataset.partition(":")
    if split and kind != "tfds" and dataset != "fashion_mnist_mini":
        raise ValueError(
            "--split names the splits of a TFDS data set; other sources have folders or files for "
            f"their parts (docs/data.md). Received: --split={split} with --dataset={dataset}"
        )
    if dataset == "fashion_mnist_mini":
        import tensorflow_datasets as tfds

        source = tfds_sets.open_builder(
            tfds.builder_from_directory(str(EMBEDDED)), split, validation_fraction
        )
    elif kind == "folder" and rest:
        source = open_folder(Path(rest).expanduser(), validation_fraction, seed)
    elif kind == "tfds" and rest:
        source = tfds_sets.open_builder(
            tfds_sets.prepared_builder(rest, data_dir, download), split, validation_fraction
        )
    elif kind == "tfrecord" and rest:
        source = open_shards(Path(rest).expanduser(), validation_fraction, seed)
    elif dataset == "elpv":
        source = open_elpv(validation_fraction, seed)
    elif dataset == "fake":
        source = open_fake(validation_fraction, seed)
    else:
        raise ValueError(
            "--dataset should be fashion_mnist_mini, folder:PATH, tfds:NAME, tfrecord:PATH, elpv "
            f"or fake. Received: {dataset!r}"
        )
    if len(source.class_names) < 2:
        raise ValueError(
            f"A classifier needs at least two classes; {dataset} has "
            f"{len(source.class_names)}: {', '.join(source.class_names)}"
        )
    for split in ("train", "test"):
        if not len(source.splits[split]):
            raise ValueError(f"{dataset} has no images for the {split} part.")
    return dataclasses.replace(source, name=dataset)


def open_run(run: RunFolder) -> Source:
    """The data set of a run, divided as it was."""
    recipe = run.recipe
    return open_source(
        recipe.dataset,
        data_dir=recipe.data_dir,
        split=recipe.split,
        validation_fraction=recipe.validation_fraction,
        seed=recipe.seed,
    )
