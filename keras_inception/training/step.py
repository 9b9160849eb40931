"""One replica's part of a training and of an evaluation step.

N replicas with a global batch B take the same step as one replica with B: losses are divided by
the global batch, gradients are summed over micro-batches and replicas before they are clipped.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception.training.averages import MovingAverage

Batch = dict[str, tf.Tensor]


def cross_entropy(label: tf.Tensor, logits: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """float32 (batch,): cross-entropy with smoothed labels (1512.00567 section 7)."""
    return keras.losses.categorical_crossentropy(
        label, tf.cast(logits, tf.float32), from_logits=True, label_smoothing=smoothing
    )


def binary_cross_entropy(
    label: tf.Tensor,
    logits: tf.Tensor,
    smoothing: float = 0.0,
    weights: np.ndarray | None = None,
) -> tf.Tensor:
    """float32 (batch,): the classes' binary cross-entropies in sum.

    In sum, so that a logit's gradient is probability minus label, as that of a softmax.

    Args:
        label: float32 (batch, classes), 1 or a share of it for what an image has.
        logits: float (batch, classes).
        smoothing: Share by which each label is drawn to one half.
        weights: float32 (classes,), of each class's positive labels; None: 1.
    """
    target = label * (1 - smoothing) + smoothing / 2
    losses = tf.nn.sigmoid_cross_entropy_with_logits(target, tf.cast(logits, tf.float32))
    if weights is not None:
        losses *= 1 + label * (weights - 1)
    return tf.reduce_sum(losses, -1)


def rightness(label: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """float32 (batch,): how right each answer is, 0 to 1; its mean is the accuracy.

    Of several labels it is the labels that are both true and named (by a probability above one
    half), as a share of those that are either; 1 where there are none (Godbole & Sarawagi 2004).

    Args:
        label: int64 (batch,), or float32 (batch, classes) where images may have several.
        logits: float (batch, classes).
    """
    if label.shape.rank == 1:
        return tf.cast(tf.argmax(logits, -1) == label, tf.float32)
    true, named = label > 0.5, logits > 0
    both, either = (tf.reduce_sum(tf.cast(s, tf.float32), -1) for s in (true & named, true | named))
    return tf.where(either > 0, both / tf.maximum(either, 1.0), 1.0)


def l2(kernels: list[Any]) -> tf.Tensor:
    """TF-Slim's: half the sum of squares, of kernels only."""
    return tf.add_n([tf.nn.l2_loss(tf.cast(k, tf.float32)) for k in kernels])


class LossScale(tf.Module):
    """Dynamic loss scaling for float16: small gradients would be flushed to 0 without it.

    Halved after a step whose gradients are not finite, doubled after `patience` that are. Create
    it in the strategy's scope.
    """

    def __init__(self, start: float = 2.0**15, patience: int = 2000) -> None:
        super().__init__()
        mean = tf.VariableAggregation.MEAN
        self.value = tf.Variable(start, trainable=False, aggregation=mean)
        self.finite_steps = tf.Variable(0.0, trainable=False, aggregation=mean)
        self._patience = patience

    def update(self, finite: tf.Tensor) -> None:
        """After a step; `finite` says whether its gradients were."""
        steps = tf.where(finite, self.finite_steps + 1.0, 0.0)
        grow = steps >= self._patience
        factor = tf.where(finite, tf.where(grow, 2.0, 1.0), 0.5)
        self.value.assign(self.value * factor)
        self.finite_steps.assign(tf.where(grow, 0.0, steps))


