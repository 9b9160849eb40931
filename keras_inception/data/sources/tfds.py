"""TFDS data sets: prepared ones on this machine or in a bucket, with their splits or slices."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.data.checked import check_images
from keras_inception.data.facts import find_facts
from keras_inception.data.kept import digest_of, state_of
from keras_inception.data.sources.files import check_class_names
from keras_inception.data.sources.opening import Opening
from keras_inception.data.sources.shards import Keys, index_shards, split_of
from keras_inception.data.splits import SPLITS, Source, Split

# Encoded bytes up to which a split is kept in memory; of a larger one records are read when they
# are needed.
IN_MEMORY_BYTES = 2 * 2**30


def prepared_builder(name: str, data_dir: str, download: bool) -> Any:
    """A TFDS builder whose data is on this machine: offline, `tfds.load` hangs for minutes."""
    import tensorflow_datasets as tfds

    where = data_dir or None
    try:
        builder = tfds.builder(name, data_dir=where)
    except tfds.core.registered.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        close = difflib.get_close_matches(name.split("/")[0], known, n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(f"TFDS knows no data set {name!r}.{hint}") from error
    except ValueError as error:
        raise ValueError(f"TFDS cannot open {name!r}: {str(error).splitlines()[0]}") from error
    if not builder.is_prepared():
        if not download:
            raise ValueError(
                f"tfds:{name} is not prepared in {builder.data_dir}. Give `download=True` to fetch "
                "and prepare it, or `data_dir` if it lies elsewhere."
            )
        builder.download_and_prepare()
    return builder


def open_builder(builder: Any, opening: Opening) -> Source:
    """Splits of a prepared builder: those asked for, or its own.

    What it lacks comes out of its training part, by slices: TFDS shuffles examples when it
    prepares them, so slices are random parts.
    """
    have = set(builder.info.splits)
    if opening.split:
        parts = _parts_asked_for(builder, opening.split)
    elif "train" not in have:
        raise ValueError(
            f"{builder.name} has no split 'train'; it has {sorted(have)}. Give `split`, such as "
            f"`split={sorted(have)[0]}[:80%],{sorted(have)[0]}[80%:]`"
        )
    elif "test" in have and "validation" in have:
        parts = {"train": "train", "validation": "validation", "test": "test"}
    else:
        test = next((s for s in ("test", "validation") if s in have), None)
        end = 100 if test else 80
        begin = round(end * (1 - opening.validation_fraction))
        parts = {
            "train": f"train[:{begin}%]",
            "validation": f"train[{begin}%:{end}%]" if begin < end else "",
            "test": test or f"train[{end}%:]",
        }
    label, image = _feature(builder, "ClassLabel"), _feature(builder, "Image")
    names = tuple(builder.info.features[label].names)
    check_class_names(names, builder.name)
    files = [str(path) for s in have for path in builder.info.splits[s].filepaths]
    state = digest_of(sorted(state_of(files)))
    opened = {}
    for part, spec in parts.items():
        if spec:
            one = _tfds_split(builder, spec, image, label)
            states = [(state, spec, i) for i in range(len(one))]
            facts = find_facts(one.image, states, opening.decoding, f"{builder.name} {spec}")
            opened[part] = dataclasses.replace(one, facts=facts)
    opened.setdefault("validation", opened["train"].subset(np.zeros(0, np.int64)))
    provenance = {"tfds": f"{builder.name}/{builder.version}", "splits": parts}
    return check_images(Source(builder.name, names, opened, provenance, decoding=opening.decoding))


def _parts_asked_for(builder: Any, split: str) -> dict[str, str]:
    """The parts that the argument names; they must exist and share no image."""
    specs = [spec.strip() for spec in split.split(",")]
    if len(specs) not in (2, 3):
        raise ValueError(
            "`split` should be two or three TFDS splits with commas: training and test, or "
            f"training, validation and test. Received: split={split!r}"
        )
    parts = dict(zip(("train", "test") if len(specs) == 2 else SPLITS, specs, strict=True))
    taken: list[tuple[str, str, int, int]] = []
    for part, spec in parts.items():
        for name, begin, end in _ranges(builder, spec):
            for other, where, first, last in taken:
                if name == where and begin < last and first < end:
                    raise ValueError(
                        f"The parts of `split` should share no image: the {other} and the {part} "
                        f"part share the images {max(begin, first)} to {min(end, last)} of "
                        f"{name!r}. Received: split={split!r}"
                    )
            taken.append((part, name, begin, end))
    return parts


def _ranges(builder: Any, spec: str) -> list[tuple[str, int, int]]:
    """A TFDS split string as (split, first example, end)."""
    import tensorflow_datasets as tfds

    try:
        found = tfds.core.ReadInstruction.from_spec(spec).to_absolute(builder.info.splits)
    except (ValueError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"`split` cannot be used: {reason} Received: split={spec!r}") from error
    sizes = {one.splitname: builder.info.splits[one.splitname].num_examples for one in found}
    return [
        (one.splitname, one.from_ or 0, sizes[one.splitname] if one.to is None else one.to)
        for one in found
    ]


def _feature(builder: Any, kind: str) -> str:
    """The name of a builder's one feature of a kind."""
    names = [n for n, f in builder.info.features.items() if type(f).__name__ == kind]
    if not names:
        raise ValueError(
            f"{builder.name} is no image classification set: it has no {kind} feature, only "
            f"{', '.join(builder.info.features)}."
        )
    return names[0]


