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
from keras_inception.data import open_run, open_source
from keras_inception.exporting import ExportCheckError, SavedModel, TFLite, export_run
from keras_inception.exporting import run as run_module
from keras_inception.exporting.checks import agreement, answers_of, at_most
from keras_inception.exporting.exportable import Exportable
from keras_inception.exporting.samples import held_out
from keras_inception.exporting.saved_model import SIGNATURES
from keras_inception.exporting.targets import PRECISIONS, Precision
from keras_inception.locks import LOCK
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder
from keras_inception.training.stages import begin


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


def test_accuracy_is_of_all_outputs_also_where_the_data_lack_a_class(finished_run):
    """The images are of three classes, of which the last is the network's fourth."""
    source, split = open_run(finished_run), open_run(finished_run).splits["test"]
    there = np.flatnonzero(split.labels != 1)
    names = source.class_names[:1] + source.class_names[2:]
    labels = np.searchsorted([0, 2, 3], split.labels[there])
    test = dataclasses.replace(split.subset(there), labels=labels)
    lacking = dataclasses.replace(source, class_names=names, splits={"test": test})
    network = Exportable(load_classifier(finished_run.path))
    assert held_out(lacking, network, len(there)).labels.tolist() == split.labels[there].tolist()
    foreign = dataclasses.replace(lacking, class_names=("a", "b", "c"))
    assert held_out(foreign, network, 8).labels is None


def test_images_given_for_a_runs_export_are_decoded_as_its_own(tmp_path):
    run = RunFolder(tmp_path / "run")
    contract = Preprocessing(size=(24, 24))
    begin(run, Recipe(dataset="fake", background="000000"), open_source("fake"), contract)
    given = run_module._opened("fake", run, verbose=0)
    assert given.splits["test"].decoding.background == (0, 0, 0)


def test_a_recipe_says_what_is_exported(finished_run, tmp_path, monkeypatch):
    run = RunFolder(shutil.copytree(finished_run.path, tmp_path / "run"))
    calls = []
    monkeypatch.setattr(run_module, "export", lambda *given, **more: calls.append(more) or {})
    recipe = run.recipe.replace(formats="web, tflite", quantization="float16,int8")
    for formats in (recipe.formats, ""):
        written = recipe.replace(formats=formats).to_dict()
        run.write_json("config.json", run.config | {"recipe": written})
        export_run(run.path)
    (call,) = calls
    assert [target.file for target in call["targets"]] == [
        "web",
        "model_float16.tflite",
        "model_full_int8.tflite",
    ]
    with pytest.raises(ValueError, match="`formats` should name some of saved_model"):
        run_module.check_recipe(recipe.replace(formats="coreml"))


@pytest.mark.parametrize("wrong", ["scaled", "inverted"])
def test_a_wrong_input_convention_moves_more_than_the_limits(finished_run, exported, wrong):
    """What the checks are for: an export that was fed in another convention must not pass."""
    classifier = load_classifier(finished_run.path)
    source = open_run(finished_run)
    images = held_out(source, Exportable(classifier), 32).images
    if wrong == "scaled":
        with pytest.warns(UserWarning, match="multiply images in 0..1 by 255"):
            got = classifier.predict(images / 255.0)
    else:
        got = classifier.predict(255.0 - images)
    limits = PRECISIONS["int8"]
    checks = agreement(wrong, got, classifier.predict(images), limits.largest, limits.mean)
    assert not all(check.passed for check in checks)


