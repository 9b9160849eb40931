"""Exports do what the model does, and a wrong one is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception import Preprocessing, load_classifier
from keras_inception.data import open_run
from keras_inception.exporting import (
    ExportCheckError,
    export_run,
    export_saved_model,
    export_tflite,
    targets,
)
from keras_inception.exporting import run as run_module
from keras_inception.exporting.checks import agreement, answers_of, at_most
from keras_inception.exporting.networks import network_of
from keras_inception.exporting.samples import held_out
from keras_inception.exporting.saved_model import SIGNATURES
from keras_inception.exporting.targets import TARGETS, Limits
from keras_inception.locks import LOCK
from keras_inception.runs import RunFolder


@pytest.fixture(scope="module")
def exported(finished_run):
    return export_run(finished_run.path)


def test_a_run_is_exported_and_every_check_is_recorded(finished_run, exported):
    assert json.loads(finished_run.export_path.read_text()) == exported
    files = exported["files"]
    assert list(files) == ["saved_model", "model.tflite", "model_int8.tflite"]
    for name, file in files.items():
        assert (finished_run.path / name).exists()
        assert all(check["passed"] for check in file["checks"])
        low, high = file["accuracy_interval"]
        assert low < file["accuracy"] <= high + 1e-9
    assert files["model.tflite"]["accuracy"] == exported["keras"]["accuracy"]
    full, small = files["model.tflite"]["bytes"], files["model_int8.tflite"]["bytes"]
    assert small < 0.3 * full
    # The weights once, not twice (keras#23553).
    assert files["saved_model"]["bytes"] < full + 2e6


def test_a_recipe_says_what_is_exported(finished_run, tmp_path, monkeypatch):
    run = RunFolder(shutil.copytree(finished_run.path, tmp_path / "run"))
    calls = []
    monkeypatch.setattr(run_module, "export", lambda *given, **more: calls.append(given) or {})
    recipe = run.recipe.replace(formats="tflite, onnx", quantization="float16")
    for formats in (recipe.formats, ""):
        written = recipe.replace(formats=formats).to_dict()
        run.write_json("config.json", run.config | {"recipe": written})
        export_run(run.path)
    assert calls == [(run.path, ["tflite", "onnx"], ["float16"], run.path)]
    with pytest.raises(ValueError, match="`formats` should name some of saved_model"):
        run_module.check_recipe(recipe.replace(formats="coreml"))


@pytest.mark.parametrize("wrong", ["scaled", "inverted"])
def test_a_wrong_input_convention_moves_more_than_the_limits(finished_run, exported, wrong):
    """What the checks are for: an export that was fed in another convention must not pass."""
    classifier = load_classifier(finished_run.path)
    source = open_run(finished_run)
    images = held_out(source, network_of(classifier), 32).images
    got = classifier.predict(images / 255.0 if wrong == "scaled" else 255.0 - images)
    limits = max((target.limits for target in TARGETS), key=lambda limits: limits.mean)
    checks = agreement(wrong, got, classifier.predict(images), limits.largest, limits.mean)
    assert not all(check.passed for check in checks)


def test_a_failed_check_removes_the_export(finished_run, exported, tmp_path, monkeypatch, capsys):
    run = RunFolder(shutil.copytree(finished_run.path, tmp_path / "run"))
    monkeypatch.setattr(targets, "FLOAT32", Limits(-1.0, -1.0))
    impossible = [dataclasses.replace(t, limits=Limits(-1.0, -1.0)) for t in TARGETS]
    monkeypatch.setattr(targets, "TARGETS", impossible)
    with pytest.raises(
        ExportCheckError, match="saved_model failed.*largest difference.*limit -1.*contract"
    ):
        export_run(run.path)
    assert "FAILED" in capsys.readouterr().out
    left = {path.name for path in run.path.iterdir()}
    assert not {"saved_model", "export.json"} & left
    assert not [name for name in left if name.startswith(".") and name != LOCK]


def test_nan_never_passes():
    assert not at_most("difference", float("nan"), 1.0).passed


def toy(policy="float32"):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        x = keras.Input((12, 10, 3))
        y = keras.layers.Conv2D(8, 3, activation="relu")(x)
        y = keras.layers.GlobalAveragePooling2D()(y)
        y = keras.layers.Dense(3, activation="softmax", dtype="float32")(y)
        return keras.Model(x, y)
    finally:
        keras.config.set_dtype_policy(before)


CONTRACT = Preprocessing(size=(12, 10), crop_fraction=0.9, mean=(120.0, 110.0, 100.0), std=60.0)


def png(pixels):
    return tf.io.encode_png(pixels).numpy()


@pytest.mark.parametrize("quantization", ["float32", "dynamic", "float16", "int8"])
def test_every_quantization_agrees(quantization, tmp_path):
    model = toy()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 12, 10, 3)).astype(np.float32)
    path = export_tflite(
        model, tmp_path / "toy.tflite", CONTRACT, list("abc"), quantization, images
    )
    got = answers_of(path, images)
    want = model.predict(CONTRACT.scale(images), verbose=0)
    limit = {"float32": 1e-5, "dynamic": 0.02, "float16": 0.005, "int8": 0.05}[quantization]
    np.testing.assert_allclose(got["probabilities"], want, atol=limit)
    assert not [op for op in got["about"]["operations"] if op.startswith("Flex")]
    assert got["about"]["labels"] == list("abc")


def test_a_bfloat16_model_becomes_ordinary_operations(tmp_path):
    """Converted as it is, it would hold Flex operations that phones refuse."""
    model = toy("mixed_bfloat16")
    images = np.random.default_rng(0).integers(0, 256, (4, 12, 10, 3)).astype(np.float32)
    path = export_tflite(model, tmp_path / "toy.tflite", CONTRACT, list("abc"))
    got = answers_of(path, images)
    assert {"CONV_2D", "SOFTMAX"} <= set(got["about"]["operations"])
    want = model.predict(CONTRACT.scale(images), verbose=0)
    np.testing.assert_allclose(got["probabilities"], want, atol=0.02)


def test_a_saved_model_takes_files_of_any_size(tmp_path):
    model = toy()
    path = export_saved_model(model, tmp_path / "saved", CONTRACT, ["a", "b", "c"])
    pixels = np.random.default_rng(3).integers(0, 256, (37, 50, 3)).astype(np.uint8)
    fitted = CONTRACT.crop_and_resize(pixels)
    got = answers_of(path, fitted[None], png(pixels), pixels)
    want = model.predict(CONTRACT.scale(fitted)[None], verbose=0)
    np.testing.assert_allclose(got["raw"], want, atol=1e-5)
    np.testing.assert_allclose(got["probabilities"], want, atol=1e-5)
    assert got["best_indices"][0].tolist() == np.argsort(-want[0]).tolist()
    assert got["best_classes"][0, 0] == "abc"[want[0].argmax()]
    assert got["about"]["floats"] <= model.count_params() + 10


EMPTY = """
import sys, tensorflow as tf
for name, signature in tf.saved_model.load(sys.argv[1]).signatures.items():
    ((argument, spec),) = signature.structured_input_signature[1].items()
    shape = [n or 9 for n in spec.shape[1:]]
    for answer in signature(**{argument: tf.zeros([0, *shape], spec.dtype)}).values():
        print(name, len(answer))
