"""The images of a data set as the vectors that a network classifies, kept for later runs."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_inception.contracts import Given
from keras_inception.data.kept import kept_arrays
from keras_inception.data.splits import Split
from keras_inception.explaining.features import pooled_network, through
from keras_inception.preprocessing import Preprocessing
from keras_inception.runtime import load_classifier

# What the recipe `probe` starts from.
DEFAULT = ("InceptionV3", "imagenet")
BATCH = 32


@dataclasses.dataclass(frozen=True)
class Network:
    """What makes features of images.

    Attributes:
        model: From scaled images to features (batch, channels).
        contract: How images are cropped, resized and scaled.
        name: What messages call it.
    """

    model: keras.Model
    contract: Preprocessing
    name: str

    @classmethod
    def open(cls, source: Any = None, preprocessing: Given | None = None) -> Network:
        """The features of what `load_classifier` takes, or of a weights file without a classifier.

        Args:
            source: None for what the recipe `probe` starts from.
            preprocessing: As of `load_classifier`.

        Raises:
            ValueError: it is none of these, or another engine than Keras runs it.
        """
        from keras_inception.models.registry import get_model

        if isinstance(source, cls):
            return source
        if source is None:
            variant, weights = DEFAULT
            model = get_model(variant, weights=weights, include_top=False, pooling="avg")
            return cls(model, model.identity.preprocessing, f"{variant}, weights {weights}")
        if isinstance(source, str | os.PathLike) and os.path.isfile(source):
            found = _without_classifier(os.fspath(source), preprocessing)
            if found is not None:
                return cls(found, found.identity.preprocessing, os.fspath(source))
        model, contract = pooled_network(load_classifier(source, preprocessing=preprocessing))
        name = os.fspath(source) if isinstance(source, str | os.PathLike) else "the model given"
        return cls(model, contract, name)

    @property
    def channels(self) -> int:
        """Of its images: 3 or 1."""
        return int(self.model.input_shape[-1])

    @functools.cached_property
    def digest(self) -> str:
        """What tells its weights and its contract apart."""
        found = hashlib.sha256(repr(self.contract).encode())
        for weight in self.model.weights:
            if weight.dtype.startswith(("float", "bfloat")):  # not the state of dropout's seed
                found.update(np.asarray(keras.ops.convert_to_numpy(weight)).tobytes())
        return found.hexdigest()

    def of_pixels(
        self, pixels: Sequence[Any], look: Callable[[Any], np.ndarray], verbose: int = 1
    ) -> np.ndarray:
        """float32 (n, channels) of whatever `look` makes uint8 images (height, width, channels)."""

        def seen(item: Any) -> np.ndarray:
            return self.contract.crop_and_resize(look(item))

        return through(self.model, list(pixels), seen, self.contract.scale, BATCH, verbose)[0]

    def of_split(self, split: Split, mirrored: bool = False, verbose: int = 1) -> np.ndarray:
        """The features of a part's images, or of their mirror images; kept for later runs.

        Args:
            split: The part.
            mirrored: Whether the images are mirrored.
            verbose: 1 shows the progress, 0 nothing.

        Returns:
            float32 (n, channels).
        """

        def look(i: int) -> np.ndarray:
            pixels = split.pixels(i, self.channels).numpy()
            return pixels[:, ::-1] if mirrored else pixels

        def compute() -> dict[str, np.ndarray]:
            return {"features": self.of_pixels(range(len(split)), look, verbose)}

        if not len(split):
            return np.zeros((0, self.model.output_shape[-1]), np.float32)
        if "digest" not in split.facts:
            return compute()["features"]
        images = hashlib.sha256(split.facts["digest"].tobytes()).hexdigest()
        state = (self.digest, images, str(split.decoding), mirrored)
        like = {"features": np.zeros((0, self.model.output_shape[-1]), np.float32)}
        return kept_arrays("features", state, like, compute)["features"]


def _without_classifier(path: str, given: Given | None) -> keras.Model | None:
    """The network of a weights file that holds features only; None of every other file."""
    from keras_inception import weights
    from keras_inception.models import recognition
    from keras_inception.models.registry import get_model

    if path.endswith((".keras", ".tflite", ".onnx", ".xml")):
        return None
    try:
        loaded = recognition.identified(weights.read(path, preprocessing=given))
    except ValueError:
        if path.endswith((".h5", ".hdf5")):  # it may be another tool's whole model
            return None
        raise
    variant, contract = loaded.identity.variant, loaded.identity.preprocessing
    if not variant or (loaded.outputs and not loaded.foreign) or contract is None:
        return None
    shape = (*contract.size, loaded.channels)
    return get_model(variant, weights=loaded, input_shape=shape, include_top=False, pooling="avg")
