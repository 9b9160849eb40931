"""Contracts that a caller gives, by name, as JSON, or in place of a file's; B, G, R networks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_inception import InceptionV1, Preprocessing, get_weights, load_classifier, save_weights
from keras_inception.budget import LOADABLE
from keras_inception.cli import run as run_command
from keras_inception.contracts import KNOWN, chosen
from keras_inception.exporting import TFLite
from keras_inception.identity import Identity, attach, identity_of
from keras_inception.weights import native as own
from keras_inception.weights import read
from keras_inception.weights.readers import safetensors

sys.path.insert(0, str(Path(__file__).parents[1] / "goldens"))
import native  # noqa: E402

SIDE = 12
PIXELS = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3)).astype(np.uint8)
MODES = {"inception": "tf", "torch": "torch", "caffe": "caffe"}  # keras.applications' names


def toy():
    """A network whose answers depend on the order and the scale of the channels."""
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(5, 3, activation="tanh")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(x))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Another tool's whole model, its class names, and images."""
    folder = tmp_path_factory.mktemp("theirs")
    model = toy()
    model.save(folder / "theirs.h5")
    (folder / "labels.txt").write_text("cat\ndog\nowl\n")
    for name in ("cat", "dog"):
        (folder / "images" / name).mkdir(parents=True)
        for number, pixels in enumerate(PIXELS):
            Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    return folder


@pytest.mark.parametrize("name", MODES)
def test_the_names_scale_as_keras_applications(name):
    contract = Preprocessing(size=(SIDE, SIDE), **KNOWN[name])
    images = PIXELS.astype(np.float32)
    want = keras.applications.imagenet_utils.preprocess_input(images.copy(), mode=MODES[name])
    np.testing.assert_allclose(contract.scale(images), want, atol=2e-5)
    tensor = keras.ops.convert_to_tensor(images)
    np.testing.assert_allclose(contract.scale(tensor), want, atol=2e-5)
    first = contract.scale(images.transpose(0, 3, 1, 2), "channels_first")
    np.testing.assert_allclose(first.transpose(0, 2, 3, 1), want, atol=2e-5)


def test_an_order_of_channels_needs_three():
    with pytest.raises(ValueError, match="channel_order` is BGR and the images have 1 channels"):
        Preprocessing(size=(8, 8), channel_order="BGR").scale_and_offset(1)
    with pytest.raises(ValueError, match="channel_order` should be one of RGB, BGR"):
        Preprocessing(size=(8, 8), channel_order="bgr")
    with pytest.raises(ValueError, match="include_preprocessing` should be a contract whose"):
        contract = Preprocessing(size=(75, 75), channel_order="BGR")
        InceptionV1(weights=None, include_preprocessing=contract, width_multiplier=0.1)


def test_a_caffe_network_answers_alike_in_keras_and_in_its_export(theirs, tmp_path):
    classifier = load_classifier(theirs / "theirs.h5", preprocessing="caffe")
    scaled = keras.applications.imagenet_utils.preprocess_input(PIXELS.astype("f4"), mode="caffe")
    want = keras.models.load_model(theirs / "theirs.h5").predict(scaled, verbose=0)
    np.testing.assert_allclose(classifier.predict(PIXELS), want, atol=1e-5)
    assert classifier.preprocessing.size == (SIDE, SIDE)
    path = TFLite().write(classifier, tmp_path / "model.tflite")
    np.testing.assert_allclose(load_classifier(path).predict(PIXELS), want, atol=1e-5)
    with pytest.raises(ValueError, match="would scale them twice"):
        load_classifier(path, preprocessing="inception")
    again = load_classifier(path, preprocessing="raw")
    np.testing.assert_allclose(again.predict(PIXELS), want, atol=1e-5)


@pytest.fixture(scope="module")
def network():
    return InceptionV1(weights=None, width_multiplier=0.1, classes=3, input_shape=(64, 64, 3))


def test_weights_for_bgr_become_a_network_for_rgb(network, tmp_path):
    contract = Preprocessing(size=(64, 64), **KNOWN["caffe"])
    save_weights(network, tmp_path / "bgr.safetensors", preprocessing=contract)
    loaded = read(tmp_path / "bgr.safetensors")
    assert loaded.identity.preprocessing == contract.replace(channel_order="RGB")
    kernel = network.get_layer("stem_0_conv").get_weights()[0]
    np.testing.assert_array_equal(loaded.arrays["stem_0_conv/kernel"], kernel[:, :, ::-1])


