"""Images that only Pillow reads (TIFF, HEIC, AVIF, JPEG 2000, ...), written once as PNG."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.buckets import as_path, is_remote
from keras_inception.data.kept import digest_of, folder_of_kept, state_of
from keras_inception.files import write

# Pillow's names of formats that TensorFlow does not read, or not all kinds of.
_FORMATS = ("TIFF", "AVIF", "HEIF", "JPEG2000", "BMP", "DIB", "GIF", "WEBP", "PPM", "ICO", "TGA")
_NO_RANGE = ("F", "I")


class CannotConvert(ValueError):
    """An image that is left out; the message is the reason."""


class NeedsPackage(CannotConvert):
    """An image that an optional package would read."""


def kind_by_content(head: bytes, among: Sequence[str] = ()) -> str:
    """A file's kind by its first 32 bytes: "" for what is no image that we know.

    The kinds that TensorFlow decodes have the names of `headers.FORMATS`.

    Args:
        head: The file's first bytes.
        among: The kinds that are of interest; by default all.
    """
    kind = _kind(head)
    return kind if kind in among or not among else ""


def needs_pillow(content: bytes) -> bool:
    """Whether an image is of a kind that TensorFlow does not read at all."""
    return kind_by_content(content[:32]) in ("TIFF", "JPEG 2000", "HEIC", "AVIF")


def _kind(head: bytes) -> str:
    for kind, begin in (
        ("JPEG", b"\xff\xd8\xff"),
        ("PNG", b"\x89PNG\r\n\x1a\n"),
        ("GIF", b"GIF8"),
        ("TIFF", b"II*\0"),
        ("TIFF", b"MM\0*"),
        ("TIFF", b"II+\0"),
        ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n"),
    ):
        if head.startswith(begin):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:2] == b"BM" and head[14:18] in (
        b"\x0c\0\0\0",
        b"\x28\0\0\0",
        b"\x6c\0\0\0",
        b"\x7c\0\0\0",
    ):
        return "BMP"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis"):
            return "AVIF"
        if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
            return "HEIC"
    return ""


def converted(path: str, max_pixels: int) -> Path:
    """The image as a PNG in the cache, written now or by an earlier run.

    Args:
        path: The file.
        max_pixels: Larger images are refused by their headers.

    Returns:
        The PNG's path; its orientation is noted in it as in the file.

    Raises:
        CannotConvert: why the image cannot be used.
    """
    (state,) = state_of([path if is_remote(path) else os.path.abspath(path)])
    name = digest_of((*state, max_pixels))
    png = folder_of_kept() / "converted" / f"{name}.png"
    if not png.exists():
        try:
            image, options = _open(path, max_pixels)
            write(png, lambda temporary: image.save(temporary, "PNG", **options))
        except CannotConvert:
            raise
        except Exception as error:  # Pillow's plugins raise almost anything on damaged files
            raise CannotConvert(f"Pillow cannot read it: {str(error).splitlines()[0:1]}") from error
    return png


def _open(path: str, max_pixels: int) -> tuple[Any, dict[str, Any]]:
    """The first frame as an image that a PNG can hold, and how to save it."""
    from PIL import Image

    with as_path(path).open("rb") as file:
        content = file.read()
    kind = kind_by_content(content[:32])
    if kind == "HEIC":
        try:
            import pillow_heif
        except ImportError as error:
            raise NeedsPackage(f"{kind} needs the package pillow-heif") from error
        pillow_heif.register_heif_opener()
    elif kind == "AVIF" and "AVIF" not in _known_formats():
        raise NeedsPackage("AVIF needs Pillow 11.3 or later")
    known = [name for name in _FORMATS if name in _known_formats()]
    image: Any = Image.open(io.BytesIO(content), formats=known)
    if image.width * image.height > max_pixels:
        raise CannotConvert(f"it has more than max_pixels={max_pixels} pixels")
    if image.mode in _NO_RANGE:
        raise CannotConvert(f"its values are of 32 bits (mode {image.mode}), of an unknown range")
    orientation = image.getexif().get(0x0112, 1)
    options: dict[str, Any] = {}
    if orientation != 1:
        noted = Image.Exif()
        noted[0x0112] = orientation
        options["exif"] = noted
    image.load()
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.asarray(image).astype(np.uint16))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode != "L":
        image = image.convert("RGB")
    image.info = {}
    return image, options


def _known_formats() -> set[str]:
    from PIL import Image

    Image.init()
    return set(Image.OPEN)
