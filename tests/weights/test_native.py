"""Native files: round trips, checked loading, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_inception
import keras_inception.weights
from keras_inception import (
    InceptionResNetV1,
    InceptionV1,
    Preprocessing,
    Weights,
    save_weights,
    to_inference,
)
from keras_inception.identity import attach
from keras_inception.models.recognition import identified
from keras_inception.weights import read
from keras_inception.weights.readers import safetensors

SHAPE = (65, 65, 3)


@pytest.fixture(scope="module")
def model():
    """With heads and gammas, every weight of its own."""
    model = InceptionV1(
        weights=None, input_shape=SHAPE, classes=7, aux_logits=True, bn_scale=True, bn_epsilon=0.01
    )
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(
            rng.uniform(0.5, 1.5, variable.shape) / max(1, np.prod(variable.shape[:-1]))
        )
    return model


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    contract = Preprocessing(size=(65, 65), mean=(120.0, 115.0, 100.0), std=60.0)
    path = tmp_path_factory.mktemp("weights") / "v1.safetensors"
    return save_weights(model, path, preprocessing=contract)


def image():
    return np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32)


def test_the_file_says_what_to_build(model, file):
    """Gammas, epsilon, classes' heads and contract come from the file, not from the caller."""
    loaded = InceptionV1(weights=file, input_shape=SHAPE, classes=7, aux_logits=True)
    for name, want in model(image()).items():
        np.testing.assert_array_equal(loaded(image())[name], want)
    assert loaded.preprocessing.mean == (120.0, 115.0, 100.0)
    assert loaded.get_layer("stem_0_bn").epsilon == 0.01


def test_a_model_that_scales_by_itself_saves_the_contract_of_its_features(file, tmp_path):
    """And loads it: the same file serves models that scale and models that do not."""
    build = {"input_shape": SHAPE, "classes": 7}
    inside = InceptionV1(weights=file, include_preprocessing=True, **build)
    outside = InceptionV1(weights=save_weights(inside, tmp_path / "again.safetensors"), **build)
    assert outside.preprocessing == read(file).identity.preprocessing
    pixels = np.random.default_rng(2).integers(0, 256, (2, *SHAPE)).astype(np.uint8)
    want = outside(outside.preprocessing.scale(pixels))
    np.testing.assert_allclose(inside(pixels), want, atol=1e-6)
    np.testing.assert_array_equal(inside(inside.preprocessing.scale(pixels)), inside(pixels))


def test_the_header_is_the_identity(model, file, tmp_path):
    """A network of another kind is refused; a rebuilt one is known by its graph."""
    assert read(file).identity.arguments == model.identity.arguments
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="other")
    with pytest.raises(ValueError, match="other has the layers of no variant.*Save it with Keras"):
        save_weights(other, tmp_path / "v1.safetensors")
    contract = Preprocessing(size=(65, 65))
    rebuilt = keras.Model(model.input, model.get_layer("avg_pool").output)
    path = save_weights(rebuilt, tmp_path / "new" / "v1.safetensors", preprocessing=contract)
    identity = identified(read(path)).identity
    assert identity.variant == "InceptionV1"
    body = {k: v for k, v in model.identity.arguments.items() if k != "classifier_activation"}
    assert identity.arguments == body
    assert identity.preprocessing == contract
    named = model.identity.replace(class_names=tuple("abcdefg"))
    again = save_weights(attach(keras.models.clone_model(model), named), tmp_path / "n.safetensors")
    assert read(again).identity.class_names == tuple("abcdefg")
    with pytest.raises(ValueError, match="name each of the 7 outputs. Received: 2 names"):
        save_weights(model, tmp_path / "v1.safetensors", class_names=["a", "b"])


