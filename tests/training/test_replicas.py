"""N replicas take the step that one takes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# A process of its own: the number of devices is a process's. For one replica and for two there are
# cases: an optimizer, the micro-batches of a step, and whether a replica's pass is compiled.
STEPS = """
import json, sys
import keras, numpy as np, tensorflow as tf
from keras_inception.recipes import Recipe
from keras_inception.training import make_strategy
from keras_inception.training.averages import MovingAverage, merging
from keras_inception.optimizers import make_optimizer, make_schedule
from keras_inception.training.statistics import NormStatistics
from keras_inception.training.step import Step
cases, mirrored = json.loads(sys.argv[1]), make_strategy("mirrored", num_virtual_devices=2)
rng = np.random.default_rng(0)
images = rng.normal(size=(6, 8, 6, 6, 3)).astype(np.float32)
labels = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (6, 8))]

def train(model, optimizer, average, recipe, xla, steps=6):
    step = Step(
        model, optimizer, batch_size=8, parts=recipe.accumulation_steps, average=average, xla=xla,
        aux_weight=recipe.aux_weight, label_smoothing=0.1, clip_norm=recipe.clip_norm,
        l2_weight=0.0 if recipe.decays_weights_apart else recipe.weight_decay,
    )
    @tf.function
    def run(batch):
        out = strategy.run(step.train, args=(batch,))
        return {k: strategy.reduce("SUM", v, axis=None) for k, v in out.items()}
    sums = []
    for s in range(steps):
        def of(context):
            i = context.replica_id_in_sync_group
            part = slice(i * share, (i + 1) * share)
            return {"image": tf.constant(images[s, part]), "label": tf.constant(labels[s, part])}
        out = run(strategy.experimental_distribute_values_from_function(of))
        sums.append({k: float(v) for k, v in out.items()})
    return sums

def build(synchronized, trainable=True):
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 6, 3))
    y = keras.layers.Conv2D(4, 3, use_bias=False)(x)
    y = keras.layers.BatchNormalization(
        momentum=0.9, synchronized=synchronized, trainable=trainable, name="norm"
    )(y)
    y = keras.layers.Flatten()(y)
    names = ("predictions", "aux_logits")
    outputs = {name: keras.layers.Dense(3, name=name)(y) for name in names}
    return keras.Model(x, outputs)

def prepared(model, recipe):
    variables = model.trainable_variables
    factors = np.linspace(0.5, 1.5, len(variables)) if recipe.optimizer == "lion" else None
    optimizer = make_optimizer(recipe, make_schedule(recipe, 100), factors)
    optimizer.build(model.trainable_variables)
    return optimizer, MovingAverage(model, recipe.ema)

