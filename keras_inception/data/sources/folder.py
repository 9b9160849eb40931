"""Class folders: a folder a class, with or without train/, validation/ and test/ above them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.data.kept import state_of
from keras_inception.data.splits import SPLITS, Source, Split, stratified, without_unreadable

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")


def open_folder(root: Path, validation_fraction: float, seed: int) -> Source:
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
