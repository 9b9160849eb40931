"""Any network to any target: what is refused before minutes of converting, and what files hold."""

from __future__ import annotations

import errno
import json
import resource
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_inception
from keras_inception import Preprocessing, cli, load_classifier, save_model
from keras_inception.exporting import SavedModel, TFLite
from keras_inception.exporting.metadata import with_metadata
from keras_inception.identity import Identity, attach
from keras_inception.runtime.litert import interpreter

CONTRACT = Preprocessing(size=(32, 32), crop_fraction=1.0)
NAMES = ("darkest", "dark", "bright", "brightest")


def toy(labels=NAMES, sides=(32, 32)):
    x = keras.Input((*sides, 3))
    y = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    y = keras.layers.BatchNormalization()(y)
    y = keras.layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, keras.layers.Dense(len(labels), activation="softmax")(y))
    return attach(model, Identity("", preprocessing=CONTRACT, class_names=labels))


@pytest.fixture(scope="module")
def model():
    return toy()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    targets = ["tflite", "tflite:float16", "tflite:dynamic", TFLite("int8", ends="uint8")]
    result = keras_inception.export(model, folder, targets, dataset="fake", num_images=16)
    return folder, result


def test_every_file_is_measured(exported):
    folder, result = exported
    assert json.loads((folder / "export.json").read_text()) == result
    assert (folder / "labels.txt").read_text() == "".join(f"{name}\n" for name in NAMES)
    files = result["files"]
    assert [f["quantization"] for f in files.values()] == ["float32", "float16", "dynamic", "int8"]
    for name, file in files.items():
        assert (folder / name).stat().st_size == file["bytes"]
        assert file["latency_ms"].keys() == {"1", "2"}
        assert file["mean_moved"] <= file["largest_difference"] * len(NAMES) / 2 < 1
        assert "accuracy_interval" in file
    assert {p.name for p in folder.iterdir()} == {*files, "labels.txt", "export.json"}


def test_an_int8_file_takes_pixels_as_they_are(exported):
    """Runtimes that give a uint8 image to a uint8 input do not look at its scale."""
    folder, _ = exported
    engine = load_classifier(folder / "model_full_int8.tflite").engine
    (image,) = engine.runner.get_input_details().values()
    assert image["dtype"] == np.uint8
    assert image["quantization"] == (pytest.approx(1.0), 0)


def test_metadata_say_what_mediapipe_reads(exported):
    """The fields of the schema that ImageClassifier needs, read back by their places."""
    import flatbuffers
    from flatbuffers.table import Table
    from tensorflow.lite.python import schema_py_generated as schema

    content = (exported[0] / "model.tflite").read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    (entry,) = [
        model.Metadata(i)
        for i in range(model.MetadataLength())
        if model.Metadata(i).Name() == b"TFLITE_METADATA"
    ]
    data = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    assert data[4:8] == b"M001"

    def child(table, place):
        at = table.Offset(4 + 2 * place)
        assert at, place
        return Table(table.Bytes, table.Indirect(table.Pos + at))

    def first(table, place):
        at = table.Vector(table.Offset(4 + 2 * place))
        return Table(table.Bytes, table.Indirect(at))

    root = Table(data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0))
    graph = first(root, 3)
    unit = first(first(graph, 2), 4)
    normalization = child(unit, 1)
    floats = flatbuffers.number_types.Float32Flags
    values = [
        normalization.Get(floats, normalization.Vector(normalization.Offset(4 + 2 * place)))
        for place in (0, 1)
    ]
    assert values == [0.0, 1.0]  # the graph scales by itself
    labels = first(first(graph, 3), 6)
    assert labels.String(labels.Pos + labels.Offset(4)) == b"labels.txt"
    with zipfile.ZipFile(exported[0] / "model.tflite") as archive:
        assert archive.read("labels.txt").decode() == "".join(f"{name}\n" for name in NAMES)


