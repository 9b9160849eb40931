"""TensorFlow as the engine of SavedModels; Keras is not needed."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from keras_inception import files
from keras_inception.runtime.engine import Ends, FileEngine, check_finite

# Where a SavedModel's folder holds what it is; the format leaves this folder to its users.
IDENTITY = "assets.extra/identity.json"


class SavedModelEngine(FileEngine):
    """Runs a SavedModel's signature serving_default. Its weights have to be finite."""

    name, kind, extra = "SavedModel", "a SavedModel", "tf"

    def _open(self) -> Ends:
        import tensorflow as tf

        for file in self.path.rglob("*"):
            if not file.is_dir():
                files.regular(file)
        self._tf, self.loaded = tf, tf.saved_model.load(str(self.path))
        self._signature = self.loaded.signatures["serving_default"]
        check_finite((v.name, v.numpy()) for v in self._signature.variables)
        inputs = self._signature.structured_input_signature[1]
        outputs = self._signature.structured_outputs
        self._image = next(iter(inputs), "")
        self._answer = "probabilities" if "probabilities" in outputs else next(iter(outputs), "")
        answers = [outputs["probabilities"]] if "probabilities" in outputs else outputs.values()
        return [list(one.shape) for one in inputs.values()], [list(one.shape) for one in answers]

    def _said(self) -> Mapping[str, str]:
        path = self.path / IDENTITY
        return json.loads(files.read(path)) if path.exists() else {}

    def _answers(self, request: None, images: np.ndarray) -> np.ndarray:
        answers = self._signature(**{self._image: self._tf.constant(images)})
        return answers[self._answer].numpy()
