"""Thousands of damaged weights files: refused in one line or loaded whole; no crash, no hang.

Seeded mutants of a small valid file of each format (`fuzzing.py`), and damaged layouts.
"""

from __future__ import annotations

import collections
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception import Preprocessing, save_weights, weights
from keras_inception.budget import Refused
from keras_inception.identity import Identity, attach
from keras_inception.weights import layouts, readers
from keras_inception.weights.readers import Contents, tf_checkpoint, tf_table

sys.path.insert(0, str(Path(__file__).parents[1] / "goldens"))
import native  # noqa: E402

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import fuzzing  # noqa: E402


@pytest.fixture(scope="module")
def valid_files(tmp_path_factory):
    """A small valid file of each format."""
    folder = tmp_path_factory.mktemp("valid")
    torch = {
        "peer": "small",
        "arrays": [
            ["conv.weight", [4, 3, 3, 2], "conv_kernel", "OIHW"],
            ["bn.weight", [4], "bn_gamma", "-"],
            ["bn.bias", [4], "bn_beta", "-"],
            ["bn.running_mean", [4], "bn_mean", "-"],
            ["bn.running_var", [4], "bn_var", "-"],
            ["bn.num_batches_tracked", [], "int", "-"],
            ["fc.weight", [6, 4], "dense_kernel", "OI"],
        ],
    }
    slim = {
        "peer": "small",
        "arrays": [
            ["Net/Conv/weights", [3, 2, 3, 4], "conv_kernel", "HWIO"],
            ["Net/Conv/BatchNorm/beta", [4], "bn_beta", "-"],
            ["Net/Conv/BatchNorm/moving_variance", [4], "bn_var", "-"],
            ["global_step", [], "int", "-"],
        ],
    }
    caffe = {
        "peer": "small",
        "arrays": [
            ["conv/0", [4, 3, 3, 2], "conv_kernel", "OIHW"],
            ["conv/1", [4], "bias", "-"],
            ["fc/0", [6, 4], "dense_kernel", "OI"],
            ["fc/1", [6], "bias", "-"],
        ],
    }
    legacy = {
        "peer": "small",
        "arrays": [
            ["conv/conv/kernel:0", [3, 2, 3, 4], "conv_kernel", "HWIO"],
            ["bn/bn/moving_variance:0", [4], "bn_var", "-"],
            ["predictions/predictions/bias:0", [6], "bias", "-"],
        ],
    }
    native.torch_zip(torch, folder / "torch.pth")
    native.torch_legacy(torch, folder / "legacy.pth")
    native.torch_old(torch, folder / "old.pth")
    native.safetensors(torch, folder / "torch.safetensors")
    native.tf_v1(slim, folder / "v1.ckpt")
    native.tf_v2(slim, folder / "v2.ckpt")
    native.caffemodel(caffe, folder / "net.caffemodel")
    native.caffemodel(caffe, folder / "old.caffemodel", v1=True)
    native.tf2cv_h5(legacy, folder / "legacy.h5")
    with tarfile.open(folder / "slim.tar.gz", "w:gz") as archive:
        archive.add(folder / "v1.ckpt", "model.ckpt")
    with zipfile.ZipFile(folder / "packed.zip", "w") as archive:
        archive.write(folder / "legacy.pth", "legacy.pth")
    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, (None, 9, 9, 3)) / 255.0
        kernel = tf.constant(np.ones((2, 2, 3, 4), np.float32), name="Net/Conv/weights")
        x = tf.nn.conv2d(x, tf.identity(kernel), 1, "SAME")
        x = tf.nn.bias_add(x, tf.constant(0.5, shape=[4], name="Net/Conv/biases"))
        tf.nn.lrn(x)
    (folder / "frozen.pb").write_bytes(graph.as_graph_def().SerializeToString())
    inputs = keras.Input((9, 9, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="stem_0_conv")(inputs)
    x = keras.layers.BatchNormalization(scale=False, name="stem_0_bn")(x)
    x = keras.layers.Dense(5, name="predictions")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    arguments = {"bn_epsilon": 0.001, "last_pool": "avg"}
    contract = Preprocessing(size=(75, 75), mean=(1.0, 2.0, 3.0))
    attach(model, Identity.create("InceptionV3", arguments, contract, ("a", "b", "c", "d", "e")))
    save_weights(model, folder / "native.safetensors")
    return folder


def run(folder, first, last):
    """What is wrong with how mutants are read, and which of them ended the process."""
    wrong, ended = [], []
    while first < last:
        with tempfile.TemporaryDirectory() as place:
            process = subprocess.run(
                [sys.executable, HERE / "fuzzing.py", folder, place, str(first), str(last)],
                capture_output=True,
                text=True,
            )
        lines = process.stdout.splitlines()
        wrong += [line for line in lines if line.startswith("{")]
        begun = [line for line in lines if line[:1].isdigit()]
        if process.returncode == 0:
            break
        assert begun, process.stderr[-2000:]
        ended.append(f"{begun[-1]}: exit code {process.returncode} {process.stderr[-300:]}")
        first = int(begun[-1].split()[0]) + 1
    return wrong, ended


def check(folder, count):
    wrong, ended = run(folder, 0, count)
    assert not ended and not wrong, "\n".join([*ended, *wrong])


def test_hundreds_of_damaged_files(valid_files):
    check(valid_files, 400)


def layers_of(layout):
    """A file in a publisher's layout with arrays of one value."""
    shapes = {
        "conv": {"kernel": (1, 1, 3, 1)},
        "bn": {"beta": (1,), "moving_mean": (1,), "moving_variance": (1,)},
        "": {"kernel": (1, 1), "bias": (1,)},
    }
    kinds = {
        theirs: next(k for k in shapes if k in ours.rpartition("_")[2])
        for theirs, ours in layout.names.items()
    }
    return {
        name: {v: np.ones(shape, np.float32) for v, shape in shapes[kind].items()}
        for name, kind in kinds.items()
    }


NAMES = ("", "conv", "/", "stem_0_conv", "predictions", "a\nb\x1b[2J", "x" * 5000, "\ud800", "{0}")
SHAPES = ((), (0,), (1,), (1, 1, 1), (1,) * 8, (3, 0, 1, 1), (7, 7, 3, 1), (2,))


def damage(layers, rng):
    """One to twenty changes of layers' names, variables and arrays."""
    for _ in range(rng.choice((1, 2, 20))):
        layer = rng.choice(list(layers))
        variables = layers[layer]
        variable = rng.choice([*variables, "kernel"])
        kind = rng.randrange(6)
        if kind == 0:
            layers[rng.choice(NAMES)] = layers.pop(layer)
        elif kind == 1 and len(layers) > 1:
            del layers[layer]
        elif kind == 2:
            variables[rng.choice(("kernel", "bias", "gamma", *NAMES))] = np.ones(1, np.float32)
        elif kind == 3:
            variables.pop(variable, None)
        elif kind == 4:
            variables[variable] = np.ones(rng.choice(SHAPES), rng.choice(("f4", "f2", "i8", "?")))
        else:
            layers[layer] = layers[rng.choice(list(layers))]


def check_layouts(count, tmp_path, monkeypatch):
    path = tmp_path / "damaged.h5"
    loaded = 0
    for number in range(count):
        rng = random.Random(number)
        layout = rng.choice(list(layouts.LAYOUTS.values()))
        layers = layers_of(layout)
        damage(layers, rng)
        monkeypatch.setattr(readers, "read", lambda _, found=layers: Contents("test", found))
        try:
            weights.read(path)
        except ValueError as error:
            text = str(error)
            assert type(error) is Refused and "damaged.h5" in text, (number, text)
            assert text.isprintable() and len(text) < 1100, (number, text)
            assert not re.search("Key|Attribute|Memory|Recursion", text), (number, text)
        else:
            loaded += 1
    assert 0 < loaded < count


def test_damaged_layouts(tmp_path, monkeypatch):
    check_layouts(300, tmp_path, monkeypatch)


@pytest.mark.slow
def test_thousands_of_damaged_layouts(tmp_path, monkeypatch):
    check_layouts(5000, tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    """A SavedModel of variables with our names, as Keras 2 writes one."""
    module = tf.Module()
    shapes = {
        "stem_0_conv/kernel": (3, 3, 3, 4),
        "stem_0_bn/beta": (4,),
        "stem_0_bn/moving_variance": (4,),
        "predictions/kernel": (4, 2),
        "predictions/bias": (2,),
    }
    module.layers = [tf.Variable(np.ones(s, np.float32), name=n) for n, s in shapes.items()]
    folder = tmp_path_factory.mktemp("sound") / "saved"
    tf.saved_model.save(module, folder)
    assert weights.read(folder).arrays.keys() == shapes.keys()
    return folder


def check_saved_models(sound, numbers, tmp_path, monkeypatch):
    """Mutants whose checksums are all right, so that what they protect is read, too."""
    for module in (tf_checkpoint, tf_table):
        monkeypatch.setattr(module, "masked_crc32c", lambda _: mock.ANY)
    files = sorted(p.relative_to(sound) for p in sound.rglob("variables.*"))
    found = collections.Counter()
    for number in numbers:
        rng, place = random.Random(number), tmp_path / "saved"
        shutil.copytree(sound, place)
        file = place / files[number % len(files)]
        file.write_bytes(fuzzing.mutated(file.read_bytes(), rng))
        if rng.random() < 0.02:
            file.unlink()
        is_loaded = []
        arrays = lambda w, seen=is_loaded: seen.append(1) or w.arrays.items()  # noqa: E731
        wrong = fuzzing.complaint(weights.read, place, arrays)
        assert not wrong, (number, file, wrong)
        found[bool(is_loaded)] += 1
        shutil.rmtree(place)
    assert min(found[True], found[False]) > len(numbers) // 20, found


def test_damaged_saved_models(saved_model, tmp_path, monkeypatch):
    check_saved_models(saved_model, range(60), tmp_path, monkeypatch)


@pytest.mark.slow
def test_thousands_of_damaged_saved_models(saved_model, tmp_path, monkeypatch):
    check_saved_models(saved_model, range(60, 5000), tmp_path, monkeypatch)


@pytest.mark.slow
def test_thousands_of_damaged_graphs(valid_files, tmp_path):
    """Besides those among all formats; in one process, whose memory the budget alone limits."""
    sound = (valid_files / "frozen.pb").read_bytes()
    path = tmp_path / "frozen.pb"
    for number in range(5000):
        path.write_bytes(fuzzing.mutated(sound, random.Random(number)))
        for read, arrays in fuzzing.package_readers():
            wrong = fuzzing.complaint(read, path, arrays)
            assert not wrong, (number, wrong)


@pytest.mark.slow
def test_many_thousands_of_damaged_files(valid_files):
    check(valid_files, 26_000)  # over 20,000 are read: of HDF5 files' mutants, one in 16
