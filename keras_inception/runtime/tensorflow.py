"""TensorFlow as the engine of Keras models: one function, traced once for any number of images."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keras_inception.runtime.keras import KerasEngine, final_activation


class TensorFlowEngine:
    """Runs a Keras model as a graph, without what `predict` does around it.

    Args:
        model: Ends in a softmax, in sigmoids, or in logits, which become probabilities here.
        frozen: Whether the weights become constants of the graph. TensorFlow then lays them out for
            the processor once instead of at every call, which helps single images most; making it
            takes seconds, and at its peak several times the weights' memory.
        output: What logits become: an `Identity.output`.

    Raises:
        ValueError: the model is no classifier.
    """

    name = "TensorFlow"

    def __init__(self, model: keras.Model, frozen: bool = False, output: str = "softmax") -> None:
        checked = KerasEngine(model, output)
        self.input_shape, self.classes = checked.input_shape, checked.classes
        self.model, self._frozen, self._output = checked.model, frozen, checked.output
        turn = tf.sigmoid if self._output == "sigmoid" else tf.nn.softmax
        gives_logits = final_activation(self.model) == "linear"

        @tf.function(
            input_signature=[tf.TensorSpec((None, *self.input_shape), tf.float32)], autograph=False
        )
        def answer(images: tf.Tensor) -> tf.Tensor:
            answers = tf.cast(self.model(images, training=False), tf.float32)
            return turn(answers) if gives_logits else answers

        self._answer = answer.get_concrete_function()
        if frozen:
            from tensorflow.python.framework.convert_to_constants import (
                convert_variables_to_constants_v2,
            )

            self._answer = convert_variables_to_constants_v2(self._answer)

    def __reduce__(self) -> tuple:
        return TensorFlowEngine, (self.model, self._frozen, self._output)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        answers = self._answer(tf.constant(images, tf.float32))
        return (answers[0] if isinstance(answers, list | tuple) else answers).numpy()
