"""Files of strangers: one ValueError of a line that names the file, or the network's answers."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception import Preprocessing, load_classifier
from keras_inception.exporting import Onnx, SavedModel, TFLite
from keras_inception.identity import Identity, attach

CONTRACT = Preprocessing(size=(12, 10))
MUTANTS = 60


@pytest.fixture(scope="module")
def model():
    x = keras.Input((12, 10, 3))
    y = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(x))
    model = keras.Model(x, keras.layers.Dense(3, activation="softmax")(y))
    return attach(model, Identity("", preprocessing=CONTRACT, class_names=("a", "b", "c")))


@pytest.fixture(scope="module")
def tflite(model, tmp_path_factory):
    return TFLite().write(model, tmp_path_factory.mktemp("files") / "toy.tflite")


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    return SavedModel().write(model, tmp_path_factory.mktemp("files") / "saved")


def refused(path, message=None):
    """The error of a file that cannot be loaded or asked."""
    with pytest.raises(ValueError, match=message) as raised:
        load_classifier(path, preprocessing=CONTRACT).predict(np.zeros((2, 12, 10, 3), np.uint8))
    text = str(raised.value)
    assert str(path) in text and text.isprintable() and len(text) < 1100
    return text


ODD = ["[]", "7", "null", '"text"', "{", "[" * 100_000, '{"class_names": 3}', '{"variant": [1]}']
ODD += ['{"preprocessing": "[1]"}', '{"class_names": "[1, 2, 3]"}', '{"class_names": "[\\"a\\"]"}']


@pytest.mark.parametrize("identity", ODD, ids=lambda text: text[:20])
def test_an_identity_of_another_kind(identity, tflite, saved, tmp_path):
    content = tflite.read_bytes()
    odd = tmp_path / "odd.tflite"
    odd.write_bytes(content[: content.index(b"PK\x03\x04")])
    assert load_classifier(odd, preprocessing=CONTRACT).class_names[0] == "class 0"
    with zipfile.ZipFile(odd, "a") as archive:
        archive.writestr("identity.json", identity)
    refused(odd)
    where = saved / "assets.extra" / "identity.json"
    whole = where.read_text()
    where.write_text(identity)
    try:
        refused(saved)
    finally:
        where.write_text(whole)


def test_what_is_no_classifier(tmp_path):
    path = tmp_path / "odd.tflite"
    for name, shape in (("rank", (3, 3)), ("classes", (12, 10, 3))):
        x = keras.Input(shape)
        y = keras.layers.Conv2D(2, 1)(x) if name == "classes" else keras.layers.Flatten()(x)
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(keras.Model(x, y)).convert())
        assert "takes images" in refused(path)
    path.write_bytes(b"TFL3" * 100)
    assert "cannot be loaded as a .tflite file" in refused(path)


def test_a_function_of_pythons_is_not_in_a_saved_model(tmp_path, monkeypatch):
    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 12, 10, 3), tf.float32, "image")])
        def __call__(self, image):
            answers = tf.py_function(lambda x: tf.zeros((len(x), 3)), [image], tf.float32)
            return {"probabilities": tf.ensure_shape(answers, (None, 3))}

    module = Module()
    tf.saved_model.save(module, str(tmp_path / "foreign"), signatures=module.__call__)
    from tensorflow.python.ops import script_ops

    # Another process knows none of this one's functions.
    monkeypatch.setattr(script_ops._py_funcs, "_funcs", weakref.WeakValueDictionary())
    assert "pyfunc" in refused(tmp_path / "foreign")


def test_a_fixed_batch_and_nan_in_an_onnx_file(model, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("tf2onnx")
    path = Onnx().write(model, tmp_path / "toy.onnx")
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 10, 3)).astype(np.uint8)
    want = load_classifier(path).predict(images)
    net = onnx.load(path)
    for end in (net.graph.input[0], net.graph.output[0]):
        end.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(net, tmp_path / "two.onnx")
    np.testing.assert_allclose(load_classifier(tmp_path / "two.onnx").predict(images), want, 1e-5)
    for weights in net.graph.initializer:
        array = onnx.numpy_helper.to_array(weights)
        if array.dtype == np.float32:
            weights.CopyFrom(onnx.numpy_helper.from_array(array * np.nan, weights.name))
    onnx.save(net, tmp_path / "broken.onnx")
    refused(tmp_path / "broken.onnx", "not finite")


MUTATE = """
import random, sys
from pathlib import Path
sys.modules["keras"] = sys.modules["tensorflow"] = None
import numpy as np
from fuzzing import mutated
from keras_inception import load_classifier

whole, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
for number in range(int(sys.argv[3]), int(sys.argv[4])):
    print(number, flush=True)
    path.write_bytes(mutated(whole, random.Random(number)))
    try:
        classifier = load_classifier(path)
        if np.prod(classifier.input_shape) < 1e6:
            answers = classifier.predict(np.full((2, *classifier.input_shape), 100, np.uint8))
            assert answers.shape == (2, len(classifier.class_names)) and np.isfinite(answers).all()
    except ValueError as error:
        if path.name not in str(error) or not str(error).isprintable() or len(str(error)) > 1100:
            print(f"wrong: {number}: {error!r}", flush=True)
    except BaseException as error:
        print(f"wrong: {number}: {error!r}", flush=True)
"""


def wrong_mutants(tflite, tmp_path, count):
    """Mutants that were neither refused nor answered, and those that LiteRT ended on."""
    place = Path(__file__).parents[1] / "weights"
    search = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
    wrong, ended, first = [], [], 0
    while first < count:
        process = subprocess.run(
            [
                sys.executable,
                "-c",
                MUTATE,
                tflite,
                tmp_path / "mutant.tflite",
                str(first),
                str(count),
            ],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": search},
        )
        lines = process.stdout.splitlines()
        wrong += [line for line in lines if line.startswith("wrong")]
        if process.returncode == 0:
            break
        numbers = [line for line in lines if line.isdigit()]
        assert numbers, process.stderr[-2000:]
        ended.append(numbers[-1])
        first = int(numbers[-1]) + 1
    return wrong, ended


def test_damaged_tflite_files(tflite, tmp_path):
    pytest.importorskip("ai_edge_litert")
    wrong, ended = wrong_mutants(tflite, tmp_path, MUTANTS)
    assert not wrong and not ended, "\n".join([*wrong, *ended])


@pytest.mark.slow
def test_many_damaged_tflite_files(tflite, tmp_path):
    """LiteRT itself may end the process on some, as SECURITY.md says."""
    pytest.importorskip("ai_edge_litert")
    wrong, ended = wrong_mutants(tflite, tmp_path, 50 * MUTANTS)
    assert not wrong and len(ended) < MUTANTS, "\n".join([*wrong, *ended])


def test_the_engines_of_files_need_no_keras():
    """An export is checked in a process without it, as on a phone."""
    code = "import sys; sys.modules['keras'] = sys.modules['tensorflow'] = None; "
    code += "from keras_inception.runtime import classifier, litert, onnx, openvino, saved_model"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-500:]
