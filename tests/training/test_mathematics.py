"""Optimizer, schedule, losses and averages against numbers from elsewhere."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception.optimizers import RMSprop, Schedule, make_optimizer, make_schedule
from keras_inception.recipes import RECIPES, Recipe, named
from keras_inception.training.averages import MovingAverage
from keras_inception.training.step import Step, cross_entropy, l2


@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("epsilon", [1.0, 1e-10])
def test_rmsprop_is_tf1s(epsilon, momentum):
    start = np.array([1.0, -2.0, 3.0])
    ours = keras.Variable(start.astype(np.float32))
    want, mean_square, moving = start, np.ones(3), np.zeros(3)
    optimizer = RMSprop(0.1, rho=0.9, momentum=momentum, epsilon=epsilon)
    for step in range(5):
        gradient = np.array([0.5, -1.0, 2.0]) * (step - 1.5)
        optimizer.apply([tf.constant(gradient, tf.float32)], [ours])
        mean_square = 0.9 * mean_square + 0.1 * gradient**2
        moving = momentum * moving + 0.1 * gradient / np.sqrt(mean_square + epsilon)
        want = want - moving
    np.testing.assert_allclose(ours.numpy(), want, rtol=2e-6)


@pytest.mark.parametrize(
    "name, theirs", [("adamw", keras.optimizers.AdamW), ("lion", keras.optimizers.Lion)]
)
def test_decayed_weights_are_keras(name, theirs):
    """Operations and the decay of weights are ours, in the graph of a step, too."""
    starts = [np.array([1.0, -2.0, 3.0], np.float32), np.array([0.5], np.float32)]
    recipe = Recipe(optimizer=name, weight_decay=0.05)
    schedule = Schedule(0.1, "cosine", 2, 6)

    def trained(optimizer):
        variables = [keras.Variable(start) for start in starts]
        optimizer.build(variables)

        @tf.function
        def step(gradients):
            optimizer.apply(gradients, variables)

        for number in range(5):
            gradient = tf.constant([0.5, -1.0, 2e-4]) * (number - 1.5)
            step([gradient, gradient[:1]])
        return [v.numpy() for v in variables]

    results = (
        trained(make_optimizer(recipe, schedule)),
        trained(theirs(schedule, weight_decay=0.05)),
    )
    for ours, keras_own, start in zip(*results, starts, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=2e-6)
        assert np.all(np.abs(ours - start) > 0.03)


def test_schedules():
    cosine = Schedule(2.0, "cosine", warmup_steps=4, total_steps=12)
    got = [float(cosine(step)) for step in range(13)]
    assert got[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert got[8] == pytest.approx(1.0)
    assert got[12] == pytest.approx(0.0, abs=1e-6)
    stairs = Schedule(1.0, "exponential", 0, 100, decay_rate=0.94, decay_steps=3)
    assert [float(stairs(s)) for s in (0, 2, 3, 7)] == pytest.approx([1, 1, 0.94, 0.94**2])


def test_the_rate_scales_with_the_global_batch():
    recipe = named("inception_v3")  # 0.165 per 256 images, batch 1024
    assert make_schedule(recipe, 1251).peak == pytest.approx(0.66)


def test_label_smoothing_by_hand():
    logits = np.log(np.array([[0.7, 0.2, 0.1]], np.float32))
    # 0.1 spread over three classes: 0.9333, 0.0333, 0.0333
    want = -(0.9 + 0.1 / 3) * math.log(0.7) - 0.1 / 3 * (math.log(0.2) + math.log(0.1))
    got = cross_entropy(tf.constant([[1.0, 0.0, 0.0]]), logits, 0.1)
    assert float(got[0]) == pytest.approx(want, rel=1e-5)


def test_the_auxiliary_losss_gradient_by_hand():
    """Main loss + 0.4 of the head's on the trunk, smoothed, and L2 on kernels only."""
    rng = np.random.default_rng(0)
    x, trunk, main, head = (
        rng.normal(size=s).astype(np.float32) for s in ((4, 5), (5, 3), (3, 2), (3, 2))
    )
    label = np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]
    inputs = keras.Input((5,))
    shared = keras.layers.Dense(3, use_bias=False, name="trunk")(inputs)
    names = ("predictions", "aux_logits")
    outputs = {name: keras.layers.Dense(2, name=name)(shared) for name in names}
    model = keras.Model(inputs, outputs)
    for name, kernel in zip(("trunk", *names), (trunk, main, head), strict=True):
        model.get_layer(name).kernel.assign(kernel)
    numbers = {"batch_size": 4, "aux_weight": 0.4, "label_smoothing": 0.1, "l2_weight": 0.02}
    gradients, loss, _ = Step(model, keras.optimizers.SGD(), **numbers)._gradients(
        tf.constant(x), tf.constant(label), 1.0
    )

    def of(kernel):
        """Loss of a linear classifier on the trunk, and its gradient by the logits."""
        logits = x @ trunk @ kernel
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        smooth = 0.9 * label + 0.1 / 2
        return -(smooth * np.log(p)).sum(1).mean(), (p - smooth) / 4

    (main_loss, by_main), (head_loss, by_head) = of(main), of(head)
    squares = sum((kernel**2).sum() for kernel in (trunk, main, head))
    assert float(loss) == pytest.approx(main_loss + 0.4 * head_loss + 0.02 / 2 * squares, rel=1e-5)
    want = x.T @ (by_main @ main.T + 0.4 * by_head @ head.T) + 0.02 * trunk
    np.testing.assert_allclose(gradients[0], want, rtol=1e-4, atol=1e-6)


def test_l2_is_half_the_sum_of_squares():
    assert float(l2([tf.constant([3.0, 4.0]), tf.constant([[2.0]])])) == pytest.approx(14.5)


def test_average_warms_up_and_covers_batch_norm():
    model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])
    average = MovingAverage(model, 0.9)
    assert len(average.shadows) == 4
    start = [w.numpy() for w in model.weights]
    want = [w.copy() for w in start]
    for n in range(1, 30):
        for weight, value in zip(model.weights, start, strict=True):
            weight.assign(value + n)
        average.update(n)
        decay = min(0.9, (1 + n) / (10 + n))
        want = [decay * w + (1 - decay) * (s + n) for w, s in zip(want, start, strict=True)]
    for shadow, value in zip(average.shadows, want, strict=True):
        np.testing.assert_allclose(shadow.numpy(), value, rtol=1e-5)
    with average.applied():
        np.testing.assert_allclose(model.weights[2].numpy(), want[2], rtol=1e-5)
    np.testing.assert_allclose(model.weights[2].numpy(), start[2] + 29)


def test_recipes_are_checked_and_round_trip():
    for name, (recipe, _) in RECIPES.items():
        recipe.check()
        assert Recipe.from_dict(recipe.to_dict()) == recipe, name
    with pytest.raises(ValueError, match="did you mean 'epochs'"):
        Recipe.from_dict({"epoch": 3})
    for bad in ({"epochs": 0}, {"label_smoothing": 1.0}, {"optimizer": "adam"}, {"model": "V9"}):
        with pytest.raises(ValueError, match="Received"):
            Recipe(**bad).check()
