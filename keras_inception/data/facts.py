"""What one pass over the encoded images of a data set finds out about each of them.

Facts are columns, an entry an image:

    format       uint8, a place in `headers.FORMATS`
    height, width    int32, of the upright image
    orientation  uint8, EXIF's 1..8
    plain        uint8, see `plain.is_plain`
    maximum      int32, the largest value of a 16-bit PNG, 0 for others
    bytes        int64, the length of its encoded form
    digest       uint8 (n, 16), BLAKE2b of its encoded form
    problem      uint8, a place in `PROBLEMS`
"""

from __future__ import annotations

import functools
import hashlib
import struct
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_inception.data import headers
from keras_inception.data.convert import kind_by_content
from keras_inception.data.decode import Decoding
from keras_inception.data.iteration import Batches
from keras_inception.data.kept import keep, kept_path, load_kept
from keras_inception.data.plain import decode_plainly, is_plain, sixteen_bit_maximum

Facts = dict[str, np.ndarray]

PROBLEMS = ("", "cannot be read", "has more pixels than max_pixels")
_COLUMNS = {
    "format": np.uint8,
    "height": np.int32,
    "width": np.int32,
    "orientation": np.uint8,
    "plain": np.uint8,
    "maximum": np.int32,
    "problem": np.uint8,
}
# Counted up when the decoding changes: what was kept before is then computed anew.
_VERSION = 1


def digest(content: bytes) -> np.ndarray:
    """uint8 (16,): what tells content apart."""
    return np.frombuffer(hashlib.blake2b(content, digest_size=16).digest(), np.uint8)


def find_facts(
    image: Callable[[tf.Tensor], tf.Tensor],
    states: Sequence[object],
    decoding: Decoding,
    where: str,
) -> Facts:
    """Reads and decodes every image once; those of an unchanged state are known from before.

    Args:
        image: int64 scalar tensor i -> the encoded bytes of image i.
        states: For each image, what changes when its content does, such as path, size and time.
        decoding: How images are decoded.
        where: Names the data set; facts are kept under this name.
    """
    keys = np.array([digest(repr(s).encode(errors="surrogateescape")) for s in states], np.uint8)
    keys = keys.reshape(-1, 16)
    path = kept_path("facts", (where, _VERSION, decoding.max_pixels, decoding.background))
    before = load_kept(path)
    if before is None or before.get("key") is None or not len(before["key"]):
        before = {"key": np.zeros((0, 16), np.uint8)}
    old, new = as_scalars(before["key"]), as_scalars(keys)
    order = np.argsort(old)
    place = np.searchsorted(old[order], new) if len(old) else np.zeros(len(new), int)
    place = order[np.minimum(place, len(old) - 1)] if len(old) else place
    known = old[place] == new if len(old) else np.zeros(len(new), bool)
    if known.all() and len(known):
        return {name: column[place] for name, column in before.items() if name != "key"}
    missing = np.flatnonzero(~known)
    found = _look(image, missing, decoding)
    facts = {}
    for name, column in found.items():
        facts[name] = np.zeros((len(keys), *column.shape[1:]), column.dtype)
        facts[name][missing] = column
        if known.any():
            facts[name][known] = before[name][place[known]]
    keep(path, facts | {"key": keys})
    return facts


def as_scalars(rows: np.ndarray) -> np.ndarray:
    """uint8 (n, 16) as n comparable scalars."""
    return np.ascontiguousarray(rows).view("S16").ravel() if len(rows) else np.zeros(0, "S16")


def groups_of_equals(facts: Facts) -> np.ndarray:
    """int64 (n,): a number for each image, the same for images of equal content."""
    return np.unique(facts["digest"], axis=0, return_inverse=True)[1].reshape(-1)


