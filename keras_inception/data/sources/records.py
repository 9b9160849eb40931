"""ImageNet's TFRecord shards as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_inception.data.kept import state_of
from keras_inception.data.sources.shards import open_records
from keras_inception.data.splits import Source, Split, stratified, without_unreadable


def open_shards(folder: Path, validation_fraction: float, seed: int) -> Source:
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