def test_the_contract_given_for_weights_is_that_of_the_file_and_not_of_what_they_became(
    tmp_path, caplog
):
    # The unpadded stem of torchvision's v3 takes over the scaling: what was read is for -1..1.
    golden = Path(__file__).parents[1] / "goldens" / "tv_inception_v3.json"
    native.safetensors(json.loads(golden.read_text()), tmp_path / "theirs.safetensors")
    record = get_weights("inception_v3.torchvision").with_file(tmp_path / "theirs.safetensors")
    given = read(tmp_path / "theirs.safetensors", preprocessing="caffe")
    rgb = read(tmp_path / "theirs.safetensors", record)
    assert given.identity.preprocessing.scaling == (127.5, 127.5, "RGB")
    old, new = (r.arrays["stem_0_0_conv/kernel"].astype(np.float64) for r in (rgb, given))
    # The record's own scaling is -1..1: the file's kernel is as it was.
    np.testing.assert_allclose(new, old[:, :, ::-1] * 127.5, rtol=1e-5)
    assert "preprocessing=caffe is taken for" in caplog.text


def test_a_contract_in_place_of_the_files_own_is_said(caplog):
    own = Preprocessing(size=(SIDE, SIDE), crop_fraction=0.5)
    model = attach(toy(), Identity("", preprocessing=own))
    assert load_classifier(model, preprocessing=own).preprocessing == own
    assert load_classifier(model, preprocessing="inception").preprocessing == own
    assert not caplog.text
    other = load_classifier(model, preprocessing="torch").preprocessing
    assert other == own.replace(**KNOWN["torch"])  # the crop is the model's
    assert "has a contract of its own, which is not used" in caplog.text


def test_contracts_in_json(tmp_path):
    path = tmp_path / "contract.json"
    path.write_text('{"mean": [1, 2, 3], "aspect": "pad"}')
    got = chosen(path, None, (8, 9))
    assert got == Preprocessing(size=(8, 9), mean=(1, 2, 3), aspect="pad")
    with pytest.raises(ValueError, match=r"takes images of any size: .*Received: .*contract.json"):
        chosen(path, None)
    for text, match in (
        ("[1]", "should hold a JSON object"),
        ("{", "holds no JSON"),
        ('{"size": [8, 8], "means": 1}', "Unknown preprocessing fields"),
        ('{"size": 8}', "`size` should be"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=match):
            chosen(str(path), None)
    with pytest.raises(ValueError, match="should be one of inception, torch, .*'tf"):
        chosen("tf", None)


def command(*words):
    with pytest.raises(SystemExit) as ended:
        run_command([str(word) for word in words])
    return ended.value.code


FLAGS = ("--preprocessing=caffe", "--class_names")


def test_every_command_that_takes_a_model_takes_its_contract(theirs, tmp_path, capsys, monkeypatch):
    model, flags = theirs / "theirs.h5", (*FLAGS, theirs / "labels.txt")
    image = theirs / "images" / "cat" / "0.png"
    classifier = load_classifier(model, preprocessing="caffe", class_names=["cat", "dog", "owl"])
    (best, share), *_ = classifier.classify(PIXELS[0])
    assert command("predict", image, "--model", model, *flags) == 0
    assert f"{share:7.2%}  {best}\n" in capsys.readouterr().out
    assert command("predict", image, "--model", model) == 2
    assert "Nothing says how images" in capsys.readouterr().err
    data = f"folder:{theirs / 'images'}"
    output = tmp_path / "evaluation"
    assert command("evaluate", model, f"--dataset={data}", "--output", output, *flags) == 0
    assert "theirs.h5" in capsys.readouterr().out
    said = json.loads((output / "evaluation.json").read_text())
    assert said["results"][0]["preprocessing"]["channel_order"] == "BGR"
    assert command("evaluate", model, *flags) == 2
    assert "go with --dataset" in capsys.readouterr().err
    assert command("info", model, *flags) == 0
    assert "channel_order=BGR" in capsys.readouterr().out
    for method, about in (("occlusion", ()), ("nearest", (theirs / "images" / "dog",))):
        shown = tmp_path / f"{method}.png"
        words = ("explain", method, image, *about, "--model", model, "--output", shown)
        assert command(*words, *flags) == 0 and shown.is_file()
    given = {}

    def kept(function):
        def called(source, *arguments, **options):
            options = {"preprocessing": None, "class_names": None, **options}
            given[function] = load_classifier(
                source, preprocessing=options["preprocessing"], class_names=options["class_names"]
            )
            raise ValueError("that is all")

        monkeypatch.setattr(function, called)

    kept("keras_inception.exporting.run.export")
    kept("keras_inception.exporting.fastest.optimize")
    kept("keras_inception.report.publication.publish")
    assert command("export", model, "--output", tmp_path / "x", *flags) == 2
    assert command("optimize", model, "--output", tmp_path / "y", *flags) == 2
    assert command("publish", model, "--output", tmp_path / "z", *flags) == 2
    assert len(given) == 3
    for one in given.values():
        assert one.preprocessing == classifier.preprocessing
        assert one.class_names == classifier.class_names


def test_features_for_inspect_by_another_tools_model(theirs):
    from keras_inception.curation import Network

    network = Network.open(str(theirs / "theirs.h5"), "caffe")
    assert network.contract.channel_order == "BGR"
    features = network.of_pixels([0, 1], lambda i: PIXELS[i], verbose=0)
    model = keras.models.load_model(theirs / "theirs.h5")
    inner = keras.Model(model.inputs, model.layers[-2].output)
    scaled = keras.applications.imagenet_utils.preprocess_input(PIXELS.astype("f4"), mode="caffe")
    np.testing.assert_allclose(features, inner.predict(scaled[:2], verbose=0), atol=1e-5)


def test_convert_gives_a_file_its_contract_and_names(network, tmp_path, capsys):
    variables = own.variables(network)
    arrays = {name: keras.ops.convert_to_numpy(v) for name, v in variables.items()}
    said = identity_of(network).replace(preprocessing=None).to_metadata()
    metadata = {"format": safetensors.NATIVE, **said}
    safetensors.write(tmp_path / "bare.safetensors", arrays, metadata)
    (tmp_path / "labels.txt").write_text("cat\ndog\nowl\n")
    (tmp_path / "torch.json").write_text(json.dumps({"size": [64, 64], "mean": [1, 2, 3]}))
    words = ["convert", tmp_path / "bare.safetensors", "--output", tmp_path / "mine.safetensors"]
    assert command(*words, "--preprocessing", tmp_path / "torch.json", FLAGS[1],
                   tmp_path / "labels.txt") == 0  # fmt: skip
    classifier = load_classifier(tmp_path / "mine.safetensors")
    assert classifier.class_names == ("cat", "dog", "owl")
    assert classifier.preprocessing == Preprocessing(size=(64, 64), mean=(1, 2, 3))
    (tmp_path / "labels.txt").write_text("cat\n")
    assert command(*words, FLAGS[1], tmp_path / "labels.txt") == 2
    assert "--class_names names 1 classes" in capsys.readouterr().err


def test_logits_of_an_engine_are_no_probabilities(tmp_path):
    import tensorflow as tf

    class Logits(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32)])
        def serve(self, image):
            return {"logits": tf.reduce_mean(image, (1, 2)) * 5.0}

    module = Logits()
    tf.saved_model.save(module, str(tmp_path / "logits"), signatures=module.serve)
    classifier = load_classifier(tmp_path / "logits", preprocessing="raw")
    with pytest.raises(ValueError, match="answers that are no probabilities: it ends in logits"):
        classifier.predict(PIXELS)


