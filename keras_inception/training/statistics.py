"""BatchNorm's statistics, computed anew for the weights that are evaluated.

The moving averages of training are of the weights of earlier steps. After few steps, with a high
momentum, or where a moving average of the weights is evaluated, they belong to another network
than the one that is measured, and evaluation is worse than training without a word (Wu & Johnson
2021, arXiv:2105.07576, section 3).
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception.training.averages import assigned
from keras_inception.training.step import rightness

# Both modes are compared on so many images, in whole batches.
COMPARED = 64
# A share of right answers that evaluation mode may lose on these images before the run warns.
DISAGREEMENT = 0.2


@dataclasses.dataclass(frozen=True)
class Modes:
    """Share of right answers on the same training images, by where BatchNorm's statistics are from.

    Attributes:
        images: How many images there are.
        training: With the statistics of each batch, as training computes; without dropout.
        evaluation: With the statistics that evaluation and export take.
    """

    images: int
    training: float
    evaluation: float

    @property
    def disagree(self) -> bool:
        """Whether evaluation mode is so much worse that the statistics must be wrong."""
        return self.training - self.evaluation > DISAGREEMENT


class NormStatistics:
    """The statistics of the BatchNorm layers that train.

    Args:
        model: A network with a classifier "predictions"; built in the strategy's scope.
        strategy: Whose replicas train it.
        evaluate: Takes a distributed batch and returns its sums "correct" and "examples", in
            evaluation mode.
    """

    def __init__(
        self,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        evaluate: Callable[[Any], dict[str, tf.Tensor]],
    ) -> None:
        self._strategy, self._evaluate = strategy, evaluate
        self._norms = [
            layer
            for layer in model.layers
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        self.moving = [w for n in self._norms for w in (n.moving_mean, n.moving_variance)]
        self._classifier = model.get_layer("predictions")
        features = self._classifier.input
        if isinstance(features._keras_history.operation, keras.layers.Dropout):
            # Dropped features would be noise here, and their seed's state belongs to training.
            features = features._keras_history.operation.input
        self._network = keras.Model(model.input, [*(n.input for n in self._norms), features])

    @contextlib.contextmanager
    def applied(self, batches: Iterable[Any], steps: int, batch: int) -> Iterator[Modes]:
        """Inside, the network has statistics of its present weights, and afterwards its own again.

        Every replica should have the same statistics and weights before.

        Args:
            batches: Distributed batches of training images, as `evaluation_batches` has them:
                "image", "label", "weight" of ones; in a random order, since a batch is normalized
                by its own statistics.
            steps: Batches that the statistics are of; 0 keeps the moving averages.
            batch: Images of a batch, over all replicas.

        Yields:
            How far both modes agree.
        """
        own = [w.numpy() for w in self.moving]
        with assigned(self.moving, own):  # passes in training mode change them
            taken, hits, values = self._measured(batches, steps, -(-COMPARED // batch))
            for weight, value in zip(self.moving, values or own, strict=True):
                weight.assign(value)
            sums = [self._evaluate(one) for one in taken]
            images = sum(float(s["examples"]) for s in sums)
            right = sum(float(s["correct"]) for s in sums)
            yield Modes(round(images), hits / images, right / images)

    def _measured(
        self, batches: Iterable[Any], steps: int, compared: int
    ) -> tuple[list[Any], float, list[np.ndarray]]:
        """The first `compared` batches, their right answers, and the statistics of `steps`."""
        taken, hits, moments = [], 0.0, []
        for number, batch in enumerate(itertools.islice(batches, max(steps, compared))):
            means, variances, right = self._observe(batch)
            if number < compared:
                taken.append(batch)
                hits += float(right)
            if number < steps:
                moments.append([[v.numpy() for v in kind] for kind in (means, variances)])
        values: list[np.ndarray] = []
        if not steps:
            return taken, hits, values
        for norm in range(len(self._norms)):
            mean, variance = (
                np.stack([m[kind][norm] for m in moments]).astype(np.float64) for kind in (0, 1)
            )
            # The variance of all is the mean of the batches' variances and that of their means.
            values += [mean.mean(0), variance.mean(0) + mean.var(0)]
        return taken, hits, values

    @tf.function(reduce_retracing=True, autograph=False)
    def _observe(self, batch: Any) -> tuple[list[tf.Tensor], list[tf.Tensor], tf.Tensor]:
        """A pass in training mode.

        Returns:
            Mean and variance of each norm's input, over the images of all replicas, and the number
            of right answers.
        """

        def of_replica(batch: Any) -> Any:
            *inputs, features = self._network(batch["image"], training=True)
            means, variances = [], []
            for norm, x in zip(self._norms, inputs, strict=True):
                axes = [i for i in range(len(x.shape)) if i != norm.axis % len(x.shape)]
                mean, variance = tf.nn.moments(tf.cast(x, tf.float32), axes)
                means.append(mean)
                variances.append(variance)
            context = tf.distribute.get_replica_context()
            whole = context.all_reduce(tf.distribute.ReduceOp.MEAN, means)
            variances = [
                variance + tf.square(mean - together)
                for variance, mean, together in zip(variances, means, whole, strict=True)
            ]
            variances = context.all_reduce(tf.distribute.ReduceOp.MEAN, variances)
            hits = rightness(batch["label"], self._classifier(features))
            return whole, variances, tf.reduce_sum(hits)

        means, variances, hits = self._strategy.run(of_replica, args=(batch,))

        def first(value: Any) -> tf.Tensor:
            return self._strategy.experimental_local_results(value)[0]

        total = self._strategy.reduce("SUM", hits, axis=None)
        return [first(v) for v in means], [first(v) for v in variances], total