def _tfds_split(builder: Any, part: str, image_key: str, label_key: str) -> Split:
    """A part in memory, encoded, or by an index of its records where it is too large for that."""
    import tensorflow_datasets as tfds

    ranges = _ranges(builder, part)
    whole = {name: builder.info.splits[name] for name, _, _ in ranges}
    size = sum(
        whole[name].num_bytes * (end - begin) / max(whole[name].num_examples, 1)
        for name, begin, end in ranges
    )
    # TFDS streams no ArrayRecord files, which are made for access by number.
    if size > IN_MEMORY_BYTES or builder.info.file_format.value == "array_record":
        return _indexed_split(builder, ranges, Keys(image_key, label_key))
    records = builder.as_dataset(split=part, decoders={image_key: tfds.decode.SkipDecoding()})
    pairs = [(r[image_key], r[label_key]) for r in records.as_numpy_iterator()]
    encoded = tf.constant([image for image, _ in pairs])

    def image(i: tf.Tensor) -> tf.Tensor:
        return tf.gather(encoded, i)

    def name(i: int) -> str:
        return f"{part} example {i}"

    labels = np.array([label for _, label in pairs], np.int64)
    return Split(labels, image, name, where=f"{builder.name} ")


def _indexed_split(builder: Any, ranges: list[tuple[str, int, int]], keys: Keys) -> Split:
    """The records of a TFDS part, read from its shards when they are needed."""
    kind = builder.info.file_format.value
    if kind not in ("tfrecord", "array_record"):
        raise ValueError(
            f"{builder.name} has over {IN_MEMORY_BYTES / 2**30:.0f} GiB in {kind} files; large "
            "TFDS sets are read from tfrecord or array_record files: prepare it in one of these."
        )
    names = list(dict.fromkeys(name for name, _, _ in ranges))
    shards = {name: [str(p) for p in builder.info.splits[name].filepaths] for name in names}
    records = index_shards([path for name in names for path in shards[name]], keys)
    first = dict(zip(names, np.cumsum([0] + [_examples(builder, n) for n in names]), strict=False))
    wanted = np.concatenate([first[name] + np.arange(begin, end) for name, begin, end in ranges])
    return split_of(records).subset(wanted)


def _examples(builder: Any, split: str) -> int:
    return builder.info.splits[split].num_examples