def test_one_message_for_what_cannot_be_loaded(theirs, tmp_path, capsys):
    """The same at every door, with what can be loaded and what to do."""
    keras.models.load_model(theirs / "theirs.h5").save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "page.pth").write_text("<html>404</html>")
    (tmp_path / "model.pbtxt").write_text("node {\n}\n")
    image = theirs / "images" / "cat" / "0.png"
    for name, end in (
        ("other.weights.h5", LOADABLE),
        ("page.pth", LOADABLE),
        ("model.pbtxt", "tf.io.write_graph(graph, folder, 'graph.pb', as_text=False)."),
    ):
        with pytest.raises(ValueError, match=name) as by_weights:
            InceptionV1(weights=tmp_path / name)
        assert str(by_weights.value).endswith(end)
        with pytest.raises(ValueError, match=name) as by_classifier:
            load_classifier(tmp_path / name)
        assert str(by_weights.value) in str(by_classifier.value)
        assert command("predict", image, "--model", tmp_path / name) == 2
        assert str(by_weights.value) in capsys.readouterr().err
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="neither a run folder") as by_folder:
        load_classifier(tmp_path / "folder")
    assert str(by_folder.value).endswith(LOADABLE)


def test_a_saved_model_without_a_signature_is_read_as_weights(network, tmp_path):
    """TF-Hub's: known variables, and nothing that could be asked."""
    import tensorflow as tf

    module = tf.Module()
    module.layers = [tf.Variable(v.numpy(), name=n) for n, v in own.variables(network).items()]
    tf.saved_model.save(module, tmp_path / "hub")
    with pytest.raises(ValueError, match="does not say which variant its weights belong to"):
        load_classifier(tmp_path / "hub", preprocessing=network.preprocessing)
