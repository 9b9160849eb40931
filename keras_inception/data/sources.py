"""Where pictures come from. Every source ends as three splits of numbered examples.

    open_source("fashion_mnist_mini" | "folder:PATH" | "tfds:NAME" | "tfrecord:PATH" | "elpv" | ...)

An example's number is stable, so that order, augmentation and resuming can be computed from it.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.data.kept import kept, state_of
from keras_inception.data.readable import unreadable
from keras_inception.data.records import Keys, index_shards, open_records

EMBEDDED = Path(__file__).parent / "fashion_mnist_mini" / "1.0.0"
SPLITS = ("train", "validation", "test")
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
# Share of unreadable pictures above which a data set is refused rather than used without them.
UNREADABLE_LIMIT = 0.01
# Encoded bytes up to which a TFDS split is kept in memory; of a larger one records are read when
# they are needed.
IN_MEMORY_BYTES = 2 * 2**30


@dataclasses.dataclass(frozen=True)
class Split:
    """Numbered examples with random access.

    Attributes:
        labels: int64 (n,), class of each example.
        picture: scalar int64 tensor i -> the picture: either its encoded bytes (string scalar) or
            its pixels (uint8, (height, width, channels)).
        describe: i -> what names the example in a message, such as its file.
    """

    labels: np.ndarray
    picture: Callable[[tf.Tensor], tf.Tensor]
    describe: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: np.ndarray) -> Split:
        """The examples `indices`, renumbered from 0."""
        kept = tf.constant(indices, tf.int64)

        def picture(i: tf.Tensor) -> tf.Tensor:
            return self.picture(tf.gather(kept, i))

        def describe(i: int) -> str:
            return self.describe(int(indices[i]))

        return Split(self.labels[indices], picture, describe)


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set: its name, its classes, its three splits and how they were made.

    Attributes:
        name: The dataset string that opened it.
        class_names: Names in the order of the labels.
        splits: "train", "validation" (may be empty) and "test".
        provenance: How the splits were made, as JSON can hold it.
    """

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    provenance: dict[str, Any]

    def num_examples(self, split: str) -> int:
        return len(self.splits[split])

    def describe(self, split: str, index: int) -> str:
        return self.splits[split].describe(index)


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
            unreadable pictures.
    """
    kind, _, rest = dataset.partition(":")
    if split and kind != "tfds" and dataset != "fashion_mnist_mini":
        raise ValueError(
            "--split names the splits of a TFDS data set; other sources have folders or files for "
            f"their parts (docs/data.md). Received: --split={split} with --dataset={dataset}"
        )
    if dataset == "fashion_mnist_mini":
        import tensorflow_datasets as tfds

        source = _tfds(tfds.builder_from_directory(str(EMBEDDED)), split, validation_fraction)
    elif kind == "folder" and rest:
        source = _folder(Path(rest).expanduser(), validation_fraction, seed)
    elif kind == "tfds" and rest:
        source = _tfds(_builder(rest, data_dir, download), split, validation_fraction)
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
            raise ValueError(f"{dataset} has no pictures for the {split} part.")
    return dataclasses.replace(source, name=dataset)


def stratified(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (kept, held out): `fraction` of every class is held out, rounded, drawn by `seed`.

    A class keeps at least one example.
    """
    rng = np.random.default_rng(seed)
    held = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held.append(members[: min(round(len(members) * fraction), len(members) - 1)])
    out = np.sort(np.concatenate(held)) if held else np.zeros(0, int)
    return np.setdiff1d(np.arange(len(labels)), out), out


# ------------------------------------------------------------------------------------------- TFDS


def _builder(name: str, data_dir: str, download: bool) -> Any:
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
                f"tfds:{name} is not prepared in {builder.data_dir}. Give --download to fetch and "
                "prepare it, or --data_dir=PATH if it lies elsewhere."
            )
        builder.download_and_prepare()
    return builder


def _tfds(builder: Any, split: str, validation_fraction: float) -> Source:
    """Splits of a prepared builder: those asked for, or its own.

    What it lacks comes out of its training part, by slices: TFDS shuffles examples when it
    prepares them, so slices are random parts.
    """
    have = set(builder.info.splits)
    if split:
        parts = _parts_asked_for(builder, split)
    elif "train" not in have:
        raise ValueError(
            f"{builder.name} has no split 'train'; it has {sorted(have)}. Give --split, such as "
            f"--split={sorted(have)[0]}[:80%],{sorted(have)[0]}[80%:]"
        )
    elif "test" in have and "validation" in have:
        parts = {"train": "train", "validation": "validation", "test": "test"}
    else:
        test = next((s for s in ("test", "validation") if s in have), None)
        end = 100 if test else 80
        begin = round(end * (1 - validation_fraction))
        parts = {
            "train": f"train[:{begin}%]",
            "validation": f"train[{begin}%:{end}%]" if begin < end else "",
            "test": test or f"train[{end}%:]",
        }
    label, image = _feature(builder, "ClassLabel"), _feature(builder, "Image")
    opened = {
        part: _tfds_split(builder, spec, image, label) for part, spec in parts.items() if spec
    }
    files = [str(path) for s in have for path in builder.info.splits[s].filepaths]
    opened = _without_unreadable(opened, (state_of(files), parts), builder.name)
    opened.setdefault("validation", opened["train"].subset(np.zeros(0, np.int64)))
    return Source(
        name=builder.name,
        class_names=tuple(builder.info.features[label].names),
        splits=opened,
        provenance={"tfds": f"{builder.name}/{builder.version}", "splits": parts},
    )


