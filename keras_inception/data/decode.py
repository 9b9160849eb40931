"""Encoded images -> pixels: one decode for training, evaluation and exported graphs.

JPEG, PNG, GIF, BMP and WebP, told apart by their content, never by a file's name. Only TensorFlow's
operations are used, so the same code runs in tf.data and inside a SavedModel.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import tensorflow as tf

from keras_inception.data.headers import (
    apart,
    bytes_at,
    exif_orientation,
    image_format,
    little_endian,
    stored_size,
)
from keras_inception.data.stills import bmp_by_palette, gif_of_first_frame, webp_of_first_frame

# 12,000 x 12,000 pixels pass. Decoding and cropping takes up to 15 bytes a pixel.
MAX_PIXELS = 150_000_000
SIXTEEN_BITS = 65535

Choose = Callable[[tf.Tensor], tf.Tensor]


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

        depth = bytes_at(encoded, 24, 1)[0]

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
        encoded, place = gif_of_first_frame(encoded, self.background)
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
        head = bytes_at(encoded, 0, 70)
        bits, compression, header = (
            little_endian(head, 28, 2),
            little_endian(head, 30, 4),
            little_endian(head, 14, 4),
        )

        def palette() -> tf.Tensor:
            return bmp_by_palette(encoded, head)

        def colors() -> tf.Tensor:
            return tf.io.decode_image(encoded, 3, expand_animations=False)

        def four_bytes() -> tf.Tensor:
            rgba = tf.ensure_shape(tf.io.decode_bmp(encoded, 4), (None, None, 4))
            has_alpha = (compression == 3) & (header >= 56) & (little_endian(head, 66, 4) != 0)
            alpha = tf.where(has_alpha, rgba[..., 3:], tf.constant(255, tf.uint8))
            return self._over_background(rgba[..., :3], alpha)

        known = (header >= 40) & ((compression == 0) | ((compression == 3) & (bits == 32)))
        masks = tf.stack(
            [little_endian(head, 54, 4), little_endian(head, 58, 4), little_endian(head, 62, 4)]
        )
        usual = tf.reduce_all(masks == tf.constant([0xFF0000, 0xFF00, 0xFF], tf.int64))
        known &= (compression == 0) | usual
        complaint = ["A BMP that is compressed or of an unusual kind: bits a pixel", bits]
        with tf.control_dependencies([tf.debugging.Assert(known, complaint)]):
            kind = tf.where(bits <= 8, 0, tf.where(bits == 32, 2, 1))
        pixels = tf.switch_case(kind, [palette, colors, four_bytes])
        return with_channels(tf.ensure_shape(pixels, (None, None, 3)), channels)

    def _webp(self, encoded: tf.Tensor, channels: int) -> tf.Tensor:
        head = bytes_at(encoded, 0, 32)

        def animated() -> tf.Tensor:
            still, place = webp_of_first_frame(encoded, head)
            return self._on_canvas(self._still_webp(still), place)

        moves = (head[15] == ord("X")) & (head[20] & 0x02 > 0)
        pixels = tf.cond(moves, animated, lambda: self._still_webp(encoded))
        return with_channels(tf.ensure_shape(pixels, (None, None, 3)), channels)

    def _still_webp(self, encoded: tf.Tensor) -> tf.Tensor:
        head = bytes_at(encoded, 0, 32)

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
