"""The linear classifier on frozen features: fitted to the optimum, each image seen once."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception import InceptionV1
from keras_inception.data import open_source
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder
from keras_inception.training import Interrupted
from keras_inception.training import features as features_module
from keras_inception.training.features import feature_network, pooled_features
from keras_inception.training.linear import fit_head
from keras_inception.training.stage import Place

ONE_DEVICE = tf.distribute.OneDeviceStrategy("CPU:0")


@pytest.fixture(scope="module")
def clusters():
    """Overlapping classes in features of different scales, one of them constant."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 700)
    centers = rng.normal(0, 0.25, (3, 40))
    scales = 10.0 ** rng.uniform(-0.5, 0.5, 40)
    features = (centers[labels] + rng.normal(size=(700, 40)) + 3) * scales
    features[:, 7] = 5.0
    return features.astype(np.float32), labels


@pytest.mark.parametrize("balanced", [False, True])
def test_the_fit_is_scikit_learns(clusters, balanced):
    from sklearn.linear_model import LogisticRegression

    features, labels = clusters[0].astype(np.float64), clusters[1]
    weights = len(labels[:500]) / np.bincount(labels[:500]) / 3 if balanced else None
    head = fit_head(features[:500], labels[:500], features[500:], labels[500:], 3, weights)
    mean, scale = features[:500].mean(0), np.sqrt(features[:500].var(0).mean())
    theirs = LogisticRegression(
        C=1 / (head.penalty * 500),
        max_iter=5000,
        tol=1e-8,
        class_weight="balanced" if balanced else None,
    ).fit((features[:500] - mean) / scale, labels[:500])
    want = theirs.predict_proba((features[500:] - mean) / scale)
    logits = features[500:] @ head.kernel + head.bias
    got = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_the_penalty_is_the_best_on_validation_images(clusters):
    features, labels = clusters
    head = fit_head(features[:60], labels[:60], features[500:], labels[500:], 3)
    losses = {row["penalty"]: row["validation_loss"] for row in head.path}
    assert losses[head.penalty] == min(losses.values())
    # Few images want a strong penalty, and both ends of the path are worse.
    assert head.path[0]["validation_loss"] > losses[head.penalty] < head.path[-1]["validation_loss"]


def test_a_feature_that_hardly_any_training_image_has_decides_nothing(clusters):
    """Standardized, it would be 22,000 deviations away in the image that has it."""
    features, labels = clusters
    rare = np.zeros((700, 1), np.float32)
    rare[0], rare[600] = 1e-3, 1.0
    heads = [
        fit_head(x[:500], labels[:500], x[500:], labels[500:], 3)
        for x in (features, np.concatenate([features, rare], 1))
    ]
    assert heads[0].penalty == heads[1].penalty
    (least, _), (with_it, kernel) = (
        (min(row["validation_loss"] for row in head.path), head.kernel) for head in heads
    )
    assert with_it < least + 1e-3 and np.abs(kernel[-1]).max() < 0.1


def test_what_cannot_be_fitted_is_refused(clusters):
    features, labels = clusters
    with pytest.raises(ValueError, match="Received: 0 validation images"):
        fit_head(features, labels, features[:0], labels[:0], 3)
    broken = features.copy()
    broken[3, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        fit_head(broken, labels, features, labels, 3)


def test_every_image_is_seen_once_and_a_stopped_run_goes_on(tmp_path, monkeypatch, short_googlenet):
    model = InceptionV1(weights=None, input_shape=(32, 32, 3), classes=4, width_multiplier=0.25)
    network = feature_network(model)
    source = open_source("fake")
    contract = Preprocessing(size=(32, 32), crop_fraction=1.0)
    recipe = Recipe(views="mirror", batch_size=64)
    monkeypatch.setattr(features_module, "_SECONDS", 0.0)
    said: list[str] = []
    stop: dict[str, int] = {}

    def done():
        """How many batches were computed."""
        return sum(line.startswith("features of") for line in said)

    def stop_soon(line):
        said.append(line)
        stop["signal"] = signal.SIGTERM

    def compute(source=source, say=said.append):
        place = Place(recipe, RunFolder(tmp_path), source, contract, ONE_DEVICE)
        return pooled_features(network, place, say, stop)

    with pytest.raises(Interrupted):
        compute(say=stop_soon)
    assert done() == 2
    stop.clear()
    found = compute()
    count = {part: source.num_examples(part) for part in ("train", "validation")}
    batches = sum(-(-n // 64) for n in count.values())
    assert done() == batches  # two before it was stopped, the others after
    assert {part: array.shape for part, array in found.items()} == {
        part: (n, 2, 256) for part, n in count.items()
    }
    for i in (0, 63, 64, count["train"] - 1):
        image = contract.crop_and_resize(source.splits["train"].pixels(i).numpy())
        both = contract.scale(np.stack([image, image[:, ::-1]]))
        want = network(both, training=False).numpy()
        np.testing.assert_allclose(found["train"][i], want, atol=1e-5)

    said.clear()
    again = compute()
    assert not said and (again["train"] == found["train"]).all()
    part = source.splits["train"]
    fewer = dataclasses.replace(
        source, splits={**source.splits, "train": part.subset(np.arange(len(part) - 64))}
    )
    compute(fewer)
    assert done() == batches - 1 and "other images" in said[0]
    said.clear()
    layer = network.get_layer("stem_0_conv")
    layer.kernel.assign(layer.kernel * 1.1)
    moved = compute(fewer)
    assert done() == batches - 1 and "other weights" in said[0]
    assert np.abs(moved["train"] - found["train"][:-64]).max() > 1e-3


# A process of its own: the number of devices is a process's.
TWO_REPLICAS = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from short_googlenet import shorten
shorten()
import numpy as np, tensorflow as tf
from keras_inception.data import open_source
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder
from keras_inception.training import make_strategy
from keras_inception.training.features import pooled_features
from keras_inception.training.stages import plan
mirrored = make_strategy("mirrored", num_virtual_devices=2)
recipe = Recipe(dataset="fake", image_size=32, width_multiplier=0.25, batch_size=64, probe=True,
                epochs=0, views="mirror")
source, found = open_source("fake"), []
weights = None
for name, strategy in (("one", tf.distribute.OneDeviceStrategy("CPU:0")), ("two", mirrored)):
    (probe,) = plan(recipe, source, RunFolder(Path(sys.argv[1]) / name), strategy)
    weights = weights or probe.network.get_weights()
    probe.network.set_weights(weights)
    found.append(pooled_features(probe.network, probe.place, print, {{}}))
for part, count in (("train", 461), ("validation", 51)):
    one, two = (f[part] for f in found)
    assert one.shape == two.shape == (count, 2, 256), one.shape
    np.testing.assert_allclose(two, one, atol=1e-5)
    assert np.abs(one).max() > 0.01
print("SAME")
"""


def test_replicas_share_the_images(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TWO_REPLICAS, str(tmp_path)], capture_output=True, text=True
    )
    assert "SAME" in done.stdout, done.stderr
    assert "significant overhead" not in done.stderr
