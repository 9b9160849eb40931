"""BatchNorm's statistics belong to the weights that are evaluated, and a contradiction is said."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_stage import descent

from keras_inception.data import open_source, train_batches
from keras_inception.optimizers import Schedule, make_optimizer, rate_factors
from keras_inception.recipes import Recipe
from keras_inception.training.networks import training_network
from keras_inception.training.statistics import NormStatistics
from keras_inception.training.step import Step

ONE_DEVICE = tf.distribute.OneDeviceStrategy("CPU:0")


def toy(momentum):
    """A network with two norms and dropout, and images of three classes far from zero."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((4, 4, 2))
    x = keras.layers.BatchNormalization(momentum=momentum, name="first")(x)
    x = keras.layers.Conv2D(8, 3, use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=momentum, name="second")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    x = keras.layers.Dropout(0.5, name="dropout")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="predictions")(x))
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, (40, 32))
    image = rng.normal(size=(40, 32, 4, 4, 2)) + 3 * rng.normal(size=(3, 4, 4, 2))[label] + 50
    return model, image.astype(np.float32), label


def statistics_of(model):
    step = Step(model, None, batch_size=64)
    return NormStatistics(model, ONE_DEVICE, step.evaluate)


def as_batches(images, labels):
    for image, label in zip(images, labels, strict=True):
        weight = tf.ones(len(label))
        yield {"image": tf.constant(image), "label": tf.constant(label), "weight": weight}


def test_the_statistics_are_those_of_all_images():
    model, images, labels = toy(0.9)
    first, second = model.get_layer("first"), model.get_layer("second")
    seed = model.get_layer("dropout").seed_generator.state
    before = [w.numpy() for w in model.weights] + [seed.numpy()]
    convolve = keras.Model(second._inbound_nodes[0].input_tensors[0]._keras_history.operation.input,
                           second.input)  # fmt: skip
    with statistics_of(model).applied(as_batches(images, labels), 10, 32):
        flat = images[:10].reshape(-1, 2).astype("float64")
        np.testing.assert_allclose(first.moving_mean.numpy(), flat.mean(0), rtol=1e-6)
        np.testing.assert_allclose(first.moving_variance.numpy(), flat.var(0), rtol=1e-4)
        # The second sees what the first makes of each batch: normalized by that batch.
        normal = [(x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-3) for x in images[:10]]
        seen = np.concatenate([convolve(x).numpy() for x in normal]).reshape(-1, 8)
        np.testing.assert_allclose(second.moving_mean.numpy(), seen.mean(0), atol=1e-4)
        np.testing.assert_allclose(second.moving_variance.numpy(), seen.var(0), rtol=1e-3)
    for value, want in zip([*model.weights, seed], before, strict=True):
        np.testing.assert_array_equal(value.numpy(), want)


def test_a_contradiction_of_both_modes_is_seen():
    """Momentum 0.9999 and a few steps: training mode is right, evaluation mode is not."""
    found = {}
    for momentum in (0.9999, 0.8):
        model, images, labels = toy(momentum)
        optimizer = keras.optimizers.Adam(0.01)
        optimizer.build(model.trainable_variables)
        train_step = tf.function(
            Step(model, optimizer, batch_size=32, label_smoothing=0.1, clip_norm=2.0).train
        )
        for image, label in zip(images, labels, strict=True):
            train_step({"image": tf.constant(image), "label": tf.one_hot(label, 3)})
        statistics = statistics_of(model)
        for steps in (0, 8):
            with statistics.applied(as_batches(images, labels), steps, 32) as modes:
                found[momentum, steps] = modes
    assert min(modes.training for modes in found.values()) > 0.9
    assert {key: modes.disagree for key, modes in found.items()} == {
        (0.9999, 0): True, (0.9999, 8): False, (0.8, 0): False, (0.8, 8): False
    }  # fmt: skip


def test_a_run_warns_once_and_at_its_end(tmp_path, caplog):
    recipe = Recipe(
        dataset="fake", image_size=16, epochs=3, batch_size=32,
        learning_rate=0.1, ema=0.0, bn_momentum=0.9999, precise_bn=0,
    )  # fmt: skip
    run = descent(recipe, tmp_path)
    run.run({})
    run.finish()
    *_, last = run.folder.history
    assert last["accuracy"] > last["validation_accuracy"] + 0.2
    said = [text for text in caplog.messages if text.startswith("BatchNorm")]
    assert "(moving averages, bn_momentum=0.9999)" in said[-1] and len(said) == 2


def test_the_exported_statistics_belong_to_the_averaged_weights(finished_run):
    """The first norm's, of the first images of the first epoch, by the exported convolution."""
    recipe, model = finished_run.recipe, finished_run.load_model()
    assert recipe.ema and recipe.precise_bn == 512
    batches = train_batches(
        open_source("fake", validation_fraction=recipe.validation_fraction, seed=recipe.seed),
        finished_run.preprocessing,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
    )
    images = np.concatenate([batch["image"] for batch in batches.take(15)])  # of 486
    norm = model.get_layer("stem_0_bn")
    seen = keras.Model(model.input, norm.input)(images).numpy()
    np.testing.assert_allclose(norm.moving_mean.numpy(), seen.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance.numpy(), seen.var((0, 1, 2)), rtol=1e-3)


def test_the_rate_falls_from_block_to_block():
    recipe = Recipe(image_size=32, width_multiplier=0.25, aux_weight=0.0)
    model = training_network(recipe, 4, None)
    factors = rate_factors(model, 0.5)
    blocks = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    for variable, factor in zip(model.trainable_variables, factors, strict=True):
        layer = variable.path.split("/")[-2]
        block = layer.removeprefix("inception_")[:2]
        depth = len(blocks) - blocks.index(block) if block in blocks else 0
        assert factor == 0.5 ** (10 if layer.startswith("stem") else depth), layer
    assert {0.5**10, 0.5, 1.0} <= set(factors)


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adamw", "lion"])
def test_a_factor_of_the_rate_is_a_rate_of_its_own(name):
    """Three steps, decay of weights included, are those of an optimizer with that rate."""
    recipe = Recipe(optimizer=name, weight_decay=0.1)
    together = [keras.Variable([1.0, -2.0]) for _ in range(2)]
    optimizer = make_optimizer(recipe, Schedule(0.1, "constant", 0, 10), (0.25, 1.0))
    optimizer.build(together)
    for factor, variable in zip((0.25, 1.0), together, strict=True):
        alone = keras.Variable([1.0, -2.0])
        plain = make_optimizer(recipe, Schedule(0.1 * factor, "constant", 0, 10))
        plain.build([alone])
        if variable is together[0]:
            for step in range(3):
                optimizer.apply([tf.constant([0.5, 1.0]) * (step - 1.4)] * 2, together)
        for step in range(3):
            plain.apply([tf.constant([0.5, 1.0]) * (step - 1.4)], [alone])
        np.testing.assert_allclose(variable.numpy(), alone.numpy(), rtol=1e-6)
        assert not np.allclose(alone.numpy(), [1.0, -2.0])
