"""Thousands of damaged weights files: refused in one line or loaded whole; no crash, no hang.

Seeded mutants of a small valid file of each format (`fuzzing.py`), and damaged layouts.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import keras
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "goldens"))
import native  # noqa: E402

HERE = Path(__file__).parent


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
    inputs = keras.Input((9, 9, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="stem_0_conv")(inputs)
    x = keras.layers.BatchNormalization(scale=False, name="stem_0_bn")(x)
    x = keras.layers.Dense(5, name="predictions")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    from keras_inception import Preprocessing, save_weights

    save_weights(
        model,
        folder / "native.safetensors",
        variant="InceptionV3",
        builder_arguments={"bn_epsilon": 0.001, "last_pool": "avg"},
        preprocessing=Preprocessing(size=(75, 75), mean=(1.0, 2.0, 3.0)),
        class_names=["a", "b", "c", "d", "e"],
    )
    return folder


def run(folder, first, last, kind):
    """What is wrong with how mutants are read, and which of them ended the process."""
    wrong, ended = [], []
    while first < last:
        with tempfile.TemporaryDirectory() as place:
            process = subprocess.run(
                [sys.executable, HERE / "fuzzing.py", folder, place, str(first), str(last), kind],
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
    wrong, ended = run(folder, 0, count, "package")
    assert not ended and not wrong, "\n".join([*ended, *wrong])


def test_hundreds_of_damaged_files(valid_files):
    check(valid_files, 700)


def test_hundreds_of_damaged_hdf5_files(valid_files):
    """The code of the process that reads HDF5. HDF5's library itself may crash or hang there."""
    wrong, ended = run(valid_files, 0, 300, "hdf5")
    assert not wrong, "\n".join(wrong)
    assert len(ended) < 10, "\n".join(ended)


@pytest.mark.slow
def test_many_thousands_of_damaged_files(valid_files):
    check(valid_files, 20_000)


@pytest.mark.slow
def test_many_thousands_of_damaged_hdf5_files(valid_files):
    wrong, ended = run(valid_files, 0, 6000, "hdf5")
    assert not wrong, "\n".join(wrong)
    assert len(ended) < 100, "\n".join(ended)
