"""Where images come from. Every source ends as three splits of numbered examples.

    open_source("fashion_mnist_mini" | "folder:PATH" | "tfds:NAME" | "tfrecord:PATH" | "elpv" | ...)

An example's number is stable, so that order, augmentation and resuming can be computed from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.data import tfds_sets
from keras_inception.data.kept import state_of
from keras_inception.data.records import open_records
from keras_inception.data.splits import SPLITS, Source, Split, stratified, without_unreadable
from keras_inception.runs import RunFolder

EMBEDDED = Path(__file__).parent / "fashion_mnist_mini" / "1.0.0"
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")


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
        source = _folder(Path(rest).expanduser(), validation_fraction, seed)
    elif kind == "tfds" and rest:
        source = tfds_sets.open_builder(
            tfds_sets.prepared_builder(rest, data_dir, download), split, validation_fraction
        )
    elif kind == "tfrecord" and rest:
        source = _tfrecord(Path(rest).expanduser(), validation_fraction, seed)
    elif dataset == "elpv":
        source = _elpv(validation_fraction, seed)
    elif dataset == "fake":
        source = _fake(validation_fraction, seed)
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


# ----------------------------------------------------------------------------------- class folders


def _folder(root: Path, validation_fraction: float, seed: int) -> Source:
    if not root.is_dir():
        raise ValueError(f"There is no folder {root}; --dataset=folder:PATH names class folders.")
    parts = {split: root / split for split in SPLITS if (root / split).is_dir()}
    if (root / "val").is_dir():
        parts.setdefault("validation", root / "val")
    if "train" not in parts:
        parts = {"train": root}
    classes = tuple(
        p.name
        for p in sorted(parts["train"].iterdir())
        if p.is_dir() and not p.name.startswith(".")
    )
    if len(classes) < 2:
        raise ValueError(
            f"A classifier needs at least two class folders with images; {parts['train']} has "
            f"{len(classes)}{': ' + classes[0] if classes else ''}."
        )
    files = {split: _list(part, classes) for split, part in parts.items()}
    everything = [path for listed in files.values() for path, _ in listed]
    if not everything:
        raise ValueError(f"{root} has class folders but no images ({', '.join(SUFFIXES)}).")
    splits = {split: _file_split(listed) for split, listed in files.items()}
    splits = without_unreadable(splits, state_of(everything), str(root))
    for label, name in enumerate(classes):
        if label not in splits["train"].labels:
            raise ValueError(
                f"The class folder {parts['train'] / name} has no readable images "
                f"({', '.join(SUFFIXES)})."
            )
    provenance: dict[str, Any] = {"folder": str(root), "seed": seed, "held_out": {}}
    for split, fraction in (("test", 0.2), ("validation", validation_fraction)):
        if split not in splits:
            train = splits["train"]
            rest, held = stratified(train.labels, fraction, seed)
            splits[split], splits["train"] = train.subset(held), train.subset(rest)
            provenance["held_out"][split] = [
                str(Path(train.describe(i)).relative_to(root)) for i in held
            ]
    return Source(name=str(root), class_names=classes, splits=splits, provenance=provenance)


def _list(part: Path, classes: Sequence[str]) -> list[tuple[str, int]]:
    unknown = {p.name for p in part.iterdir() if p.is_dir() and p.name[0] != "."} - set(classes)
    if unknown:
        raise ValueError(
            f"{part} has class folders that train lacks: {', '.join(sorted(unknown))}."
        )
    return [
        (str(path), label)
        for label, name in enumerate(classes)
        for path in sorted((part / name).rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]


def _file_split(files: list[tuple[str, int]]) -> Split:
    paths = tf.constant([path for path, _ in files], tf.string)

    def image(i: tf.Tensor) -> tf.Tensor:
        return tf.io.read_file(tf.gather(paths, i))

    def describe(i: int) -> str:
        return files[i][0]

    return Split(np.array([label for _, label in files], np.int64), image, describe)


# -------------------------------------------------------------------------------- TFRecord shards


def _tfrecord(folder: Path, validation_fraction: float, seed: int) -> Source:
    """ImageNet's shards; a validation part without a test part is the test part."""
    parts = open_records(folder)
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    everything = np.concatenate([records.labels for records in parts.values()])
    offset = int(everything.min())  # ImageNet's scripts count classes from 1
    classes = int(everything.max()) - offset + 1
    given = folder / "labels.txt"
    names: Sequence[str] = given.read_text().splitlines() if given.exists() else ()
    if given.exists() and len(names) != classes:
        raise ValueError(f"{given} has {len(names)} names, and the records {classes} classes.")
    known = {k: v for records in parts.values() for k, v in records.names.items()}
    names = names or [known.get(i + offset, f"class {i}") for i in range(classes)]
    splits = {
        part: Split(records.labels - offset, records.image(), records.describe)
        for part, records in parts.items()
    }
    shards = [path for records in parts.values() for path in records.shards]
    splits = without_unreadable(splits, state_of(shards), str(folder))
    for part, fraction in (("test", 0.2), ("validation", validation_fraction)):
        if part not in splits:
            kept, held = stratified(splits["train"].labels, fraction, seed)
            splits[part] = splits["train"].subset(held)
            splits["train"] = splits["train"].subset(kept)
    return Source(
        name=str(folder),
        class_names=tuple(names),
        splits=splits,
        provenance={"tfrecord": str(folder), "first label": offset, "seed": seed},
    )


