"""BatchNorm as TensorFlow's one fused operation, for networks while they train."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras' layer with the same variables and the same results, faster under TensorFlow.

    Keras 3 computes the moments and the normalization as a dozen operations, each of which reads
    the whole feature map. What the operation cannot do is left to Keras: several replicas'
    statistics in one (`synchronized`), masks, other ranks, channels first; and inference, frozen
    layers included, whose gradient by this operation does not repeat bit for bit on GPUs. It never
    gets into a file: `inference_network` builds the network that is saved of Keras' own layers.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and self.trainable and self._is_fused(inputs, mask)):
            return super().call(inputs, training=training, mask=mask)
        inputs = tf.cast(inputs, self.compute_dtype)
        # Gamma, beta and statistics are float32 under every policy, as the operation wants them.
        ones, zeros = tf.ones_like(self.moving_mean), tf.zeros_like(self.moving_mean)
        outputs, mean, variance, _, _, _ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma) if self.scale else ones,
            offset=tf.convert_to_tensor(self.beta) if self.center else zeros,
            mean=tf.constant([]),
            variance=tf.constant([]),
            epsilon=self.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
        # The operation's variance is the sample's (divided by N - 1), Keras' the batch's.
        variance *= (count - 1.0) / count
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return outputs

    def _is_fused(self, inputs: Any, mask: Any) -> bool:
        return (
            mask is None
            and not self.synchronized
            and len(inputs.shape) == 4
            and self.axis in (3, -1)
            and self.variable_dtype == "float32"
            and not getattr(self, "renorm", False)  # Keras 3.14 and later
            and not isinstance(inputs, keras.KerasTensor)
        )
