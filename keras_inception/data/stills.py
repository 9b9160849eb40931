"""Images that TensorFlow reads wrongly: animations, and BMP with a palette."""

from __future__ import annotations

import tensorflow as tf

from keras_inception.data.headers import bytes_at, little_endian, signed, walk


def _text(values: tf.Tensor) -> tf.Tensor:
    """Numbers 0..255 as a string of bytes."""
    return tf.strings.reduce_join(tf.gather(tf.constant([bytes([i]) for i in range(256)]), values))


def _numbers_le(value: tf.Tensor, length: int) -> tf.Tensor:
    """A number as bytes, least first."""
    return tf.stack([(value // 256**i) % 256 for i in range(length)])


def gif_of_first_frame(
    encoded: tf.Tensor, background: tuple[int, int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """A GIF of its first frame alone, opaque, and the frame's place.

    Returns:
        The bytes, in which the transparent color of the palette is the background and the canvas
        is as large as the frame; int64 (4,): top, left, height and width of the canvas.
    """
    length = tf.cast(tf.strings.length(encoded), tf.int64)
    head = bytes_at(encoded, 0, 13)

    def palette_bytes(flags: tf.Tensor) -> tf.Tensor:
        return tf.where(flags & 0x80 > 0, 3 * 2 ** (1 + flags % 8), tf.constant(0, tf.int64))

    # Blocks begin at `at`; inside one, `at` is at a data sub-block. `control` and `frame` are where
    # the first frame's graphic control extension and its descriptor begin, once they are found.
    def body(at, inside, control, frame, _):  # type: ignore[no-untyped-def]
        now = bytes_at(encoded, at, 10)
        extension, descriptor = now[0] == 0x21, now[0] == 0x2C
        ended = inside & (now[0] == 0)
        lost = (at >= length) | (~inside & ~extension & ~descriptor)
        control = tf.where(~inside & extension & (now[1] == 0xF9), at, control)
        frame = tf.where(~inside & descriptor, at, frame)
        skip = tf.where(
            inside,
            now[0] + 1,
            tf.where(extension, tf.constant(2, tf.int64), 11 + palette_bytes(now[9])),
        )
        done = lost | (ended & (frame > 0))
        return at + skip, ~ended, control, frame, ~done

    zero = tf.constant(0, tf.int64)
    begin = (13 + palette_bytes(head[10]), tf.constant(False), zero, zero, tf.constant(True))
    end, _, control, frame, _ = tf.while_loop(lambda *v: v[-1], body, begin)
    with tf.control_dependencies([tf.debugging.Assert(frame > 0, ["A GIF without a frame."])]):
        described = bytes_at(encoded, frame, 10)
    extension = bytes_at(encoded, control, 8)
    transparent = (control > 0) & (extension[3] & 1 > 0)
    # What is replaced, in the order in which it stands in the file: (place, the bytes there now).
    local = described[9] & 0x80 > 0
    color = tf.where(local, frame + 10, tf.constant(13, tf.int64)) + 3 * extension[6]
    kept = bytes_at(encoded, color, 3)
    painted = tf.where(transparent, tf.constant(background, tf.int64), kept)
    canvas, flags = described[5:9], tf.concat([extension[:3], [extension[3] & 0xFE]], 0)
    descriptor = tf.concat([described[:1], tf.zeros(4, tf.int64), described[5:]], 0)

    def part(start: tf.Tensor | int, stop: tf.Tensor) -> tf.Tensor:
        start = tf.minimum(tf.cast(start, tf.int64), length)
        return tf.strings.substr(encoded, start, tf.maximum(stop - start, 0))

    def with_color(start: tf.Tensor | int, stop: tf.Tensor) -> tf.Tensor:
        """The bytes from start to stop, with the painted color if it lies there."""
        start = tf.cast(start, tf.int64)
        here = transparent & (color >= start) & (color + 3 <= stop)
        return tf.cond(
            here,
            lambda: part(start, color) + _text(painted) + part(color + 3, stop),
            lambda: part(start, stop),
        )

    opened = part(0, tf.constant(6, tf.int64)) + _text(canvas)
    before = tf.cond(
        control > 0,
        lambda: with_color(10, control) + _text(flags) + part(control + 4, frame),
        lambda: with_color(10, frame),
    )
    still = opened + before + _text(descriptor) + with_color(frame + 10, end) + b";"
    place = [
        little_endian(described, 3, 2),
        little_endian(described, 1, 2),
        little_endian(head, 8, 2),
        little_endian(head, 6, 2),
    ]
    return still, tf.stack(place)


def webp_of_first_frame(encoded: tf.Tensor, head: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """An animated WebP's first frame as a still one, and its place.

    TensorFlow's own reading of animations writes outside its memory (2.21).

    Returns:
        The bytes, with an alpha channel; int64 (4,): top, left, height and width of the canvas.
    """

    def step(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        chunk = bytes_at(encoded, at, 8)
        size = little_endian(chunk, 4, 4)
        found = tf.reduce_all(chunk[:4] == list(b"ANMF"))
        return tf.where(found, at, tf.zeros_like(at)), at + 8 + size + size % 2, chunk[0] > 0

    at = walk(step, 12)
    with tf.control_dependencies([tf.debugging.Assert(at > 0, ["A WebP without a frame."])]):
        frame = bytes_at(encoded, at, 24)
    data = tf.strings.substr(encoded, at + 24, tf.maximum(little_endian(frame, 4, 4) - 16, 0))
    extended = b"VP8X\x0a\0\0\0\x10\0\0\0" + _text(frame[14:20])
    has_alpha_chunk = tf.reduce_all(bytes_at(data, 0, 4) == list(b"ALPH"))
    data = tf.where(has_alpha_chunk, extended, b"") + data
    size = tf.cast(tf.strings.length(data), tf.int64)
    still = b"RIFF" + _text(_numbers_le(size + 4, 4)) + b"WEBP" + data
    top, left = 2 * little_endian(frame, 11, 3), 2 * little_endian(frame, 8, 3)
    return still, tf.stack(
        [top, left, 1 + little_endian(head, 27, 3), 1 + little_endian(head, 24, 3)]
    )


def bmp_by_palette(encoded: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """A BMP of 1, 4 or 8 bits a pixel, whose values are places in a palette: uint8 RGB."""
    bits, used = little_endian(head, 28, 2), little_endian(head, 46, 4)
    width, signed_height = signed(little_endian(head, 18, 4)), signed(little_endian(head, 22, 4))
    height = tf.abs(signed_height)
    row = (width * bits + 31) // 32 * 4
    begin, length = little_endian(head, 10, 4), tf.cast(tf.strings.length(encoded), tf.int64)
    good = tf.reduce_any(bits == tf.constant([1, 4, 8], tf.int64)) & (width > 0) & (height > 0)
    good &= (begin + row * height <= length) & (used <= 256)
    with tf.control_dependencies([tf.debugging.Assert(good, ["A damaged BMP with a palette."])]):
        count = tf.where(used == 0, 2**bits, used)
    palette = tf.reshape(bytes_at(encoded, 14 + little_endian(head, 14, 4), 4 * count), (-1, 4))
    palette = tf.cast(palette[:, 2::-1], tf.uint8)
    stored = tf.io.decode_raw(tf.strings.substr(encoded, begin, row * height), tf.uint8)
    stored = tf.cast(tf.reshape(stored, tf.stack([height, row, 1])), tf.int32)
    shifts = tf.range(8 - tf.cast(bits, tf.int32), -1, -tf.cast(bits, tf.int32))
    values = tf.bitwise.bitwise_and(
        tf.bitwise.right_shift(stored, shifts), tf.cast(2**bits - 1, tf.int32)
    )
    values = tf.reshape(values, tf.stack([height, -1]))[:, :width]
    values = tf.where(signed_height > 0, values[::-1], values)
    return tf.gather(palette, values)
