"""Pillow looks at every image, and makes a PNG of what the graph's decoder is not for.

Odd are the formats that TensorFlow does not read (TIFF, HEIC, AVIF, JPEG 2000) or often reads
wrongly (GIF, BMP), and animations. Of TIFFs that Pillow does not read as they are, `data.tiff`
gives the values.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.data.decoding import FORMATS, CannotRead, Decoding
from keras_inception.data.kept import kept_file
from keras_inception.data.tiff import Tiff

_NAMES = ("", "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "HEIF", "AVIF")
_PILLOWS_NAMES = dict(zip(FORMATS, _NAMES, strict=True))
# What is said of an image of a format that only a package reads.
NEEDS = {
    "HEIC": "HEIC needs the package pillow-heif",
    "AVIF": "AVIF needs Pillow 11.3 or later",
}
_ORIENTATION = 0x0112


@dataclasses.dataclass(frozen=True)
class Header:
    """What an image's header says.

    Attributes:
        format: A name of `FORMATS`.
        height, width: Of the upright image.
        orientation: EXIF's, 1..8.
        plain: Whether TensorFlow's own decoding is right: 0 never, 1 for 3 channels, 2 for 1
            channel as well.
        odd: Whether the graph's decoder is not for this image, but for what `as_png` makes of it.
    """

    format: str
    height: int
    width: int
    orientation: int
    plain: int
    odd: bool


def read_header(content: bytes, decoding: Decoding) -> Header:
    """Reads an image's header; its pixels are not decoded.

    Args:
        content: The bytes of an image.
        decoding: The most pixels that an image may have, and the bands of a TIFF that are used.

    Raises:
        CannotRead: the bytes are no image that Pillow knows, it is too large, needs a package, or
            does not say how its values are meant.
    """
    kind = format_of(content)
    if kind == "TIFF":
        tiff = _tiff(content, decoding.bands)
        # Of many bands all are read before some are taken.
        _check_size(tiff.height * tiff.width * max(1, tiff.count // 4), decoding)
        if not tiff.is_pillows:
            return Header(kind, tiff.height, tiff.width, 1, 0, True)
    elif decoding.bands not in ((), (1, 2, 3)):
        raise CannotRead(f"it is no TIFF, and `bands={decoding.bands}` names bands of TIFFs")
    image = _opened(content, kind)
    width, height = image.size
    _check_size(height * width, decoding)
    try:
        plain, odd = _fitness(image, content, kind)
    except Exception as error:  # Pillow's plugins raise almost anything on damaged files
        raise _unread(error) from error
    orientation = 1 if odd else _orientation(image, content)
    if orientation >= 5:
        height, width = width, height
    return Header(kind, height, width, orientation, plain if orientation == 1 else 0, odd)


def as_png(content: bytes, bands: tuple[int, ...] = ()) -> bytes:
    """The first frame of an image as an upright PNG: gray or RGB with or without alpha, or 16 bits.

    Args:
        content: The bytes of an image.
        bands: Of a TIFF, the bands that are used; see `Decoding`.

    Raises:
        CannotRead: the image cannot be read, or its values have no range.
    """
    from PIL import Image, ImageOps

    kind = format_of(content)
    if kind == "TIFF" and not (tiff := _tiff(content, bands)).is_pillows:
        try:
            import tensorflow as tf  # Pillow writes no colors of 16 bits

            return tf.io.encode_png(tiff.pixels()).numpy()
        except CannotRead:
            raise
        except Exception as error:  # as Pillow's plugins
            raise _unread(error, "tifffile") from error
    image = _opened(content, kind)
    try:
        frame = _frame(image)
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray(np.asarray(image).astype(np.uint16))
        elif frame:
            canvas = Image.new("RGBA", image.size)
            canvas.paste(image.convert("RGBA").crop(frame), frame[:2])
            image = canvas
        elif image.has_transparency_data:
            image = image.convert("RGBA")
        elif image.mode != "L":
            image = image.convert("RGB")
        image.info = {}
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=1)
    except Exception as error:  # Pillow's plugins raise almost anything on damaged files
        raise _unread(error) from error
    return buffer.getvalue()


def pixels_of(content: bytes, decoding: Decoding, channels: int = 3) -> np.ndarray:
    """Decodes one image of any format as a data set's images are decoded.

    Args:
        content: The bytes of an image.
        decoding: How encoded images become pixels.
        channels: 3 (RGB) or 1 (gray).

    Returns:
        uint8 (height, width, channels), upright.

    Raises:
        CannotRead: the bytes are no image that can be read, or it has more than
            `decoding.max_pixels` pixels.
    """
    header = read_header(content, decoding)
    if header.format == "TIFF" and not (tiff := _tiff(content, decoding.bands)).is_pillows:
        try:
            return _with_channels(_eight_bits(tiff.pixels(), decoding.white), channels)
        except CannotRead:
            raise
        except Exception as error:  # as Pillow's plugins
            raise _unread(error, "tifffile") from error
    if header.odd:
        content = as_png(content, decoding.bands)
    kind = format_of(content)
    image = _opened(content, kind)
    try:
        if kind == "JPEG":
            pixels = _jpeg(image, channels)
        elif kind == "PNG" and content[24] == 16:
            pixels = _sixteen_bits(image, content, channels, decoding)
        else:
            pixels = _over_background(image, channels, decoding, kind)
    except CannotRead:
        raise
    except Exception as error:  # Pillow's plugins raise almost anything on damaged files
        raise _unread(error) from error
    return np.ascontiguousarray(_upright(pixels, header.orientation))


def _jpeg(image: Any, channels: int) -> np.ndarray:
    """A JPEG as libjpeg decodes it for TensorFlow, too; inks become colors as they do there."""
    if image.mode == "CMYK":
        inks = 255 - np.asarray(image).astype(np.uint32)
        return _with_channels((inks[..., :3] * inks[..., 3:] // 255).astype(np.uint8), channels)
    if channels == 1:
        image.draft("L", None)
    return np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(
        image.height, image.width, channels
    )


def _sixteen_bits(image: Any, content: bytes, channels: int, decoding: Decoding) -> np.ndarray:
    """A PNG of 16 bits. Pillow reads those of gray; TensorFlow has to be there for the others."""
    if image.mode.startswith("I;16") and not image.has_transparency_data:
        gray = np.asarray(image).astype(np.uint16)[..., None]
        return _with_channels(_eight_bits(gray, decoding.white), channels)
    try:
        import tensorflow as tf
    except ImportError as error:
        raise CannotRead("PNGs with colors of 16 bits need the package tensorflow") from error
    from keras_inception.data.decode import decode

    return decode(decoding, tf.constant(content), channels).numpy()


def _eight_bits(values: np.ndarray, white: int) -> np.ndarray:
    """uint8 of uint8, or of uint16 in which `white` becomes 255."""
    if values.dtype == np.uint8:
        return values
    scaled = values.astype(np.float32) * np.float32(255.0 / white)
    return np.rint(np.minimum(scaled, np.float32(255))).astype(np.uint8)


def _over_background(image: Any, channels: int, decoding: Decoding, kind: str) -> np.ndarray:
    """uint8 (height, width, channels) of a PNG or WebP, laid over the background."""
    transparent = image.has_transparency_data
    rgba = np.asarray(image.convert("RGBA" if transparent else "RGB"))
    # As TensorFlow makes gray: of a WebP after it lies over the background, of a PNG before.
    color, behind = rgba[..., :3], np.asarray(decoding.background, np.float32)
    if channels == 1 and kind == "PNG":
        color, behind = _png_gray(color), (behind * _LUMA).sum(keepdims=True)
    if transparent and (rgba[..., 3] < 255).any():
        share = rgba[..., 3:].astype(np.float32) / np.float32(255)
        mixed = color.astype(np.float32) * share + behind * (np.float32(1) - share)
        color = np.rint(mixed).astype(np.uint8)
    return _with_channels(color, channels)


_LUMA = np.array((0.299, 0.587, 0.114), np.float32)


def _png_gray(color: np.ndarray) -> np.ndarray:
    """uint8 (height, width, 1) of RGB by libpng's whole numbers."""
    red, green, blue = np.moveaxis(color.astype(np.uint32), -1, 0)
    return ((9798 * red + 19235 * green + 3735 * blue) >> 15).astype(np.uint8)[..., None]


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """uint8 (height, width, 1 or 3) as RGB or gray; see `data.decode.with_channels`."""
    if pixels.shape[-1] == channels:
        return pixels
    if pixels.shape[-1] == 1:
        return pixels.repeat(channels, axis=-1)
    weights = np.array((0.2989, 0.5870, 0.1140), np.float32)
    return np.rint(pixels.astype(np.float32) @ weights[:, None]).astype(np.uint8)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turned as EXIF's 1..8 says."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def png_path(digest: np.ndarray, decoding: Decoding) -> Path:
    """Where the PNG of an odd image is kept, by its `data.facts.digest`."""
    bands = "".join(f"-{band}" for band in decoding.bands)
    return kept_file("plain", f"{digest.tobytes().hex()}{bands}.png")


