"""Moving averages: of the weights (EMA), and one defined set of BatchNorm statistics."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf


class MovingAverage(tf.Module):
    """Exponential moving average of every weight, BatchNorm's statistics included.

    The decay warms up as min(decay, (1 + n) / (10 + n)) after n updates, so that short runs are
    not averaged with their random start (TF1's ExponentialMovingAverage with num_updates).

    Args:
        model: Whose weights are averaged; create this in the strategy's scope.
        decay: Share that the average keeps at each step, below 1.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        super().__init__()
        self._model, self._decay = model, decay
        self.shadows = [
            tf.Variable(w.value, trainable=False, aggregation=tf.VariableAggregation.MEAN)
            for w in _weights(model)
        ]

    def update(self, updates: Any) -> None:
        """Moves the average towards the weights, after `updates` optimizer steps; in a replica."""
        n = tf.cast(updates, tf.float32)
        decay = tf.minimum(self._decay, (1.0 + n) / (10.0 + n))
        for shadow, weight in zip(self.shadows, _weights(self._model), strict=True):
            shadow.assign(decay * shadow + (1.0 - decay) * tf.cast(weight.value, shadow.dtype))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The model computes with the average inside the `with` block."""
        with assigned(_weights(self._model), [shadow.numpy() for shadow in self.shadows]):
            yield


@contextlib.contextmanager
def assigned(weights: Sequence[Any], values: Sequence[Any]) -> Iterator[None]:
    """Weights have other values inside the `with` block, and their own again after it."""
    own = [w.numpy() for w in weights]
    for weight, value in zip(weights, values, strict=True):
        weight.assign(value)
    try:
        yield
    finally:
        for weight, value in zip(weights, own, strict=True):
            weight.assign(value)


def _weights(model: keras.Model) -> list[Any]:
    """The floating-point weights: not the counters of dropout's seeds."""
    return [w for w in model.weights if w.dtype.startswith(("float", "bfloat"))]


def merging(model: keras.Model, strategy: tf.distribute.Strategy) -> Callable[[], None]:
    """A function that gives every replica the mean of all replicas' BatchNorm statistics.

    Keras leaves each replica with statistics of its own share of the data, and saves the first
    replica's; evaluation, checkpoints and exports should not depend on which.

    Args:
        model: Built in the strategy's scope.
        strategy: Whose replicas train it.

    Returns:
        The function; it is traced once, however often it is called.
    """
    moving = [w for w in _weights(model) if not w.trainable]
    if strategy.num_replicas_in_sync == 1 or not moving:
        return lambda: None

    @tf.function(autograph=False)
    def merge() -> None:
        shares = strategy.run(lambda: [tf.identity(w.value) for w in moving])
        means = [strategy.reduce("MEAN", share, axis=None) for share in shares]

        def assign() -> None:
            for weight, mean in zip(moving, means, strict=True):
                weight.value.assign(mean)

        strategy.run(assign)

    return merge
