"""How encoded images become pixels, as a record; `data.decode` and `data.plain` do it."""

from __future__ import annotations

import dataclasses

from keras_inception.data.fingerprint import Fingerprint
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder

# Decoding and cropping takes up to 15 bytes a pixel. Of one's own images 12,000 x 12,000 pixels
# pass; of one in a server's request, which anybody may send, a phone's 50 megapixels.
MAX_PIXELS = 150_000_000
MAX_REQUEST_PIXELS = 50_000_000
SIXTEEN_BITS = 65535

# Formats by their places in this tuple. The graph decodes the first three after "unknown".
FORMATS = ("unknown", "JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "JPEG 2000", "HEIC", "AVIF")


class CannotRead(OSError):
    """An image that cannot be used; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How encoded images become pixels.

    Transparent images are laid over `background`. The orientation that a camera notes (EXIF) is
    applied.

    Attributes:
        background: Red, green and blue, 0..255, of what lies behind transparent pixels.
        max_pixels: Larger images are refused by their headers, before they are decoded.
        white: The value of 16-bit images that becomes 255. Cameras and scanners of 12 bits write
            values up to 4095; `open_source` finds the range of a data set.
        bands: Which bands of TIFFs are red, green and blue, or gray, counted from 1, such as
            (4, 3, 2). Empty for images of one or three bands; others are refused then.

    Raises:
        ValueError: a field is outside its range.
    """

    background: tuple[int, int, int] = (255, 255, 255)
    max_pixels: int = MAX_PIXELS
    white: int = SIXTEEN_BITS
    bands: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "background", tuple(self.background))
        object.__setattr__(self, "bands", tuple(self.bands))
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
        if len(self.bands) not in (0, 1, 3) or not all(1 <= band <= 65535 for band in self.bands):
            raise ValueError(
                "`bands` should be one or three numbers of bands, the first of which is 1. "
                f"Received: bands={self.bands}"
            )

    def to_dict(self) -> dict:
        """The record as JSON holds it."""
        lists = {"background": list(self.background), "bands": list(self.bands)}
        return dataclasses.asdict(self) | lists


def decoding_of(run: RunFolder) -> Decoding:
    """How a run decodes images.

    Raises:
        ValueError: its config.json or its record of the data is damaged.
    """
    decoding, record = decoding_for(run.recipe), run.data_path
    if record.exists():
        decoding = dataclasses.replace(decoding, white=Fingerprint.read(record).white)
    return decoding


def decoding_for(recipe: Recipe) -> Decoding:
    """How a recipe's images are decoded, before the range of those of 16 bits is known."""
    return Decoding(recipe.background_color, recipe.max_pixels, bands=recipe.band_numbers)
