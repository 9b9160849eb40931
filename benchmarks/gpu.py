"""v3 and v4 on a GPU, training and inference, one line a configuration: see run.py.

python benchmarks/gpu.py            # all of it, in one call; needs a GPU
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from timing import rows

PRECISIONS = ("float32", "TF32", "mixed_bfloat16", "mixed_float16")
BATCH, SIDE, CLASSES = 128, 299, 1000
NO_GPU = "there is no GPU in this machine"


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    import keras

    before = keras.config.dtype_policy()
    tf.config.experimental.enable_tensor_float_32_execution(name != "float32")
    keras.config.set_dtype_policy("float32" if name in ("float32", "TF32") else name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
        tf.config.experimental.enable_tensor_float_32_execution(True)


def measure(quick: bool) -> list[dict[str, Any]]:
    if not tf.config.list_physical_devices("GPU"):
        return [{"case": "GPU", "name": "v3 and v4", "word": NO_GPU}]
    found = []
    for variant, how in itertools.product(("InceptionV3", "InceptionV4"), PRECISIONS):
        if quick and (variant, how) != ("InceptionV3", "mixed_bfloat16"):
            continue
        found += _training(variant, how, 5 if quick else 9)
        found += _inference(variant, how, 5 if quick else 9)
    return found


def _training(variant: str, how: str, rounds: int) -> list[dict[str, Any]]:
    import keras

    import keras_inception
    from keras_inception.models.layers import batch_norm_layer
    from keras_inception.recipes import Recipe
    from keras_inception.training.fused import FusedBatchNormalization
    from keras_inception.training.step import Step

    rng = np.random.default_rng(0)
    image = tf.constant(rng.normal(size=(BATCH, SIDE, SIDE, 3)).astype(np.float32))
    label = tf.one_hot(rng.integers(0, CLASSES, BATCH), CLASSES)
    calls = {}
    with precision(how):
        settings = {"weights": None, "classes": CLASSES, "classifier_activation": None}
        fitted = getattr(keras.applications, variant, getattr(keras_inception, variant))(**settings)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        fitted.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, jit_compile=False)
        data = tf.data.Dataset.from_tensors((image, label)).repeat()
        calls["keras fit"] = lambda: fitted.fit(data, steps_per_epoch=10, verbose=0, shuffle=False)
        for xla in (False, True):
            with batch_norm_layer(FusedBatchNormalization):
                model = getattr(keras_inception, variant)(**settings)
            optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
            optimizer.build(model.trainable_variables)
            recipe = Recipe(batch_size=BATCH, label_smoothing=0.0, weight_decay=0.0, clip_norm=0.0)
            step = Step(model, optimizer, recipe, xla=xla)

            @tf.function
            def loop(step: Step = step) -> tf.Tensor:
                norm = tf.constant(0.0)
                for _ in tf.range(10):
                    norm = tf.maximum(norm, step.train({"image": image, "label": label})["norm"])
                return norm

            name = "our loop, XLA" if xla else "our loop"
            calls[name] = lambda loop=loop: float(loop())
        case = f"GPU: {variant} training at {SIDE} px, batch {BATCH}, {how}"
        return rows(case, calls, rounds=rounds, images=BATCH * 10)


def _inference(variant: str, how: str, rounds: int) -> list[dict[str, Any]]:
    import keras

    import keras_inception
    from keras_inception.runtime.tensorflow import TensorFlowEngine

    images = np.random.default_rng(0).normal(size=(BATCH, SIDE, SIDE, 3)).astype(np.float32)
    with precision(how):
        base = getattr(keras.applications, variant, getattr(keras_inception, variant))(weights=None)
        ours = getattr(keras_inception, variant)(weights=None)
        kind = {"mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}.get(how)
        engine = TensorFlowEngine(keras_inception.fuse(ours, kind), frozen=True)
        calls = {
            "keras predict": lambda: base.predict_on_batch(images),
            "fused, frozen": lambda: engine(images),
        }
        case = f"GPU: {variant} at {SIDE} px, {BATCH} images a call, {how}"
        return rows(case, calls, rounds=rounds, images=BATCH)


if __name__ == "__main__":
    for row in measure(False):
        print(row)