def format_of(content: bytes) -> str:
    """A name of `FORMATS`, by the first 32 bytes of a file."""
    for name, begin in (
        ("JPEG", b"\xff\xd8\xff"),
        ("PNG", b"\x89PNG\r\n\x1a\n"),
        ("GIF", b"GIF8"),
        ("TIFF", b"II*\0"),
        ("TIFF", b"MM\0*"),
        ("TIFF", b"II+\0"),
        ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n"),
    ):
        if content.startswith(begin):
            return name
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WebP"
    if content[:2] == b"BM" and content[14:18] in _BMP_HEADERS:
        return "BMP"
    if content[4:8] == b"ftyp":
        brand = content[8:12]
        if brand in (b"avif", b"avis"):
            return "AVIF"
        if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
            return "HEIC"
    return FORMATS[0]


_BMP_HEADERS = [size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124)]


def _opened(content: bytes, kind: str) -> Any:
    """An image of which Pillow has read the header."""
    if kind == FORMATS[0]:
        raise CannotRead("it is no image of a known format")
    plugin = _plugin(kind)
    try:
        # Not by Image.open, whose own limit of pixels is one of the process.
        return plugin(io.BytesIO(content), "")
    except Exception as error:  # Pillow's plugins raise almost anything on damaged files
        if kind == "JPEG" and b"Exif" in content:
            # Pillow refuses a JPEG for damaged EXIF data. It does not look at them without a mark.
            return _opened(content.replace(b"Exif", bytes(4)), kind)
        raise _unread(error) from error


