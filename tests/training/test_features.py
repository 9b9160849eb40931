"""What a recipe can ask of the loop, on small data."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception import InceptionV1, save_weights
from keras_inception.data.transforms import cutmix, mix_batch, mixup
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder, best_epoch
from keras_inception.training import train
from keras_inception.training.step import LossScale, Step

SMALL = Recipe(
    dataset="fake",
    image_size=16,
    width_multiplier=0.25,
    epochs=2,
    batch_size=32,
    learning_rate=0.016,
    ema=0.0,
    precise_bn=0,  # fewer passes over the images
)


def small_model():
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(2, 3)(inputs)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))


def batch(seed=0):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(8, 4, 4, 3)).astype(np.float32)
    return {
        "image": tf.constant(image),
        "label": tf.one_hot(rng.integers(0, 3, 8), 3),
    }


def test_loss_scaling_changes_nothing_but_survives_an_overflow():
    numbers = {"batch_size": 8, "label_smoothing": 0.1, "l2_weight": 1e-3, "clip_norm": 0.5}
    results = []
    for scale in (None, LossScale(start=1024.0, patience=2)):
        keras.utils.set_random_seed(0)
        model = small_model()
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(model.trainable_variables)
        step = Step(model, optimizer, scale=scale, **numbers)
        for i in range(3):
            step.train(batch(i))
        results.append([w.numpy() for w in model.weights])
    for plain, scaled in zip(*results, strict=True):
        np.testing.assert_allclose(scaled, plain, rtol=1e-5, atol=1e-7)
    assert float(scale.value) == 2048.0  # doubled after two good steps
    before = [w.numpy() for w in model.weights]
    bad = batch()
    sums = step.train({**bad, "image": bad["image"] * np.inf})
    assert float(scale.value) == 1024.0 and float(sums["norm"]) == 0.0
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_mixup_is_a_weighted_mean_of_neighbours():
    data, key = batch(), tf.constant([1, 7], tf.int64)
    image, label = mixup(data["image"], data["label"], key)
    rolled = np.roll(data["image"], 1, axis=0)
    share = ((image - rolled) / (data["image"] - rolled)).numpy().reshape(8, -1)
    np.testing.assert_allclose(share, np.repeat(share[:, :1], share.shape[1], 1), atol=2e-3)
    want = share[:, :1] * data["label"] + (1 - share[:, :1]) * np.roll(data["label"], 1, axis=0)
    np.testing.assert_allclose(label, want, atol=2e-3)
    assert len(np.unique(share[:, 0].round(3))) > 4


def test_cutmix_pastes_a_rectangle_and_counts_its_pixels():
    image = tf.reshape(tf.range(6.0), (6, 1, 1, 1)) * tf.ones((6, 20, 30, 3))
    mixed, label = cutmix(image, tf.one_hot(range(6), 6), tf.constant([1, 3], tf.int64))
    for i in range(6):
        pasted = (mixed[i, :, :, 0] == (i - 1) % 6).numpy()
        rows, columns = np.flatnonzero(pasted.any(1)), np.flatnonzero(pasted.any(0))
        if len(rows):
            assert pasted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert float(label[i, (i - 1) % 6]) == pytest.approx(pasted.mean(), abs=1e-6)
        assert float(tf.reduce_sum(label[i])) == pytest.approx(1.0)


def test_mixing_is_a_function_of_its_key():
    data = batch()
    same, again, other = (
        mix_batch("either", data["image"], data["label"], tf.constant([0, n], tf.int64))[0]
        for n in (5, 5, 6)
    )
    np.testing.assert_array_equal(same, again)
    assert not np.array_equal(same, other)


def test_of_equal_epochs_the_last_is_kept():
    accuracies = [0.5, 0.8, 0.7, 0.8, 0.6]
    rows = [{"epoch": i, "validation_accuracy": a} for i, a in enumerate(accuracies)]
    assert best_epoch(rows)["epoch"] == 3


def test_the_best_weights_are_kept_and_patience_ends(tmp_path, short_googlenet):
    """With a rate that ruins the later epochs, and mixed images."""
    recipe = SMALL.replace(
        keep="best",
        epochs=9,
        learning_rate=0.5,
        schedule="constant",
        seed=1,
        mix="either",
        optimizer="lion",
    )
    folder = train(recipe.replace(patience=1), str(tmp_path / "run"))
    rows = folder.history
    best = best_epoch(rows)
    first = max(rows, key=lambda row: row["validation_accuracy"])
    assert rows[-1]["epoch"] == first["epoch"] + 1 < 9  # an equal one is no better
    from keras_inception.data import evaluation_batches, open_run

    model, right, count = folder.load_model(), 0, 0
    for part in evaluation_batches(
        open_run(folder), "validation", folder.preprocessing, batch_size=16
    ):
        hit = model(part["image"], training=False).numpy().argmax(1) == part["label"].numpy()
        right += (hit * part["weight"].numpy()).sum()
        count += part["weight"].numpy().sum()
    assert right / count == pytest.approx(best["validation_accuracy"], abs=1e-6)
    assert list((folder.checkpoints_path / "best").glob(f"best-{best['step']:.0f}.index"))


def test_fine_tuning_trains_the_head_first_and_keeps_the_norms(tmp_path, short_googlenet):
    start = InceptionV1(
        weights=None, input_shape=(32, 32, 3), classes=7, bn_scale=True, width_multiplier=0.5
    )
    rng = np.random.default_rng(0)
    for layer in start.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.8, 1.2, w.shape) for w in layer.get_weights()])
    file = save_weights(start, tmp_path / "start.safetensors")
    recipe = SMALL.replace(
        weights=str(file), freeze="norms", head_epochs=1, epochs=1, image_size=32
    )
    with pytest.raises(ValueError, match="has 32 filters, not 16.*`width_multiplier`"):
        train(recipe, str(tmp_path / "run"))
    recipe = recipe.replace(width_multiplier=0.5)
    folder = train(recipe, str(tmp_path / "run"))
    head = RunFolder(folder.path / "head").load_model()
    tuned = folder.load_model()
    stem = start.get_layer("stem_0_conv").kernel.numpy()
    np.testing.assert_array_equal(head.get_layer("stem_0_conv").kernel, stem)
    assert not np.array_equal(tuned.get_layer("stem_0_conv").kernel, stem)
    for name in ("stem_0_bn", "inception_5b_branch3_0_bn"):
        for got, want in zip(
            tuned.get_layer(name).get_weights(), start.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(got, want)
    assert tuned.output_shape[-1] == len(folder.class_names) != 7
    assert folder.recipe == recipe and RunFolder(folder.path / "head").recipe.freeze == "backbone"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"precision": "mixed_float16", "ema": 0.9, "accumulation_steps": 2},
            marks=pytest.mark.slow,  # half precision is slow on a CPU
        ),
        pytest.param(
            {"mix": "either", "optimizer": "lion", "learning_rate": 0.001},
            marks=pytest.mark.slow,  # the test of the best weights trains with them, too
        ),
    ],
)
def test_other_settings_train(changes, tmp_path):
    folder = train(SMALL.replace(**changes), str(tmp_path / "run"), steps_per_loop=3)
    rows = folder.history
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert all(np.isfinite(w).all() for w in folder.load_model().get_weights())


def test_tensorboard_holds_the_history(finished_run):
    found = {}
    for file in (finished_run.path / "tensorboard").iterdir():
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found[int(event.step), value.tag] = float(tf.make_ndarray(value.tensor))
    for row in finished_run.history:
        for name in ("loss", "accuracy", "validation_accuracy", "learning_rate"):
            assert found[int(row["step"]), name] == pytest.approx(row[name], rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulation_steps": 3}, "`batch_size` should divide by `accumulation_steps=3`"),
        ({"weights": "nowhere.safetensors"}, "no weights file nowhere.safetensors"),
        ({"keep": "best", "validation_fraction": 0.0}, "`keep=best` needs a validation part"),
    ],
)
def test_settings_that_cannot_be(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(SMALL.replace(**changes), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
