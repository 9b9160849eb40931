"""What every export starts from: a classifier that Keras runs, in float32."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_inception.backend import need_tensorflow
from keras_inception.identity import Identity
from keras_inception.messages import unlogged
from keras_inception.runtime import Classifier
from keras_inception.runtime.keras import KerasEngine, final_activation, in_float32


class Exportable:
    """The functions that exports are traced from. All take images in 0..255 at the model's size.

    Args:
        classifier: One that Keras runs.

    Attributes:
        model: In float32, with one input and one output.
        preprocessing, class_names, input_shape, thresholds: The classifier's.

    Raises:
        ValueError: another engine runs the classifier.
    """

    def __init__(self, classifier: Classifier) -> None:
        need_tensorflow("export")
        if not isinstance(classifier.engine, KerasEngine):
            raise ValueError(
                "An export is made of a Keras model: a run folder, a .keras file, weights or a "
                f"built model. Received: {classifier!r}"
            )
        self.model = in_float32(classifier.engine.model)
        self.preprocessing = classifier.preprocessing
        self.class_names = list(classifier.class_names)
        self.input_shape = classifier.input_shape
        self.identity, self.thresholds = classifier.identity, classifier.thresholds
        self._gives_logits = final_activation(self.model) == "linear"
        self._dense = _last_dense(self.model)

    @property
    def written_identity(self) -> Identity:
        """What an exported file says of itself: it takes images in 0..255 and scales inside."""
        inside = self.preprocessing.replace(inside_model=True)
        return self.identity.replace(preprocessing=inside, class_names=tuple(self.class_names))

    @property
    def has_features(self) -> bool:
        """Whether the classifier's last layer is a Dense layer, so that `features` exists."""
        return self._dense is not None

    def probabilities(self, images: tf.Tensor) -> tf.Tensor:
        """Probabilities (batch, classes)."""
        answers = self._answers(images)[-1]
        if not self._gives_logits:
            return answers
        return tf.sigmoid(answers) if self.thresholds is not None else tf.nn.softmax(answers)

    def classify(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same by its name; the argument's name is that of a file's input."""
        return {"probabilities": self.probabilities(image)}

    def features(self, images: tf.Tensor) -> tf.Tensor:
        """What the last Dense layer takes (batch, features)."""
        assert self._dense is not None
        return self._answers(images)[0]

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """The classifier's answers before the softmax or the sigmoids (batch, classes).

        Raises:
            ValueError: they do not stand directly behind a Dense layer.
        """
        if self._gives_logits:
            return self._answers(images)[-1]
        self.check_logits()
        assert self._dense is not None
        return tf.linalg.matmul(self.features(images), self._dense.kernel) + (
            self._dense.bias if self._dense.use_bias else 0.0
        )

    def check_logits(self) -> None:
        """Raises ValueError if there are no `logits`."""
        if not self._gives_logits and self._dense is None:
            raise ValueError(
                "Logits are only exported of a model whose last layer is a Dense layer. "
                f"Received: {self.model.name!r}"
            )

    def _answers(self, images: tf.Tensor) -> list[tf.Tensor]:
        """The features, where there are some, and what the model returns."""
        if tf.executing_eagerly():  # whose batches differ; each size would be traced again
            spec = tf.TensorSpec((None, *self.input_shape), tf.float32)
            return self._traced.get_concrete_function(spec)(images)
        return self._traced(images)

    @functools.cached_property
    def _traced(self) -> Any:
        """The network as one function: tracing its layers takes most of the time of an export, and
        all signatures and files call this.
        """
        features = [] if self._dense is None else [self._dense.input]
        watched = keras.Model(self.model.inputs, [*features, self.model.outputs[0]])
        return tf.function(
            lambda images: watched(self.preprocessing.scale(images), training=False),
            autograph=False,
        )


def write_archive(archive: keras.export.ExportArchive, folder: Path) -> None:
    """Writes signatures as a SavedModel.

    Raises:
        OSError: it cannot be written, since the disk is full for instance.
    """
    try:
        # TensorFlow would tell of a folder that only lives until it is checked.
        with unlogged(tf.get_logger(), logging.WARNING):
            archive.write_out(str(folder), verbose=False)
    except tf.errors.OpError as error:  # TensorFlow's writer has no errors of Python's
        raise OSError((error.message.strip().splitlines() or ["no reason given"])[0]) from error


def _last_dense(model: keras.Model) -> keras.layers.Dense | None:
    """The Dense layer that gives the answers; None if there is none in the outer model."""
    last = model.outputs[0]._keras_history.operation
    if isinstance(last, keras.layers.Softmax | keras.layers.Activation):
        last = last.input._keras_history.operation
    return last if isinstance(last, keras.layers.Dense) and len(last.input.shape) == 2 else None
