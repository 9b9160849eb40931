"""The fused BatchNorm of training networks computes what Keras' layer computes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception.recipes import Recipe
from keras_inception.training.fused import FusedBatchNormalization
from keras_inception.training.networks import inference_network, training_network
from keras_inception.weights import read

KERAS = keras.layers.BatchNormalization


def pair(policy, shape=(4, 5, 6, 3), **settings):
    """Keras' layer and ours with the same arrays."""
    made = []
    for kind in (KERAS, FusedBatchNormalization):
        layer = kind(momentum=0.8, epsilon=0.01, dtype=policy, name="norm", **settings)
        layer.build((None, *shape[1:]))
        rng = np.random.default_rng(3)
        layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.weights])
        made.append(layer)
    return made


def step(layer, x, weights, training):
    """Outputs, gradients by the input and by gamma and beta, and the moving statistics after."""
    x = tf.constant(x)

    @tf.function(autograph=False)
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
            loss = tf.reduce_sum(tf.cast(y, tf.float32) * weights)
        return y, *tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])

    y, *gradients = run(x)
    arrays = [y, *gradients, *layer.non_trainable_variables]
    return y.dtype, [np.asarray(keras.ops.cast(a, "float32")) for a in arrays]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("training", [True, False])
def test_it_computes_what_keras_computes(policy, training):
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, (4, 5, 6, 3)).astype(np.float32)
    weights = rng.normal(0, 1, x.shape).astype(np.float32)
    rounding = {"float32": 2e-5, "mixed_bfloat16": 0.03, "mixed_float16": 0.004}[policy]
    for settings in ({"scale": False}, {}, {"center": False}):
        (dtype, theirs), (own_dtype, ours) = (
            step(layer, x, weights, training) for layer in pair(policy, **settings)
        )
        assert own_dtype == dtype and len(ours) == len(theirs)
        for own, expected in zip(ours, theirs, strict=True):
            size = max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(own, expected, atol=rounding * size, rtol=0)
        if training:
            # By hand, as Keras: the batch's own variance, not the sample's (119 / 120 of it).
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            start = [np.asarray(w) for w in pair(policy, **settings)[0].non_trainable_variables]
            wanted = [0.8 * s + 0.2 * n for s, n in zip(start, (mean, variance), strict=True)]
            tight = 1e-5 if policy == "float32" else 0.02
            np.testing.assert_allclose(ours[-2], wanted[0], rtol=tight)
            np.testing.assert_allclose(ours[-1], wanted[1], rtol=tight)


def test_what_it_cannot_do_is_left_to_keras():
    """Frozen layers, masks, other ranks, channels first, one value a channel."""
    rng = np.random.default_rng(0)
    for shape, settings in (
        ((4, 6), {}),
        ((4, 3, 5, 6), {"axis": 1}),
        ((1, 1, 1, 3), {}),
        ((4, 5, 6, 3), {"trainable": False}),
    ):
        x = rng.normal(1, 2, shape).astype(np.float32)
        theirs, ours = pair("float32", shape, **settings)
        for layer in (theirs, ours):
            layer.y = np.asarray(layer(x, training=True))
        np.testing.assert_allclose(ours.y, theirs.y, atol=2e-5)
        for own, expected in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_allclose(own, expected, atol=1e-5)
    x = rng.normal(1, 2, (4, 5, 6, 3)).astype(np.float32)
    mask = np.arange(4 * 5 * 6).reshape(4, 5, 6) % 2 == 0
    theirs, ours = pair("float32")
    np.testing.assert_allclose(
        ours(x, training=True, mask=mask), theirs(x, training=True, mask=mask), atol=2e-5
    )


def test_only_the_network_that_trains_has_it():
    recipe = Recipe(dataset="fake", model="InceptionV1", image_size=64, width_multiplier=0.25)
    trained = training_network(recipe, 3, None)
    kinds = {type(v) for v in trained.layers if isinstance(v, KERAS)}
    assert kinds == {FusedBatchNormalization}
    written = inference_network(recipe, trained)
    assert {type(v) for v in written.layers if isinstance(v, KERAS)} == {KERAS}
    assert "Fused" not in written.to_json()


def test_a_whole_model_of_keras_layers_can_be_trained_on(tmp_path):
    """A `.keras` file's graph is held against the network that trains."""
    recipe = Recipe(dataset="fake", model="InceptionV1", image_size=64, width_multiplier=0.25)
    given = inference_network(recipe, training_network(recipe, 3, None))
    given.save(tmp_path / "model.keras")
    trained = training_network(recipe, 5, read(tmp_path / "model.keras"))
    for layer in trained.layers:
        if layer.name != "predictions":
            pairs = zip(layer.get_weights(), given.get_layer(layer.name).get_weights(), strict=True)
            assert all(np.array_equal(*pair) for pair in pairs)
    momentum = recipe.replace(bn_momentum=0.5, model="InceptionV1", width_multiplier=0.5)
    with pytest.raises(ValueError, match="holds another network|width_multiplier"):
        training_network(momentum, 5, read(tmp_path / "model.keras"))
