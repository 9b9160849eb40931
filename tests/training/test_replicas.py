"""N replicas take the step that one takes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# A process of its own for each number of replicas: devices and strategies are a process's.
SCRIPT = """
import json, sys
import keras, numpy as np, tensorflow as tf
from keras_inception.training import Recipe, make_strategy
from keras_inception.training.averages import MovingAverage
from keras_inception.training.step import Step
replicas, optimizer_name = int(sys.argv[1]), sys.argv[2]
parts, xla = int(sys.argv[3]), sys.argv[4] == "xla"
strategy = make_strategy("mirrored" if replicas > 1 else "one_device", num_virtual_devices=replicas)
assert strategy.num_replicas_in_sync == replicas
recipe = Recipe(batch_size=8, weight_decay=1e-2, clip_norm=0.5, aux_weight=0.4, ema=0.9)
recipe = recipe.replace(optimizer=optimizer_name, accumulation_steps=parts)
with strategy.scope():
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 6, 3))
    y = keras.layers.Conv2D(4, 3, use_bias=False)(x)
    # Micro-batches have statistics of their own, and XLA cannot ask the other replicas for theirs.
    own = parts > 1 or xla
    y = keras.layers.BatchNormalization(synchronized=not own, trainable=not own)(y)
    y = keras.layers.Flatten()(y)
    outputs = {"predictions": keras.layers.Dense(3)(y), "aux_logits": keras.layers.Dense(3)(y)}
    model = keras.Model(x, outputs)
    optimizer = {
        "sgd": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
        "rmsprop": lambda: keras.optimizers.RMSprop(0.1, epsilon=1.0),
        "adamw": lambda: keras.optimizers.AdamW(0.01),
        "lion": lambda: keras.optimizers.Lion(0.001),
    }[optimizer_name]()
    optimizer.build(model.trainable_variables)
    average = MovingAverage(model, 0.9)
step = Step(model, optimizer, recipe, average, xla=xla)
rng = np.random.default_rng(0)
images = rng.normal(size=(6, 8, 6, 6, 3)).astype(np.float32)
labels = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (6, 8))]
share = 8 // replicas
@tf.function
def run(batch):
    out = strategy.run(step.train, args=(batch,))
    return {k: strategy.reduce("SUM", v, axis=None) for k, v in out.items()}
sums = []
for s in range(6):
    def of(context):
        i = context.replica_id_in_sync_group
        part = slice(i * share, (i + 1) * share)
        return {"image": tf.constant(images[s, part]), "label": tf.constant(labels[s, part])}
    out = run(strategy.experimental_distribute_values_from_function(of))
    sums.append({k: float(v) for k, v in out.items()})
weights = [w.numpy().ravel().tolist() for w in model.weights]
weights += [w.numpy().ravel().tolist() for w in average.shadows]
print("RESULT" + json.dumps({"weights": weights, "sums": sums}))
"""


def run(replicas, optimizer, parts=1, xla=""):
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(replicas), optimizer, str(parts), xla],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return json.loads(process.stdout.partition("RESULT")[2])


@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop", "sgd"])
def test_two_replicas_equal_one(optimizer):
    """With auxiliary loss, L2, clipping, synchronised BatchNorm and the moving average."""
    check_equal(run(1, optimizer), run(2, optimizer))


def test_micro_batches_equal_a_whole_batch():
    """Two replicas in two parts each, compiled, equal one replica with the batch as a whole."""
    whole = run(1, "rmsprop", parts=2)  # parts, so that both have the same BatchNorm
    check_equal(whole, run(2, "rmsprop", parts=2, xla="xla"))
    check_equal(run(1, "rmsprop", parts=1, xla="xla"), whole)


def check_equal(one, two):
    for a, b in zip(one["weights"], two["weights"], strict=True):
        assert b == pytest.approx(a, abs=2e-6)
    for a, b in zip(one["sums"], two["sums"], strict=True):
        assert b == pytest.approx(a, rel=1e-5)