def _tiff(content: bytes, bands: tuple[int, ...]) -> Tiff:
    try:
        return Tiff(content, bands)
    except CannotRead:
        raise
    except Exception as error:  # as Pillow's plugins
        raise _unread(error) from error


def _check_size(num_pixels: int, decoding: Decoding) -> None:
    if num_pixels > decoding.max_pixels:
        raise CannotRead(f"it has more than max_pixels={decoding.max_pixels} pixels")


def _unread(error: Exception, package: str = "Pillow") -> CannotRead:
    reason = (str(error).splitlines() or [""])[0] or type(error).__name__
    return CannotRead(f"{package} cannot read it: {reason}")


@functools.cache
def _plugin(kind: str) -> Any:
    """What opens an image of a format in Pillow."""
    from PIL import Image, JpegImagePlugin

    if kind == "JPEG":  # and not the stereo photographs that Pillow looks for in it
        return JpegImagePlugin.JpegImageFile
    if kind == "HEIC":
        with contextlib.suppress(ImportError):
            import pillow_heif

            pillow_heif.register_heif_opener()
    Image.init()
    if _PILLOWS_NAMES[kind] not in Image.OPEN:
        if kind in NEEDS:
            raise CannotRead(NEEDS[kind])
        raise CannotRead(f"this Pillow was built without {kind}")
    return Image.OPEN[_PILLOWS_NAMES[kind]][0]


def _fitness(image: Any, content: bytes, kind: str) -> tuple[int, bool]:
    """`plain` of an upright image, and `odd`."""
    if kind == "JPEG":
        return (1 if image.mode == "CMYK" else 2), False
    if kind == "PNG":
        return (2 if content[24] <= 8 and not image.has_transparency_data else 0), False
    if kind == "WebP" and not image.is_animated:
        return (0 if image.has_transparency_data else 1), False
    return 0, True


def _frame(image: Any) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of a GIF's first frame that is not its whole canvas."""
    if image.format != "GIF" or image.tile[0][1] == (0, 0, *image.size):
        return None
    return image.tile[0][1]


def _orientation(image: Any, content: bytes) -> int:
    """The orientation that a camera noted in EXIF data, and only there; else 1."""
    from PIL import Image

    try:
        if image.format == "PNG" and b"eXIf" in content:
            image.load()  # the chunk may stand behind the pixels
        noted = Image.Exif()
        noted.load(image.info.get("exif") or b"")
        value = noted.get(_ORIENTATION, 1)
        return value if value in range(1, 9) else 1
    except Exception:  # what is damaged notes nothing
        return 1
