"""A classifier gives the network's own answers in every engine, and refuses what it cannot take."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import keras
import numpy as np
import pytest

from keras_inception import Classifier, Preprocessing, get_model, load_classifier, save_weights
from keras_inception.exporting import Onnx, OpenVINO, SavedModel, TFLite
from keras_inception.identity import Identity, attach, identity_of
from keras_inception.runtime import onnx
from keras_inception.runtime.engine import check_finite
from keras_inception.runtime.keras import in_float32
from keras_inception.runtime.tensorflow import TensorFlowEngine

CONTRACT = Preprocessing(size=(12, 10), crop_fraction=0.9, mean=(120.0, 110.0, 100.0), std=60.0)
# Latin, Cyrillic, Greek, Devanagari, Chinese, Arabic; matplotlib's own markup; a line separator.
LABELS = ("Kätzchen", "кошка", "γάτα", "बिल्ली", "猫", "قطة", "$1_$5", "a\u2028b")


def toy(policy="float32", activation="softmax"):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        x = keras.Input((12, 10, 3))
        y = keras.layers.Conv2D(8, 3, activation="relu")(x)
        y = keras.layers.GlobalAveragePooling2D()(y)
        y = keras.layers.Dense(len(LABELS), activation=activation, dtype="float32")(y)
        model = keras.Model(x, y)
    finally:
        keras.config.set_dtype_policy(before)
    return attach(model, Identity("", preprocessing=CONTRACT, class_names=LABELS))


@pytest.fixture(scope="module")
def model():
    return toy()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 12, 10, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    model.save(folder / "toy.keras")
    return {
        "Keras": folder / "toy.keras",
        "SavedModel": SavedModel().write(model, folder / "saved"),
        "LiteRT": TFLite().write(model, folder / "toy.tflite"),
        "free batch": TFLite(batch=None).write(model, folder / "free.tflite"),
        "logits": TFLite(outputs="logits").write(model, folder / "logits.tflite"),
    }


@pytest.mark.parametrize("kind", ["Keras", "SavedModel", "LiteRT", "free batch", "logits"])
def test_every_engine_gives_the_models_probabilities(kind, files, model, images):
    given = {"preprocessing": CONTRACT, "class_names": LABELS} if kind == "Keras" else {}
    classifier = load_classifier(files[kind], **given)
    want = model.predict(CONTRACT.scale(images), verbose=0)
    np.testing.assert_allclose(classifier.predict(images), want, atol=1e-6)
    np.testing.assert_allclose(classifier.predict(images, batch_size=2), want, atol=1e-6)
    assert classifier.class_names == LABELS
    assert classifier.input_shape == (12, 10, 3)
    label, probability = classifier.classify(np.repeat(images[0], 3, axis=0))[0]
    assert label in LABELS and 0 < probability <= 1


ENGINES = ("Keras", "TensorFlow", "frozen", "SavedModel", "LiteRT", "onnx", "openvino")


@pytest.fixture(scope="module")
def classifiers(model, files):
    """A classifier of each engine that is installed."""
    known = load_classifier(model)
    found = {
        "Keras": known,
        "TensorFlow": Classifier(TensorFlowEngine(model), known.identity),
        "frozen": Classifier(TensorFlowEngine(model, frozen=True), known.identity),
        "SavedModel": load_classifier(files["SavedModel"]),
        "LiteRT": load_classifier(files["LiteRT"]),
    }
    folder = files["Keras"].parent
    if importlib.util.find_spec("tf2onnx"):
        found["onnx"] = load_classifier(Onnx().write(model, folder / "toy.onnx"))
    if importlib.util.find_spec("openvino"):
        found["openvino"] = load_classifier(OpenVINO().write(model, folder / "openvino"))
    return found


@pytest.fixture(scope="module")
def colors():
    """160 images of one color each, whose answers differ by more than rounding."""
    values = np.random.default_rng(1).integers(0, 256, (160, 1, 1, 3)).astype(np.uint8)
    return values.repeat(12, 1).repeat(10, 2)


@pytest.mark.parametrize("kind", ENGINES)
def test_threads_and_pickled_copies_get_their_own_answers(kind, classifiers, colors):
    """LiteRT's interpreter gave threads each other's answers, OpenVINO's default request too."""
    if kind not in classifiers:
        pytest.skip(f"{kind} is not installed")
    classifier = classifiers[kind]
    want = classifiers["Keras"].predict(colors)
    assert np.abs(want[:-1] - want[1:]).max(1).min() > 1e-5
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda image: classifier.predict(image[None])[0], colors))
    np.testing.assert_allclose(got, want, atol=1e-6)
    copy = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_allclose(copy.predict(colors), want, atol=1e-6)
    assert copy.class_names == LABELS and copy.preprocessing == classifier.preprocessing


