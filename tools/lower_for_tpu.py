"""Lowers each variant's bfloat16 train step to HLO for the platform TPU, without a TPU.

    make test-tpu

It needs TensorFlow's wheel for TPUs with libtpu taken out. An operation that TPUs lack is refused
by the compiler's front end; `--forbidden` adds one, to see that. What it shows is that the
operations exist there, not numbers, memory or speed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

from keras_inception.models.measure import smallest_input
from keras_inception.models.registry import get_model, list_models
from keras_inception.recipes import Recipe
from keras_inception.training.step import cross_entropy

BATCH = 2


def lower(name: str, forbidden: bool) -> str:
    """The HLO of a train step: heads, label smoothing, L2, clipping, RMSProp.

    The compiler takes no variables without a device, so they are arguments here: the model's
    stateless call, the loss of training.step, and RMSProp written out, since Keras' optimizers have
    no stateless form on TensorFlow.
    """
    keras.config.set_dtype_policy("mixed_bfloat16")
    recipe = Recipe(aux_weight=0.4, weight_decay=4e-5, optimizer="rmsprop")
    arguments: dict[str, Any] = {"weights": None, "classes": 10, "classifier_activation": None}
    size = smallest_input(get_model(name, input_shape=(299, 299, 3), aux_logits=True, **arguments))
    model = get_model(name, input_shape=(*size, 3), aux_logits=True, **arguments)

    def values(variables: list[Any]) -> list[tf.Tensor]:
        return [tf.convert_to_tensor(v.value) for v in variables]

    state = (
        values(model.trainable_variables),
        values(model.non_trainable_variables),
        [tf.ones(v.shape) for v in model.trainable_variables],
        [tf.zeros(v.shape) for v in model.trainable_variables],
    )

    @tf.function(jit_compile=True)
    def step(
        trainable: Any, others: Any, squares: Any, momenta: Any, image: tf.Tensor, label: tf.Tensor
    ) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(trainable)
            outputs, others = model.stateless_call(trainable, others, image, training=True)
            loss = 0.0
            for key, logits in outputs.items():
                weight = 1.0 if key == "predictions" else recipe.aux_weight
                losses = cross_entropy(label, logits, recipe.label_smoothing)
                loss += weight * tf.reduce_sum(losses) / BATCH
            kernels = [
                value
                for value, variable in zip(trainable, model.trainable_variables, strict=True)
                if variable.name == "kernel"
            ]
            loss += recipe.weight_decay * tf.add_n([tf.nn.l2_loss(k) for k in kernels])
        gradients, norm = tf.clip_by_global_norm(tape.gradient(loss, trainable), recipe.clip_norm)
        if forbidden:
            tf.print(norm)
        squares = [0.9 * s + 0.1 * g * g for s, g in zip(squares, gradients, strict=True)]
        momenta = [
            0.9 * m + 0.1 * g * tf.math.rsqrt(s + 1.0)
            for m, g, s in zip(momenta, gradients, squares, strict=True)
        ]
        trainable = [w - m for w, m in zip(trainable, momenta, strict=True)]
        return trainable, others, squares, momenta, loss

    image = tf.zeros((BATCH, *size, 3))
    label = tf.one_hot([0, 1], 10)
    lowered = step.experimental_get_compiler_ir(*state, image, label)
    return lowered(stage="hlo", platform_name="TPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="variants; all by default")
    parser.add_argument("--forbidden", action="store_true", help="add tf.print, which TPUs lack")
    options = parser.parse_args()
    failed = 0
    for name in options.models or list_models():
        begun = time.monotonic()
        try:
            text = lower(name, options.forbidden)
        except (ValueError, tf.errors.OpError) as error:
            failed += 1
            print(f"{name}: refused: {' '.join(str(error).split())[-300:]}", flush=True)
            continue
        count = text.count(" = ")
        halves = text.count("bf16[")
        print(
            f"{name}: {count} HLO instructions, {halves} in bfloat16, "
            f"{time.monotonic() - begun:.0f} s",
            flush=True,
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
