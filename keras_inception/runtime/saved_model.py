"""TensorFlow as the engine of SavedModels; Keras is not needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import files
from keras_inception.identity import Identity
from keras_inception.runtime.engine import check_finite, loading

# Where a SavedModel's folder holds what it is; the format leaves this folder to its users.
IDENTITY = "assets.extra/identity.json"


class SavedModelEngine:
    """Runs the signature serving_default.

    Args:
        path: The folder.

    Raises:
        ValueError: the folder cannot be loaded, its signature is not one of a classifier, or its
            weights are not finite.
    """

    name = "SavedModel"

    def __init__(self, path: Path) -> None:
        for file in path.rglob("*"):
            if not file.is_dir():
                files.regular(file)
        with loading(path, "a SavedModel", "tf"):
            import tensorflow as tf

            self.loaded = tf.saved_model.load(str(path))
            signature = self.loaded.signatures["serving_default"]
        inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
        if len(inputs) != 1 or "probabilities" not in outputs and len(outputs) != 1:
            raise ValueError(
                f"{path}: a classifier's serving_default has one input and one output. "
                f"Received: {sorted(inputs)} -> {sorted(outputs)}"
            )
        ((self._image, image),) = inputs.items()
        check_finite(str(path), ((v.name, v.numpy()) for v in signature.variables))
        self._answer = "probabilities" if "probabilities" in outputs else next(iter(outputs))
        self._signature, self._tf = signature, tf
        self.input_shape = tuple(image.shape[1:])
        self.classes = outputs[self._answer].shape[-1]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        answers = self._signature(**{self._image: self._tf.constant(images)})
        return answers[self._answer].numpy()


def read(path: Path) -> tuple[SavedModelEngine, Identity]:
    """The engine of a SavedModel's folder, and the identity that lies in it."""
    said: dict[str, Any] = {}
    if (path / IDENTITY).exists():
        said = json.loads(files.read(path / IDENTITY))
    return SavedModelEngine(path), Identity.from_metadata(said)