def test_a_model_inside_the_model_is_refused(model, tmp_path):
    outer = keras.Sequential([keras.Input(SHAPE), to_inference(model), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="inception_v1, a model inside the model, has more than"):
        save_weights(outer, tmp_path / "v1.safetensors")
    assert not list(tmp_path.iterdir())


def test_files_of_the_first_release_load(model, file, tmp_path):
    """Their headers held only those arguments that the caller had given, and the same fields."""
    arrays, _ = safetensors.read_arrays(file)
    header = {
        "format": "keras_inception",
        "variant": "InceptionV1",
        "builder_arguments": '{"bn_scale": true, "bn_epsilon": 0.01}',
        "preprocessing": "null",
        "class_names": "[]",
    }
    safetensors.write(tmp_path / "old.safetensors", arrays, header)
    loaded = InceptionV1(weights=tmp_path / "old.safetensors", input_shape=SHAPE)
    np.testing.assert_array_equal(loaded(image()), to_inference(model)(image()))


def test_without_heads_and_without_top(model, file):
    plain = InceptionV1(weights=file, input_shape=SHAPE, classes=7)
    want = model(image())["predictions"]
    np.testing.assert_allclose(plain(image()), want, atol=1e-6)
    features = InceptionV1(weights=file, include_top=False, pooling="avg")
    assert features(image()).shape == (2, 1024)


def test_another_number_of_classes_gives_a_new_head_and_says_so(file, caplog):
    other = InceptionV1(weights=file, input_shape=SHAPE, classes=3)
    assert "7 classes and the model 3" in caplog.text
    assert not other.get_layer("predictions").bias.numpy().any()
    arrays = read(file).arrays
    np.testing.assert_array_equal(
        other.get_layer("stem_0_conv").kernel, arrays["stem_0_conv/kernel"]
    )


def test_a_keras_file_is_loaded_by_name(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = InceptionV1(
        weights=tmp_path / "model.keras",
        input_shape=SHAPE,
    )
    np.testing.assert_allclose(loaded(image()), model(image())["predictions"], atol=1e-6)


def test_what_does_not_fit_is_listed_and_nothing_is_set(file):
    loaded = InceptionV1(weights=None, input_shape=SHAPE, classes=7)
    before = [w.numpy() for w in loaded.weights]
    with pytest.raises(ValueError, match="unexpected in the file: .*_bn/gamma.* and .* more"):
        keras_inception.weights.load_into(loaded, read(file))
    for weight, value in zip(loaded.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    with pytest.raises(ValueError, match=r"branch2_1_conv/kernel: \(3, 3, 16, 32\).*\(5, 5, 16"):
        InceptionV1(weights=file, input_shape=SHAPE, classes=7, branch5x5=5)


def test_a_record_of_ones_own_names_a_file_or_an_address(model, file, file_server, monkeypatch):
    """What `weights=` takes besides names and paths."""
    want = model(image())["predictions"]
    here = Weights(filename=str(file), variant="InceptionV1")
    np.testing.assert_allclose(InceptionV1(weights=here, input_shape=SHAPE)(image()), want, 1e-6)
    monkeypatch.setenv("KERAS_HOME", str(file.parent / "home"))
    there = Weights(url=f"{file_server.serve(file.parent)}/{file.name}", variant="InceptionV1")
    np.testing.assert_allclose(InceptionV1(weights=there, input_shape=SHAPE)(image()), want, 1e-6)


def test_a_file_of_another_variant_is_refused(file):
    with pytest.raises(ValueError, match="weights of InceptionV1.*InceptionV3"):
        keras_inception.InceptionV3(weights=file)


@pytest.mark.parametrize("keep", [0, 5, 300, -4])
def test_a_truncated_file_is_refused(file, tmp_path, keep):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"cut\.safetensors"):
        safetensors.read_arrays(cut)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("imagenett", "no published weights 'imagenett' for InceptionV1; there are slim, torch"),
        ("/nowhere/v1.safetensors", "There is no weights file /nowhere"),
        (3, "should be None.*inception_v1.slim.*Received: weights=3"),
    ],
)
def test_what_cannot_be_loaded_is_said(weights, message):
    with pytest.raises(ValueError, match=message):
        InceptionV1(weights=weights)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A narrow network's file."""
    model = InceptionV1(weights=None, input_shape=SHAPE, classes=7, width_multiplier=0.25)
    named = attach(model, model.identity.replace(class_names=tuple("abcdefg")))
    return save_weights(named, tmp_path_factory.mktemp("small") / "v1.safetensors")


def test_a_known_name_is_a_name_whatever_lies_in_the_folder(small, tmp_path, monkeypatch, caplog):
    module = sys.modules["keras_inception.weights.resolve"]
    asked = []
    monkeypatch.setattr(module, "fetch", lambda record: asked.append(record.name) or small)
    monkeypatch.chdir(tmp_path)
    for name in ("imagenet", "slim", "inception_v3.keras"):
        Path(name).write_bytes(b"no weights")
    InceptionV1(input_shape=SHAPE, classes=7)
    InceptionV1(weights="slim", input_shape=SHAPE, classes=7)
    v3 = keras_inception.InceptionV3
    for use in (lambda name: v3(weights=name), keras_inception.load_classifier):
        with pytest.raises(ValueError, match="holds weights of InceptionV1"):
            use("inception_v3.keras")
    assert asked == ["inception_v1.slim"] * 2 + ["inception_v3.keras"] * 2
    assert "imagenet is a published name; the file is ./imagenet" in caplog.text
    for path in ("./imagenet", Path("slim")):
        with pytest.raises(ValueError, match="cannot be used: it is in no format"):
            InceptionV1(weights=path)
    assert len(asked) == 4


