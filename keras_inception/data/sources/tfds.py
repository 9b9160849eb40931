"""TFDS data sets: prepared ones on this machine or in a bucket, with their splits or slices."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.buckets import as_path
from keras_inception.data.checked import check_images
from keras_inception.data.kept import digest_of, state_of
from keras_inception.data.parts import draw_missing_parts
from keras_inception.data.sources.files import check_class_names
from keras_inception.data.sources.labels import check_names_of_several, indicators, labelled
from keras_inception.data.sources.opening import Opening
from keras_inception.data.sources.shards import Keys, index_shards, split_of, text_of
from keras_inception.data.splits import SPLITS, Source, Split
from keras_inception.data.twins import BY_TWINS, grouped_by_twins

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

    What it lacks, or has without labels, comes out of its training part, by slices: TFDS shuffles
    examples when it prepares them, so slices are random parts. With groups, whole ones are drawn.
    """
    image, label = _features(builder, opening.keys)
    keys = Keys(image, label, opening.group_key)
    if keys.group and keys.group not in builder.info.features:
        raise ValueError(
            f"`groups` should name the feature of {builder.name} that says what belongs in one "
            f"part; it has {', '.join(builder.info.features)}. Received: groups={keys.group!r}"
        )
    feature = builder.info.features[keys.label]
    several = type(feature).__name__ != "ClassLabel"  # a Sequence of labels
    names = tuple((feature.feature if several else feature).names)
    check_class_names(names, builder.name)
    if several:
        check_names_of_several(names, builder.name)
    have = set(builder.info.splits)
    asked = _parts_asked_for(builder, opening.split) if opening.split else {}
    while True:
        parts = asked or _own_parts(
            builder.name, have, opening.validation_fraction, bool(opening.groups)
        )
        classes = len(names) if several else 0
        splits = {
            p: _tfds_split(builder, spec, keys, classes, opening.verbose)
            for p, spec in parts.items()
            if spec
        }
        # Of several labels, the images of a small slice may happen to have none.
        slices = [p for p in splits if several and p != "train" and parts[p].startswith("train[")]
        usable = labelled({p: s for p, s in splits.items() if p not in slices}, builder.name)
        usable = {p: s for p, s in splits.items() if p in usable or p in slices}
        without = {parts[part] for part in splits if part not in usable}
        if asked and without:
            raise ValueError(f"`split` names {', '.join(without)}, which has no labels.")
        if not without:
            break
        have -= without
    is_whole = bool(opening.groups) and not asked  # what is missing is drawn then
    if not is_whole:
        usable.setdefault("validation", usable["train"].subset(np.zeros(0, np.int64)))
    files = [str(path) for s in have for path in builder.info.splits[s].filepaths]
    state = digest_of(sorted(state_of(files)))
    states = {
        part: [(state, parts[part], i) for i in range(len(split))] for part, split in usable.items()
    }
    provenance = {"tfds": f"{builder.name}/{builder.version}", "splits": parts}
    # What is kept of its images is kept for each way to slice it.
    called = " ".join([builder.name, *filter(None, parts.values())])
    source = Source(called, names, usable, provenance, decoding=opening.decoding)
    source = check_images(source, states, opening.verbose)
    if opening.groups == BY_TWINS:
        source = grouped_by_twins(source)
    if not is_whole:
        return source
    return draw_missing_parts(source, opening.validation_fraction, opening.seed)


def _own_parts(
    name: str, have: set[str], validation_fraction: float, whole: bool
) -> dict[str, str]:
    """The splits, or slices of them, that are the parts; "" for an empty one.

    `whole` takes no slices: what is missing then is drawn later.
    """
    if "train" not in have:
        raise ValueError(
            f"{name} has no split 'train'; it has {sorted(have)}. Give `split`, such as "
            f"`split={sorted(have)[0]}[:80%],{sorted(have)[0]}[80%:]`"
        )
    if "test" in have and "validation" in have:
        return {"train": "train", "validation": "validation", "test": "test"}
    test = next((s for s in ("test", "validation") if s in have), None)
    if whole:
        return {"train": "train"} | ({"test": test} if test else {})
    end = 100 if test else 80
    begin = round(end * (1 - validation_fraction))
    return {
        "train": f"train[:{begin}%]",
        "validation": f"train[{begin}%:{end}%]" if begin < end else "",
        "test": test or f"train[{end}%:]",
    }


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


