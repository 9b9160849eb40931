"""What an image's header says, in TensorFlow's operations: format, size, a JPEG's orientation."""

from __future__ import annotations

import tensorflow as tf

from keras_inception.data.decoding import FORMATS

# A rare branch of a conditional that is a function of its own costs nothing where it is not taken;
# inlined, each of its operations would be visited for every image.
outlined = tf.function(autograph=False, experimental_attributes={"_noinline": True})


def image_format(encoded: tf.Tensor) -> tf.Tensor:
    """int32: a place in `FORMATS`, by an image's first bytes; 0 for what is not for the graph."""
    head = bytes_at(encoded, 0, 12)

    def begins(text: bytes, at: int = 0) -> tf.Tensor:
        return tf.reduce_all(head[at : at + len(text)] == tf.constant(list(text), tf.int64))

    is_a = [
        begins(b"\xff\xd8\xff"),
        begins(b"\x89PNG\r\n\x1a\n"),
        begins(b"RIFF") & begins(b"WEBP", 8),
    ]
    return tf.reduce_sum(tf.stack([tf.where(yes, i, 0) for i, yes in enumerate(is_a, 1)]))


def stored_size(encoded: tf.Tensor) -> tf.Tensor:
    """int64 (2,): height and width by an image's header, before it is turned upright."""
    head = bytes_at(encoded, 0, 32)

    def webp() -> tf.Tensor:
        extended = [1 + little_endian(head, 27, 3), 1 + little_endian(head, 24, 3)]
        bits = little_endian(head, 21, 4)
        lossless = [1 + (bits // 2**14) % 2**14, 1 + bits % 2**14]
        lossy = [little_endian(head, 28, 2) % 2**14, little_endian(head, 26, 2) % 2**14]
        kind = tf.where(head[15] == ord("X"), 0, tf.where(head[15] == ord("L"), 1, 2))
        return tf.gather(tf.stack([extended, lossless, lossy]), kind)

    return tf.switch_case(
        image_format(encoded),
        [
            lambda: tf.zeros(2, tf.int64),
            lambda: tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64),
            lambda: tf.stack([big_endian(head, 20, 4), big_endian(head, 16, 4)]),
            webp,
        ],
    )


@outlined
def jpeg_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """int32 1..8: how the camera was held, by the EXIF data of a JPEG; 1 for other images."""

    def body(at: tf.Tensor, found: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, ...]:
        head = bytes_at(encoded, at, 10)
        exif = (head[1] == 0xE1) & tf.reduce_all(head[4:8] == list(b"Exif"))
        # EXIF stands among the application segments and comments before the image's tables.
        more = (head[0] == 0xFF) & (((head[1] >= 0xE0) & (head[1] <= 0xEF)) | (head[1] == 0xFE))
        return at + 2 + big_endian(head, 2, 2), tf.where(exif, at + 10, found), more & ~exif

    is_jpeg = image_format(encoded) == FORMATS.index("JPEG")
    begin = (tf.constant(2, tf.int64), tf.constant(0, tf.int64), is_jpeg)
    start = tf.while_loop(lambda _, __, more: more, body, begin)[1]
    return tf.cond(start > 0, lambda: _tiff_orientation(encoded, start), lambda: tf.constant(1))


def _tiff_orientation(encoded: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """The orientation in the TIFF structure that begins at `start`; 1 where it notes none."""
    head = bytes_at(encoded, start, 8)
    little = head[0] == ord("I")

    def number(values: tf.Tensor) -> tf.Tensor:
        """The last axis' bytes as a number, in the structure's own order."""
        length = values.shape[-1]
        up = tf.constant([256**i for i in range(length)], tf.int64)
        return tf.reduce_sum(values * tf.where(little, up, up[::-1]), -1)

    directory = start + number(head[4:8])
    count = number(bytes_at(encoded, directory, 2))
    entries = tf.reshape(bytes_at(encoded, directory + 2, 12 * count), (-1, 12))
    entries = tf.ensure_shape(entries, (None, 12))
    here = (number(entries[:, :2]) == 0x0112) & (number(entries[:, 2:4]) == 3)
    values = tf.boolean_mask(number(entries[:, 8:10]), here)
    value = tf.reduce_sum(values[:1])
    return tf.cast(tf.where((value >= 1) & (value <= 8), value, 1), tf.int32)


def bytes_at(encoded: tf.Tensor, start: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
    """int64 (count,): bytes of a string from `start`; zeros where it ends before."""
    length = tf.cast(tf.strings.length(encoded), tf.int64)
    start = tf.clip_by_value(tf.cast(start, tf.int64), 0, length)
    wanted = tf.cast(count, tf.int64)
    found = tf.io.decode_raw(tf.strings.substr(encoded, start, wanted), tf.uint8)
    missing = wanted - tf.minimum(wanted, length - start)
    padded = tf.pad(tf.cast(found, tf.int64), [[0, missing]])
    return tf.ensure_shape(padded, (count if isinstance(count, int) else None,))


def little_endian(values: tf.Tensor, at: int, length: int) -> tf.Tensor:
    """int64: a number, least byte first."""
    return tf.reduce_sum(values[at : at + length] * [256**i for i in range(length)])


def big_endian(values: tf.Tensor, at: int, length: int) -> tf.Tensor:
    """int64: a number, greatest byte first."""
    return tf.reduce_sum(values[at : at + length] * [256**i for i in reversed(range(length))])