found = []
for strategy, own_cases in zip((tf.distribute.OneDeviceStrategy("CPU:0"), mirrored), cases):
    replicas = strategy.num_replicas_in_sync
    share = 8 // replicas
    results = {}
    for name, parts, xla in own_cases:
        recipe = Recipe(
            batch_size=8, weight_decay=1e-2, clip_norm=0.5, aux_weight=0.4, ema=0.9, optimizer=name,
            accumulation_steps=parts, schedule="constant", warmup_epochs=0.0,
            learning_rate=0.03 if name == "lion" else 0.3 if name == "adamw" else 3.0,
        )
        with strategy.scope():
            # Micro-batches have statistics of their own, and XLA cannot ask the other replicas.
            own = parts > 1 or xla
            model = build(synchronized=not own, trainable=not own)
            optimizer, average = prepared(model, recipe)
        sums = train(model, optimizer, average, recipe, xla)
        arrays = [w.numpy().ravel().tolist() for w in [*model.weights, *average.shadows]]
        results[f"{name} {parts} {xla}"] = {"weights": arrays, "sums": sums}

    # Statistics of each replica's own share, merged: against numpy.
    recipe = Recipe(batch_size=8, optimizer="sgd", ema=0.9, clip_norm=0.0)
    with strategy.scope():
        model = build(synchronized=False)
        optimizer, average = prepared(model, recipe)
    mapped = keras.Model(model.input, model.get_layer("norm").input)
    shares = [mapped(images[0, i * share : (i + 1) * share]).numpy() for i in range(replicas)]
    train(model, optimizer, average, recipe, xla=False, steps=1)
    merging(model, strategy)()
    norm = model.get_layer("norm")
    np.testing.assert_allclose(
        norm.moving_mean.numpy(), 0.1 * np.mean([s.mean((0, 1, 2)) for s in shares], 0), atol=1e-6
    )
    np.testing.assert_allclose(
        norm.moving_variance.numpy(),
        0.9 + 0.1 * np.mean([s.var((0, 1, 2)) for s in shares], 0),
        atol=1e-6,
    )

    # The statistics of present weights, anew: those of all images of all replicas.
    def whole(s):
        def of(context):
            i = context.replica_id_in_sync_group
            part = slice(i * share, (i + 1) * share)
            label = tf.constant(labels[s, part].argmax(1))
            image = tf.constant(1000 + images[s, part])
            return {"image": image, "label": label, "weight": tf.ones(share)}
        return strategy.experimental_distribute_values_from_function(of)

    @tf.function
    def evaluate(batch):
        out = strategy.run(Step(model, optimizer, batch_size=8).evaluate, args=(batch,))
        return {k: strategy.reduce("SUM", v, axis=None) for k, v in out.items()}

    before = [w.numpy() for w in model.weights]
    statistics = NormStatistics(model, strategy, evaluate)
    with statistics.applied((whole(s % 6) for s in range(8)), 5, 8) as modes:
        seen = mapped(1000 + images[:5].reshape(40, 6, 6, 3)).numpy().astype("float64")
        np.testing.assert_allclose(norm.moving_mean.numpy(), seen.mean((0, 1, 2)), rtol=1e-6)
        np.testing.assert_allclose(norm.moving_variance.numpy(), seen.var((0, 1, 2)), rtol=1e-3)
        assert modes.images == 64
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    found.append(results)
print("RESULT" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def one_and_two():
    """The results of one replica and of two, by case."""
    both = [(name, 1, False) for name in ("adamw", "lion", "rmsprop", "sgd")]
    both += [("rmsprop", 2, False)]
    cases = [*both, ("rmsprop", 1, True)], [*both, ("rmsprop", 2, True)]
    process = subprocess.run(
        [sys.executable, "-c", STEPS, json.dumps(cases)], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr[-2000:]
    found = json.loads(process.stdout.partition("RESULT")[2])
    assert len(found) == 2
    return found


@pytest.mark.parametrize("optimizer", ["adamw", "lion", "rmsprop", "sgd"])
def test_two_replicas_equal_one(optimizer, one_and_two):
    """With auxiliary loss, L2, clipping, synchronised BatchNorm and the moving average."""
    one, two = one_and_two
    check_equal(one[f"{optimizer} 1 False"], two[f"{optimizer} 1 False"])


def test_micro_batches_equal_a_whole_batch(one_and_two):
    """Two replicas in two parts each, compiled, equal one replica with the batch as a whole."""
    one, two = one_and_two
    # In parts throughout, so that all have the same BatchNorm.
    check_equal(one["rmsprop 2 False"], two["rmsprop 2 True"])
    check_equal(one["rmsprop 2 False"], two["rmsprop 2 False"])
    check_equal(one["rmsprop 1 True"], one["rmsprop 2 False"])


def check_equal(one, two):
    for a, b in zip(one["weights"], two["weights"], strict=True):
        assert b == pytest.approx(a, abs=2e-6)
    for a, b in zip(one["sums"], two["sums"], strict=True):
        assert b == pytest.approx(a, rel=1e-5)
    norms = [s["norm"] for s in one["sums"]]
    assert min(norms) > 0.5, "every step is clipped"
