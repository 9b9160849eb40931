"""Explanations: where the evidence is known, they point at it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception import InceptionV1, Preprocessing, cli
from keras_inception.explaining import (
    GradCAM,
    deep_dream,
    explain,
    features,
    grad_cam,
    nearest,
    occlusion,
    visualize,
)
from keras_inception.explaining.inside import Inside
from keras_inception.identity import Identity, attach
from keras_inception.runtime import Classifier
from keras_inception.runtime.keras import KerasEngine

COLORS = np.array([[220, 40, 40], [40, 200, 40], [50, 60, 230]])
NAMES = ("red", "green", "blue")
SIDE, SQUARE = 64, 16


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
    """InceptionV1 at a quarter of the width, with random weights."""
    keras.utils.set_random_seed(3)
    size = {"width_multiplier": 0.25, "input_shape": (SIDE, SIDE, 3)}
    model = InceptionV1(weights=None, classes=3, dropout=0, **size)
    return attach(model, model.identity.replace(class_names=NAMES))


def trained(model, epochs, count=384):
    images, labels, _ = scenes(count, seed=0)
    contract = Preprocessing(size=(SIDE, SIDE))
    x = contract.scale(np.stack([contract.crop_and_resize(image) for image in images]))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, labels, batch_size=32, epochs=epochs, verbose=0)
    return model


@pytest.fixture(scope="module")
def small():
    """A few convolutions that have learned the scenes: a classifier of another's layers."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3))])
    for filters in (8, 16, 16):
        model.add(keras.layers.Conv2D(filters, 3, 2, "same", activation="relu"))
    model.add(keras.layers.GlobalAveragePooling2D())
    model.add(keras.layers.Dense(3, "softmax"))
    return classifier(trained(model, epochs=6), Preprocessing(size=(SIDE, SIDE)), NAMES)


def pointing_game(method, count, seed):
    """Share of scenes whose strongest place is inside the square (Zhang et al. 2016)."""
    images, labels, corners = scenes(count, seed)
    found = 0
    for image, label, (top, left) in zip(images, labels, corners, strict=True):
        row, column = method(image, int(label)).peak
        # The contract's crop keeps the middle 7/8, enlarged to the input.
        row, column = (4 + (p + 0.5) * 56 / SIDE for p in (row, column))
        found += top <= row < top + SQUARE and left <= column < left + SQUARE
    return found / count


def test_grad_cam_points_at_the_evidence(small):
    """Chance is the square's share of the area, 6 %."""
    images, labels, _ = scenes(48, seed=1)
    answers = features(small, list(images), layer=small.engine.model.layers[-1].name)
    assert (answers.argmax(1) == labels).mean() > 0.9
    assert pointing_game(GradCAM(small), 24, seed=2) > 0.8


def test_occlusion_points_at_the_evidence(small):
    share = pointing_game(lambda image, label: occlusion(small, image, target=label), 12, seed=2)
    assert share > 0.8


@pytest.mark.slow
def test_grad_cam_of_a_trained_inception_points_at_the_evidence():
    keras.utils.set_random_seed(3)
    size = {"width_multiplier": 0.25, "input_shape": (SIDE, SIDE, 3), "bn_momentum": 0.8}
    model = trained(InceptionV1(weights=None, classes=3, dropout=0, **size), epochs=4)
    share = pointing_game(GradCAM(model), 48, seed=2)
    print(f"pointing game of InceptionV1: {share:.1%} of 48 scenes, chance 6.2%")
    assert share > 0.3


def test_grad_cam_of_a_linear_head_is_the_class_activation_map(small):
    """Behind the last map there are only a mean and a linear layer, so weights are gradients."""
    image = scenes(1, seed=5)[0][0]
    *_, last, _, dense = small.engine.model.layers
    heat = grad_cam(small, image, target="green")
    inside = keras.Model(small.engine.model.inputs[0], last.output)
    places = inside(small.preprocessing.scale(small.crop_and_resize(image)[None]))[0].numpy()
    expected = np.maximum(places @ dense.get_weights()[0][:, 1], 0)
    expected = tf.image.resize(expected[..., None], (SIDE, SIDE), "bicubic").numpy()[..., 0]
    np.testing.assert_allclose(heat.heat, np.maximum(expected, 0) / expected.max(), atol=1e-4)
    assert heat.label == "green" and heat.method == f"Grad-CAM of {last.name}, 8 x 8"


def test_a_map_of_few_places_is_passed_over(model):
    """At 64 pixels the last blocks see 2 x 2 places, the ones before them 4 x 4 and 8 x 8."""
    assert Inside.open(model).map_layer() == "inception_3b"


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
    network = Inside.open(classifier(transfer, contract))
    assert network.map_layer() == "backbone"
    heat = grad_cam(classifier(transfer, contract), np.zeros((80, 60, 3), np.uint8) + 90)
    assert heat.image.shape == (64, 64, 3)
    with pytest.raises(ValueError, match="should name a layer"):
        network.map_layer("mixed_99")
    with pytest.raises(ValueError, match="from 0 to 1"):
        grad_cam(classifier(transfer, contract), np.zeros((64, 64, 3), np.uint8), target=2)


def classifier(model, contract, names=("a", "b")):
    return Classifier(KerasEngine(model), Identity("", (), contract, names))


