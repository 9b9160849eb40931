"""TFRecord shards of the ImageNet kind, with random access.

Shards are called `train-00000-of-01024`, `validation-...` and, if there are any, `test-...`; a
record is a tf.train.Example with "image/encoded" and "image/class/label". A first pass notes where
every record begins and its label; that index is kept, so that later runs begin at once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

PARTS = ("train", "validation", "test")
ENCODED, LABEL, TEXT = "image/encoded", "image/class/label", "image/class/text"
_HEAD, _TAIL = 12, 4  # bytes before a record (length, its checksum) and after it (its checksum)


@dataclasses.dataclass(frozen=True)
class Records:
    """The records of one part.

    Attributes:
        shards: Paths, in order.
        shard: int32 (n,): which shard a record is in.
        offset, length: int64 (n,): where its bytes begin there, and how many they are.
        labels: int64 (n,), as in the records.
        names: Label -> class name, of the labels whose records say one.
    """

    shards: list[str]
    shard: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    labels: np.ndarray
    names: dict[int, str]

    def picture(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """int64 i -> the encoded bytes of record i's picture."""

        def read(i: np.ndarray) -> bytes:
            with open(self.shards[self.shard[i]], "rb") as file:
                file.seek(self.offset[i])
                return _value(file.read(self.length[i]), ENCODED)[0]

        return lambda i: tf.ensure_shape(tf.numpy_function(read, [i], tf.string), ())

    def describe(self, i: int) -> str:
        """Such as "train-00001-of-00004 at byte 1024"."""
        return f"{Path(self.shards[self.shard[i]]).name} at byte {self.offset[i]}"


def open_records(folder: Path) -> dict[str, Records]:
    """The parts that a folder has shards of.

    Raises:
        ValueError: there are no training shards, or one is damaged or holds other records.
    """
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}; --dataset=tfrecord:FOLDER names shards.")
    parts = {}
    for part in PARTS:
        shards = sorted(str(p) for p in folder.glob(f"{part}-*-of-*") if p.is_file())
        if shards:
            parts[part] = _indexed(shards)
    if "train" not in parts:
        raise ValueError(
            f"{folder} has no training shards: files called train-00000-of-01024 and so on. "
            f"Received: {sorted(p.name for p in folder.iterdir())[:5]}"
        )
    return parts


def _indexed(shards: list[str]) -> Records:
    """The index of some shards: the one that was kept, or a new one."""
    state = [(path, os.path.getsize(path), os.stat(path).st_mtime_ns) for path in shards]
    digest = hashlib.sha256(repr(state).encode()).hexdigest()[:20]
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    kept = Path(home) / "datasets" / "keras_inception" / f"{digest}.npz"
    if kept.exists():
        with np.load(kept) as index:
            columns = {key: index[key] for key in ("shard", "offset", "length", "labels")}
            names = dict(zip(index["named"].tolist(), index["names"].tolist(), strict=True))
        return Records(shards, names=names, **columns)
    records = _scan(shards)
    kept.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=kept.parent, suffix=".npz")
    os.close(handle)
    np.savez(
        temporary,
        shard=records.shard,
        offset=records.offset,
        length=records.length,
        labels=records.labels,
        named=np.array(list(records.names), np.int64),
        names=np.array(list(records.names.values()), str),
    )
    os.replace(temporary, kept)
    return records


def _scan(shards: list[str]) -> Records:
    """Reads every record once."""
    rows: list[tuple[int, int, int, int]] = []
    names: dict[int, str] = {}
    shown = time.monotonic()
    for number, path in enumerate(shards):
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            at = 0
            while at < size:
                head = file.read(_HEAD)
                length = struct.unpack("<Q", head[:8])[0] if len(head) == _HEAD else size
                if at + _HEAD + length + _TAIL > size:
                    raise ValueError(
                        f"The shard {path} is damaged: its record at byte {at} is longer than the "
                        "file."
                    )
                record = file.read(length)
                file.seek(_TAIL, os.SEEK_CUR)
                label = int(_value(record, LABEL, f"{path} at byte {at}")[0])
                rows.append((number, at + _HEAD, length, label))
                if label not in names and (text := _value(record, TEXT)):
                    names[label] = text[0].decode()
                at += _HEAD + length + _TAIL
        if time.monotonic() - shown > 10 or number == len(shards) - 1:
            shown = time.monotonic()
            print(
                f"indexed {number + 1} of {len(shards)} shards, {len(rows)} records",
                file=sys.stderr,
                flush=True,
            )
    columns = np.array(rows, np.int64).reshape(-1, 4)
    return Records(
        shards, columns[:, 0].astype(np.int32), columns[:, 1], columns[:, 2], columns[:, 3], names
    )


def _value(record: bytes, key: str, where: str = "") -> list:
    """A feature's values; with `where`, a record without it is refused by that name."""
    try:
        features = tf.train.Example.FromString(record).features.feature
    except Exception as error:
        raise ValueError(f"The record {where} is no tf.train.Example: {error}") from error
    if key not in features:
        if where:
            raise ValueError(f"The record {where} has no {key!r}; it has {sorted(features)}.")
        return []
    feature = features[key]
    return list(getattr(feature, feature.WhichOneof("kind")).value)