def test_metadata_are_replaced_not_added(exported):
    content = (exported[0] / "model.tflite").read_bytes()
    identity = Identity("", preprocessing=CONTRACT, class_names=("a", "b", "c", "d"))
    path = exported[0].parent / "renamed.tflite"
    path.write_bytes(with_metadata(content, identity))
    assert load_classifier(path).class_names == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--formats", "coreml"], "saved_model, tflite"),
        (["--quantization", "int4"], "float32, float16, dynamic, int8"),
        (["--quantization", "int8"], "real training images"),
        (["--class_names", "{tmp}/two.txt"], "2 class names"),
        (["--output", "{tmp}"], "toy.keras"),
        (["--num_images", "0"], "at least 1"),
        (["--dataset", "folder:/nowhere"], "/nowhere"),
        (["--ends", "uint8"], "None of the targets takes --ends"),
        (["--quantization", "int8", "--ends", "int4"], "int4"),
        (
            ["--quantization", "int8", "--num_calibration", "4", "--dataset", "fake"],
            "at least 8 images",
        ),
        (["--formats", "web", "--runtime", "{tmp}"], "npm install @litertjs/core@"),
        (["--output", "{tmp}/toy.keras"], "should be a folder"),
        (["--class_names", "{tmp}/toy.keras"], "toy.keras"),
        (["--class_names", "{tmp}/none.txt"], "none.txt"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_converted(
    arguments, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("keras_inception.exporting.run._exported", None)
    (tmp_path / "two.txt").write_text("a\nb\n")
    save_model(toy(), tmp_path / "toy.keras")
    command = ["export", str(tmp_path / "toy.keras"), "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        cli.run([*command, *(a.replace("{tmp}", str(tmp_path)) for a in arguments)])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


def unbuilt():
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")])


def broken():
    model = toy()
    model.layers[1].bias.assign(np.full(8, np.nan))
    return model


def overflowing():
    model = toy()
    model.layers[-1].kernel.assign(np.full((8, 4), 3e38))
    model.layers[-1].bias.assign(np.full(4, 3e38))
    return model


def without_dense():
    x = keras.Input((32, 32, 3))
    y = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(x))
    return attach(
        keras.Model(x, keras.layers.Softmax()(y)),
        Identity("", preprocessing=CONTRACT, class_names=NAMES),
    )


class Unknown(keras.layers.Layer):
    """A layer of the user's own, which is registered nowhere."""

    def call(self, x):
        return x


def with_unknown_layer():
    x = keras.Input((32, 32, 3))
    y = keras.layers.Flatten()(Unknown()(x))
    return keras.Model(x, keras.layers.Dense(4, activation="softmax")(y))


@pytest.mark.parametrize(
    ("model", "arguments", "error", "message"),
    [
        (unbuilt, {}, ValueError, "Sequential gets them from a `keras.Input`"),
        (
            broken,
            {},
            ValueError,
            "1 of its 8 weights hold numbers that are not finite.*conv2d.*bias",
        ),
        (overflowing, {}, ValueError, "not finite numbers for 4 of 4 images"),
        (
            without_dense,
            {"targets": [TFLite(outputs="logits")]},
            ValueError,
            "last layer is a Dense layer",
        ),
        (
            with_unknown_layer,
            {},
            ValueError,
            "unknown.keras cannot.*holds Unknown, which",
        ),
        (
            toy,
            {"targets": "onnx"},
            ValueError,
            r"needs onnx.*pip install 'keras-inception\[onnx\]'",
        ),
    ],
)
def test_what_cannot_be_exported_is_said_before_it_is_tried(
    model, arguments, error, message, tmp_path, monkeypatch
):
    source = model()
    if model is with_unknown_layer:
        source.save(tmp_path / "unknown.keras")
        source = str(tmp_path / "unknown.keras")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(SavedModel, "make", None)
    with pytest.raises(error, match=message) as raised:
        keras_inception.export(source, output=tmp_path / "out", num_images=4, **arguments)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_an_operation_that_tflite_lacks_is_named(tmp_path):
    x = keras.Input((32, 32, 3))
    y = keras.layers.Lambda(lambda x: tf.math.real(tf.signal.fft2d(tf.cast(x, tf.complex64))))(x)
    y = keras.layers.Dense(4, activation="softmax")(keras.layers.Flatten()(y))
    with pytest.raises(ValueError, match="operations that the network computes with: FFT2D$"):
        TFLite().write(
            load_classifier(keras.Model(x, y), preprocessing=CONTRACT), tmp_path / "model.tflite"
        )
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line_and_leaves_the_earlier_export(tmp_path):
    """A limit on the size of files stands for the disk; TensorFlow's writer reports both alike."""
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_text("whole")
    code = f"""
import resource, signal, sys
sys.path.insert(0, {str(tmp_path)!r})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import keras
from keras_inception import Preprocessing, load_classifier
from keras_inception.exporting import SavedModel
x = keras.Input((8, 8, 3))
y = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(x))
model = load_classifier(keras.Model(x, y), preprocessing=Preprocessing((8, 8)), class_names="ab")
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
try:
    SavedModel().write(model, {str(tmp_path / "saved")!r})
except OSError as error:
    assert "\\n" not in str(error), error
    print("one line:", error)
"""
    assert resource.RLIMIT_FSIZE
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout.startswith("one line:"), process.stderr[-800:]
    assert "saved" in process.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["saved"]
    assert (tmp_path / "saved" / "saved_model.pb").read_text() == "whole"


def test_a_later_target_that_fails_leaves_the_earlier_export(tmp_path, monkeypatch, caplog):
    """All are written and checked before the first one is put in place; nothing is told of it."""
    logger, level = tf.get_logger(), tf.get_logger().level
    logger.addHandler(caplog.handler)
    logger.setLevel("INFO")  # as notebooks have it
    keras_inception.export(toy(), tmp_path, "tflite", num_images=4, latency=False, verbose=0)
    assert (logger.level, caplog.text) == (20, "")
    logger.setLevel(level)
    logger.removeHandler(caplog.handler)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(SavedModel, "make", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        keras_inception.export(
            toy(("a", "b")), tmp_path, ("tflite", "saved_model"), num_images=4, latency=False
        )
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_disk_that_fills_up_is_one_line_that_names_the_file(tmp_path, monkeypatch):
    """Whatever was measured before, other programs write, too."""

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("keras_inception.exporting.tflite.write", full)
    with pytest.raises(OSError, match=r"/out/model\.tflite cannot be written: No space left on"):
        keras_inception.export(toy(), tmp_path / "out", "tflite", num_images=4, latency=False)
    assert not list((tmp_path / "out").iterdir())


def test_logits_and_a_free_batch_can_be_exported_together(tmp_path):
    path = TFLite(outputs="logits", batch=None).write(toy(), tmp_path / "free.tflite")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    got, want = load_classifier(path).predict(images), load_classifier(toy()).predict(images)
    assert got.shape == want.shape
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("quantization", ["float32", "dynamic"])
def test_a_file_of_free_size_takes_images_of_any(quantization, tmp_path):
    model = toy(sides=(None, None))
    path = TFLite(quantization, batch=None, free_size=True).write(model, tmp_path / "free.tflite")
    runner = interpreter(path.read_bytes()).get_signature_runner()
    for batch, height, width in ((1, 32, 32), (3, 20, 44), (2, 61, 9)):
        images = np.random.default_rng(0).uniform(0, 255, (batch, height, width, 3))
        got = runner(image=images.astype(np.float32))["probabilities"]
        want = model(CONTRACT.scale(images.astype(np.float32)), training=False)
        np.testing.assert_allclose(got, want, atol=1e-6 if quantization == "float32" else 0.02)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    assert load_classifier(path).input_shape == (32, 32, 3)  # the contract's
    assert load_classifier(path).predict(images).shape == (3, len(NAMES))
    with pytest.raises(ValueError, match="build it with `input_shape=.None, None, 3.`"):
        TFLite(free_size=True).write(toy(), tmp_path / "x.tflite")
    with pytest.raises(ValueError, match="measured at one size"):
        TFLite("int8", free_size=True)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_other_runtimes_give_the_models_probabilities(format, tmp_path):
    pytest.importorskip("onnxruntime" if format == "onnx" else "openvino")
    model = toy()
    result = keras_inception.export(model, tmp_path, format, num_images=8, latency=False)
    (name,) = result["files"]
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    classifier = load_classifier(tmp_path / name)
    assert classifier.class_names == NAMES
    np.testing.assert_allclose(
        classifier.predict(images), load_classifier(model).predict(images), atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("variant", keras_inception.list_models())
def test_every_variant_through_every_target(variant, tmp_path):
    """Each file's labels, contract, signature, operations, size and answers are checked inside."""
    network = keras_inception.get_model(
        variant, weights=None, input_shape=(96, 96, 3), classes=4, width_multiplier=0.25
    )
    result = keras_inception.export(
        network,
        tmp_path,
        ["saved_model", *(f"tflite:{form}" for form in ("float32", "float16", "dynamic", "int8"))],
        dataset="fake",
        class_names=NAMES,
        num_images=16,
        num_calibration=16,
        latency=False,
    )
    assert len(result["files"]) == 5


@pytest.mark.slow
def test_mediapipe_loads_the_files_as_they_are(model, exported, tmp_path):
    """Its ImageClassifier, in an environment of its own, gives our engines' names and scores."""
    venv = tmp_path / "mediapipe"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    install = [str(venv / "bin" / "pip"), "install", "--quiet", "mediapipe"]
    if subprocess.run(install, capture_output=True).returncode:
        pytest.skip("needs mediapipe from PyPI")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    code = """
import json, sys
import mediapipe, numpy
from mediapipe.tasks.python import BaseOptions, vision
base = BaseOptions(model_asset_path=sys.argv[1])
found = []
with vision.ImageClassifier.create_from_options(vision.ImageClassifierOptions(base)) as classifier:
    for image in numpy.load(sys.argv[2]):
        given = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)
        answer = classifier.classify(given).classifications[0].categories
        found.append({c.category_name: c.score for c in answer})
print(json.dumps(found))
"""
    for name in exported[1]["files"]:
        command = [str(venv / "bin" / "python"), "-c", code, str(exported[0] / name)]
        process = subprocess.run(
            [*command, str(tmp_path / "images.npy")], capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr
        # What eight bits move is in both; the float32 file gives the Keras model's own scores.
        same = model if name == "model.tflite" else exported[0] / name
        want = load_classifier(same).predict(images)
        for answer, row in zip(json.loads(process.stdout), want, strict=True):
            assert answer == pytest.approx(dict(zip(NAMES, row, strict=True)), abs=0.005)