def _features(builder: Any, asked: str) -> list[str]:
    """The names of the image's and the label's feature.

    Args:
        builder: A TFDS builder.
        asked: "IMAGE,LABEL"; empty for the only ones, or those of its supervised form.
    """
    features = builder.info.features
    found: list[str] = []
    for kind, name in zip(("Image", "ClassLabel"), [*asked.split(","), ""], strict=False):
        names = [n for n, f in features.items() if _kind(f) == kind]
        usual = [n for n in names if n in (builder.info.supervised_keys or ())]
        if not names:
            raise ValueError(
                f"{builder.name} is no image classification set: it has no {kind} feature, only "
                f"{', '.join(features)}."
            )
        chosen = [name.strip()] if name.strip() else names if len(names) == 1 else usual
        if len(chosen) != 1 or chosen[0] not in names:
            raise ValueError(
                f"{builder.name} has the {kind} features {', '.join(names)}. Name an image and a "
                f"label, such as `keys=image,label`. Received: keys={asked!r}"
            )
        found += chosen
    if np.dtype(features[found[0]].np_dtype).kind == "f":
        raise ValueError(
            f"{builder.name} stores its images as floats under {found[0]!r}, and images are read "
            "in 0..255. Prepare it with whole numbers: multiply values in 0..1 by 255, and round."
        )
    return found


def _kind(feature: Any) -> str:
    """The name of a feature's class; of a Sequence of labels, theirs."""
    inner = getattr(feature, "feature", feature)
    return "ClassLabel" if type(inner).__name__ == "ClassLabel" else type(feature).__name__


def _tfds_split(builder: Any, part: str, keys: Keys, classes: int, verbose: int) -> Split:
    """A part in memory, encoded, or by an index of its records where it is too large for that.

    `classes` is their number where examples have several labels, else 0.
    """
    import tensorflow_datasets as tfds

    ranges = _ranges(builder, part)
    whole = {name: builder.info.splits[name] for name, _, _ in ranges}
    size = sum(
        whole[name].num_bytes * (end - begin) / max(whole[name].num_examples, 1)
        for name, begin, end in ranges
    )
    # TFDS streams no ArrayRecord files, which are made for access by number.
    if size > IN_MEMORY_BYTES or builder.info.file_format.value == "array_record":
        return _indexed_split(builder, ranges, keys, classes, verbose)
    records = builder.as_dataset(split=part, decoders={keys.image: tfds.decode.SkipDecoding()})
    rows = list(records.as_numpy_iterator())
    encoded = tf.constant([row[keys.image] for row in rows])
    groups = np.array([text_of(row[keys.group]) for row in rows], str) if keys.group else None

    def image(i: tf.Tensor) -> tf.Tensor:
        return tf.gather(encoded, i)

    def name(i: int) -> str:
        return f"{part} example {i}"

    given = [row[keys.label] for row in rows]
    labels = indicators(given, classes) if classes else np.array(given, np.int64)
    return Split(labels, image, name, where=f"{builder.name} ", groups=groups)


def _indexed_split(
    builder: Any, ranges: list[tuple[str, int, int]], keys: Keys, classes: int, verbose: int
) -> Split:
    """The records of a TFDS part, read from its shards when they are needed."""
    kind = builder.info.file_format.value
    if kind not in ("tfrecord", "array_record"):
        raise ValueError(
            f"{builder.name} has over {IN_MEMORY_BYTES / 2**30:.0f} GiB in {kind} files; large "
            "TFDS sets are read from tfrecord or array_record files: prepare it in one of these."
        )
    names = list(dict.fromkeys(name for name, _, _ in ranges))
    shards = {name: [str(p) for p in builder.info.splits[name].filepaths] for name in names}
    paths = [path for name in names for path in shards[name]]
    records = index_shards(paths, keys, as_path(builder.data_dir), verbose)
    first = dict(zip(names, np.cumsum([0] + [_examples(builder, n) for n in names]), strict=False))
    wanted = np.concatenate([first[name] + np.arange(begin, end) for name, begin, end in ranges])
    split = split_of(records)
    if classes:
        split = dataclasses.replace(split, labels=indicators(records.labels.tolist(), classes))
    return split.subset(wanted)


def _examples(builder: Any, split: str) -> int:
    return builder.info.splits[split].num_examples