def _parts_asked_for(builder: Any, split: str) -> dict[str, str]:
    """The flag's parts; they must exist and share no picture."""
    specs = [spec.strip() for spec in split.split(",")]
    if len(specs) not in (2, 3):
        raise ValueError(
            "--split takes two or three TFDS splits with commas: training and test, or training, "
            f"validation and test. Received: --split={split}"
        )
    parts = dict(zip(("train", "test") if len(specs) == 2 else SPLITS, specs, strict=True))
    taken: list[tuple[str, str, int, int]] = []
    for part, spec in parts.items():
        for name, begin, end in _ranges(builder, spec):
            for other, where, first, last in taken:
                if name == where and begin < last and first < end:
                    raise ValueError(
                        f"--split={split}: the {other} and the {part} part share the pictures "
                        f"{max(begin, first)} to {min(end, last)} of {name!r}."
                    )
            taken.append((part, name, begin, end))
    return parts


def _ranges(builder: Any, spec: str) -> list[tuple[str, int, int]]:
    """A TFDS split string as (split, first example, end)."""
    import tensorflow_datasets as tfds

    try:
        found = tfds.core.ReadInstruction.from_spec(spec).to_absolute(builder.info.splits)
    except (ValueError, AssertionError) as error:
        raise ValueError(f"--split={spec}: {str(error).splitlines()[0]}") from error
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
            f"{builder.name} is no picture classification set: it has no {kind} feature, only "
            f"{', '.join(builder.info.features)}."
        )
    return names[0]


def _tfds_split(builder: Any, part: str, image: str, label: str) -> Split:
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
        return _indexed_split(builder, ranges, Keys(image, label))
    records = builder.as_dataset(split=part, decoders={image: tfds.decode.SkipDecoding()})
    pairs = [(r[image], r[label]) for r in records.as_numpy_iterator()]
    encoded = tf.constant([picture for picture, _ in pairs])

    def picture(i: tf.Tensor) -> tf.Tensor:
        return tf.gather(encoded, i)

    def describe(i: int) -> str:
        return f"{builder.name} {part} example {i}"

    return Split(np.array([label for _, label in pairs], np.int64), picture, describe)


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
    return Split(records.labels, records.picture(), records.describe).subset(wanted)


def _examples(builder: Any, split: str) -> int:
    return builder.info.splits[split].num_examples


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
            f"A classifier needs at least two class folders with pictures; {parts['train']} has "
            f"{len(classes)}{': ' + classes[0] if classes else ''}."
        )
    files = {split: _list(part, classes) for split, part in parts.items()}
    everything = [path for listed in files.values() for path, _ in listed]
    if not everything:
        raise ValueError(f"{root} has class folders but no pictures ({', '.join(SUFFIXES)}).")
    splits = {split: _file_split(listed) for split, listed in files.items()}
    splits = _without_unreadable(splits, state_of(everything), str(root))
    for label, name in enumerate(classes):
        if label not in splits["train"].labels:
            raise ValueError(
                f"The class folder {parts['train'] / name} has no readable pictures "
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


def _without_unreadable(splits: dict[str, Split], state: object, where: str) -> dict[str, Split]:
    """Decodes every picture once; takes out those that fail, or refuses the data set.

    Args:
        splits: Parts whose pictures are encoded bytes.
        state: What changes when a picture does; the result is kept for it.
        where: Names the data set in messages.
    """
    bad = kept(
        "unreadable", state, lambda: {s: unreadable(v.picture, len(v)) for s, v in splits.items()}
    )
    names = [splits[part].describe(int(i)) for part, numbers in bad.items() for i in numbers]
    if not names:
        return splits
    everything = sum(map(len, splits.values()))
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    if len(names) > UNREADABLE_LIMIT * everything:
        raise ValueError(
            f"{len(names)} of {everything} pictures in {where} cannot be read (the limit is "
            f"{UNREADABLE_LIMIT:.0%}); mend or remove them: {shown}"
        )
    logging.warning("Left out %d unreadable pictures: %s", len(names), shown)
    return {s: v.subset(np.setdiff1d(np.arange(len(v)), bad[s])) for s, v in splits.items()}


def _file_split(files: list[tuple[str, int]]) -> Split:
    paths = tf.constant([path for path, _ in files], tf.string)

    def picture(i: tf.Tensor) -> tf.Tensor:
        return tf.io.read_file(tf.gather(paths, i))

    def describe(i: int) -> str:
        return files[i][0]

    return Split(np.array([label for _, label in files], np.int64), picture, describe)


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
        part: Split(records.labels - offset, records.picture(), records.describe)
        for part, records in parts.items()
    }
    shards = [path for records in parts.values() for path in records.shards]
    splits = _without_unreadable(splits, state_of(shards), str(folder))
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
    """2,624 electroluminescence pictures of solar cells, 300 x 300 grey (CC BY-NC-SA 4.0).

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
        provenance={"fake": "640 pictures, 64 x 64", "seed": seed},
    )


def _array_split(images: np.ndarray, labels: np.ndarray, noun: str) -> Split:
    pixels = tf.constant(images, tf.uint8)

    def picture(i: tf.Tensor) -> tf.Tensor:
        return tf.gather(pixels, i)

    def describe(i: int) -> str:
        return f"{noun} {i}"

    return Split(labels.astype(np.int64), picture, describe)
