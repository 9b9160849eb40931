"""Shards of records as a data set: ImageNet's, TF-Slim's, Kaggle's, keras.io's."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_inception import buckets
from keras_inception.buckets import as_path
from keras_inception.data.checked import check_images
from keras_inception.data.groups import TABLE
from keras_inception.data.headers import FORMATS
from keras_inception.data.kept import state_of
from keras_inception.data.listing import is_folder
from keras_inception.data.parts import draw_missing_parts
from keras_inception.data.plain import format_of
from keras_inception.data.sources.files import check_class_names, grouped_by_name
from keras_inception.data.sources.labels import (
    check_names_of_several,
    labelled,
    numbered_from_zero,
    numbered_lists,
)
from keras_inception.data.sources.opening import Opening, part_named
from keras_inception.data.sources.shards import (
    Keys,
    Records,
    features_of,
    index_shards,
    records_in,
    split_of,
    values_of,
)
from keras_inception.data.splits import Source
from keras_inception.data.twins import BY_TWINS, grouped_by_twins
from keras_inception.messages import some

# "train-00000-of-00002", "flowers_train_00000-of-00002.tfrecord", "00-224x224-462.tfrec",
# "train-0.arrayrecord", "train.array_record-00000-of-00001"; not the ".data-00000-of-00001" of a
# checkpoint.
_SHARD = re.compile(r"^(?!.*\.data-).*(-\d+-of-\d+|record|\.tfrec)", re.IGNORECASE)
# What the label's key is called where a record holds several whole numbers.
_LABELS = ("label", "class", "target")
_LISTS = (*_LABELS, "labels", "classes", "targets")


def open_shards(path: Path, opening: Opening) -> Source:
    """Shards as a data set; a validation part without a test part is the test part.

    Args:
        path: A folder, or a pattern such as "data/*/*.tfrec". A shard's name, or that of the
            folder that it lies in, says its part; if no name does, all are the training part.
        opening: How the data set is opened.

    Raises:
        ValueError: there are no shards, one is damaged, or a record's label is no whole number.
    """
    root, shards = _shards(path)
    keys = _keys(shards["train"], opening.keys)
    table = opening.groups if opening.groups.endswith(TABLE) else ""
    keys = dataclasses.replace(keys, group="" if table else opening.group_key)
    records = {
        part: index_shards(paths, keys, root, opening.verbose) for part, paths in shards.items()
    }
    where = str(path)
    splits = {part: split_of(found) for part, found in records.items()}
    if table:
        splits = {part: grouped_by_name(split, table) for part, split in splits.items()}
    if any(found.labels.shape[1] > 1 for found in records.values()):
        lists = {part: found.labels for part, found in records.items()}
        splits, labels = numbered_lists(splits, lists, where)
        splits = labelled(splits, where)
    else:
        splits, labels = numbered_from_zero(labelled(splits, where), where)
    if "test" not in splits and "validation" in splits:
        splits["test"], records["test"] = splits.pop("validation"), records["validation"]
    class_names = _names_in_file(root / "labels.txt", labels) or _names_in_records(
        records, labels, where
    )
    check_class_names(class_names, where)
    if splits["train"].several:
        check_names_of_several(class_names, where)
    provenance = {"tfrecord": where, "keys": f"{keys.image},{keys.label}", "labels": labels}
    source = Source(where, class_names, splits, provenance, decoding=opening.decoding)
    source = check_images(
        source, {part: _states(records[part]) for part in splits}, opening.verbose
    )
    if opening.groups == BY_TWINS:
        source = grouped_by_twins(source)
    return draw_missing_parts(source, opening.validation_fraction, opening.seed)


def _shards(path: Path) -> tuple[Any, dict[str, list[str]]]:
    """The folder of the data set, and the shards of each part that it has shards of."""
    if re.search(r"[*?\[]", str(path)):
        found = map(as_path, sorted(tf.io.gfile.glob(str(path))))
        files = [file for file in found if not file.is_dir()]
        around = [f"{file.parent.as_posix()}/" for file in files] or [f"{path.parent}/"]
        root = as_path(os.path.commonprefix(around).rpartition("/")[0])
    elif is_folder(path):
        root, inside = path, sorted(path.iterdir(), key=str)
        folders = [one for one in inside if part_named(one.name) and one.is_dir()]
        inside += [file for folder in folders for file in sorted(folder.iterdir(), key=str)]
        files = [file for file in inside if _SHARD.search(file.name) and not file.is_dir()]
    else:
        raise ValueError(
            f"There is no folder {path}; tfrecord:PATH names a folder of shards, or is a pattern "
            "such as data/*.tfrec."
        )
    parts: dict[str, list[str]] = {}
    for file in files:
        above = file.parent.name if file.parent != root else ""
        parts.setdefault(part_named(file.name) or part_named(above), []).append(str(file))
    nameless = parts.pop("", [])
    if not parts and nameless:
        return root, {"train": nameless}
    if nameless:
        shown = some(nameless)
        logging.warning("Left out: shards whose names say no part (%d): %s", len(nameless), shown)
    if "train" not in parts:
        here = sorted(one.name for one in root.iterdir())[:5] if is_folder(root) else "nothing"
        raise ValueError(
            f"{path} has no training shards: files called train-00000-of-01024, *.tfrec and so on. "
            f"Received: {here}"
        )
    return root, parts


def _keys(shards: Sequence[str], asked: str) -> Keys:
    """Under which keys images and labels are: those that are asked for, the usual ones, or found.

    Args:
        shards: Those of the training part.
        asked: "IMAGE,LABEL"; empty for what is found.
    """
    shard, features = next(
        (
            (shard, features_of(record, shard))
            for shard in shards
            for record, _, _ in records_in(shard)
        ),
        ("", {}),
    )
    if not shard:
        raise ValueError(f"{shards[0]} and all other training shards have no records.")
    image, _, label = (name.strip() for name in asked.partition(","))
    images, numbers, usual, have = [], [], Keys(), sorted(features)
    for key in have:
        values = values_of(features[key])
        if values and isinstance(values[0], int):
            numbers += [key] * (len(values) == 1 or key.split("/")[-1] in _LISTS)
        elif len(values) == 1 and isinstance(values[0], bytes):
            images += [key] * (format_of(values[0][:32]) != FORMATS[0])
    called = [key for key in numbers if key.split("/")[-1] in _LABELS]
    image = image or _found("an image", usual.image, images, have, shard)
    label = label or _found("a label", usual.label, called or numbers, have, shard)
    lacking = [key for key in (image, label) if key not in features]
    if lacking:
        raise ValueError(f"The records of {shard} have no {lacking[0]!r}; they have {have}.")
    if Keys(image, label) != usual and not asked:
        logging.warning("%s: images are taken from %r, labels from %r.", shard, image, label)
    return Keys(image, label)


def _found(what: str, usual: str, candidates: list[str], have: list[str], shard: str) -> str:
    """The key of what is looked for: the usual one, or the only one that it can be."""
    if usual in have or len(candidates) == 1:
        return usual if usual in have else candidates[0]
    raise ValueError(
        f"Of the keys {have} in {shard}, {' and '.join(candidates) or 'none'} may hold {what}. "
        "Name both keys, such as `keys=image,class`."
    )


def _states(records: Records) -> list[object]:
    shards = state_of(records.shards)
    places = zip(records.shard.tolist(), records.offset.tolist(), strict=True)
    return [(shards[shard], offset) for shard, offset in places]


def _names_in_records(
    records: dict[str, Records], labels: list[int], where: str
) -> tuple[str, ...]:
    """What the records call the classes, or the numbers that stand for them.

    Raises:
        ValueError: one label has two names.
    """
    known: dict[int, str] = {}
    for part, found in records.items():
        for label, name in found.names.items():
            if known.setdefault(label, name) != name:
                raise ValueError(
                    f"{where}: The label {label} is {known[label]!r}, and in the {part} part "
                    f"{name!r}: the parts count their classes differently."
                )
    return tuple(known.get(label, str(label)) for label in labels)


def _names_in_file(path: Any, labels: list[int]) -> tuple[str, ...]:
    """The class names in labels.txt: a name a line, or TF-Slim's "0:daisy" in any order."""
    if not path.exists():
        return ()
    try:
        text = buckets.read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} should be in UTF-8: {error}") from error
    lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    numbered = [re.fullmatch(r"(\d+):(.*)", line) for line in lines]
    if lines and all(numbered):
        by_number = {int(m[1]): m[2].strip() for m in numbered if m}
        counts_alike = set(labels) <= set(by_number)  # else the records count from 1, this from 0
        wanted = labels if counts_alike else range(len(labels))
        lines = [by_number[label] for label in wanted if label in by_number]
    if len(lines) != len(labels):
        raise ValueError(f"{path} has {len(lines)} names, and the records {len(labels)} classes.")
    return tuple(lines)
