"""ImageNet's TFRecord shards as a data set."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np

from keras_inception import buckets
from keras_inception.data.checked import check_images
from keras_inception.data.facts import find_facts
from keras_inception.data.kept import state_of
from keras_inception.data.parts import draw_missing_parts
from keras_inception.data.sources.files import check_class_names
from keras_inception.data.sources.opening import Opening
from keras_inception.data.sources.shards import Records, open_records, split_of
from keras_inception.data.splits import Source

_MOST_CLASSES = 100_000


def open_shards(folder: Path, opening: Opening) -> Source:
    """ImageNet's shards; a validation part without a test part is the test part."""
    parts = open_records(folder)
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    everything = np.concatenate([records.labels for records in parts.values()])
    offset = int(everything.min())  # ImageNet's scripts count classes from 1
    classes = int(everything.max()) - offset + 1
    if classes > _MOST_CLASSES:
        raise ValueError(
            f"The labels of {folder} should be numbers of at most {_MOST_CLASSES:,} classes. "
            f"Received: labels from {offset} to {everything.max()}"
        )
    known = {k: v for records in parts.values() for k, v in records.names.items()}
    names = _names(folder / "labels.txt", offset, classes) or tuple(
        known.get(i + offset, f"class {i}") for i in range(classes)
    )
    check_class_names(names, str(folder))
    splits = {}
    for part, records in parts.items():
        split = dataclasses.replace(split_of(records), labels=records.labels - offset)
        facts = find_facts(split.image, _states(records), opening.decoding, f"{folder} {part}")
        splits[part] = dataclasses.replace(split, facts=facts)
    provenance = {"tfrecord": str(folder), "first label": offset, "seed": opening.seed}
    source = Source(str(folder), tuple(names), splits, provenance, decoding=opening.decoding)
    source = check_images(source)
    splits, drawn = draw_missing_parts(source.splits, opening.validation_fraction, opening.seed)
    return dataclasses.replace(source, splits=splits, drawn=tuple(drawn))


def _states(records: Records) -> list[object]:
    shards = state_of(records.shards)
    places = zip(records.shard.tolist(), records.offset.tolist(), strict=True)
    return [(shards[shard], offset) for shard, offset in places]


def _names(path: Path, offset: int, classes: int) -> tuple[str, ...]:
    """The class names in labels.txt: a name a line, or TF-Slim's "0:daisy" in any order."""
    if not path.exists():
        return ()
    lines = buckets.read(path).decode().split("\n")
    lines = [line.rstrip("\r") for line in lines if line.strip()]
    numbered = [re.fullmatch(r"(\d+):(.*)", line) for line in lines]
    if lines and all(numbered):
        by_number = {int(m[1]): m[2].strip() for m in numbered if m}
        wanted = range(offset, offset + classes)
        if not set(by_number) >= set(wanted) and set(by_number) >= set(range(classes)):
            wanted = range(classes)
        lines = [by_number[i] for i in wanted if i in by_number]
    if len(lines) != classes:
        raise ValueError(f"{path} has {len(lines)} names, and the records {classes} classes.")
    return tuple(lines)
