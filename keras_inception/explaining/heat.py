"""A map of what mattered, over the image that the network saw."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.files import write


@dataclasses.dataclass(frozen=True, repr=False)
class Heat:
    """Where the evidence for a class is; in a notebook it shows as the image and the overlay.

    Attributes:
        image: uint8 (height, width, 3), the image as the network saw it: cropped and resized.
        heat: float32 (height, width), 0 where nothing speaks for the class, 1 at the most.
        label: The class.
        probability: What the network gives it on this image.
        method: How it was computed.
    """

    image: np.ndarray
    heat: np.ndarray
    label: str
    probability: float
    method: str

    @property
    def peak(self) -> tuple[int, int]:
        """(row, column) of the strongest evidence."""
        row, column = np.unravel_index(self.heat.argmax(), self.heat.shape)
        return int(row), int(column)

    def __repr__(self) -> str:
        (row, column), (height, width) = self.peak, self.image.shape[:2]
        return (
            f"{self.label}, probability {self.probability:.2%}; {self.method}\n"
            f"strongest at row {row}, column {column} of {height} x {width}"
        )

    def _repr_png_(self) -> bytes:
        return _encoded(self._side_by_side(), "PNG")

    def _side_by_side(self) -> np.ndarray:
        return np.concatenate([self.image, self.overlay()], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """What it says without the images, as JSON holds it."""
        return {
            "label": self.label,
            "probability": self.probability,
            "method": self.method,
            "peak": list(self.peak),
        }

    def overlay(self, strength: float = 0.6) -> np.ndarray:
        """uint8 (height, width, 3): the image under the map's colors.

        Args:
            strength: Share of the color where the map is 1.
        """
        from matplotlib import colormaps

        colors = colormaps["turbo"](self.heat)[..., :3] * 255
        share = strength * self.heat[..., None]
        gray = self.image.mean(-1, keepdims=True)
        return np.uint8(np.round(gray * (1 - share) + colors * share))

    def save(self, path: str | Path) -> None:
        """Writes the image and the overlay side by side, in the format of the path's ending."""
        save_image(self._side_by_side(), path)


def save_image(image: np.ndarray, path: str | Path) -> None:
    """Writes uint8 (height, width, 3) whole or not at all, in the format of the path's ending.

    Raises:
        ValueError: no format has that ending.
    """
    from PIL import Image

    path = Path(path)
    kind = Image.registered_extensions().get(path.suffix.lower(), "")
    if kind not in ("PNG", "JPEG", "WEBP", "BMP", "GIF"):
        raise ValueError(f"An image file ends in .png, .jpg, .webp or .bmp. Received: {path}")
    write(path, _encoded(image, kind))


def _encoded(image: np.ndarray, kind: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def save_row(images: list[Any], captions: list[str], path: str | Path) -> None:
    """Writes images side by side with captions, in the format of the path's ending."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from keras_inception.runtime.predict import pixels

    figure = Figure(figsize=(2.2 * len(images), 2.6), layout="constrained")
    for axes, image, caption in zip(
        np.atleast_1d(figure.subplots(1, len(images))), images, captions, strict=True
    ):
        axes.imshow(pixels(image))
        axes.set_title(caption, fontsize=10)
        axes.axis("off")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    save_image(np.asarray(canvas.buffer_rgba())[..., :3], path)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """float (height, width, 1 or 3) in 0..255 as uint8 (height, width, 3)."""
    image = np.uint8(np.round(np.clip(image, 0, 255)))
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
