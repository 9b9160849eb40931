"""Views of an image for evaluation: one crop, its mirror image, 10, 12 or the 144 of GoogLeNet.

A view is where an image is resized to, what is cut out of that, and whether it is mirrored. All
views of a protocol come from one decoded image.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_inception.preprocessing import Preprocessing

# Protocol -> views of an image.
CROPS = {"1": 1, "mirror": 2, "10": 10, "12": 12, "144": 144}

# 1409.4842 section 7: the shorter side is 256, 288, 320 or 352 for an input of 224.
_SCALES = tuple(side / 224 for side in (256, 288, 320, 352))


@dataclasses.dataclass(frozen=True)
class View:
    """One view of an image.

    Attributes:
        resized: (height, width) that the whole image is resized to; None leaves it alone.
        box: (top, left, height, width) cut out of that, in whole pixels; resized to the input's
            size where it has another.
        mirrored: Whether left and right change places.
    """

    resized: tuple[int, int] | None
    box: tuple[int, int, int, int]
    mirrored: bool = False


def views(height: int, width: int, preprocessing: Preprocessing, crops: str) -> list[View]:
    """Where the views of an image are.

    "1" is the contract's own central crop. "10" are the four corners and the center of the image
    that is resized so that the contract's crop has the input's size (for 224 at 0.875: the shorter
    side 256), as torchvision's TenCrop takes them. "12" are the four corners, the center and the
    whole of the central square of that image. "144" are GoogLeNet's: at each of four sizes the
    left, the central and the right square (top, center, bottom of an upright image), and of each
    square four corners, center and whole. The papers of Inception-v3 and v4 speak of 12 crops and
    do not say which; these are 144's at one size and one square. Every protocol but "1" has each
    view mirrored, too, after the others.

    Other inputs than GoogLeNet's 224 scale its sizes: 299 takes 342, 384, 427 and 470. Inputs that
    are not square take boxes of the input's shape for squares.

    Args:
        height, width: The image's sides in pixels.
        preprocessing: The contract: the input's size, the crop fraction and the aspect.
        crops: One of `CROPS`.

    Raises:
        ValueError: the protocol is unknown, or the contract's crop is the whole image, so that its
            corners and its center would be one and the same.
    """
    check(preprocessing, crops)
    if crops in ("1", "mirror"):
        found = [View(None, preprocessing.crop_box(height, width))]
    elif crops == "10":
        resized = _resized(height, width, preprocessing, 1 / preprocessing.crop_fraction)
        found = [View(resized, box) for box in _five(0, 0, *resized, preprocessing.size)]
    elif crops == "12":
        scale = 1 / preprocessing.crop_fraction
        found = _of_squares(height, width, preprocessing, scale, places=(0.5,))
    else:
        keep = preprocessing.replace(aspect="crop")  # the paper knows no other way
        found = [
            view
            for scale in _SCALES
            for view in _of_squares(height, width, keep, scale, places=(0, 0.5, 1))
        ]
    if crops == "1":
        return found
    return found + [dataclasses.replace(view, mirrored=True) for view in found]


def check(preprocessing: Preprocessing, crops: str) -> None:
    """Raises ValueError if there is no such protocol, or the contract leaves it no room."""
    if crops not in CROPS:
        raise ValueError(f"`crops` should be one of {', '.join(CROPS)}. Received: crops={crops!r}")
    if crops in ("10", "12") and preprocessing.crop_fraction == 1:
        raise ValueError(
            f"crops={crops} takes the corners of what the contract's crop leaves a margin of, and "
            "this contract keeps the whole image (crop_fraction=1). Use 1, mirror or 144, or give "
            "a contract with a crop fraction such as 0.875."
        )
    if crops in ("10", "12", "144") and preprocessing.aspect == "pad":
        raise ValueError(
            f"crops={crops} takes the corners of images, and this contract pads them "
            "(aspect=pad). Use 1 or mirror."
        )


def take(image: Any, preprocessing: Preprocessing, crops: str) -> np.ndarray:
    """The views of an image as the contract sizes them; scaling is left to `preprocessing.scale`.

    Args:
        image: uint8 or float (height, width, channels) in 0..255.
        preprocessing: The contract.
        crops: One of `CROPS`.

    Returns:
        float32 (views, *size, channels) in 0..255.

    Raises:
        ValueError: see `views`.
    """
    pixels = np.asarray(image, np.float32)

    def resize(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return x if x.shape[:2] == size else preprocessing.resize(x, size)

    whole: dict[tuple[int, int], np.ndarray] = {}
    taken: dict[View, np.ndarray] = {}
    wanted = views(pixels.shape[0], pixels.shape[1], preprocessing, crops)
    for view in wanted:  # of a square image, the left, central and right square are the same
        if view in taken:
            continue
        if view.mirrored:
            taken[view] = taken[dataclasses.replace(view, mirrored=False)][:, ::-1]
            continue
        if view.resized is None:
            taken[view] = preprocessing.crop_and_resize(pixels)
            continue
        if view.resized not in whole:
            whole[view.resized] = resize(pixels, view.resized)
        top, left, height, width = view.box
        box = whole[view.resized][top : top + height, left : left + width]
        taken[view] = resize(box, preprocessing.size)
    return np.stack([taken[view] for view in wanted])


def describe(preprocessing: Preprocessing, crops: str) -> str:
    """The protocol in words, to stand beside a number that was measured by it."""
    contract = preprocessing
    height, width = contract.size
    how = f"{contract.interpolation}{' with' if contract.antialias else ' without'} antialiasing"
    kept = f"crop fraction {contract.crop_fraction:g}"
    words = {"crop": "aspect kept", "pad": "padded", "stretch": "of each side"}
    kept += f", {words[contract.aspect]}"
    if crops == "144":
        kept = "GoogLeNet's sizes"
    count = CROPS[crops]
    noun = "central crop" if crops == "1" else "central crop and its mirror image"
    noun = noun if count <= 2 else f"{count} crops"
    return f"{noun}, {height} x {width}, {kept}, {how}"


def _resized(
    height: int, width: int, preprocessing: Preprocessing, scale: float
) -> tuple[int, int]:
    """The size at which the image just covers the input's size times `scale`.

    The other side is rounded down, as torchvision's Resize does.
    """
    tall, wide = (int(side * scale + 0.5) for side in preprocessing.size)
    if preprocessing.aspect == "stretch":
        return tall, wide
    if tall * width >= wide * height:  # the height decides
        return tall, tall * width // height
    return wide * height // width, wide


def _of_squares(
    height: int,
    width: int,
    preprocessing: Preprocessing,
    scale: float,
    places: tuple[float, ...],
) -> list[View]:
    """Corners, center and whole of squares of the image that is resized to cover size * scale.

    Args:
        places: Where the squares are along the longer side, from 0 to 1.
    """
    resized = _resized(height, width, preprocessing, scale)
    square = [int(side * scale + 0.5) for side in preprocessing.size]
    found = []
    for place in places:
        top, left = (int((a - b) * place) for a, b in zip(resized, square, strict=True))
        boxes = _five(top, left, square[0], square[1], preprocessing.size)
        boxes.append((top, left, square[0], square[1]))
        found += [View(resized, box) for box in boxes]
    return found


def _five(
    top: int, left: int, height: int, width: int, size: tuple[int, int]
) -> list[tuple[int, int, int, int]]:
    """The four corners and the center of a rectangle as boxes of `size`."""
    down, right = height - size[0], width - size[1]
    corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    return [(top + y, left + x, *size) for y, x in corners]
