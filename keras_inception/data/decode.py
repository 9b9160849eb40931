"""Encoded images -> pixels: one decode for training, evaluation and exported graphs.

JPEG, PNG, GIF, BMP and WebP, told apart by their content, never by a file's name. Only TensorFlow's
operations are used, so the same code runs in tf.data and inside a SavedModel.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import tensorflow as tf

# What `image_format` returns is a place in this tuple.
FORMATS = ("unknown", "JPEG", "PNG", "GIF", "BMP", "WebP")
# 12,000 x 12,000 pixels pass. Decoding and cropping takes up to 15 bytes a pixel.
MAX_PIXELS = 150_000_000
SIXTEEN_BITS = 65535

Choose = Callable[[tf.Tensor], tf.Tensor]

# A rare branch of a conditional that is a function of its own costs nothing where it is not taken;
# inlined, each of its operations would be visited for every image.
apart = tf.function(autograph=False, experimental_attributes={"_noinline": True})


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How encoded images become pixels.

    Transparent images are laid over `background`. The orientation that a camera notes (EXIF) is
    applied. Of animations the first frame is taken.

    Attributes:
        background: Red, green and blue, 0..255, of what lies behind transparent pixels.
        max_pixels: Larger images are refused by their headers, before they are decoded.
        white: The value of a 16-bit PNG that becomes 255. Cameras and scanners of 12 bits write
            values up to 4095; `open_source` finds the range of a data set.

    Raises:
        ValueError: a field is outside its range.
    """

    background: tuple[int, int, int] = (255, 255, 255)
    max_pixels: int = MAX_PIXELS
    white: int = SIXTEEN_BITS

    def __post_init__(self) -> None:
        object.__setattr__(self, "background", tuple(self.background))
        if len(self.background) != 3 or not all(0 <= c <= 255 for c in self.background):
            raise ValueError(
                "`background` should be red, green and blue, each in 0..255. "
                f"Received: background={self.background}"
            )
        if self.max_pixels < 1:
            raise ValueError(
                f"`max_pixels` should be at least 1. Received: max_pixels={self.max_pixels}"
            )
        if not 255 <= self.white <= SIXTEEN_BITS:
            raise ValueError(f"`white` should be in 255..65535. Received: white={self.white}")

    def to_dict(self) -> dict:
        """The record as JSON holds it."""
        return dataclasses.asdict(self) | {"background": list(self.background)}

    def decode(
        self, encoded: tf.Tensor, channels: int = 3, orientation: tf.Tensor | int | None = None
    ) -> tf.Tensor:
        """Decodes one image.

        Args:
            encoded: string scalar, the bytes of an image.
            channels: 3 (RGB; gray is repeated) or 1 (gray).
            orientation: The image's EXIF orientation, int32 1..8, where it is known; by default it
                is read from `encoded`.

        Returns:
            uint8 (height, width, channels), upright.

        Raises:
            tf.errors.InvalidArgumentError: the bytes are no image that can be read, or it has more
                than `max_pixels` pixels.
        """
        if orientation is None:
            orientation = exif_orientation(encoded)
        pixels = _decoder(self, channels)(encoded, tf.cast(orientation, tf.int32))
        return tf.ensure_shape(pixels, (None, None, channels))

    def decode_crop(
        self,
        encoded: tf.Tensor,
        choose: Choose,
        channels: int = 3,
        orientation: tf.Tensor | int | None = None,
    ) -> tf.Tensor:
        """A rectangle of what `decode` returns; of a JPEG only that part is decoded.

        Args:
            encoded, channels, orientation: As for `decode`.
            choose: int32 (2,), the upright image's height and width -> int32 (4,): top, left,
                height, width of the rectangle.

        Returns:
            uint8 (height, width, channels) of the rectangle.
        """

        def fused() -> tf.Tensor:
            turned = exif_orientation(encoded) if orientation is None else orientation
            size = tf.io.extract_jpeg_shape(encoded)[:2]
            with tf.control_dependencies([self._at_most(tf.cast(size, tf.int64))]):
                box = _box_before_turning(choose, size, turned)
            return _upright(_jpeg(encoded, channels, box), turned)

        @apart
        def whole() -> tf.Tensor:
            return crop(self.decode(encoded, channels, orientation), choose)

        pixels = tf.cond(tf.io.is_jpeg(encoded), fused, whole)
        return tf.ensure_shape(pixels, (None, None, channels))

    def _at_most(self, size: tf.Tensor) -> tf.Operation:
        return tf.debugging.Assert(
            size[0] * size[1] <= self.max_pixels,
            ["An image has more pixels than the limit,", self.max_pixels, ": height, width", size],
        )

    def _over_background(self, pixels: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
        """uint8 pixels with uint8 alpha (height, width, 1) laid over the background."""
        behind = tf.constant(self.background, tf.float32)
        if pixels.shape[-1] == 1:
            behind = tf.reduce_sum(behind * tf.constant((0.299, 0.587, 0.114)), keepdims=True)

        def blended() -> tf.Tensor:
            share = tf.cast(alpha, tf.float32) / 255.0
            mixed = tf.cast(pixels, tf.float32) * share + behind * (1.0 - share)
            return tf.cast(tf.round(mixed), tf.uint8)

        return tf.cond(tf.reduce_all(alpha == 255), lambda: pixels, blended)

    def _png(self, encoded: tf.Tensor, channels: int) -> tf.Tensor:
        def color_and_alpha(dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
            # libpng makes an alpha channel of transparent colors, too, if it is asked for one.
            rgba = tf.ensure_shape(tf.io.decode_png(encoded, 4, dtype), (None, None, 4))
            color = rgba[..., :3] if channels == 3 else tf.io.decode_png(encoded, channels, dtype)
            return tf.ensure_shape(color, (None, None, channels)), rgba[..., 3:]

        depth = _bytes(encoded, 24, 1)[0]

        def usual() -> tf.Tensor:
            color, alpha = color_and_alpha(tf.uint8)
            # Of 1, 2 or 4 bits without transparency TensorFlow fills alpha with 1, 3 or 15.
            filler = tf.cast(2**depth - 1, tf.uint8)
            opaque = tf.reduce_all(alpha == filler)
            return self._over_background(color, tf.where(opaque, tf.cast(255, tf.uint8), alpha))

        def sixteen_bits() -> tf.Tensor:
            values = [tf.cast(v, tf.float32) for v in color_and_alpha(tf.uint16)]
            color, alpha = tf.minimum(values[0] * (255.0 / self.white), 255.0), values[1] / 257.0
            color, alpha = (tf.cast(tf.round(v), tf.uint8) for v in (color, alpha))
            return self._over_background(color, alpha)

        return tf.cond(depth == 16, sixteen_bits, usual)

    def _gif(self, encoded: tf.Tensor, channels: int) -> tf.Tensor:
        """The first frame. TensorFlow makes transparent pixels black, so their color is replaced.

        It also decodes all frames before it drops them; here it sees the first only.
        """
        encoded, place = _gif_of_first_frame(encoded, self.background)
        pixels = tf.io.decode_image(encoded, 3, expand_animations=False)
        return with_channels(
            self._on_canvas(tf.ensure_shape(pixels, (None, None, 3)), place), channels
        )

    def _on_canvas(self, frame: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """A frame put where it belongs: top, left, height and width of the canvas."""
        height, width = tf.unstack(tf.shape(frame)[:2])
        top, left, canvas_height, canvas_width = tf.unstack(tf.cast(place, tf.int32))
        fits = (top + height <= canvas_height) & (left + width <= canvas_width)
        with tf.control_dependencies([tf.debugging.Assert(fits, ["A frame leaves its canvas."])]):
            behind = tf.constant(self.background, tf.int32)
            around = [
                [top, canvas_height - top - height],
                [left, canvas_width - left - width],
                [0, 0],
            ]
            moved = tf.pad(tf.cast(frame, tf.int32) - behind, around) + behind
        return tf.cast(moved, tf.uint8)

    def _bmp(self, encoded: tf.Tensor, channels: int) -> tf.Tensor:
        head = _bytes(encoded, 0, 70)
        bits, compression, header = _le(head, 28, 2), _le(head, 30, 4), _le(head, 14, 4)

        def palette() -> tf.Tensor:
            return _bmp_by_palette(encoded, head)

        def colors() -> tf.Tensor:
            return tf.io.decode_image(encoded, 3, expand_animations=False)

        def four_bytes() -> tf.Tensor:
            rgba = tf.ensure_shape(tf.io.decode_bmp(encoded, 4), (None, None, 4))
            has_alpha = (compression == 3) & (header >= 56) & (_le(head, 66, 4) != 0)
            alpha = tf.where(has_alpha, rgba[..., 3:], tf.constant(255, tf.uint8))
            return self._over_background(rgba[..., :3], alpha)

        known = (header >= 40) & ((compression == 0) | ((compression == 3) & (bits == 32)))
        masks = tf.stack([_le(head, 54, 4), _le(head, 58, 4), _le(head, 62, 4)])
        usual = tf.reduce_all(masks == tf.constant([0xFF0000, 0xFF00, 0xFF], tf.int64))
        known &= (compression == 0) | usual
        complaint = ["A BMP that is compressed or of an unusual kind: bits a pixel", bits]
        with tf.control_dependencies([tf.debugging.Assert(known, complaint)]):
            kind = tf.where(bits <= 8, 0, tf.where(bits == 32, 2, 1))
        pixels = tf.switch_case(kind, [palette, colors, four_bytes])
        return with_channels(tf.ensure_shape(pixels, (None, None, 3)), channels)

    def _webp(self, encoded: tf.Tensor, channels: int) -> tf.Tensor:
        head = _bytes(encoded, 0, 32)

        def animated() -> tf.Tensor:
            still, place = _webp_of_first_frame(encoded, head)
            return self._on_canvas(self._still_webp(still), place)

        moves = (head[15] == ord("X")) & (head[20] & 0x02 > 0)
        pixels = tf.cond(moves, animated, lambda: self._still_webp(encoded))
        return with_channels(tf.ensure_shape(pixels, (None, None, 3)), channels)

    def _still_webp(self, encoded: tf.Tensor) -> tf.Tensor:
        head = _bytes(encoded, 0, 32)

        def transparent() -> tf.Tensor:
            rgba = tf.io.decode_image(encoded, 4, expand_animations=False)
            rgba = tf.ensure_shape(rgba, (None, None, 4))
            return self._over_background(rgba[..., :3], rgba[..., 3:])

        def opaque() -> tf.Tensor:
            return tf.io.decode_image(encoded, 3, expand_animations=False)

        # The last letter of VP8X or VP8L. TensorFlow wants to be asked for 4 channels if there
        # are 4, and for 3 else.
        extended = (head[15] == ord("X")) & (head[20] & 0x10 > 0)
        lossless = (head[15] == ord("L")) & (head[24] & 0x10 > 0)
        pixels = tf.cond(extended | lossless, transparent, opaque)
        return tf.ensure_shape(pixels, (None, None, 3))


def decode(encoded: tf.Tensor, channels: int = 3) -> tf.Tensor:
    """`Decoding().decode`: one image's bytes -> uint8 (height, width, channels), upright."""
    return Decoding().decode(encoded, channels)


@functools.lru_cache(maxsize=32)
def _decoder(decoding: Decoding, channels: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """`Decoding.decode` as a graph, which takes a second to trace: once a process."""

    @tf.function(
        autograph=False,
        experimental_attributes={"_noinline": True},
        input_signature=[tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int32)],
    )
    def decode(encoded: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([decoding._at_most(stored_size(encoded))]):
            encoded = tf.identity(encoded)
        pixels = tf.switch_case(
            image_format(encoded),
            [
                # TensorFlow's own message says that the format is unknown.
                lambda: tf.io.decode_image(encoded, channels, expand_animations=False),
                lambda: _jpeg(encoded, channels),
                lambda: apart(decoding._png)(encoded, channels),
                lambda: apart(decoding._gif)(encoded, channels),
                lambda: apart(decoding._bmp)(encoded, channels),
                lambda: apart(decoding._webp)(encoded, channels),
            ],
        )
        return _upright(tf.ensure_shape(pixels, (None, None, channels)), orientation)

    return decode


def _jpeg(encoded: tf.Tensor, channels: int, box: tf.Tensor | None = None) -> tf.Tensor:
    """A JPEG, or a rectangle of it."""

    def decoded(channels: int) -> tf.Tensor:
        if box is None:
            pixels = tf.io.decode_jpeg(encoded, channels)
        else:
            pixels = tf.io.decode_and_crop_jpeg(encoded, box, channels)
        return tf.ensure_shape(pixels, (None, None, channels))

    if channels == 3:
        return decoded(3)
    # TensorFlow makes no gray of CMYK.
    cmyk = tf.io.extract_jpeg_shape(encoded)[2] == 4
    return tf.cond(cmyk, lambda: with_channels(decoded(3), 1), lambda: decoded(1))


def crop(pixels: tf.Tensor, choose: Choose) -> tf.Tensor:
    """The rectangle of an image (height, width, channels) that `choose` picks for its size."""
    top, left, height, width = tf.unstack(choose(tf.shape(pixels)[:2]))
    return pixels[top : top + height, left : left + width]


def with_channels(pixels: tf.Tensor, channels: int) -> tf.Tensor:
    """uint8 (height, width, 1 or 3) as RGB or gray."""
    if pixels.shape[-1] == channels:
        return pixels
    if pixels.shape[-1] == 1:
        return tf.repeat(pixels, channels, axis=-1)
    return tf.cast(tf.round(tf.image.rgb_to_grayscale(tf.cast(pixels, tf.float32))), tf.uint8)


# ----------------------------------------------------------------------------------------- headers


def image_format(encoded: tf.Tensor) -> tf.Tensor:
    """int32: which of `FORMATS` an image's bytes are, by their beginning."""
    head = _bytes(encoded, 0, 12)

    def begins(text: bytes, at: int = 0) -> tf.Tensor:
        return tf.reduce_all(head[at : at + len(text)] == tf.constant(list(text), tf.int64))

    is_a = [
        begins(b"\xff\xd8\xff"),
        begins(b"\x89PNG\r\n\x1a\n"),
        begins(b"GIF8"),
        begins(b"BM"),
        begins(b"RIFF") & begins(b"WEBP", 8),
    ]
    return tf.reduce_sum(tf.stack([tf.where(yes, i, 0) for i, yes in enumerate(is_a, 1)]))


def stored_size(encoded: tf.Tensor) -> tf.Tensor:
    """int64 (2,): height and width by an image's header, before it is turned upright."""
    head = _bytes(encoded, 0, 32)

    def webp() -> tf.Tensor:
        extended = [1 + _le(head, 27, 3), 1 + _le(head, 24, 3)]
        bits = _le(head, 21, 4)
        lossless = [1 + (bits // 2**14) % 2**14, 1 + bits % 2**14]
        lossy = [_le(head, 28, 2) % 2**14, _le(head, 26, 2) % 2**14]
        kind = tf.where(head[15] == ord("X"), 0, tf.where(head[15] == ord("L"), 1, 2))
        return tf.gather(tf.stack([extended, lossless, lossy]), kind)

    return tf.switch_case(
        image_format(encoded),
        [
            lambda: tf.zeros(2, tf.int64),
            lambda: tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64),
            lambda: tf.stack([_be(head, 20, 4), _be(head, 16, 4)]),
            lambda: tf.stack([_le(head, 8, 2), _le(head, 6, 2)]),
            lambda: tf.abs(tf.stack([_signed(_le(head, 22, 4)), _signed(_le(head, 18, 4))])),
            webp,
        ],
    )


@apart
def exif_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """int32 1..8: how the camera was held, by the EXIF data of a JPEG, PNG or WebP; else 1."""

    def one() -> tf.Tensor:
        return tf.constant(1)

    readers = (_orientation_of_jpeg, _orientation_of_png, _orientation_of_webp)
    jpeg, png, webp = (lambda read=read: read(encoded) for read in readers)
    return tf.switch_case(image_format(encoded), [one, jpeg, png, one, one, webp])


Found = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


@apart
def _orientation_of_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    def step(at: tf.Tensor) -> Found:
        head = _bytes(encoded, at, 10)
        found = (head[1] == 0xE1) & tf.reduce_all(head[4:8] == list(b"Exif"))
        # EXIF stands among the application segments and comments before the image's tables.
        more = (head[0] == 0xFF) & (((head[1] >= 0xE0) & (head[1] <= 0xEF)) | (head[1] == 0xFE))
        return tf.where(found, at + 10, tf.zeros_like(at)), at + 2 + _be(head, 2, 2), more

    return _tiff_orientation(encoded, _walk(step, 2))


@apart
def _orientation_of_png(encoded: tf.Tensor) -> tf.Tensor:
    def step(at: tf.Tensor) -> Found:
        head = _bytes(encoded, at, 8)
        found = tf.reduce_all(head[4:8] == list(b"eXIf"))
        more = tf.reduce_any(head[4:8] != list(b"IEND")) & (head[4] > 0)
        return tf.where(found, at + 8, tf.zeros_like(at)), at + 12 + _be(head, 0, 4), more

    return _tiff_orientation(encoded, _walk(step, 8))


@apart
def _orientation_of_webp(encoded: tf.Tensor) -> tf.Tensor:
    def step(at: tf.Tensor) -> Found:
        head = _bytes(encoded, at, 14)
        found = tf.reduce_all(head[:4] == list(b"EXIF"))
        prefix = 8 + 6 * tf.cast(tf.reduce_all(head[8:12] == list(b"Exif")), tf.int64)
        size = _le(head, 4, 4)
        next_at = at + 8 + size + size % 2
        return tf.where(found, at + prefix, tf.zeros_like(at)), next_at, head[0] > 0

    extended = tf.reduce_all(_bytes(encoded, 12, 4) == list(b"VP8X"))
    noted = extended & (_bytes(encoded, 20, 1)[0] & 0x08 > 0)
    start = tf.where(
        noted, tf.constant(12, tf.int64), tf.cast(tf.strings.length(encoded), tf.int64)
    )
    return _tiff_orientation(encoded, _walk(step, start))


def _walk(step: Callable, start: tf.Tensor | int) -> tf.Tensor:
    """Follows segments: step(place) -> (what it found there or 0, the next place, go on)."""

    def body(at: tf.Tensor, found: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, ...]:
        found, at, more = step(at)
        return at, found, more & (found == 0)

    zero = tf.constant(0, tf.int64)
    begin = (tf.cast(start, tf.int64), zero, tf.constant(True))
    return tf.while_loop(lambda _, __, more: more, body, begin)[1]


def _tiff_orientation(encoded: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """The orientation in the TIFF structure that begins at `start`; 1 where `start` is 0."""

    def read() -> tf.Tensor:
        head = _bytes(encoded, start, 8)
        little = head[0] == ord("I")

        def number(values: tf.Tensor) -> tf.Tensor:
            """The last axis' bytes as a number, in the structure's own order."""
            length = values.shape[-1]
            up = tf.constant([256**i for i in range(length)], tf.int64)
            return tf.reduce_sum(values * tf.where(little, up, up[::-1]), -1)

        directory = start + number(head[4:8])
        count = number(_bytes(encoded, directory, 2))
        entries = tf.reshape(_bytes(encoded, directory + 2, 12 * count), (-1, 12))
        entries = tf.ensure_shape(entries, (None, 12))
        here = (number(entries[:, :2]) == 0x0112) & (number(entries[:, 2:4]) == 3)
        values = tf.boolean_mask(number(entries[:, 8:10]), here)
        value = tf.reduce_sum(values[:1])
        return tf.cast(tf.where((value >= 1) & (value <= 8), value, 1), tf.int32)

    return tf.cond(start > 0, read, lambda: tf.constant(1))


def _bytes(encoded: tf.Tensor, start: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
    """int64 (count,): bytes of a string from `start`; zeros where it ends before."""
    length = tf.cast(tf.strings.length(encoded), tf.int64)
    start = tf.clip_by_value(tf.cast(start, tf.int64), 0, length)
    wanted = tf.cast(count, tf.int64)
    found = tf.io.decode_raw(tf.strings.substr(encoded, start, wanted), tf.uint8)
    missing = wanted - tf.minimum(wanted, length - start)
    padded = tf.pad(tf.cast(found, tf.int64), [[0, missing]])
    return tf.ensure_shape(padded, (count if isinstance(count, int) else None,))


def _le(values: tf.Tensor, at: int, length: int) -> tf.Tensor:
    """int64: a number, least byte first."""
    return tf.reduce_sum(values[at : at + length] * [256**i for i in range(length)])


def _be(values: tf.Tensor, at: int, length: int) -> tf.Tensor:
    """int64: a number, greatest byte first."""
    return tf.reduce_sum(values[at : at + length] * [256**i for i in reversed(range(length))])


def _signed(value: tf.Tensor) -> tf.Tensor:
    return tf.where(value >= 2**31, value - 2**32, value)


# ------------------------------------------------------------------------------------- orientation


def _turns(orientation: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Whether the upright image is the stored one transposed, then mirrored in x and in y."""
    value = tf.convert_to_tensor(orientation)

    def one_of(*values: int) -> tf.Tensor:
        return tf.reduce_any(value == tf.constant(values, value.dtype))

    return value >= 5, one_of(2, 3, 6, 7), one_of(3, 4, 7, 8)


def _upright(pixels: tf.Tensor, orientation: tf.Tensor | int) -> tf.Tensor:
    if isinstance(orientation, int) and orientation == 1:
        return pixels
    transposed, mirror_x, mirror_y = _turns(orientation)

    def turned() -> tf.Tensor:
        image = tf.cond(transposed, lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels)
        image = tf.cond(mirror_x, lambda: image[:, ::-1], lambda: image)
        return tf.cond(mirror_y, lambda: image[::-1], lambda: image)

    return tf.cond(transposed | mirror_x | mirror_y, turned, lambda: pixels)


def _box_before_turning(choose: Choose, size: tf.Tensor, orientation: tf.Tensor | int) -> tf.Tensor:
    """The rectangle of the stored image that holds what `choose` picks of the upright one.

    Args:
        choose: As for `Decoding.decode_crop`.
        size: int32 (2,), height and width of the stored image.
        orientation: 1..8.
    """
    if isinstance(orientation, int) and orientation == 1:
        return choose(size)
    transposed, mirror_x, mirror_y = _turns(orientation)
    upright = tf.where(transposed, tf.reverse(size, [0]), size)
    top, left, height, width = tf.unstack(choose(upright))
    top = tf.where(mirror_y, upright[0] - top - height, top)
    left = tf.where(mirror_x, upright[1] - left - width, left)
    return tf.where(transposed, [left, top, width, height], [top, left, height, width])


# --------------------------------------------------------------------- what TensorFlow reads wrong


def _text(values: tf.Tensor) -> tf.Tensor:
    """Numbers 0..255 as a string of bytes."""
    return tf.strings.reduce_join(tf.gather(tf.constant([bytes([i]) for i in range(256)]), values))


def _numbers_le(value: tf.Tensor, length: int) -> tf.Tensor:
    """A number as bytes, least first."""
    return tf.stack([(value // 256**i) % 256 for i in range(length)])


def _gif_of_first_frame(
    encoded: tf.Tensor, background: tuple[int, int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """A GIF of its first frame alone, opaque, and the frame's place.

    Returns:
        The bytes, in which the transparent color of the palette is the background and the canvas
        is as large as the frame; int64 (4,): top, left, height and width of the canvas.
    """
    length = tf.cast(tf.strings.length(encoded), tf.int64)
    head = _bytes(encoded, 0, 13)

    def palette_bytes(flags: tf.Tensor) -> tf.Tensor:
        return tf.where(flags & 0x80 > 0, 3 * 2 ** (1 + flags % 8), tf.constant(0, tf.int64))

    # Blocks begin at `at`; inside one, `at` is at a data sub-block. `control` and `frame` are where
    # the first frame's graphic control extension and its descriptor begin, once they are found.
    def body(at, inside, control, frame, _):  # type: ignore[no-untyped-def]
        now = _bytes(encoded, at, 10)
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
        described = _bytes(encoded, frame, 10)
    extension = _bytes(encoded, control, 8)
    transparent = (control > 0) & (extension[3] & 1 > 0)
    # What is replaced, in the order in which it stands in the file: (place, the bytes there now).
    local = described[9] & 0x80 > 0
    color = tf.where(local, frame + 10, tf.constant(13, tf.int64)) + 3 * extension[6]
    kept = _bytes(encoded, color, 3)
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
    place = [_le(described, 3, 2), _le(described, 1, 2), _le(head, 8, 2), _le(head, 6, 2)]
    return still, tf.stack(place)


def _webp_of_first_frame(encoded: tf.Tensor, head: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """An animated WebP's first frame as a still one, and its place.

    TensorFlow's own reading of animations writes outside its memory (2.21).

    Returns:
        The bytes, with an alpha channel; int64 (4,): top, left, height and width of the canvas.
    """

    def step(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        chunk = _bytes(encoded, at, 8)
        size = _le(chunk, 4, 4)
        found = tf.reduce_all(chunk[:4] == list(b"ANMF"))
        return tf.where(found, at, tf.zeros_like(at)), at + 8 + size + size % 2, chunk[0] > 0

    at = _walk(step, 12)
    with tf.control_dependencies([tf.debugging.Assert(at > 0, ["A WebP without a frame."])]):
        frame = _bytes(encoded, at, 24)
    data = tf.strings.substr(encoded, at + 24, tf.maximum(_le(frame, 4, 4) - 16, 0))
    extended = b"VP8X\x0a\0\0\0\x10\0\0\0" + _text(frame[14:20])
    has_alpha_chunk = tf.reduce_all(_bytes(data, 0, 4) == list(b"ALPH"))
    data = tf.where(has_alpha_chunk, extended, b"") + data
    size = tf.cast(tf.strings.length(data), tf.int64)
    still = b"RIFF" + _text(_numbers_le(size + 4, 4)) + b"WEBP" + data
    top, left = 2 * _le(frame, 11, 3), 2 * _le(frame, 8, 3)
    return still, tf.stack([top, left, 1 + _le(head, 27, 3), 1 + _le(head, 24, 3)])


def _bmp_by_palette(encoded: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """A BMP of 1, 4 or 8 bits a pixel, whose values are places in a palette: uint8 RGB."""
    bits, used = _le(head, 28, 2), _le(head, 46, 4)
    width, signed_height = _signed(_le(head, 18, 4)), _signed(_le(head, 22, 4))
    height = tf.abs(signed_height)
    row = (width * bits + 31) // 32 * 4
    begin, length = _le(head, 10, 4), tf.cast(tf.strings.length(encoded), tf.int64)
    good = tf.reduce_any(bits == tf.constant([1, 4, 8], tf.int64)) & (width > 0) & (height > 0)
    good &= (begin + row * height <= length) & (used <= 256)
    with tf.control_dependencies([tf.debugging.Assert(good, ["A damaged BMP with a palette."])]):
        count = tf.where(used == 0, 2**bits, used)
    palette = tf.reshape(_bytes(encoded, 14 + _le(head, 14, 4), 4 * count), (-1, 4))
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


# --------------------------------------------------------------------- what TensorFlow reads right


def decode_plainly(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """TensorFlow's own decoding, the fastest: right for images that a first pass found plain."""
    pixels = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    return tf.ensure_shape(pixels, (None, None, channels))


def decode_crop_plainly(encoded: tf.Tensor, choose: Choose, channels: int) -> tf.Tensor:
    """A rectangle of `decode_plainly`'s result; of a JPEG only that part is decoded."""

    def fused() -> tf.Tensor:
        size = tf.io.extract_jpeg_shape(encoded)[:2]
        return tf.io.decode_and_crop_jpeg(encoded, choose(size), channels=channels)

    def whole() -> tf.Tensor:
        return crop(decode_plainly(encoded, channels), choose)

    pixels = tf.cond(tf.io.is_jpeg(encoded), fused, whole)
    return tf.ensure_shape(pixels, (None, None, channels))


def is_plain(encoded: tf.Tensor, decoded: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """int32: whether `decode_plainly` is right: 0 never, 1 for 3 channels, 2 for 1 channel as well.

    Args:
        encoded: string scalar.
        decoded: What `Decoding.decode` gave for 3 channels.
        orientation: What `exif_orientation` gave.
    """
    head = _bytes(encoded, 0, 30)

    def jpeg() -> tf.Tensor:
        return tf.where(tf.io.extract_jpeg_shape(encoded)[2] == 4, 1, 2)

    def png() -> tf.Tensor:
        same = tf.reduce_all(tf.io.decode_png(encoded, 3) == decoded)
        return tf.where(same & (head[24] <= 8), 2, 0)

    def bmp() -> tf.Tensor:
        return tf.where(_le(head, 28, 2) == 24, 1, 0)

    def webp() -> tf.Tensor:
        lossless = (head[15] == ord("L")) & (head[24] & 0x10 == 0)
        return tf.where((head[15] == ord(" ")) | lossless, 1, 0)

    def never() -> tf.Tensor:
        return tf.constant(0)

    branches = [never, jpeg, png, never, bmp, webp]
    upright = tf.equal(orientation, 1)
    return tf.cond(
        upright, lambda: tf.switch_case(image_format(encoded), branches), lambda: tf.constant(0)
    )


def sixteen_bit_maximum(encoded: tf.Tensor) -> tf.Tensor:
    """int32: the largest value of a 16-bit PNG; 0 for every other image."""

    def largest() -> tf.Tensor:
        return tf.cast(tf.reduce_max(tf.io.decode_png(encoded, 3, tf.uint16)), tf.int32)

    is_deep = (image_format(encoded) == FORMATS.index("PNG")) & (_bytes(encoded, 24, 1)[0] == 16)
    return tf.cond(is_deep, largest, lambda: tf.constant(0))
