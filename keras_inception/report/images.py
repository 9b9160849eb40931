"""Images of a data set as small files within the page."""

from __future__ import annotations

import base64
import io
import logging
import struct
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import tensorflow as tf

from keras_inception import pictures
from keras_inception.data.splits import Split

_SMALL = 64  # sides up to which an image is kept as it is, without loss


def read(split: Split, number: int, channels: int = 3) -> np.ndarray | None:
    """An example's pixels: uint8 (height, width, channels); None, with a warning, if it is gone."""
    try:
        return split.pixels(number, channels).numpy()
    except tf.errors.OpError:
        logging.warning("%s can no longer be read: the page lacks it.", split.describe(number))
        return None


def picture(pixels: np.ndarray, name: str, side: int) -> dict[str, Any]:
    """An image whose longer side has at most `side` pixels.

    Args:
        pixels: uint8 (height, width, 1 or 3).
        name: What the data set calls it.
        side: In pixels.

    Returns:
        "source", its bytes as a data: address; "name"; and "small": whether it has few pixels,
        which should stay sharp when they are enlarged.
    """
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((side, side))
    buffer, small = io.BytesIO(), max(image.size) <= _SMALL
    options: dict[str, Any] = {} if small else {"quality": 88}
    kind = "png" if small else "jpeg"
    image.save(buffer, kind, **options)
    return {"source": _address(buffer, kind), "name": name, "small": small}


def drawn(draw: Callable[[IO[bytes]], None]) -> dict[str, Any]:
    """One of `pictures`: "source", its bytes as a data: address, and "width" in the page's pixels.

    Args:
        draw: Writes it as PNG.
    """
    buffer = io.BytesIO()
    draw(buffer)
    (width,) = struct.unpack(">I", buffer.getvalue()[16:20])  # PNG's header
    # 100 of the page's pixels an inch: more dots than pixels stay sharp on any screen.
    return {"source": _address(buffer, "png"), "width": width * 100 // pictures.DOTS}


def _address(buffer: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
