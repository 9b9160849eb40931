"""What one pass over the encoded images of a data set finds out about each of them.

Facts are columns, an entry an image:

    format       uint8, a place in `headers.FORMATS`
    height, width    int32, of the upright image
    orientation  uint8, EXIF's 1..8
    plain        uint8, whether TensorFlow's own decoding is right; see `plain.Header`
    odd          uint8, 1 if the PNG that `plain.png_path` names is decoded instead of the image
    maximum      int32, the largest value of a 16-bit PNG, 0 for others
    bytes        int64, the length of its encoded form
    digest       uint8 (n, 16), BLAKE2b of its encoded form
    problem      object, a sentence that says why the image cannot be used, else ""

Height, width, orientation, plain and maximum of an odd image are those of its PNG.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_inception.bar import Bar
from keras_inception.data.decode import Decoding, sixteen_bit_maximum
from keras_inception.data.headers import FORMATS, CannotRead
from keras_inception.data.iteration import Batches
from keras_inception.data.kept import kept_path, load_kept, save_kept
from keras_inception.data.plain import as_png, format_of, png_path, read_header
from keras_inception.data.stream import stream
from keras_inception.files import write

Facts = dict[str, np.ndarray]

_COLUMNS = {
    "format": np.uint8,
    "height": np.int32,
    "width": np.int32,
    "orientation": np.uint8,
    "plain": np.uint8,
    "odd": np.uint8,
    "maximum": np.int32,
    "bytes": np.int64,
}
# What is said of an image until it has been decoded.
_UNREAD = "it cannot be read"
# Counted up when the decoding changes: what was kept before is then computed anew.
_VERSION = 4


def digest(content: bytes) -> np.ndarray:
    """uint8 (16,): what tells content apart."""
    return np.frombuffer(hashlib.blake2b(content, digest_size=16).digest(), np.uint8)


def find_facts(
    image: Callable[[tf.Tensor], tf.Tensor],
    states: Sequence[object],
    decoding: Decoding,
    where: str,
    verbose: int = 1,
) -> Facts:
    """Reads and decodes every image once; those of an unchanged state are known from before.

    An image that cannot be used is looked at again, since a disk may have failed or a package been
    missing.

    Args:
        image: int64 scalar tensor i -> the encoded bytes of image i.
        states: For each image, what changes when its content does, such as path, size and time.
        decoding: How images are decoded.
        where: Names the data set; facts are kept under this name.
        verbose: 1 shows the progress, 2 in lines, 0 nothing.
    """
    keys = np.array([digest(repr(s).encode(errors="surrogateescape")) for s in states], np.uint8)
    keys = keys.reshape(-1, 16)
    path = kept_path("facts", (where, _VERSION, decoding.max_pixels, decoding.bands))
    before = _still_true(path, decoding)
    rows = {key: row for row, key in enumerate(as_scalars(before["key"]).tolist())}
    place = np.array([rows.get(key, -1) for key in as_scalars(keys).tolist()], int)
    known = place >= 0
    facts = _nothing(len(keys))
    for name, column in facts.items():
        column[known] = before[name][place[known]]
    if not known.all():
        found = _look(image, np.flatnonzero(~known), decoding, verbose)
        for name, column in facts.items():
            column[~known] = found[name]
        good = facts["problem"] == ""
        columns = facts | {"key": keys}
        save_kept(path, {name: columns[name][good] for name in before if name != "problem"})
    return facts


def _nothing(count: int) -> Facts:
    """All columns for so many images, with nothing noted yet."""
    facts: Facts = {name: np.zeros(count, dtype) for name, dtype in _COLUMNS.items()}
    rest = {"digest": np.zeros((count, 16), np.uint8), "problem": np.full(count, "", object)}
    return facts | rest


def _still_true(path: Path, decoding: Decoding) -> Facts:
    """What was kept, with the column "key", but for images whose PNG is gone."""
    none = _nothing(0) | {"key": np.zeros((0, 16), np.uint8)}
    kept = {name: column for name, column in none.items() if name != "problem"}
    before = load_kept(path, kept)
    if before is None:
        return none
    if len({len(column) for column in before.values()}) > 1:
        logging.warning("%s is damaged (columns of several lengths) and is computed anew.", path)
        return none
    before["problem"] = np.full(len(before["key"]), "", object)
    good = before["problem"] == ""
    for i in np.flatnonzero(before["odd"] == 1):
        good[i] = png_path(before["digest"][i], decoding).exists()
    return {name: column[good] for name, column in before.items()}


def as_scalars(rows: np.ndarray) -> np.ndarray:
    """uint8 (n, 16) as n comparable scalars."""
    return np.ascontiguousarray(rows).view("S16").ravel() if len(rows) else np.zeros(0, "S16")


def groups_of_equals(facts: Facts) -> np.ndarray:
    """int64 (n,): a number for each image, the same for images of equal content."""
    return np.unique(facts["digest"], axis=0, return_inverse=True)[1].reshape(-1)


def _look(
    image: Callable[[tf.Tensor], tf.Tensor],
    numbers: np.ndarray,
    decoding: Decoding,
    verbose: int,
) -> Facts:
    """The facts of some images: by their headers, then by decoding them once."""
    facts = _nothing(len(numbers))
    facts["problem"][:] = _UNREAD

    def note(row: np.ndarray, content: bytes) -> np.ndarray:
        """What the header says: orientation, `plain`, and whether the graph decodes the image."""
        facts["digest"][row], facts["bytes"][row] = digest(content), len(content)
        facts["format"][row] = FORMATS.index(format_of(content))
        try:
            header = read_header(content, decoding)
        except CannotRead as error:
            facts["problem"][row] = str(error)
            return np.array([1, 0, 0], np.int32)
        for name in ("height", "width", "orientation", "plain", "odd"):
            facts[name][row] = getattr(header, name)
        return np.array([header.orientation, header.plain, not header.odd], np.int32)

    @tf.autograph.experimental.do_not_convert  # there is nothing to convert, which takes seconds
    def decode(row: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Height, width and the maximum of 16 bits; zeros if it is not for the graph."""
        encoded = image(number)
        noted = tf.ensure_shape(tf.numpy_function(note, [row, encoded], tf.int32), (3,))
        orientation, plain, is_decoded = tf.unstack(noted)

        def usual() -> tf.Tensor:
            return tf.pad(tf.shape(decoding.decode(encoded, plainly=True))[:2], [[0, 1]])

        def unusual() -> tf.Tensor:
            size = tf.shape(decoding.decode(encoded, 3, orientation))[:2]
            return tf.concat([size, sixteen_bit_maximum(encoded)[None]], 0)

        case = tf.where(is_decoded == 0, 2, tf.where(plain > 0, 0, 1))
        return row, tf.switch_case(case, [usual, unusual, lambda: tf.zeros(3, tf.int32)])

    rows = (
        tf.data.Dataset.from_tensor_slices((np.arange(len(numbers)), numbers.astype(np.int64)))
        .map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        .ignore_errors()
    )
    progress = Bar(verbose, "images checked")
    with Batches(rows) as looked_at:
        for done, (row, values) in enumerate(looked_at, start=1):
            height, width, maximum = values.numpy()
            if height:
                for name, value in (("height", height), ("width", width), ("maximum", maximum)):
                    facts[name][row.numpy()] = value
                facts["problem"][row.numpy()] = ""
            progress(done, len(numbers))
    _make_plain(image, numbers, decoding, facts)
    return facts


def _make_plain(
    image: Callable[[tf.Tensor], tf.Tensor], numbers: np.ndarray, decoding: Decoding, facts: Facts
) -> None:
    """Keeps PNGs of odd images, and of those that TensorFlow does not decode though Pillow does."""

    def make(row: int) -> bytes:
        content = image(tf.constant(numbers[row], tf.int64)).numpy()
        read_header(content, decoding)
        png = as_png(content, decoding.bands)
        write(png_path(facts["digest"][row], decoding), png)
        return png

    # Of what has no header that Pillow reads there is no height.
    rows = np.flatnonzero((facts["problem"] == _UNREAD) & (facts["height"] > 0))
    for row, png in stream(rows.tolist(), make):
        facts["odd"][row] = isinstance(png, bytes)
        if isinstance(png, CannotRead):
            facts["problem"][row] = str(png)
            continue
        if isinstance(png, tf.errors.OpError):
            continue
        if isinstance(png, Exception):
            raise png
        header = read_header(png, dataclasses.replace(decoding, bands=()))
        facts["problem"][row], facts["orientation"][row] = "", 1
        for name in ("height", "width", "plain"):
            facts[name][row] = getattr(header, name)
        facts["maximum"][row] = sixteen_bit_maximum(tf.constant(png))
