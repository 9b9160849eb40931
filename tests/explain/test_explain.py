"""Explanations: where the evidence is known, they point at it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception import InceptionV1, Preprocessing, cli
from keras_inception.explain import deep_dream, features, grad_cam, nearest, occlusion, visualize
from keras_inception.explain.network import Network
from keras_inception.identity import Identity
from keras_inception.runtime import Classifier

COLORS = np.array([[220, 40, 40], [40, 200, 40], [50, 60, 230]])
NAMES = ("red", "green", "blue")
SIDE, SQUARE = 96, 24


def scenes(count, seed):
    """Gray noise with a colored square, whose color is the class: images, labels, corners."""
    rng = np.random.default_rng(seed)
    images = rng.integers(90, 166, (count, SIDE, SIDE, 1)).repeat(3, -1)
    labels = rng.integers(0, 3, count)
    corners = rng.integers(0, SIDE - SQUARE, (count, 2))
    for image, label, (top, left) in zip(images, labels, corners, strict=True):
        noise = rng.integers(-20, 21, (SQUARE, SQUARE, 3))
        image[top : top + SQUARE, left : left + SQUARE] = np.clip(COLORS[label] + noise, 0, 255)
    return images.astype(np.uint8), labels, corners


@pytest.fixture(scope="module")
def model():
    """InceptionV1 of random features, whose last layer is fitted to the scenes by least squares."""
    keras.utils.set_random_seed(3)
    model = InceptionV1(
        weights=None, classes=3, width_multiplier=0.25, input_shape=(SIDE, SIDE, 3), dropout=0
    )
    model.identity = model.identity.replace(class_names=NAMES)
    images, labels, _ = scenes(96, seed=0)
    pooled = features(model, list(images))
    center, spread = pooled.mean(0), pooled.std() + 1e-6
    x = np.c_[(pooled - center) / spread, np.ones(len(pooled))]
    fitted = np.linalg.solve(x.T @ x + 0.3 * np.eye(x.shape[1]), x.T @ (6 * np.eye(3)[labels] - 2))
    kernel = fitted[:-1] / spread
    model.get_layer("predictions").set_weights([kernel, fitted[-1] - center @ kernel])
    return model


def hits(explain, count, seed):
    images, labels, corners = scenes(count, seed)
    found = 0
    for image, label, (top, left) in zip(images, labels, corners, strict=True):
        row, column = explain(image, int(label)).peak
        # The contract's crop keeps the middle 7/8, enlarged to the input.
        row, column = (6 + (p + 0.5) * 84 / SIDE for p in (row, column))
        found += top <= row < top + SQUARE and left <= column < left + SQUARE
    return found / count


def test_grad_cam_points_at_the_evidence(model):
    """The pointing game (Zhang et al. 2016). Chance is the square's share of the area, 6 %."""
    images, labels, _ = scenes(48, seed=1)
    answers = features(model, list(images), layer="predictions").argmax(1)
    assert (answers == labels).mean() > 0.9
    share = hits(lambda image, label: grad_cam(model, image, target=label), 24, seed=2)
    assert share > 0.6


def test_occlusion_points_at_the_evidence(model):
    share = hits(lambda image, label: occlusion(model, image, target=label, stride=12), 8, seed=2)
    assert share > 0.6


def test_grad_cam_of_a_linear_head_is_the_class_activation_map(model):
    image = scenes(1, seed=5)[0][0]
    network = Network.open(model)
    name = network.map_layer()
    heat = grad_cam(model, image, target="green")
    inside = keras.Model(model.input, model.get_layer(name).output)
    places = inside(network.classifier.preprocessing.scale(network.fitted(image)[None]))[0].numpy()
    if name == list(Network.open(model).model.layers)[-1].name:
        pytest.fail("the last map is no classifier")
    tail = keras.Model(model.get_layer(name).output, network.logits())
    with tf.GradientTape() as tape:
        maps = tf.constant(places[None])
        tape.watch(maps)
        logit = tail(maps)[0, 1]
    weights = tape.gradient(logit, maps)[0].numpy().mean((0, 1))
    expected = np.maximum((places * weights).sum(-1), 0)
    expected = tf.image.resize(expected[..., None], (SIDE, SIDE), "bicubic").numpy()[..., 0]
    expected = np.maximum(expected, 0) / expected.max()
    np.testing.assert_allclose(heat.heat, expected, atol=1e-4)
    assert heat.label == "green" and name in heat.method


