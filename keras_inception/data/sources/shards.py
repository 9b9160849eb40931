"""TFRecord and ArrayRecord shards, with random access.

A record is a tf.train.Example with an image's bytes and a label, under keys that differ. A first
pass notes where every record begins and its label; that index is kept, so that later runs begin at
once.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.bar import Bar
from keras_inception.buckets import as_path, is_remote, opened
from keras_inception.data.kept import digest_of, kept_arrays, kept_file, state_of
from keras_inception.data.listing import head_of
from keras_inception.data.sources.labels import NO_LABEL
from keras_inception.data.splits import Split
from keras_inception.files import write

# What records call their class: ImageNet's have both, and two of its classes are a "crane".
NAMES = ("image/class/synset", "image/class/text")
# Images are compressed already: a shard that grows more than this is no honest one.
_LARGEST_GROWTH = 20
# Larger sets, and all that do not lie on this machine, are read from file to file and in blocks:
# an access to network storage or to a spinning disk takes as long as reading megabytes.
SEQUENTIAL_BYTES = 16 * 2**30
BLOCK_BYTES = 4 * 2**20
WINDOW_BYTES = 256 * 2**20  # of the examples that are shuffled among each other
# The columns that are kept.
_INDEX = {name: np.zeros(0, int) for name in ("shard", "offset", "length", "counts")}
_INDEX |= {"labels": np.zeros(0, int), "named": np.zeros(0, int)}
_INDEX["names"] = _INDEX["groups"] = np.zeros(0, str)
_VERSION = 3  # counted up when what they mean changes
_HEAD, _TAIL = 12, 4  # bytes before a record (length, its checksum) and after it (its checksum)


@dataclasses.dataclass(frozen=True)
class Keys:
    """The names under which a record holds its image's bytes, its label, and perhaps its group."""

    image: str = "image/encoded"
    label: str = "image/class/label"
    group: str = ""