"""


@pytest.mark.parametrize("onednn", ["0", "1"])
def test_an_empty_batch_is_answered_with_either_kernels(onednn, tmp_path):
    """A server's processor decides which ones TensorFlow takes; oneDNN's refuse an empty batch."""
    path = export_saved_model(toy(), tmp_path / "saved", CONTRACT, "abc")
    process = subprocess.run(
        [sys.executable, "-c", EMPTY, str(path)],
        env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": onednn},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    answers = process.stdout.split()
    assert set(answers[::2]) == set(SIGNATURES) and set(answers[1::2]) == {"0"}


def test_bad_images_are_named_or_marked_and_huge_ones_are_not_decoded(tmp_path):
    path = export_saved_model(toy(), tmp_path / "saved", CONTRACT, "abc", max_pixels=1000)
    signatures = tf.saved_model.load(str(path)).signatures
    good, huge = png(np.zeros((20, 30, 3), np.uint8)), png(np.zeros((40, 50, 3), np.uint8))
    eight = tf.constant([good, b"", good[:60], good, b"text", huge, good, good])
    answer = signatures["classify_bytes_marked"](image_bytes=eight)
    assert np.flatnonzero(~answer["valid"].numpy()).tolist() == [1, 2, 4, 5]
    assert (answer["indices"].numpy()[1] == -1).all() and (answer["scores"].numpy()[1] == 0).all()
    alone = signatures["classify_bytes"](image_bytes=eight[:1])
    np.testing.assert_allclose(answer["scores"][7], alone["scores"][0], atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"places in the batch.*\[1 2 4 5\]"):
        signatures["classify_bytes"](image_bytes=eight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["a"]}, "1 class names"),
        ({"quantization": "int4"}, "'int4'"),
        ({"quantization": "int8"}, "Received: 0 images"),
    ],
)
def test_bad_arguments_are_named(arguments, message, tmp_path):
    arguments = {"labels": list("abc")} | arguments
    with pytest.raises(ValueError, match=message):
        export_tflite(toy(), tmp_path / "toy.tflite", CONTRACT, **arguments)
    assert not list(tmp_path.iterdir())
