"""Training steps: keras.applications' v3 in `fit`, and this package's loop: see run.py.

All train on the same batch from memory with SGD and momentum, in turns, each in a process of its
own: `fit` with TensorFlow's defaults, the loop as the commands run it (cli/process.py). The loop
does more than `fit`: the global norm of the gradients, and a check for numbers that are not finite.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from timing import InAProcess, circumstances, rows

import keras_inception
from keras_inception.models.layers import conventions
from keras_inception.training.fused import FusedBatchNormalization
from keras_inception.training.step import Step

BATCH, CLASSES = 16, 10


@contextlib.contextmanager
def policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def of_fit(precision: str, side: int, steps: int) -> Callable[[], Any]:
    """keras.applications' network in Keras' own loop."""
    with policy(precision):
        body = keras.applications.InceptionV3(
            weights=None,
            input_shape=(side, side, 3),
            classes=CLASSES,
            classifier_activation=None,
        )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    body.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, jit_compile=False)
    images, labels = batch(side)
    data = tf.data.Dataset.from_tensors((images, labels)).repeat()
    return lambda: body.fit(data, steps_per_epoch=steps, epochs=1, verbose=0, shuffle=False)


def of_loop(precision: str, side: int, steps: int, fused: bool) -> Callable[[], Any]:
    """This package's step, with the fused BatchNorm or with Keras' own."""
    kind = FusedBatchNormalization if fused else keras.layers.BatchNormalization
    with policy(precision), conventions(batch_norm_layer=kind):
        model = keras_inception.InceptionV3(
            weights=None,
            input_shape=(side, side, 3),
            classes=CLASSES,
            classifier_activation=None,
            dropout=0.0,
        )
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)
    step = Step(model, optimizer, batch_size=BATCH)
    images, labels = batch(side)
    iterator = iter(tf.data.Dataset.from_tensors({"image": images, "label": labels}).repeat())

    @tf.function
    def loop(count: tf.Tensor) -> tf.Tensor:
        norm = tf.constant(0.0)
        for _ in tf.range(count):
            norm = tf.maximum(norm, step.train(next(iterator))["norm"])
        return norm

    def call() -> None:
        assert np.isfinite(float(loop(tf.constant(steps))))

    return call


def batch(side: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(BATCH, side, side, 3)).astype(np.float32)
    return images, np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, BATCH)]


def measure(quick: bool) -> list[dict[str, Any]]:
    side, steps, rounds = (96, 1, 5) if quick else (299, 1, 3)
    flags = circumstances().get("flags", "")
    found = []
    for precision in ("float32",) if quick else ("float32", "mixed_bfloat16"):
        case = f"InceptionV3 training at {side} px, batch {BATCH}, {precision}"
        if precision == "mixed_bfloat16" and not re.search(r"avx512_bf16|amx_bf16", flags):
            word = "not measured: this processor has no instructions for bfloat16"
            found.append({"case": case, "name": "all", "word": word})
            continue

        def made(function: str, *more: Any, as_commands: bool, precision: str = precision) -> Any:
            given = (precision, side, steps, *more)
            return InAProcess("training", function, *given, as_commands=as_commands)

        calls = {
            "keras.applications fit": made("of_fit", as_commands=False),
            "keras.applications fit, process prepared as ours": made("of_fit", as_commands=True),
            "our loop, TensorFlow's defaults": made("of_loop", True, as_commands=False),
            "our loop, Keras' BatchNorm": made("of_loop", False, as_commands=True),
            "our loop": made("of_loop", True, as_commands=True),
        }
        found += rows(case, calls, rounds=rounds, images=BATCH * steps)
    return found