def contents(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_failed_check_keeps_the_earlier_export(
    finished_run, exported, tmp_path, monkeypatch, capsys
):
    """The last target fails: of those before, which passed, nothing is kept either."""
    run = RunFolder(shutil.copytree(finished_run.path, tmp_path / "run"))
    config = json.loads(run.config_path.read_text())
    config["recipe"]["formats"] = "tflite"  # a SavedModel is checked in a process of its own
    run.config_path.write_text(json.dumps(config))
    before = contents(run.path)
    assert run.path / "model.tflite" in before
    monkeypatch.setitem(PRECISIONS, "dynamic", Precision(1, -1.0, -1.0))
    with pytest.raises(
        ExportCheckError, match="model_int8.tflite failed.*largest difference.*limit -1.*contract"
    ):
        export_run(run.path)
    assert "FAILED" in capsys.readouterr().out
    assert contents(run.path) == before
    assert not [p for p in run.path.iterdir() if p.name.startswith(".") and p.name != LOCK]


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


def named(model):
    """The model with its contract and the classes a, b and c."""
    return load_classifier(model, preprocessing=CONTRACT, class_names="abc")


def png(pixels):
    return tf.io.encode_png(pixels).numpy()


@pytest.mark.parametrize("quantization", ["float32", "dynamic", "float16", "int8"])
def test_every_quantization_agrees(quantization, tmp_path):
    model = toy()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 12, 10, 3)).astype(np.float32)
    path = TFLite(quantization, calibration=images).write(named(model), tmp_path / "toy.tflite")
    got = answers_of(path, images)
    want = model.predict(CONTRACT.scale(images), verbose=0)
    limit = {"float32": 1e-5, "dynamic": 0.02, "float16": 0.005, "int8": 0.05}[quantization]
    np.testing.assert_allclose(got["probabilities"], want, atol=limit)
    assert not [op for op in got["about"]["operations"] if op.startswith("Flex")]
    assert got["about"]["class_names"] == list("abc")


def test_a_bfloat16_model_becomes_ordinary_operations(tmp_path):
    """Converted as it is, it would hold Flex operations that phones refuse."""
    model = toy("mixed_bfloat16")
    images = np.random.default_rng(0).integers(0, 256, (4, 12, 10, 3)).astype(np.float32)
    path = TFLite().write(named(model), tmp_path / "toy.tflite")
    got = answers_of(path, images)
    assert {"CONV_2D", "SOFTMAX"} <= set(got["about"]["operations"])
    want = model.predict(CONTRACT.scale(images), verbose=0)
    np.testing.assert_allclose(got["probabilities"], want, atol=0.02)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A toy and its SavedModel."""
    model = toy()
    return model, SavedModel().write(named(model), tmp_path_factory.mktemp("toy") / "saved")


def test_a_saved_model_takes_files_of_any_size(saved):
    model, path = saved
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
def test_an_empty_batch_is_answered_with_either_kernels(onednn, saved):
    """A server's processor decides which ones TensorFlow takes; oneDNN's refuse an empty batch."""
    process = subprocess.run(
        [sys.executable, "-c", EMPTY, str(saved[1])],
        env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": onednn},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    answers = process.stdout.split()
    assert set(answers[::2]) == set(SIGNATURES) and set(answers[1::2]) == {"0"}


def test_bad_images_are_named_or_marked_and_huge_ones_are_not_decoded(tmp_path):
    path = SavedModel(max_pixels=1000).write(named(toy()), tmp_path / "saved")
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


def test_an_earlier_export_is_replaced_and_anything_else_is_left_alone(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "photo.jpg").write_bytes(b"the only one")
    with pytest.raises(ValueError, match="mine also holds photo.jpg"):
        SavedModel().write(named(toy()), mine)
    with pytest.raises(ValueError, match="mine should be a file"):
        TFLite().write(named(toy()), mine)
    assert contents(mine) == {mine / "photo.jpg": b"the only one"}
    path = SavedModel().write(named(toy()), tmp_path / "saved")
    first = contents(path)
    SavedModel().write(load_classifier(named(toy()), class_names="xyz"), path)
    assert load_classifier(path).class_names == ("x", "y", "z")
    assert contents(path).keys() == first.keys()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "saved"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantization": "int4"}, "'int4'"),
        ({"quantization": "int8"}, "Received: 0 images"),
    ],
)
def test_bad_arguments_are_named(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        TFLite(**arguments).write(named(toy()), tmp_path / "toy.tflite")
    with pytest.raises(ValueError, match="1 class names"):
        load_classifier(toy(), preprocessing=CONTRACT, class_names=["a"])
    assert not list(tmp_path.iterdir())
