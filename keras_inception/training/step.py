"""One replica's part of a training and of an evaluation step.

N replicas with a global batch B take the same step as one replica with B: losses are divided by
the global batch, gradients are summed before they are clipped.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_inception.training.averages import MovingAverage
from keras_inception.training.recipes import Recipe

Batch = dict[str, tf.Tensor]


def cross_entropy(label: tf.Tensor, logits: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """float32 (batch,): cross-entropy with smoothed labels (1512.00567 section 7)."""
    return keras.losses.categorical_crossentropy(
        label, tf.cast(logits, tf.float32), from_logits=True, label_smoothing=smoothing
    )


def l2(kernels: list[Any]) -> tf.Tensor:
    """TF-Slim's: half the sum of squares, of kernels only."""
    return tf.add_n([tf.nn.l2_loss(tf.cast(k, tf.float32)) for k in kernels])


class Step:
    """A recipe's steps on a model; to be called inside `strategy.run`.

    Args:
        model: Returns logits, or a dict of "predictions" (logits) and auxiliary logits.
        optimizer: Built for the model's trainable variables.
        recipe: Losses' weights, clipping, label smoothing.
        average: The MovingAverage of the weights to keep, or None.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        recipe: Recipe,
        average: MovingAverage | None = None,
    ) -> None:
        self.model, self.optimizer, self.recipe, self.average = model, optimizer, recipe, average
        self.kernels = [v for v in model.trainable_variables if v.name == "kernel"]

    def train(self, batch: Batch) -> dict[str, tf.Tensor]:
        """One update. Returns this replica's share of the sums; their sum is the step's."""
        recipe, variables = self.recipe, self.model.trainable_variables
        context = tf.distribute.get_replica_context()
        replicas = context.num_replicas_in_sync
        with tf.GradientTape() as tape:
            outputs = _as_dict(self.model(batch["image"], training=True))
            losses = 0.0
            for name, logits in outputs.items():
                weight = 1.0 if name == "predictions" else recipe.aux_weight
                losses += weight * cross_entropy(batch["label"], logits, recipe.label_smoothing)
            loss = tf.reduce_sum(losses) / recipe.batch_size
            if recipe.weight_decay and recipe.optimizer != "adamw":
                loss += recipe.weight_decay * l2(self.kernels) / replicas
        gradients = tape.gradient(loss, [v.value for v in variables])
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        norm = tf.linalg.global_norm(gradients)
        if recipe.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, recipe.clip_norm, use_norm=norm)
        # Keras sums over the replicas once more.
        self.optimizer.apply([g / replicas for g in gradients], variables)
        if self.average is not None:
            self.average.update(self.optimizer.iterations)
        hit = tf.argmax(outputs["predictions"], -1) == tf.argmax(batch["label"], -1)
        return {
            "loss": loss,
            "correct": tf.reduce_sum(tf.cast(hit, tf.float32)),
            "norm": norm / replicas,
        }

    def evaluate(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Weighted sums over the batch: padding has weight 0."""
        logits = _as_dict(self.model(batch["image"], training=False))["predictions"]
        label = tf.one_hot(batch["label"], logits.shape[-1])
        hit = tf.cast(tf.argmax(logits, -1) == batch["label"], tf.float32)
        return {
            "loss": tf.reduce_sum(cross_entropy(label, logits) * batch["weight"]),
            "correct": tf.reduce_sum(hit * batch["weight"]),
            "examples": tf.reduce_sum(batch["weight"]),
        }


def _as_dict(outputs: Any) -> dict[str, tf.Tensor]:
    return dict(outputs) if isinstance(outputs, dict) else {"predictions": outputs}
