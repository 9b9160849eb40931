"""Encoded images -> pixels in the graph: one decode for training, evaluation and exported graphs.

JPEG, PNG and WebP as TensorFlow decodes them, told apart by their content, never by a file's name.
`data.plain` knows which images are decoded rightly here, and makes PNGs of all others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from keras_inception.data.decoding import FORMATS, Decoding
from keras_inception.data.headers import (
    bytes_at,
    image_format,
    jpeg_orientation,
    outlined,
    stored_size,
)

Choose = Callable[[tf.Tensor], tf.Tensor]


def decode(
    decoding: Decoding,
    encoded: tf.Tensor,
    channels: int = 3,
    orientation: tf.Tensor | int = 1,
    plainly: bool = False,
) -> tf.Tensor:
    """Decodes one image that a first pass (`data.plain.read_header`) found to be for the graph.

    Args:
        decoding: The record of how it is done.
        encoded: string scalar, the bytes of an image.
        channels: 3 (RGB; gray is repeated) or 1 (gray).
        orientation: The image's EXIF orientation, int32 1..8.
        plainly: Whether TensorFlow's own decoding, the fastest, is known to be right: for no
            transparency, not 16 bits, and an orientation of 1.

    Returns:
        uint8 (height, width, channels), upright.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are no image that is decoded here.
    """
    if plainly:
        pixels = tf.io.decode_image(encoded, channels, expand_animations=False)
    else:
        pixels = _decoder(decoding, channels)(encoded, tf.cast(orientation, tf.int32))
    return tf.ensure_shape(pixels, (None, None, channels))


def decode_crop(
    decoding: Decoding,
    encoded: tf.Tensor,
    choose: Choose,
    channels: int = 3,
    orientation: tf.Tensor | int = 1,
    plainly: bool = False,
) -> tf.Tensor:
    """A rectangle of what `decode` returns; of a JPEG only that part is decoded.

    Args:
        decoding, encoded, channels, orientation, plainly: As for `decode`.
        choose: int32 (2,), the upright image's height and width -> int32 (4,): top, left,
            height, width of the rectangle.

    Returns:
        uint8 (height, width, channels) of the rectangle.
    """

    def fused() -> tf.Tensor:
        size = tf.io.extract_jpeg_shape(encoded)[:2]
        box = _box_before_turning(choose, size, orientation)
        return _upright(_jpeg(encoded, channels, box), orientation)

    @outlined
    def whole() -> tf.Tensor:
        return crop(decode(decoding, encoded, channels, orientation, plainly), choose)

    pixels = tf.cond(tf.io.is_jpeg(encoded), fused, whole)
    return tf.ensure_shape(pixels, (None, None, channels))


def decode_request(decoding: Decoding, encoded: tf.Tensor, channels: int = 3) -> tf.Tensor:
    """Decodes one image of which nothing but its bytes is known, as a server is sent it.

    The orientation is read from a JPEG's EXIF data, and from no other format's. Animated WebP,
    GIF and BMP are errors, since TensorFlow decodes many of them wrongly.

    Args:
        decoding, encoded, channels: As for `decode`.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are no image that is decoded here, or it has
            more than `max_pixels` pixels.
    """
    size = stored_size(encoded)
    fits = tf.debugging.Assert(
        size[0] * size[1] <= decoding.max_pixels,
        ["An image has more pixels than the limit,", decoding.max_pixels, ": height, width", size],
    )
    with tf.control_dependencies([fits]):
        encoded = tf.identity(encoded)
    return decode(decoding, encoded, channels, jpeg_orientation(encoded))


def _over_background(decoding: Decoding, pixels: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """uint8 pixels with uint8 alpha (height, width, 1) laid over the background."""
    behind = tf.constant(decoding.background, tf.float32)
    if pixels.shape[-1] == 1:
        behind = tf.reduce_sum(behind * tf.constant((0.299, 0.587, 0.114)), keepdims=True)

    def blended() -> tf.Tensor:
        share = tf.cast(alpha, tf.float32) / 255.0
        mixed = tf.cast(pixels, tf.float32) * share + behind * (1.0 - share)
        return tf.cast(tf.round(mixed), tf.uint8)

    return tf.cond(tf.reduce_all(alpha == 255), lambda: pixels, blended)


def _png(decoding: Decoding, encoded: tf.Tensor, channels: int) -> tf.Tensor:
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
        return _over_background(decoding, color, tf.where(opaque, tf.cast(255, tf.uint8), alpha))

    def sixteen_bits() -> tf.Tensor:
        values = [tf.cast(v, tf.float32) for v in color_and_alpha(tf.uint16)]
        color, alpha = tf.minimum(values[0] * (255.0 / decoding.white), 255.0), values[1] / 257.0
        color, alpha = (tf.cast(tf.round(v), tf.uint8) for v in (color, alpha))
        return _over_background(decoding, color, alpha)

    return tf.cond(depth == 16, sixteen_bits, usual)


def _webp(decoding: Decoding, encoded: tf.Tensor, channels: int) -> tf.Tensor:
    head = bytes_at(encoded, 0, 32)
    is_extended = head[15] == ord("X")  # the last letter of VP8X

    def transparent() -> tf.Tensor:
        rgba = tf.io.decode_image(encoded, 4, expand_animations=False)
        rgba = tf.ensure_shape(rgba, (None, None, 4))
        return _over_background(decoding, rgba[..., :3], rgba[..., 3:])

    def opaque() -> tf.Tensor:
        return tf.io.decode_image(encoded, 3, expand_animations=False)

    # TensorFlow's own reading of animations writes outside its memory (2.21).
    still = tf.debugging.Assert(
        ~(is_extended & (head[20] & 0x02 > 0)), ["An animated WebP is not decoded here."]
    )
    with tf.control_dependencies([still]):
        encoded = tf.identity(encoded)
    # TensorFlow wants to be asked for 4 channels if there are 4, and for 3 else.
    lossless = (head[15] == ord("L")) & (head[24] & 0x10 > 0)
    pixels = tf.cond((is_extended & (head[20] & 0x10 > 0)) | lossless, transparent, opaque)
    return with_channels(tf.ensure_shape(pixels, (None, None, 3)), channels)


@functools.lru_cache(maxsize=32)
def _decoder(decoding: Decoding, channels: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """`decode` as a graph, traced once a process."""

    @tf.function(
        autograph=False,
        experimental_attributes={"_noinline": True},
        input_signature=[tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int32)],
    )
    def traced(encoded: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
        pixels = tf.switch_case(
            image_format(encoded),
            [
                lambda: _refused(channels),
                lambda: _jpeg(encoded, channels),
                lambda: outlined(_png)(decoding, encoded, channels),
                lambda: outlined(_webp)(decoding, encoded, channels),
            ],
        )
        return _upright(tf.ensure_shape(pixels, (None, None, channels)), orientation)

    return traced


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


def _refused(channels: int) -> tf.Tensor:
    known = tf.debugging.Assert(False, ["Only JPEG, PNG and WebP are decoded here."])
    with tf.control_dependencies([known]):
        return tf.zeros((0, 0, channels), tf.uint8)


def sixteen_bit_maximum(encoded: tf.Tensor) -> tf.Tensor:
    """int32: the largest value of a 16-bit PNG; 0 for every other image."""

    def largest() -> tf.Tensor:
        return tf.cast(tf.reduce_max(tf.io.decode_png(encoded, 3, tf.uint16)), tf.int32)

    is_deep = (image_format(encoded) == FORMATS.index("PNG")) & (bytes_at(encoded, 24, 1)[0] == 16)
    return tf.cond(is_deep, largest, lambda: tf.constant(0))


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
        choose: As for `decode_crop`.
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