def test_occlusion_asks_any_engine(tmp_path):
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
    drawn = tmp_path / "heat.png"
    options = {"target": "seen", "window": 4, "stride": 4, "output": drawn}
    heat = explain(one, image, "occlusion", **options)
    assert heat.heat[8:12, 12:16].min() == 1 and heat.heat.sum() == 16
    assert heat.to_dict()["peak"] == [8, 12] and "strongest at row 8, column 12" in repr(heat)
    assert heat._repr_png_() == drawn.read_bytes()
    with pytest.raises(ValueError, match="`layer` goes with method='grad_cam'. Received: layer=3"):
        explain(one, image, "occlusion", layer=3)
    with pytest.raises(ValueError, match="one of grad_cam, occlusion. Received: method='cam'"):
        explain(one, image, "cam")
    with pytest.raises(ValueError, match="only Keras shows"):
        grad_cam(one, image)
    with pytest.raises(ValueError, match="knows no class 'see'. Did you mean seen"):
        occlusion(one, image, target="see")


def test_a_class_looks_like_its_color(small):
    seen = visualize(small, small.engine.model.layers[-1].name, 2, size=64, steps=10, octaves=2)
    assert seen.image.reshape(-1, 3).mean(0).argmax() == 2


def test_dreams_climb(small, model):
    image = scenes(1, seed=4)[0][0]
    last = small.engine.model.layers[-1].name
    steps = {"steps": 5, "octaves": 2, "jitter": 4}
    dream = deep_dream(small, image, **steps)
    for found in (dream, visualize(small, last, 2, size=64, **steps)):
        assert found.image.shape == (64, 64, 3) and found.image.dtype == np.uint8
        assert len(found.objective) == 2
        for values in found.objective:
            assert len(values) == 6 and np.all(np.diff(values) >= 0)
            assert values[-1] > values[0]
    assert dream.objective == deep_dream(small, image, **steps).objective
    inception = deep_dream(model, image, channel=3, steps=2, octaves=1)
    assert inception.what == "inception_4c, channel 3"
    assert inception.objective[0][2] > inception.objective[0][0]
    with pytest.raises(ValueError, match="octaves=0"):
        deep_dream(small, image, octaves=0)
    with pytest.raises(ValueError, match="`channel` should be from 0 to 2"):
        visualize(small, last, 3)


def test_neighbors_share_the_color(model):
    images, labels, _ = scenes(40, seed=6)
    vectors = features(model, list(images))
    numbers, similarity = nearest(vectors, vectors, 3)
    assert (numbers[:, 0] == np.arange(40)).all()
    np.testing.assert_allclose(similarity[:, 0], 1, atol=1e-5)
    assert (labels[numbers[:, 1]] == labels).mean() > 0.8
    with pytest.raises(ValueError, match="features of one network"):
        nearest(vectors, vectors[:, :4])


def test_an_image_that_cannot_be_read_is_nobodys_neighbor(small, caplog):
    images = [*scenes(3, seed=6)[0], b"no image"]
    vectors = features(small, [images[3], *images[:3]], verbose=0)
    assert "image 0 cannot be read and is left out" in caplog.text
    assert np.isnan(vectors[0]).all() and np.isfinite(vectors[1:]).all()
    numbers, _ = nearest(vectors[2], vectors)
    assert numbers[0, 0] == 2 and sorted(numbers[0]) == [1, 2, 3]
    with pytest.raises(ValueError, match="could not be read"):
        nearest(vectors[0], vectors)


def test_the_commands_write_images(small, tmp_path, capsys, monkeypatch):
    for module in ("explaining.inside", "explaining.occlude", "runtime"):
        monkeypatch.setattr(f"keras_inception.{module}.load_classifier", opened(small))
    images = scenes(3, seed=7)[0]
    for i, image in enumerate(images):
        (tmp_path / f"{i}.png").write_bytes(tf.io.encode_png(image).numpy())
    (tmp_path / "9.png").write_text("no image")
    image, common = str(tmp_path / "0.png"), ["--model", "any", "--output"]
    steps, last = ["--steps", "1", "--octaves", "1"], small.engine.model.layers[-1].name
    for arguments, size in [
        (["grad_cam", image, "--target", "red"], (64, 128)),
        (["occlusion", image, "--window", "32"], (64, 128)),
        (["dream", image, *steps], (64, 64)),
        (["feature", "--layer", last, "--channel", "0", "--size", "64", *steps], (64, 64)),
        (["nearest", image, str(tmp_path / "?.png"), "--count", "2"], None),
    ]:
        output = tmp_path / f"{arguments[0]} out.png"
        with pytest.raises(SystemExit) as end:
            cli.run(["explain", *arguments, *common, str(output)])
        assert end.value.code == (arguments[0] == "nearest")  # an image could not be read
        assert str(output) in capsys.readouterr().out
        pixels = tf.io.decode_png(output.read_bytes())
        assert size is None or pixels.shape[:2] == size
    for wrong, said in [
        (["grad_cam", image, "--layer", "none"], "--layer should name a layer of"),
        (["occlusion", image, "--window", "99"], "--window should be from 1 to"),
    ]:
        with pytest.raises(SystemExit) as end:
            cli.run(["explain", *wrong, *common, str(output)])
        assert end.value.code == 2 and said in capsys.readouterr().err


def opened(model):
    from keras_inception.runtime import load_classifier

    return lambda source: load_classifier(model if source == "any" else source)