def test_the_layer_is_found_in_networks_that_are_not_ours():
    """A transfer model, whose backbone is one layer; and a map of one place is passed over."""
    image = keras.Input((64, 64, 3))
    backbone = keras.Sequential(
        [keras.layers.Conv2D(4, 3, 2), keras.layers.ReLU(), keras.layers.Conv2D(5, 3, 2)],
        name="backbone",
    )
    x = keras.layers.GlobalAveragePooling2D()(backbone(image))
    transfer = keras.Model(image, keras.layers.Dense(2, "softmax")(x))
    contract = Preprocessing(size=(64, 64))
    network = Network.open(classifier(transfer, contract))
    assert network.map_layer() == "backbone"
    heat = grad_cam(classifier(transfer, contract), np.zeros((80, 60, 3), np.uint8) + 90)
    assert heat.image.shape == (64, 64, 3)
    with pytest.raises(ValueError, match="should name a layer"):
        network.map_layer("mixed_99")
    with pytest.raises(ValueError, match="from 0 to 1"):
        grad_cam(classifier(transfer, contract), np.zeros((64, 64, 3), np.uint8), target=2)


def classifier(model, contract):
    from keras_inception.runtime.keras import KerasEngine

    return Classifier(KerasEngine(model), Identity("", (), contract, ("a", "b")))


def test_occlusion_asks_any_engine():
    """The answer depends on one place alone: that is where the heat is, exactly."""

    class Corner:
        name, input_shape, classes = "numpy", (20, 20, 3), 2

        def __call__(self, images):
            share = images[:, 8:12, 12:16].mean((1, 2, 3)) / 4 + 0.5
            return np.stack([share, 1 - share], 1)

    image = np.zeros((20, 20, 3), np.uint8)
    image[8:12, 12:16] = 255
    contract = Preprocessing(size=(20, 20), crop_fraction=1.0)
    one = Classifier(Corner(), Identity("", (), contract, ("seen", "not")))
    heat = occlusion(one, image, target="seen", window=4, stride=4)
    assert heat.heat[8:12, 12:16].min() == 1 and heat.heat.sum() == 16
    with pytest.raises(ValueError, match="only Keras shows"):
        grad_cam(one, image)
    with pytest.raises(ValueError, match="knows no class 'see'. Did you mean seen"):
        occlusion(one, image, target="see")


def test_dreams_climb(model):
    image = scenes(1, seed=4)[0][0]
    dream = deep_dream(model, image, steps=4, octaves=2, jitter=4)
    seen = visualize(model, "predictions", 2, size=96, steps=4, octaves=2)
    for found in (dream, seen):
        assert found.image.shape == (96, 96, 3) and found.image.dtype == np.uint8
        assert len(found.objective) == 2
        for values in found.objective:
            assert len(values) == 5 and np.all(np.diff(values) >= 0)
            assert values[-1] > values[0]
    assert dream.objective == deep_dream(model, image, steps=4, octaves=2, jitter=4).objective
    blue = seen.image.reshape(-1, 3).mean(0)
    assert blue.argmax() == 2  # what the class "blue" looks like
    with pytest.raises(ValueError, match="at least"):
        deep_dream(model, image[:20, :20])
    with pytest.raises(ValueError, match="`channel` should be from 0 to 2"):
        visualize(model, "predictions", 3)


def test_neighbors_share_the_color(model):
    images, labels, _ = scenes(40, seed=6)
    vectors = features(model, list(images))
    numbers, similarity = nearest(vectors, vectors, 3)
    assert (numbers[:, 0] == np.arange(40)).all()
    np.testing.assert_allclose(similarity[:, 0], 1, atol=1e-5)
    assert (labels[numbers[:, 1]] == labels).mean() > 0.8
    with pytest.raises(ValueError, match="features of one network"):
        nearest(vectors, vectors[:, :4])


def test_the_commands_write_images(model, tmp_path, capsys, monkeypatch):
    for module in ("explain.network", "explain.occlusion", "runtime"):
        monkeypatch.setattr(f"keras_inception.{module}.load_classifier", opened(model))
    images = scenes(3, seed=7)[0]
    for i, image in enumerate(images):
        (tmp_path / f"{i}.png").write_bytes(tf.io.encode_png(image).numpy())
    image, common = str(tmp_path / "0.png"), ["--model", "any", "--output"]
    small = ["--steps", "1", "--octaves", "1"]
    for arguments, size in [
        (["grad_cam", image, "--target", "red"], (96, 192)),
        (["occlusion", image, "--window", "48"], (96, 192)),
        (["dream", image, *small], (96, 96)),
        (["feature", "--layer", "predictions", "--channel", "0", "--size", "96", *small], (96, 96)),
        (["nearest", image, str(tmp_path / "?.png"), "--count", "2"], None),
    ]:
        output = tmp_path / f"{arguments[0]} out.png"
        with pytest.raises(SystemExit) as end:
            cli.run(["explain", *arguments, *common, str(output)])
        assert end.value.code == 0
        assert str(output) in capsys.readouterr().out
        pixels = tf.io.decode_png(output.read_bytes())
        assert size is None or pixels.shape[:2] == size


def opened(model):
    from keras_inception.runtime import load_classifier

    return lambda source: load_classifier(model if source == "any" else source)