# ----------------------------------------------------------------------------------- other sources

# Deitsch et al. label a cell's probability of a defect 0, 1/3, 2/3 or 1; their classifiers'
# question is functional or defective, the border between 1/3 and 2/3.
ELPV_CLASSES = ("functional", "defective")


def _elpv(validation_fraction: float, seed: int) -> Source:
    """2,624 electroluminescence images of solar cells, 300 x 300 gray (CC BY-NC-SA 4.0).

    A quarter of each class and kind of cell is the test part, a share as large as the paper's; the
    paper's own draw is not published.
    """
    try:
        from elpv_dataset.utils import load_dataset
    except ImportError as error:
        raise ValueError(
            "--dataset=elpv needs the package elpv-dataset (CC BY-NC-SA 4.0, non-commercial): "
            "pip install 'keras-inception[elpv]'"
        ) from error
    images, probability, kinds = load_dataset()
    labels = (probability > 0.5).astype(np.int64)
    # Defects differ between mono- and polycrystalline cells: both kinds in the same shares.
    strata = labels * 2 + (np.asarray(kinds) == "poly")
    rest, test = stratified(strata, 0.25, seed)
    kept, validation = stratified(strata[rest], validation_fraction, seed)
    whole = _array_split(images[..., None], labels, "elpv cell")
    return Source(
        name="elpv",
        class_names=ELPV_CLASSES,
        splits={
            "train": whole.subset(rest[kept]),
            "validation": whole.subset(rest[validation]),
            "test": whole.subset(test),
        },
        provenance={
            "elpv": "defective: probability 2/3 or 1",
            "seed": seed,
            "held_out": {"test": test.tolist(), "validation": rest[validation].tolist()},
        },
    )


def _fake(validation_fraction: float, seed: int) -> Source:
    """Noise whose mean brightness tells the class: for measuring and for trying things out."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 640)
    noise = rng.integers(0, 64, (640, 64, 64, 3))
    images = (noise + 48 * labels[:, None, None, None]).astype(np.uint8)
    rest, test = stratified(labels, 0.2, seed)
    kept, validation = stratified(labels[rest], validation_fraction, seed)
    whole = _array_split(images, labels, "fake example")
    return Source(
        name="fake",
        class_names=("darkest", "dark", "bright", "brightest"),
        splits={
            "train": whole.subset(rest[kept]),
            "validation": whole.subset(rest[validation]),
            "test": whole.subset(test),
        },
        provenance={"fake": "640 images, 64 x 64", "seed": seed},
    )


def _array_split(images: np.ndarray, labels: np.ndarray, noun: str) -> Split:
    pixels = tf.constant(images, tf.uint8)

    def image(i: tf.Tensor) -> tf.Tensor:
        return tf.gather(pixels, i)

    def describe(i: int) -> str:
        return f"{noun} {i}"

    return Split(labels.astype(np.int64), image, describe)