def test_processes_open_the_file_themselves(classifiers, colors):
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        answers = list(pool.map(classifiers["LiteRT"].predict, np.split(colors, 4)))
    want = classifiers["Keras"].predict(colors)
    np.testing.assert_allclose(np.concatenate(answers), want, atol=1e-6)


@pytest.mark.parametrize("kind", ["SavedModel", "LiteRT", "free batch"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((12, 10, 3), np.uint8), r"shape \(12, 10, 3\)"),
        (np.zeros((1, 13, 10, 3), np.uint8), r"shape \(1, 13, 10, 3\)"),
        (np.zeros((1, 0, 10, 3), np.uint8), r"shape \(1, 0, 10, 3\)"),
        (np.zeros((1, 12, 10, 1), np.uint8), r"shape \(1, 12, 10, 1\)"),
        (np.zeros((), np.uint8), r"shape \(\)"),
        (np.full((1, 12, 10, 3), -1.0), "values in"),
        (np.full((1, 12, 10, 3), np.nan), "values in"),
        (np.full((1, 12, 10, 3), "a"), "dtype"),
    ],
)
def test_what_an_engine_cannot_take_is_refused_before_it_is_called(files, kind, given, message):
    """LiteRT itself ends the process for an empty batch, and answers another size."""
    classifier = load_classifier(files[kind])
    with pytest.raises(ValueError, match=message):
        classifier.predict(given)
    assert classifier.predict(np.zeros((0, 12, 10, 3), np.uint8)).shape == (0, len(LABELS))


def test_logits_become_probabilities(images):
    model = toy(activation=None)
    logits = model.predict(CONTRACT.scale(images), verbose=0)
    want = keras.ops.softmax(logits)
    np.testing.assert_allclose(load_classifier(model).predict(images), want, atol=1e-6)


def test_a_run_folder_and_native_weights(finished_run, images, tmp_path):
    from_run = load_classifier(finished_run.path)
    assert from_run.class_names == ("darkest", "dark", "bright", "brightest")
    assert from_run.preprocessing == finished_run.preprocessing
    model = get_model(
        "InceptionV1", weights=None, input_shape=(32, 32, 3), classes=8, width_multiplier=0.25
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    attach(model, identity_of(model).replace(class_names=LABELS))
    from_file = load_classifier(save_weights(model, tmp_path / "own.safetensors"))
    assert from_file.class_names == LABELS
    want = load_classifier(model).predict(images)
    np.testing.assert_array_equal(from_file.predict(images), want)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: keras.Sequential([keras.layers.Dense(3)]), "Sequential gets them"),
        (lambda m: keras.Model(m.inputs, [m.output, m.output]), "1 inputs, 2 outputs"),
        (lambda m: keras.Model(m.inputs, m.layers[1].output), "batch, classes"),
        (lambda m: "no/such/folder", "no run folder"),
        (lambda m: 7, "Received: 7"),
    ],
)
def test_what_is_no_classifier_is_refused_in_a_line(make, message, model):
    with pytest.raises(ValueError, match=message) as error:
        load_classifier(make(model), preprocessing=CONTRACT)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("format", ["SavedModel", pytest.param("OpenVINO", marks=pytest.mark.slow)])
