"""The preprocessing contract: how an image becomes the input that a model was trained with.

The record travels with the weights, the model and the run folder. The input pipeline,
`preprocess_input`, `include_preprocessing`, the exporters and their metadata all read it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_inception import messages

ASPECTS = ("crop", "pad", "stretch")
_INTERPOLATIONS = ("bilinear", "bicubic")
_CHANNEL_ORDERS = ("RGB", "BGR")
_LARGEST_SIDE = 16_384


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How images (RGB, 0..255) are cropped, resized and scaled for a model.

    Every network that a builder of this package makes takes its channels in the order R, G, B.
    Weights that were trained on B, G, R images have the channels of their first kernel reversed
    when they are loaded. Another tool's model cannot be changed like this: `channel_order` then
    says what it takes, and `scale` reverses the channels.

    Attributes:
        size: (height, width) of the model's input, in pixels.
        crop_fraction: Share of the side that the central crop keeps, in (0, 1].
        aspect: How an image of another shape than `size` comes to it. "crop" keeps the largest
            rectangle of that shape in the middle (torchvision, timm); "pad" keeps the whole image
            and pads it with `mean`, which is 0 once it is scaled; "stretch" lets the resize change
            the aspect (TF-Slim). The crop fraction is taken of that rectangle, of the padded or of
            the stretched image.
        interpolation: "bilinear" or "bicubic".
        antialias: Whether the resize low-passes first when it shrinks, as Pillow does.
        mean: What is subtracted, in units of 0..255: one number, or one a channel, in the order
            R, G, B also where `channel_order` is another.
        std: What the difference is divided by, likewise.
        inside_model: Whether the model scales images itself (`include_preprocessing=True`). `scale`
            then leaves them unchanged, so that nothing is scaled twice.
        channel_order: "RGB", or "BGR" for a model that takes the scaled channels in reverse.

    Raises:
        ValueError: a field is outside its range.
    """

    size: tuple[int, int]
    crop_fraction: float = 0.875
    aspect: str = "crop"
    interpolation: str = "bilinear"
    antialias: bool = True
    mean: float | tuple[float, ...] = 127.5
    std: float | tuple[float, ...] = 127.5
    inside_model: bool = False
    channel_order: str = "RGB"

    def __post_init__(self) -> None:
        for field in ("size", "mean", "std"):  # lists come from JSON; a record is hashable
            value = getattr(self, field)
            if isinstance(value, list):
                object.__setattr__(self, field, tuple(value))
        if (
            not isinstance(self.size, tuple)
            or len(self.size) != 2
            or any(type(s) is not int or not 1 <= s <= _LARGEST_SIDE for s in self.size)
        ):
            raise ValueError(
                f"`size` should be (height, width) in pixels, both from 1 to {_LARGEST_SIDE}. "
                f"Received: size={messages.shown(self.size)}"
            )
        for field in ("antialias", "inside_model"):
            if not isinstance(getattr(self, field), bool):
                raise ValueError(
                    f"`{field}` should be True or False. "
                    f"Received: {field}={messages.shown(getattr(self, field))}"
                )
        for field in ("crop_fraction", "mean", "std"):
            value = getattr(self, field)
            values = value if isinstance(value, tuple) and field != "crop_fraction" else (value,)
            if not values or not all(_is_number(n) for n in values):
                raise ValueError(
                    f"`{field}` should hold finite numbers. "
                    f"Received: {field}={messages.shown(value)}"
                )
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(
                "`crop_fraction` should be above 0 and at most 1 (1 keeps the whole image). "
                f"Received: crop_fraction={self.crop_fraction}"
            )
        for field, known in (
            ("aspect", ASPECTS),
            ("interpolation", _INTERPOLATIONS),
            ("channel_order", _CHANNEL_ORDERS),
        ):
            if getattr(self, field) not in known:
                raise ValueError(
                    f"`{field}` should be one of {', '.join(known)}. "
                    f"Received: {field}={messages.shown(getattr(self, field))}"
                )
        if np.any(np.asarray(self.std) <= 0):
            raise ValueError(f"`std` should be above 0. Received: std={self.std}")

    def replace(self, **changes: Any) -> Preprocessing:
        """A copy with some fields changed, for instance `replace(size=(96, 96))`."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON holds it: with lists for tuples."""
        fields = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Preprocessing:
        """The record back from `to_dict`'s form. Raises ValueError on an unknown field, or none."""
        fields = dict(fields)
        if "keep_aspect" in fields:  # what earlier files say in place of `aspect`
            fields.setdefault("aspect", "crop" if fields.pop("keep_aspect") else "stretch")
        unknown = set(fields) - {f.name for f in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(
                f"Unknown preprocessing fields {sorted(unknown)}; this version of the package "
                f"knows {[f.name for f in dataclasses.fields(cls)]}."
            )
        if "size" not in fields:
            raise ValueError(f"A contract has a `size`. Received: {sorted(fields)}")
        return cls(**fields)

    @property
    def scaling(self) -> tuple[Any, Any, str]:
        """What is done to the values and channels of images, without where: to compare."""
        return self.mean, self.std, self.channel_order

    def scale_and_offset(self, channels: int) -> tuple[list[float], list[float]]:
        """The scaling as `x * scale + offset`, one pair a channel: what a Rescaling layer takes.

        Raises:
            ValueError: `mean` or `std` names another number of channels, or there are not three
                whose order could be BGR.
        """
        if self.channel_order != "RGB" and channels != 3:
            raise ValueError(
                f"The preprocessing's `channel_order` is {self.channel_order} and the images have "
                f"{channels} channels: only three have an order."
            )
        vectors = []
        for name in ("mean", "std"):
            value = np.atleast_1d(np.asarray(getattr(self, name), np.float64))
            if value.size not in (1, channels):
                raise ValueError(
                    f"The preprocessing's `{name}` has {value.size} values and the images have "
                    f"{channels} channels; give one value, or one a channel."
                )
            vectors.append(np.broadcast_to(value, (channels,)))
        mean, std = vectors
        return (1 / std).tolist(), (-mean / std).tolist()

    def scale(self, images: Any, data_format: str = "channels_last") -> Any:
        """Scales images: (images - mean) / std in float32. It neither crops nor resizes.

        The channels are reversed if the `channel_order` is BGR. With `inside_model=True` it only
        converts to float32, since the model scales by itself.

        Args:
            images: Images in 0..255, any shape with a channel axis: a numpy array or a tensor
                of the current Keras backend, or a list that numpy can make an array of.
            data_format: "channels_last" or "channels_first".

        Returns:
            float32, the same shape and kind (numpy in, numpy out).

        Raises:
            ValueError: a numpy array holds values outside 0..255, so it was probably scaled
                already. Scaling twice would give wrong answers without an error.
        """
        if isinstance(images, list | tuple):
            images = np.asarray(images)
        axis = -1 if data_format == "channels_last" else -3
        shape = [1, 1, 1]
        shape[axis] = -1
        scale, offset = (
            np.asarray(v, np.float32).reshape(shape)
            for v in self.scale_and_offset(images.shape[axis])
        )
        if self.inside_model:
            scale, offset = np.ones((), np.float32), np.zeros((), np.float32)
        # One number for all channels is several times as fast as a vector of equal ones.
        scale, offset = (v.flat[0] if (v == v.flat[0]).all() else v for v in (scale, offset))
        is_reversed = self.channel_order == "BGR" and not self.inside_model
        if isinstance(images, np.ndarray):
            # Resizing in float32 may leave white a rounding error above 255.
            if images.size and not (images.min() >= 0 and images.max() <= 255.001):
                raise ValueError(
                    "Images should hold values in 0..255 before they are scaled; these look "
                    "scaled already. Give the original pixels, and scale only once (a model built "
                    "with `include_preprocessing=True` scales by itself). "
                    f"Received: values in [{images.min():g}, {images.max():g}]"
                )
            scaled = images.astype(np.float32) * scale + offset
            return np.flip(scaled, axis) if is_reversed else scaled
        from keras import ops

        scaled = ops.cast(images, "float32") * scale + offset
        return ops.flip(scaled, axis) if is_reversed else scaled

    def crop_box(self, height: Any, width: Any) -> tuple[Any, Any, Any, Any]:
        """The part of an image that is used: (top, left, height, width) in whole pixels.

        Args:
            height, width: The image's sides, as Python ints or as scalar int tensors.
        """
        target_h, target_w = self.size
        fit_h, fit_w = height, width
        if self.aspect != "stretch":
            # The largest box of the target's shape in the image, or the smallest one around it.
            by_height = height, _scaled(height, target_w / target_h)
            by_width = _scaled(width, target_h / target_w), width
            if self.aspect == "pad":
                by_height, by_width = by_width, by_height
            is_wide = height * target_w < width * target_h
            fit_h, fit_w = (
                _where(is_wide, *sides) for sides in zip(by_height, by_width, strict=True)
            )
        crop_h = _least(height, _scaled(fit_h, self.crop_fraction))
        crop_w = _least(width, _scaled(fit_w, self.crop_fraction))
        return (height - crop_h) // 2, (width - crop_w) // 2, crop_h, crop_w

    def inner_size(self, height: Any, width: Any) -> tuple[Any, Any]:
        """(height, width) that a part of an image is resized to, before `padded` makes it `size`.

        Args:
            height, width: The sides of the part, as Python ints or as scalar int tensors.
        """
        target_h, target_w = self.size
        if self.aspect != "pad":
            return self.size
        is_wide = height * target_w < width * target_h
        inner_h = _where(is_wide, (2 * height * target_w + width) // (2 * width), target_h)
        inner_w = _where(is_wide, target_w, (2 * width * target_h + height) // (2 * height))
        return _where(inner_h < 1, 1, inner_h), _where(inner_w < 1, 1, inner_w)

    def padded(self, image: Any) -> Any:
        """An image of its `inner_size` in the middle of one of `size`; around it is `mean`.

        Args:
            image: float32 (height, width, channels), numpy or a tensor of the current backend.
        """
        if self.aspect != "pad":
            return image
        pad: Any = np.pad
        shape = image.shape
        if not isinstance(image, np.ndarray):
            from keras import ops

            pad, shape = ops.pad, ops.shape(image)
        before_h, before_w = ((t - s) // 2 for t, s in zip(self.size, shape[:2], strict=True))
        rows = before_h, self.size[0] - shape[0] - before_h
        columns = before_w, self.size[1] - shape[1] - before_w
        fill = np.asarray(self.mean, np.float32)
        return pad(image - fill, [rows, columns, (0, 0)]) + fill

    def crop_and_resize(self, image: Any) -> Any:
        """Crops the middle and brings it to `size`: uint8 or float (H, W, C) -> float32 in 0..255.

        Args:
            image: One image, channels last: a numpy array, which needs neither Keras nor a
                backend, or a tensor of the current backend.

        Returns:
            float32 (*size, C), still in 0..255 (bicubic overshoots are clipped); numpy for numpy.
        """
        if isinstance(image, np.ndarray):
            top, left, crop_h, crop_w = self.crop_box(*image.shape[:2])
            crop = image[top : top + crop_h, left : left + crop_w]
            return self.padded(self.resize(crop, self.inner_size(crop_h, crop_w)))
        from keras import ops

        height, width = ops.shape(image)[:2]
        top, left, crop_h, crop_w = self.crop_box(height, width)
        crop = ops.cast(image[top : top + crop_h, left : left + crop_w], "float32")
        if self.aspect == "pad":  # Keras resizes to a size that is known beforehand
            inner_h, inner_w = self.inner_size(crop_h, crop_w)
            rows, columns = self._resampling(crop_h, inner_h), self._resampling(crop_w, inner_w)
            resized = ops.matmul(columns, ops.tensordot(rows, crop, axes=1))
        else:
            resized = ops.image.resize(
                crop,
                self.size,
                interpolation=self.interpolation,
                antialias=self.antialias,
                data_format="channels_last",
            )
        return self.padded(ops.clip(resized, 0.0, 255.0))

    def resize(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Resizes to (height, width) by the contract's interpolation; numpy only.

        Args:
            image: uint8 or float (H, W, C) in 0..255.
            size: (height, width) in pixels.

        Returns:
            float32 (*size, C) in 0..255 (bicubic overshoots are clipped).
        """
        rows, columns = map(self._resampling, image.shape[:2], size)
        resized = columns @ np.tensordot(rows, image.astype(np.float32), axes=1)
        return np.clip(resized, 0.0, 255.0)

    def _resampling(self, source: Any, target: Any) -> Any:
        """float32 (target, source): the weights of a side's pixels in each resized pixel.

        They are those of TensorFlow's resize: pixel centers at one half, the kernel widened by
        the factor of shrinking if `antialias`, and weights outside the image left out.
        """
        of: Any = np
        if not (isinstance(source, int) and isinstance(target, int)):
            from keras import ops

            of, source, target = ops, ops.cast(source, "float64"), ops.cast(target, "float64")
        step = source / target
        width = of.maximum(step, 1.0) if self.antialias else 1.0
        centers = (of.arange(target, dtype="float64")[:, None] + 0.5) * step
        x = of.abs(of.arange(source, dtype="float64") + 0.5 - centers) / width
        if self.interpolation == "bilinear":
            kernel = of.maximum(0.0, 1.0 - x)
        else:  # Keys' cubic with a = -1/2
            near = (1.5 * x - 2.5) * x * x + 1.0
            far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
            kernel = of.where(x < 1.0, near, of.where(x < 2.0, far, 0.0))
        weights = kernel / of.sum(kernel, axis=1, keepdims=True)
        return np.float32(weights) if of is np else of.cast(weights, "float32")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return bool(-1e30 < value < 1e30)


def _scaled(side: Any, fraction: float) -> Any:
    """round(side * fraction), at least 1, for an int or a scalar int tensor."""
    if isinstance(side, int):
        return max(1, int(side * fraction + 0.5))
    from keras import ops

    product = ops.cast(side, "float32") * fraction + 0.5
    return ops.maximum(1, ops.cast(product, "int32"))


def _where(condition: Any, yes: Any, no: Any) -> Any:
    """`yes if condition else no`, for Python values and for tensors."""
    if isinstance(condition, bool):
        return yes if condition else no
    from keras import ops

    return ops.where(condition, yes, no)


def _least(one: Any, other: Any) -> Any:
    """The smaller of two ints or scalar tensors."""
    return _where(one < other, one, other)
