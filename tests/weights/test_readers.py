"""File formats: recognised by content, damaged or hostile files refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import sys
import tarfile
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from keras_inception.weights import readers

sys.path.insert(0, str(Path(__file__).parents[1] / "goldens"))
import native  # noqa: E402

# A torch network of three layers, in torch's names and layouts.
TORCH = {
    "peer": "small",
    "arrays": [
        ["conv.weight", [4, 3, 5, 2], "conv_kernel", "OIHW"],
        ["conv.bias", [4], "bias", "-"],
        ["bn.weight", [4], "bn_gamma", "-"],
        ["bn.bias", [4], "bn_beta", "-"],
        ["bn.running_mean", [4], "bn_mean", "-"],
        ["bn.running_var", [4], "bn_var", "-"],
        ["bn.num_batches_tracked", [], "int", "-"],
        ["fc.weight", [6, 4], "dense_kernel", "OI"],
        ["fc.bias", [6], "bias", "-"],
    ],
}
SLIM = {
    "peer": "small",
    "arrays": [
        ["Net/Conv/weights", [5, 2, 3, 4], "conv_kernel", "HWIO"],
        ["Net/Conv/BatchNorm/beta", [4], "bn_beta", "-"],
        ["Net/Conv/BatchNorm/moving_mean", [4], "bn_mean", "-"],
        ["Net/Conv/BatchNorm/moving_variance", [4], "bn_var", "-"],
        ["Net/Stem/depthwise_weights", [7, 7, 3, 8], "depthwise_kernel", "HWIM"],
        ["Net/Logits/biases", [6], "bias", "-"],
        ["Net/Logits/biases/RMSProp", [6], "bias", "-"],
        ["global_step", [], "int", "-"],
    ],
}
CAFFE = {
    "peer": "small",
    "arrays": [
        ["conv/7x7/0", [4, 3, 5, 2], "conv_kernel", "OIHW"],
        ["conv/7x7/1", [4], "bias", "-"],
        ["fc/0", [6, 4], "dense_kernel", "OI"],
        ["fc/1", [6], "bias", "-"],
    ],
}


def check_torch(contents):
    given = dict(native.arrays(TORCH))
    assert set(contents.layers) == {"conv", "bn", "fc"}
    np.testing.assert_array_equal(
        contents.layers["conv"]["kernel"], given["conv.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(contents.layers["fc"]["kernel"], given["fc.weight"].T)
    np.testing.assert_array_equal(contents.layers["conv"]["bias"], given["conv.bias"])
    for ours, theirs in {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }.items():
        np.testing.assert_array_equal(contents.layers["bn"][ours], given[f"bn.{theirs}"])


@pytest.mark.parametrize("writer", ["torch_zip", "torch_legacy", "torch_old", "safetensors"])
def test_torch_files(writer, tmp_path):
    path = tmp_path / "weights"  # without an ending: the content decides
    getattr(native, writer)(TORCH, path)
    check_torch(readers.read(path))


def test_a_zipped_torch_file(tmp_path):
    native.torch_legacy(TORCH, tmp_path / "small.pth")
    with zipfile.ZipFile(tmp_path / "small.pth.zip", "w") as archive:
        archive.write(tmp_path / "small.pth", "small.pth")
    check_torch(readers.read(tmp_path / "small.pth.zip"))


@pytest.mark.parametrize("writer", ["tf_v1", "tf_v2"])
@pytest.mark.parametrize("packed", [False, True])
def test_tensorflow_checkpoints(writer, packed, tmp_path):
    (tmp_path / "ckpt").mkdir()
    prefix = tmp_path / "ckpt" / "model.ckpt-7"
    getattr(native, writer)(SLIM, prefix)
    if packed:
        with tarfile.open(tmp_path / "small.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "ckpt", "slim")
    layers = readers.read(tmp_path / "small.tar.gz" if packed else prefix).layers
    given = dict(native.arrays(SLIM))
    assert set(layers) == {"Net/Conv", "Net/Conv/BatchNorm", "Net/Stem", "Net/Logits"}
    np.testing.assert_array_equal(layers["Net/Conv"]["kernel"], given["Net/Conv/weights"])
    assert set(layers["Net/Stem"]) == {"depthwise_kernel"}
    assert set(layers["Net/Logits"]) == {"bias"}


@pytest.mark.parametrize("v1", [False, True])
def test_caffemodels(v1, tmp_path):
    native.caffemodel(CAFFE, tmp_path / "net", v1=v1)
    layers = readers.read(tmp_path / "net").layers
    given = dict(native.arrays(CAFFE))
    assert set(layers) == {"conv/7x7", "fc"}
    np.testing.assert_array_equal(
        layers["conv/7x7"]["kernel"], given["conv/7x7/0"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(layers["fc"]["kernel"], given["fc/0"].T)
    np.testing.assert_array_equal(layers["fc"]["bias"], given["fc/1"])


def small_keras_model():
    inputs = keras.Input((9, 9, 3))
    x = keras.layers.SeparableConv2D(4, 3, depth_multiplier=2, name="stem")(inputs)
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="late")(x)
    x = keras.layers.BatchNormalization(scale=False, epsilon=0.02, name="late_bn")(x)
    x = keras.layers.Conv2D(4, 1, name="early")(x)
    x = keras.layers.BatchNormalization(name="early_bn")(x)
    x = keras.layers.Dense(5, name="top")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x)


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_keras_3_files_are_read_by_layer_name(ending, tmp_path):
    model = small_keras_model()
    path = tmp_path / f"model{ending}"
    model.save(path) if ending == ".keras" else model.save_weights(path)
    contents = readers.read(path)
    found = {f"{n}/{v}": a for n, vs in contents.layers.items() for v, a in vs.items()}
    assert len(found) == len(model.weights)
    for layer in model.layers:
        for variable in layer.weights:
            np.testing.assert_array_equal(found[f"{layer.name}/{variable.name}"], variable)
    if ending == ".keras":
        assert json.loads(contents.metadata["builder_arguments"]) == {"bn_epsilon": 0.02}


def test_keras_3_files_without_names_are_refused(tmp_path):
    """Keras before 3.6 wrote class and order only."""
    path = tmp_path / "old.weights.h5"
    small_keras_model().save_weights(path)
    with h5py.File(path, "a") as file:
        for group in file["layers"].values():
            del group["vars"].attrs["name"]
    with pytest.raises(ValueError, match="does not say which layer is which"):
        readers.read(path)


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/keras_inception_was_here",)


class EvilByGetattr:
    def __reduce__(self):
        return getattr, ("text", "upper")


@pytest.mark.parametrize("evil", [Evil(), EvilByGetattr()])
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_a_malicious_pickle_is_refused_and_runs_nothing(evil, container, tmp_path):
    mark = Path("/tmp/keras_inception_was_here")
    path = tmp_path / "evil.pth"
    payload = pickle.dumps({"conv.weight": evil}, 2)
    if container == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("evil/data.pkl", payload)
    else:
        native.torch_legacy(TORCH, path)
        head = b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {}))
        path.write_bytes(head + payload)
    with pytest.raises(ValueError, match=r"evil\.pth cannot be used.*nothing of it was run"):
        readers.read(path)
    assert not mark.exists()


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    path = tmp_path / "small.pth"
    native.torch_zip(TORCH, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["small/data/0"] = members["small/data/0"][:40]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match="larger than its storage"):
        readers.read(path)


def tar_with(name, kind=tarfile.REGTYPE, target=""):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, target, 0 if target else 4
        archive.addfile(member, io.BytesIO(b"data"))
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        tar_with("../outside.ckpt"),
        tar_with("/tmp/outside.ckpt"),
        tar_with("inside/../../outside.ckpt"),
        tar_with("model.ckpt", tarfile.SYMTYPE, "/etc/passwd"),
        tar_with("model.ckpt", tarfile.LNKTYPE, "../outside.ckpt"),
    ],
)
def test_a_tar_that_reaches_outside_is_refused(content, tmp_path):
    path = tmp_path / "in" / "evil.tar.gz"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"evil\.tar\.gz cannot be used: its member"):
        readers.read(path)
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "evil.tar.gz"]


def test_a_zip_that_reaches_outside_is_refused(tmp_path):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../outside.pth", b"data")
    with pytest.raises(ValueError, match=r"evil\.zip cannot be used: its member"):
        readers.read(path)


@pytest.mark.parametrize(
    "writer", ["torch_zip", "torch_legacy", "safetensors", "caffemodel", "tf_v1", "h5", "tar"]
)
@pytest.mark.parametrize("share", [0.4, 0.97])
def test_a_truncated_file_is_named(writer, share, tmp_path):
    path = tmp_path / "whole"
    if writer == "h5":
        small_keras_model().save_weights(tmp_path / "whole.weights.h5")
        path = tmp_path / "whole.weights.h5"
    elif writer == "tar":
        native.tf_v1(SLIM, tmp_path / "model.ckpt")
        with tarfile.open(path, "w:gz") as archive:
            archive.add(tmp_path / "model.ckpt", "model.ckpt")
    else:
        spec = {"caffemodel": CAFFE, "tf_v1": SLIM}.get(writer, TORCH)
        getattr(native, writer)(spec, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="whole"):
        readers.read(path)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"\x0a\x05", gzip.compress(b"text", mtime=0)]
)
def test_what_is_no_weights_file_is_said(content, tmp_path):
    path = tmp_path / "something.h5"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"something\.h5"):
        readers.read(path)


def test_no_file_at_all(tmp_path):
    with pytest.raises(ValueError, match=r"There is no weights file .*v4\.h5"):
        readers.read(tmp_path / "v4.h5")
    with pytest.raises(ValueError, match="should hold one TensorFlow checkpoint"):
        readers.read(tmp_path)