@dataclasses.dataclass(frozen=True)
class Records:
    """The records of one part.

    Attributes:
        shards: Paths, in order; TFRecord files, or ArrayRecord files (by their names).
        called: What messages call them.
        keys: Where a record holds what.
        shard: int32 (n,): which shard a record is in.
        offset, length: int64 (n,): in a TFRecord file the byte at which the record begins and its
            length; in an ArrayRecord file the record's number and 0.
        labels: int64 (n, most), as in the records: each one's labels, then `NO_LABEL`.
        names: Label -> class name, of the labels whose records say one.
        groups: str (n,), or (0,) if no key says them.
    """

    shards: list[str]
    called: list[str]
    keys: Keys
    shard: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    labels: np.ndarray
    names: dict[int, str]
    groups: np.ndarray

    @property
    def is_sequential(self) -> bool:
        """Whether the records should be read in the files' order."""
        remote = any("://" in path for path in self.shards)
        return remote or int(self.length.sum()) > SEQUENTIAL_BYTES

    @property
    def window(self) -> int:
        """How many records `WINDOW_BYTES` are; of ArrayRecord, whose sizes are unknown, 2,048."""
        size = int(self.length.sum()) / max(len(self.length), 1)
        return max(1, int(WINDOW_BYTES / size)) if size else 2048

    def image(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """int64 i -> the encoded bytes of record i's image."""
        read = self._read
        return lambda i: tf.ensure_shape(tf.numpy_function(read, [i], tf.string), ())

    def images(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """int64 (n,) -> the encoded bytes of n records' images, by one call of Python."""
        read = self._read

        def read_all(numbers: np.ndarray) -> np.ndarray:
            return np.array([read(i) for i in numbers], object)

        def images(i: tf.Tensor) -> tf.Tensor:
            found = tf.numpy_function(read_all, [i], tf.string)
            return tf.ensure_shape(found, i.shape)

        return images

    @functools.cached_property
    def _read(self) -> Callable[[int], bytes]:
        blocks = _Blocks() if self.is_sequential else None

        def read(i: int) -> bytes:
            path, at = self.shards[self.shard[i]], int(self.offset[i])
            if _is_array_record(path):
                record = _array_reader(path).read([at])[0]
            elif blocks is not None:
                record = blocks.read(path, at, int(self.length[i]))
            else:
                with opened(path) as file:
                    file.seek(at)
                    record = file.read(int(self.length[i]))
            match values_of(features_of(record, self.name(i))[self.keys.image]):
                case [bytes(image)]:
                    return image
            raise ValueError(f"{self.name(i)} has no image's bytes under {self.keys.image!r}.")

        return read

    def name(self, i: int) -> str:
        """Such as "train-00001-of-00004 at byte 1024"."""
        shard = self.called[self.shard[i]]
        where = "record" if _is_array_record(shard) else "byte"
        return f"{shard} at {where} {self.offset[i]}"


class _Blocks:
    """Bytes of files, read in blocks; those of two windows are kept, and no more."""

    def __init__(self) -> None:
        # A window's records lie in its bytes' blocks and in those at its ends; the next window is
        # begun while the last one's are still asked for.
        most = 2 * (WINDOW_BYTES // BLOCK_BYTES + 2)
        self._block = functools.lru_cache(maxsize=most)(self._read_block)
        self.reads = 0

    def _read_block(self, path: str, number: int) -> bytes:
        self.reads += 1
        with opened(path) as file:
            file.seek(number * BLOCK_BYTES)
            return file.read(BLOCK_BYTES)

    def read(self, path: str, at: int, length: int) -> bytes:
        """`length` bytes of a file from `at` on."""
        first, last = at // BLOCK_BYTES, (at + length - 1) // BLOCK_BYTES
        joined = b"".join(self._block(path, number) for number in range(first, last + 1))
        begin = at - first * BLOCK_BYTES
        return joined[begin : begin + length]


def _is_array_record(path: str) -> bool:
    return "array_record" in Path(path).name or "arrayrecord" in Path(path).name


@functools.lru_cache(maxsize=256)
def _array_reader(path: str) -> Any:
    """One open reader a shard. The package comes with tensorflow-datasets, except on Windows."""
    if is_remote(path):
        raise ValueError(
            f"{path}: ArrayRecord files are read on this machine only; copy them, or use TFRecord."
        )
    try:
        from array_record.python.array_record_module import ArrayRecordReader
    except ImportError as error:
        raise ValueError(f"{path} needs the package array-record: {error}") from error
    return ArrayRecordReader(path)


def _uncompressed(path: str) -> str:
    """A shard that allows access by place: itself or, of a compressed one, a copy in the cache.

    Raises:
        ValueError: the shard is damaged, or far larger than its compressed form.
    """
    if head_of(path)[:3] != b"\x1f\x8b\x08":
        return path
    copy = kept_file("shards", digest_of(state_of([path])), Path(path).name)
    limit = _LARGEST_GROWTH * tf.io.gfile.stat(path).length + 2**20

    def unpack(temporary: Path) -> None:
        with (
            opened(path) as stored,
            gzip.GzipFile(fileobj=stored) as packed,
            temporary.open("wb") as file,
        ):
            size = 0
            while block := packed.read(2**20):
                size += len(block)
                if size > limit:
                    raise ValueError(f"it is more than {_LARGEST_GROWTH} times its compressed size")
                file.write(block)

    if not copy.exists():
        try:
            write(copy, unpack)
        except (EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
            raise ValueError(f"The shard {path} cannot be unpacked: {error}") from error
    return str(copy)


def index_shards(paths: Sequence[str], keys: Keys, root: Any, verbose: int = 1) -> Records:
    """Where every record of some shards begins, and its label: as it was kept, or read now.

    Args:
        paths: The shards, plain or packed by gzip.
        keys: Where a record holds what.
        root: The folder of the data set; in messages, shards are called by their paths below it.
        verbose: 1 shows the progress, 2 in lines, 0 nothing.

    Raises:
        ValueError: a shard is damaged, a record has no image, or its label is not one whole number.
    """
    shards = [_uncompressed(path) for path in paths]
    called = [as_path(path).relative_to(root).as_posix() for path in paths]
    state = (state_of(shards), keys, _VERSION)
    found = kept_arrays("index", state, _INDEX, lambda: _scan(shards, called, keys, verbose))
    named = zip(found["named"].tolist(), found["names"].tolist(), strict=True)
    columns = {key: found[key] for key in ("shard", "offset", "length", "groups")}
    counts = found["counts"]
    labels = np.full((len(counts), counts.max(initial=1)), NO_LABEL, np.int64)
    labels[np.arange(labels.shape[1]) < counts[:, None]] = found["labels"]
    return Records(shards, called, keys, labels=labels, names=dict(named), **columns)


def split_of(records: Records) -> Split:
    """The records as numbered examples, each with its first label."""
    in_files = records.is_sequential
    return Split(
        records.labels[:, 0],
        records.image(),
        records.name,
        images=records.images(),
        shards=records.shard if in_files else None,
        window=records.window if in_files else 0,
        groups=records.groups if records.keys.group else None,
    )


def _scan(
    shards: Sequence[str], called: Sequence[str], keys: Keys, verbose: int
) -> dict[str, np.ndarray]:
    """Reads every record once."""
    rows: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    names: dict[int, str] = {}
    groups: list[str] = []
    progress = Bar(verbose, "shards indexed")
    for number, (path, name) in enumerate(zip(shards, called, strict=True)):
        for record, at, length in records_in(path):
            where = f"{name} at {'record' if _is_array_record(path) else 'byte'} {at}"
            features = features_of(record, where)
            if keys.image not in features:
                raise ValueError(f"{where} has no {keys.image!r}; it has {sorted(features)}.")
            own = _labels(features, keys.label, where)
            rows.append((number, at, length, len(own)))
            labels += own
            if len(own) == 1:
                _note_name(names, own[0], features, where)
            if keys.group:
                groups.append(_group(features, keys.group, where))
        progress(number + 1, len(shards))
    columns = np.array(rows, np.int64).reshape(-1, 4)
    return {
        "shard": columns[:, 0].astype(np.int32),
        "offset": columns[:, 1],
        "length": columns[:, 2],
        "counts": columns[:, 3],
        "labels": np.array(labels, np.int64),
        "named": np.array(list(names), np.int64),
        "names": np.array(list(names.values()), str),
        "groups": np.array(groups, str),
    }


def _labels(features: Any, key: str, where: str) -> list[int]:
    """A record's labels; of several, negative ones fill a list up.

    Raises:
        ValueError: one is text or a fraction.
    """
    values = values_of(features[key]) if key in features else []
    for value in values:
        if isinstance(value, bytes) or not float(value).is_integer():
            raise ValueError(
                f"{where} has the label {value!r} under {key!r}. A label is one whole number, and "
                "`labels.txt` names the classes."
            )
    return [int(value) for value in values if value >= 0 or len(values) == 1]


def _group(features: Any, key: str, where: str) -> str:
    """A record's group as text.

    Raises:
        ValueError: it is not one number or text.
    """
    values = values_of(features[key]) if key in features else []
    if len(values) != 1:
        raise ValueError(
            f"{where} has {len(values)} values under {key!r}, which `groups` names, not one; it "
            f"has {sorted(features)}."
        )
    return text_of(values[0])


def text_of(value: Any) -> str:
    """A number or bytes as the name of a group."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _note_name(names: dict[int, str], label: int, features: Any, where: str) -> None:
    """Notes what a record calls its class.

    Raises:
        ValueError: that is no UTF-8, or another name than before.
    """
    key = next((key for key in NAMES if key in features), "")
    text = values_of(features[key])[:1] if key else []
    if not text or label < 0:
        return
    try:
        name = text[0].decode()
    except (UnicodeDecodeError, AttributeError) as error:
        raise ValueError(f"{where} has no text in UTF-8 under {key!r}: {error}") from error
    if names.setdefault(label, name) != name:
        raise ValueError(
            f"{where} calls its class {name!r}, and the records before it with the label {label} "
            f"call it {names[label]!r}."
        )


def records_in(path: str) -> Iterator[tuple[bytes, int, int]]:
    """Each record of a shard, where it begins, and its length; of ArrayRecord its number and 0."""
    array = _is_array_record(path)
    return _array_records(path) if array else _tf_records(_uncompressed(path))


def _tf_records(path: str) -> Iterator[tuple[bytes, int, int]]:
    """Each record of a TFRecord file, where its bytes begin, and how many they are."""
    size = tf.io.gfile.stat(path).length
    with opened(path) as file:
        at = 0
        while at < size:
            head = file.read(_HEAD)
            length = struct.unpack("<Q", head[:8])[0] if len(head) == _HEAD else size
            if at + _HEAD + length + _TAIL > size:
                raise ValueError(
                    f"The shard {path} is damaged: its record at byte {at} is longer than the file."
                )
            yield file.read(length), at + _HEAD, length
            at += _HEAD + length + _TAIL
            file.seek(at)


def _array_records(path: str) -> Iterator[tuple[bytes, int, int]]:
    """Each record of an ArrayRecord file and its number."""
    try:
        reader = _array_reader(path)
        for at in range(reader.num_records()):
            yield reader.read([at])[0], at, 0
    except RuntimeError as error:
        raise ValueError(f"The shard {path} is damaged: {error}") from error


def features_of(record: bytes, where: str) -> Any:
    """The features of a record by their keys.

    Raises:
        ValueError: it is no tf.train.Example.
    """
    try:
        return tf.train.Example.FromString(record).features.feature
    except Exception as error:
        raise ValueError(f"{where} is no tf.train.Example: {error}") from error


def values_of(feature: Any) -> list:
    """The values of a feature: bytes, whole numbers or floats."""
    kind = feature.WhichOneof("kind")
    return list(getattr(feature, kind).value) if kind else []