@pytest.mark.parametrize("channels", [1, 6])
def test_a_network_for_other_channels_comes_back(channels, tmp_path):
    shape = (48, 48, channels)
    model = InceptionV1(weights=None, input_shape=shape, classes=3, width_multiplier=0.25)
    path = save_weights(model, tmp_path / "v1.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(np.uint8)
    want = model(model.preprocessing.scale(images), training=False)
    classifier = keras_inception.load_classifier(path)
    np.testing.assert_allclose(classifier.predict(images), want, atol=1e-6)
    again = InceptionV1(weights=path, include_top=False)
    assert again.input_shape == (None, None, None, channels)


def test_plain_include_top_false_leaves_the_embedding_out(tmp_path, caplog):
    build = {"blocks": (1, 1, 1), "width_multiplier": 0.25, "input_shape": (96, 96, 3)}
    model = InceptionResNetV1(weights=None, embedding=32, classes=5, **build)
    path = save_weights(model, tmp_path / "faces.safetensors")
    features = InceptionResNetV1(include_top=False, weights=path)
    assert features.output_shape == (None, None, None, 448)
    assert features.identity.arguments["embedding"] is None
    assert "the model has no bottleneck, bottleneck_bn, predictions: left out" in caplog.text
    assert "computes something else" not in caplog.text
    faces = InceptionResNetV1(include_top=False, pooling="avg", weights=path)
    assert faces.output_shape == (None, 32)
    with pytest.raises(ValueError, match="stands on the pooled features"):
        InceptionResNetV1(include_top=False, weights=path, embedding=32)


def test_weights_are_loaded_into_a_built_model(small, caplog):
    want = InceptionV1(weights=small, input_shape=SHAPE)
    build = {"weights": None, "input_shape": SHAPE, "width_multiplier": 0.25}
    model = InceptionV1(classes=7, **build)
    for other in (model, keras.models.clone_model(model)):
        assert keras_inception.load_weights(other, small) == []
        np.testing.assert_array_equal(other(image()), want(image()))
        assert other.identity.class_names == tuple("abcdefg")
        assert other.preprocessing == want.preprocessing
    assert not caplog.text
    fresh = InceptionV1(classes=3, **build)
    before = [w.numpy() for w in fresh.weights]
    with pytest.raises(ValueError, match=r"predictions/kernel: \(256, 7\) in the file"):
        keras_inception.load_weights(fresh, small)
    for weight, value in zip(fresh.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    notes = keras_inception.load_weights(InceptionV1(include_top=False, **build), small)
    assert notes == ["the model has no predictions: left out"]
    scaled = InceptionV1(classes=7, include_preprocessing=Preprocessing((9, 9), std=1.0), **build)
    with pytest.raises(ValueError, match="scales its images by mean 127.5 and std 1.0"):
        keras_inception.load_weights(scaled, small)


def test_a_failed_write_leaves_nothing(model, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_weights(model, tmp_path / "v1.safetensors")
    assert not list(tmp_path.iterdir())


def test_what_the_file_has_not_is_drawn_as_ever(tmp_path):
    """Kernels that will be loaded are not drawn first; heads that the file lacks are."""
    settings = {"input_shape": SHAPE, "width_multiplier": 0.25}
    plain = InceptionV1(weights=None, classes=3, **settings)
    path = save_weights(plain, tmp_path / "v1.safetensors")
    fresh = InceptionV1(weights=None, classes=7, aux_logits=True, **settings)
    model = InceptionV1(weights=path, classes=7, aux_logits=True, **settings)
    assert model.to_json() == fresh.to_json()  # the layers say how they are initialised
    for layer in model.layers:
        for name in ("kernel", "pointwise_kernel"):
            if hasattr(layer, name):
                assert np.std(getattr(layer, name)) > 0, layer.name
    head = model.get_layer("predictions").kernel
    limit = np.sqrt(6 / sum(head.shape))  # Glorot and Bengio's
    assert 0.5 * limit < np.std(head) < limit and np.abs(head).max() <= limit
    np.testing.assert_array_equal(
        model.get_layer("stem_0_conv").kernel, plain.get_layer("stem_0_conv").kernel
    )


def test_a_contract_of_other_channels_is_refused_when_the_file_is_read(file, tmp_path):
    """Not at the first image."""
    arrays, metadata = safetensors.read_arrays(file)
    contract = Preprocessing(size=(65, 65), mean=(1.0, 2.0, 3.0, 4.0)).to_dict()
    path = tmp_path / "four.safetensors"
    safetensors.write(path, arrays, metadata | {"preprocessing": json.dumps(contract)})
    with pytest.raises(ValueError, match="four.safetensors .*`mean` has 4 values .* 3 channels"):
        read(path)


def test_thresholds_come_back(tmp_path):
    """Of a network with a sigmoid for each class, from which its classes are named."""
    arguments = {"width_multiplier": 0.25, "classes": 3, "classifier_activation": "sigmoid"}
    model = keras_inception.get_model(
        "InceptionV1", weights=None, input_shape=(48, 48, 3), **arguments
    )
    known = model.identity.replace(class_names=("a", "b", "c"), thresholds=(0.4, 0.3, 0.2))
    path = keras_inception.save_weights(attach(model, known), tmp_path / "model.safetensors")
    assert keras_inception.load_classifier(path).identity.thresholds == known.thresholds
