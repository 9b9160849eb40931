"""Steps of our loop against Keras' fit, on the same model and images in one run.

    python benchmarks/loop_vs_fit.py [--rounds 5] [--steps 30] [--replicas 1]

Both train the same network with the same optimizer on the same batches from memory, in turns, so
that what else the machine does falls on both; the median of the rounds' ratios is printed. The
loop does more: clipping by the global norm, label smoothing, a check for non-finite numbers.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from timing import rows

from keras_inception import InceptionV1
from keras_inception.training import make_strategy
from keras_inception.training.step import Step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30, help="steps a round")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--image_size", type=int, default=48)
    parser.add_argument("--replicas", type=int, default=1, help="parts of the CPU for our loop")
    options = parser.parse_args()
    kind = "mirrored" if options.replicas > 1 else "one_device"
    strategy = make_strategy(
        kind, num_virtual_devices=options.replicas if options.replicas > 1 else 0
    )
    rng = np.random.default_rng(0)
    shape = (options.batch_size, options.image_size, options.image_size, 3)
    images = rng.normal(size=shape).astype(np.float32)
    labels = np.eye(10, dtype=np.float32)[rng.integers(0, 10, options.batch_size)]

    def build() -> keras.Model:
        return InceptionV1(
            weights=None, classes=10, input_shape=shape[1:], classifier_activation=None
        )

    fitted = build()
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    fitted.compile(keras.optimizers.AdamW(1e-4), loss, metrics=["accuracy"], jit_compile=False)
    same = tf.data.Dataset.from_tensors((images, labels)).repeat()

    with strategy.scope():
        looped = build()
        optimizer = keras.optimizers.AdamW(1e-4)
        optimizer.build(looped.trainable_variables)
    numbers = {"label_smoothing": 0.1, "clip_norm": 2.0}
    step = Step(looped, optimizer, batch_size=options.batch_size, **numbers)

    def stream(context: tf.distribute.InputContext) -> tf.data.Dataset:
        share = options.batch_size // options.replicas
        parts = {"image": images[:share], "label": labels[:share]}
        return tf.data.Dataset.from_tensors(parts).repeat()

    batches = iter(strategy.distribute_datasets_from_function(stream))

    @tf.function
    def loop(batches: tf.distribute.DistributedIterator, count: tf.Tensor) -> tf.Tensor:
        norm = tf.constant(0.0)
        for _ in tf.range(count):
            sums = strategy.run(step.train, args=(next(batches),))
            norm = tf.maximum(norm, strategy.reduce("SUM", sums["norm"], axis=None))
        return norm

    def of_loop() -> None:
        done = 0
        while done < options.steps:
            count = min(10, options.steps - done)
            assert np.isfinite(float(loop(batches, tf.constant(count))))
            done += count

    def of_fit() -> None:
        fitted.fit(same, steps_per_epoch=options.steps, epochs=1, verbose=0, shuffle=False)

    case = f"InceptionV1, {options.image_size} px, batch {options.batch_size}"
    count = options.steps * options.batch_size
    calls = {"fit": of_fit, "loop": of_loop}
    fit, ours = rows(case, calls, rounds=options.rounds, images=count, warm_up=1)
    print(
        f"{case}, {options.replicas} replica(s): loop {ours['images_per_second']:.0f} images/s, "
        f"fit {fit['images_per_second']:.0f} images/s; time of the loop / time of fit: median "
        f"{1 / ours['ratio']:.3f} of {options.rounds} rounds "
        f"({1 / ours['ratio_high']:.3f} to {1 / ours['ratio_low']:.3f})"
    )


if __name__ == "__main__":
    main()