def test_exported_weights_that_are_not_finite_are_refused(format, tmp_path):
    """oneDNN, which both engines compute with, makes NaN 0 and answers with equal probabilities."""
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu")(image)
    x = keras.layers.Dense(4, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    broken = keras.Model(image, x)
    broken.layers[1].kernel.assign(np.full((3, 3, 3, 8), np.nan))
    path = tmp_path / "broken"
    broken.export(path, verbose=False)
    if format == "OpenVINO":
        openvino = pytest.importorskip("openvino")
        openvino.save_model(openvino.convert_model(path), path / "model.xml")
        path = path / "model.xml"
    with pytest.raises(ValueError, match="1 of its . weights hold numbers that are not finite"):
        load_classifier(path, preprocessing=CONTRACT)


def test_contract_and_labels_have_to_fit(files, model):
    with pytest.raises(ValueError, match="toy.keras: Nothing says how images"):
        load_classifier(files["Keras"])
    with pytest.raises(ValueError, match="2 class names"):
        load_classifier(model, class_names=["a", "b"])
    with pytest.raises(ValueError, match="12 x 10 pixels. Received: 20 x 20"):
        load_classifier(model, preprocessing=CONTRACT.replace(size=(20, 20)))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_nested_model_becomes_float32_and_keeps_its_identity(policy, images, tmp_path):
    """A backbone inside, as people build them: its layers computed in 16 bits in the export."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        x = keras.Input((12, 10, 3))
        y = keras.layers.Conv2D(8, 3, activation="relu")(x)
        backbone = keras.Model(x, keras.layers.BatchNormalization()(y), name="backbone")
        head = [keras.layers.GlobalAveragePooling2D()]
        head += [keras.layers.Dense(8, activation="softmax", dtype="float32")]
        model = keras.Sequential([keras.Input((12, 10, 3)), backbone, *head])
    finally:
        keras.config.set_dtype_policy(before)
    attach(model, Identity("", preprocessing=CONTRACT, class_names=LABELS))
    classifier = load_classifier(model)
    rebuilt = in_float32(classifier.engine.model)
    assert {layer.compute_dtype for layer in rebuilt.get_layer("backbone").layers} == {"float32"}
    assert rebuilt.identity == classifier.identity
    want = classifier.predict(images)
    np.testing.assert_allclose(load_classifier(rebuilt).predict(images), want, atol=0.02)
    for path in (
        TFLite().write(model, tmp_path / "nested.tflite"),
        SavedModel().write(model, tmp_path / "nested"),
    ):
        got = load_classifier(path)
        assert isinstance(got, Classifier)
        np.testing.assert_allclose(got.predict(images), want, atol=0.02)


def test_an_identity_survives_as_json():
    identity = Identity("", preprocessing=CONTRACT, class_names=LABELS)
    said = json.loads(json.dumps(identity.to_metadata(), ensure_ascii=False))
    assert Identity.from_metadata(said) == identity


def field(number, content):
    """A field of a protocol buffer: a number or bytes of fewer than 128."""
    kind, value = (0, bytes([content])) if isinstance(content, int) else (2, content)
    length = bytes([len(value)]) if kind else b""
    return bytes([number << 3 | kind]) + length + value


def test_the_weights_of_an_onnx_file_are_seen_without_its_runtime(tmp_path):
    """NaN weights were answered 'nan%'; a single infinity may be the limit of an operation."""

    def tensor(name, type_number, values, values_field=9):
        content = np.asarray(values).tobytes()
        return field(5, field(2, type_number) + field(8, name) + field(values_field, content))

    good = [
        tensor(b"half", 10, np.float16([1, 2])),
        tensor(b"packed", 1, np.float32([3, 4]), 4),
        tensor(b"limit", 1, np.float32([-np.inf])),
        tensor(b"shape", 7, np.int64([-1, 3])),
    ]
    path = tmp_path / "model.onnx"
    path.write_bytes(field(7, b"".join(good)))
    found = {name: array.tolist() for name, array in onnx.weights(path)}
    assert found == {"half": [1, 2], "packed": [3, 4]}
    check_finite(onnx.weights(path))
    path.write_bytes(field(7, tensor(b"bad", 1, np.float32([1, np.nan])) + good[0]))
    with pytest.raises(ValueError, match="1 of its 2 weights .* the first one is bad"):
        check_finite(onnx.weights(path))


def test_a_contract_of_other_channels_is_refused_at_once(model):
    with pytest.raises(ValueError, match="`mean` has 4 values .* 3 channels"):
        load_classifier(model, preprocessing=CONTRACT.replace(mean=(1.0, 2.0, 3.0, 4.0)))


def test_a_whole_h5_model_of_another_tool_is_a_classifier_as_it_is(tmp_path):
    """Keras 2's files and those of `model.save("x.h5")`: the answers are the model's own."""
    model = toy()
    model.save(tmp_path / "theirs.h5")
    with pytest.raises(ValueError, match=r"Nothing says how .*`preprocessing`: inception"):
        load_classifier(tmp_path / "theirs.h5")
    classifier = load_classifier(tmp_path / "theirs.h5", preprocessing=CONTRACT, class_names=LABELS)
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 10, 3)).astype(np.uint8)
    want = keras.ops.convert_to_numpy(model(CONTRACT.scale(images), training=False))
    np.testing.assert_allclose(classifier.predict(images), want, atol=1e-6)
    assert classifier.class_names == LABELS
    model.save_weights(tmp_path / "theirs.weights.h5")
    with pytest.raises(ValueError, match="match no known layout.*conv2d") as caught:
        load_classifier(tmp_path / "theirs.weights.h5", preprocessing=CONTRACT)
    assert "whole model" not in str(caught.value)


@pytest.mark.parametrize("ending", [".h5", ".keras"])
def test_a_lambda_of_a_stranger_is_not_run(ending, tmp_path):
    model = toy()
    y = keras.layers.Lambda(lambda x: x * 1.0)(model.output)
    keras.Model(model.input, y).save(tmp_path / f"theirs{ending}")
    with pytest.raises(ValueError, match=f"theirs{ending}.*(L|l)ambda"):
        load_classifier(tmp_path / f"theirs{ending}", preprocessing=CONTRACT)
