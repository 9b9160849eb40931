"""Images of a data set as small files within the page."""

from __future__ import annotations

import base64
import dataclasses
import io
import logging
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.data.splits import Split

_SMALL = 64  # sides up to which an image is kept as it is, without loss


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image within the page.

    Attributes:
        source: Its bytes as a data: address.
        name: What the data set calls it.
        small: Whether it has few pixels, which should stay sharp when they are enlarged.
    """

    source: str
    name: str
    small: bool


def read(split: Split, number: int, channels: int = 3) -> np.ndarray | None:
    """An example's pixels: uint8 (height, width, channels); None, with a warning, if it is gone."""
    try:
        return split.pixels(number, channels).numpy()
    except tf.errors.OpError:
        logging.warning("%s can no longer be read: the page lacks it.", split.describe(number))
        return None


def picture(pixels: np.ndarray, name: str, side: int) -> Picture:
    """An image whose longer side has at most `side` pixels.

    Args:
        pixels: uint8 (height, width, 1 or 3).
        name: What the data set calls it.
        side: In pixels.
    """
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((side, side))
    buffer, small = io.BytesIO(), max(image.size) <= _SMALL
    options: dict[str, Any] = {} if small else {"quality": 88}
    kind = "png" if small else "jpeg"
    image.save(buffer, kind, **options)
    data = base64.b64encode(buffer.getvalue()).decode()
    return Picture(f"data:image/{kind};base64,{data}", name, small)