def _look(
    image: Callable[[tf.Tensor], tf.Tensor], numbers: np.ndarray, decoding: Decoding
) -> Facts:
    """The facts of some images."""
    count = len(numbers)
    facts: Facts = {name: np.zeros(count, dtype) for name, dtype in _COLUMNS.items()}
    facts |= {"bytes": np.zeros(count, np.int64), "digest": np.zeros((count, 16), np.uint8)}
    facts["problem"][:] = PROBLEMS.index("cannot be read")

    def note(row: np.ndarray, content: bytes) -> np.ndarray:
        kind, plain, fits = _glance(content, decoding.max_pixels)
        # What is noted here is known of unreadable images, too: an error ends `look`.
        facts["digest"][row], facts["bytes"][row] = digest(content), len(content)
        facts["format"][row] = kind
        return np.array([kind, plain, fits], np.int32)

    def look(row: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        encoded = image(number)
        noted = tf.ensure_shape(tf.numpy_function(note, [row, encoded], tf.int32), (3,))
        kind, plain = noted[0], noted[1]

        def usual() -> tf.Tensor:
            height, width = tf.unstack(tf.shape(decode_plainly(encoded, 3))[:2])
            return tf.stack([kind, height, width, 1, plain, 0, 0])

        def unusual() -> tf.Tensor:
            return _careful_look(decoding)(encoded)

        def too_large() -> tf.Tensor:
            problem = PROBLEMS.index("has more pixels than max_pixels")
            return tf.stack([kind, 0, 0, 1, 0, 0, problem])

        case = tf.where(noted[2] == 0, 2, tf.where(plain > 0, 0, 1))
        return row, tf.switch_case(case, [usual, unusual, too_large])

    rows = (
        tf.data.Dataset.from_tensor_slices((np.arange(count), numbers.astype(np.int64)))
        .map(look, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        .ignore_errors()
    )
    shown = time.monotonic()
    with Batches(rows) as looked_at:
        for done, (row, values) in enumerate(looked_at, start=1):
            for name, value in zip(_COLUMNS, values.numpy(), strict=True):
                facts[name][row.numpy()] = value
            if time.monotonic() - shown > 10:
                shown = time.monotonic()
                print(f"checked {done} of {count} images", file=sys.stderr, flush=True)
    return facts


@functools.lru_cache(maxsize=8)
def _careful_look(decoding: Decoding) -> Callable[[tf.Tensor], tf.Tensor]:
    """As a graph, traced once a process: `_look_carefully`."""
    return headers.apart(lambda encoded: _look_carefully(encoded, decoding))


def _look_carefully(encoded: tf.Tensor, decoding: Decoding) -> tf.Tensor:
    """The values of `_COLUMNS` for an image that TensorFlow alone may decode wrongly."""
    orientation = headers.exif_orientation(encoded)
    size = headers.stored_size(encoded)
    fits = size[0] * size[1] <= decoding.max_pixels

    def decoded() -> tf.Tensor:
        pixels = decoding.decode(encoded, 3, orientation)
        plain = is_plain(encoded, pixels, orientation)
        return tf.stack([plain, sixteen_bit_maximum(encoded), 0])

    too_large = PROBLEMS.index("has more pixels than max_pixels")
    rest = tf.cond(fits, decoded, lambda: tf.constant([0, 0, too_large]))
    height, width = tf.unstack(
        tf.cast(tf.where(orientation >= 5, tf.reverse(size, [0]), size), tf.int32)
    )
    return tf.concat(
        [tf.stack([headers.image_format(encoded), height, width, orientation]), rest], 0
    )


def _glance(content: bytes, max_pixels: int) -> tuple[int, int, bool]:
    """A first look at an image's bytes, which spares the usual ones the careful one.

    Returns:
        Its format, a place in `headers.FORMATS`; what `plain.is_plain` is, where that is certain,
        else 0; and False if it certainly has more pixels than the limit.
    """
    height = width = plain = 0
    kind = headers.FORMATS.index(kind_by_content(content[:32], among=headers.FORMATS) or "unknown")
    if headers.FORMATS[kind] == "JPEG":
        height, width, channels = _jpeg_shape(content)
        plain = 0 if b"Exif" in content else 1 if channels == 4 else 2
    elif headers.FORMATS[kind] == "PNG" and len(content) > 33:
        width, height, depth, color = struct.unpack(">IIBB", content[16:26])
        ancillary = b"tRNS" in content or b"eXIf" in content
        plain = 2 if depth <= 8 and color in (0, 2, 3) and not ancillary else 0
    return kind, plain, height * width <= max_pixels


def _jpeg_shape(content: bytes) -> tuple[int, int, int]:
    """Height, width and channels by a JPEG's header; zeros where it has none."""
    at = 2
    while at + 10 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width, channels = struct.unpack(">HHB", content[at + 5 : at + 10])
            return height, width, channels
        # A marker may be preceded by fill bytes, and two kinds have no length.
        if marker == 0xFF:
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return 0, 0, 0