class Step:
    """The steps on a model; to be called inside `strategy.run`.

    Args:
        model: Returns logits, or a dict of "predictions" (logits) and auxiliary logits.
        optimizer: Built for the model's trainable variables.
        batch_size: The global batch, by which losses are divided.
        parts: Micro-batches that a replica computes its share in.
        aux_weight: Weight of each auxiliary head's loss.
        label_smoothing: Share of the labels that is spread over all classes.
        l2_weight: Weight of the kernels' L2 penalty.
        clip_norm: Limit of the global gradient norm; 0: none.
        class_weights: float32 (classes,), weights of the classes in the loss, or None.
        several: Whether images may have several labels, so that each class is a yes or no.
        average: The MovingAverage of the weights to keep, or None.
        scale: The LossScale of a float16 model, or None.
        xla: Whether forward and backward pass are compiled; reductions over replicas are not.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        batch_size: int,
        parts: int = 1,
        aux_weight: float = 0.0,
        label_smoothing: float = 0.0,
        l2_weight: float = 0.0,
        clip_norm: float = 0.0,
        class_weights: np.ndarray | None = None,
        several: bool = False,
        average: MovingAverage | None = None,
        scale: LossScale | None = None,
        xla: bool = False,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.average, self.scale = average, scale
        self._batch_size, self._parts = batch_size, parts
        self._aux_weight, self._label_smoothing = aux_weight, label_smoothing
        self._l2_weight, self._clip_norm = l2_weight, clip_norm
        self._class_weights, self._several = class_weights, several
        self._kernels = [v for v in model.trainable_variables if v.name == "kernel"]
        self._backward = tf.function(self._gradients, jit_compile=True) if xla else self._gradients

    # AutoGraph would rewrite Keras' layers and optimizer, too, for seconds and to no effect.
    @tf.autograph.experimental.do_not_convert
    def train(self, batch: Batch) -> dict[str, tf.Tensor]:
        """One update. Returns this replica's share of the sums; their sum is the step's."""
        variables, parts = self.model.trainable_variables, self._parts
        context = tf.distribute.get_replica_context()
        replicas = context.num_replicas_in_sync
        gradients: list[Any] = [0.0] * len(variables)
        loss, hits = tf.constant(0.0), tf.constant(0.0)
        for image, label in zip(
            tf.split(batch["image"], parts), tf.split(batch["label"], parts), strict=True
        ):
            part, part_loss, part_hits = self._backward(image, label, 1.0 / (replicas * parts))
            gradients = [a + b for a, b in zip(gradients, part, strict=True)]
            loss, hits = loss + part_loss, hits + part_hits
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self.scale is not None:
            gradients = [g / self.scale.value for g in gradients]
        norm = tf.linalg.global_norm(gradients)
        if self.scale is not None:
            # Overflow is expected with loss scaling: zero this gradient; only momentum moves the
            # weights.
            finite = tf.math.is_finite(norm)
            gradients = [tf.where(finite, g, tf.zeros_like(g)) for g in gradients]
            norm = tf.where(finite, norm, 0.0)
            self.scale.update(finite)
        if self._clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm, use_norm=norm)
        # Keras sums over the replicas once more.
        self.optimizer.apply([g / replicas for g in gradients], variables)
        if self.average is not None:
            self.average.update(self.optimizer.iterations)
        return {"loss": loss, "correct": hits, "norm": norm / replicas}

    def _gradients(
        self, image: tf.Tensor, label: tf.Tensor, share: float
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """Gradients (times the loss scale), loss and hits of a micro-batch.

        `share` is its part of the step: of the L2 penalty, which is counted once a step.
        """
        with tf.GradientTape() as tape:
            outputs = _as_dict(self.model(image, training=True))
            losses = 0.0
            for name, logits in outputs.items():
                weight = 1.0 if name == "predictions" else self._aux_weight
                losses += weight * self._losses(label, logits)
            if self._class_weights is not None and not self._several:
                losses *= tf.linalg.matvec(label, self._class_weights)
            loss = tf.reduce_sum(losses) / self._batch_size
            if self._l2_weight:
                loss += self._l2_weight * share * l2(self._kernels)
            scaled = loss if self.scale is None else loss * self.scale.value
        gradients = tape.gradient(scaled, [v.value for v in self.model.trainable_variables])
        true = label if self._several else tf.argmax(label, -1)
        return gradients, loss, tf.reduce_sum(rightness(true, outputs["predictions"]))

    def _losses(self, label: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """float32 (batch,): the loss of each image at one head."""
        if self._several:
            return binary_cross_entropy(label, logits, self._label_smoothing, self._class_weights)
        return cross_entropy(label, logits, self._label_smoothing)

    @tf.autograph.experimental.do_not_convert
    def evaluate(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Weighted sums over the batch: padding has weight 0."""
        logits = _as_dict(self.model(batch["image"], training=False))["predictions"]
        if self._several:
            losses = binary_cross_entropy(batch["label"], logits)
        else:
            losses = cross_entropy(tf.one_hot(batch["label"], logits.shape[-1]), logits)
        return {
            "loss": tf.reduce_sum(losses * batch["weight"]),
            "correct": tf.reduce_sum(rightness(batch["label"], logits) * batch["weight"]),
            "examples": tf.reduce_sum(batch["weight"]),
        }


def _as_dict(outputs: Any) -> dict[str, tf.Tensor]:
    return dict(outputs) if isinstance(outputs, dict) else {"predictions": outputs}
