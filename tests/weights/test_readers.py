"""File formats: recognised by content, damaged or hostile files refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import re
import socket
import struct
import sys
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from keras_inception import InceptionV3, load_model, protobuf
from keras_inception.budget import Budget
from keras_inception.weights import readers
from keras_inception.weights.readers import caffemodel, tf_table, torch_pickle

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
        graph = json.loads(contents.metadata["graph"])["config"]["layers"]
        assert [layer["name"] for layer in graph] == [layer.name for layer in model.layers]


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


def tar_with(name, kind=tarfile.REGTYPE, target="", data=b""):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, target, len(data)
        archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_a_link_or_a_device_in_a_tar_is_refused(kind, tmp_path):
    path = tmp_path / "evil.tar.gz"
    path.write_bytes(tar_with("model.ckpt", kind, "/etc/passwd"))
    with pytest.raises(ValueError, match=r"evil\.tar\.gz cannot be used: its member .* plain file"):
        readers.read(path)


@pytest.mark.parametrize("member", ["../outside", "/tmp/outside", "inside/../../outside"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_nothing_in_an_archive_is_written(kind, member, tmp_path):
    native.torch_legacy(TORCH, tmp_path / "small.pth")
    content = (tmp_path / "small.pth").read_bytes()
    path = tmp_path / "in" / f"packed.{kind}"
    path.parent.mkdir()
    path.write_bytes(zipped((member, content)) if kind == "zip" else tar_with(member, data=content))
    check_torch(readers.read(path))
    assert {p.name for p in tmp_path.rglob("*")} == {"in", path.name, "small.pth"}
    assert not Path("/tmp/outside").exists()


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


# --- Made to cost more than a file of its size may, or to say what is not so ----------------------


def reading_takes(path):
    """What is said of a refused file, and the most memory that Python took meanwhile."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=re.escape(path.name)) as caught:
            readers.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500
    return str(caught.value), peak


def pickled(*opcodes):
    return b"\x80\x02" + b"".join(opcodes) + b"."


def torch_archive(path, program, storages=()):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", program)
        for name, content in storages:
            archive.writestr(f"a/data/{name}", content)


def safetensors_file(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


TENSOR = (
    b"}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
    b"X\x01\0\0\x000X\x03\0\0\0cpuK\x04tQK\0%s%s\x89}tRs"
)


def torch_bombs(path):
    """(program, storages, what is said)"""
    four = [("0", bytes(16))]
    huge = b"J\0\0\0\x20"
    laughs = b"".join(b"h\x01h\x01\x86q\x01" for _ in range(60))
    yield pickled(b"}r\xff\xff\xff\x7f"), (), None  # a memo of 2**31 places: harmless here
    yield pickled(TENSOR % (huge + b"\x85", b"K\0\x85")), four, "w would take 2,147,483,648 bytes"
    yield pickled(TENSOR % (b"J\xff\xff\xff\xff\x85", b"K\1\x85")), four, "impossible shape"
    yield pickled(TENSOR % (b"K\4\x85", b"J\xff\xff\xff\xff\x85")), four, "impossible strides"
    yield pickled(b")q\x01", laughs, b"}h\x01K\1s"), (), "names that are neither texts nor numbers"
    yield pickled(b")q\x01", laughs, b"Q"), (), "no storage"
    yield pickled(b"}X\1\0\0\0wK\1sX\1\0\0\0wK\2s"), (), "holds 'w' twice"
    yield pickled(b"cbuiltins\nprint\n)R"), (), "builtins.print.*nothing of it was run"
    yield b"\x80\x04\x8c\x02os\x8c\x06system\x93.", (), "os.system.*nothing of it was run"


@pytest.mark.parametrize("number", range(9))
def test_pickles_that_cost_or_lie(number, tmp_path):
    path = tmp_path / "bomb.pth"
    program, storages, message = list(torch_bombs(path))[number]
    torch_archive(path, program, storages)
    if message is None:
        assert readers.read(path).layers == {}
        return
    said, peak = reading_takes(path)
    assert re.search(message, said)
    assert peak < 2**27


WEIGHTS = {"conv.weight": entry([2, 2], 0, 16), "conv.bias": entry([2], 16, 24)}


@pytest.mark.parametrize(
    ("header", "size", "message"),
    [
        ({"w": entry([10**12], 0, 4 * 10**12)}, 16, "not fully covered"),
        ({"w": entry([2**63, 2**63], 0, 16)}, 16, "overflow"),
        ({"w": entry([4], 0, 16), "v": entry([4], 0, 16)}, 16, "invalid offset"),
        ({"w": entry([4], 0, 16), "v": entry([4], 8, 24)}, 24, "invalid offset"),
        ({"w": entry([4], -16, 0)}, 16, "invalid value: integer `-16`"),
        ({"w": entry([5], 0, 16)}, 16, "invalid shape"),
        ({"w": entry([4], 0, 16)}, 20, "not fully covered"),
        ({"w": entry([4], 0, 16), "v": entry([4], 16, 32)}, 20, "not fully covered"),
        ({"w": entry([-4], 0, 16)}, 16, "invalid value: integer `-4`"),
        ({"w": entry([1] * 9, 0, 4)}, 4, "impossible shape"),
        ({"w": entry([2], 0, 16, "C64")}, 16, "has the dtype 'C64'"),
        (b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 0, "recursion limit exceeded"),
        (
            b'{"__metadata__":{' + b'"":"",' * 2 * 10**6 + b'"":""}}',
            0,
            "its header would take 264,",
        ),
        (b'{"w\\n\\u001b[2J":{}}', 0, "missing field `dtype`"),
        (b'{"__metadata__":{"format":7}}', 0, "expected a string"),
        (b"[]", 0, "in no format"),
        ({"conv.weight": entry([2, 2], 0, 16), "conv.kernel": entry([4], 16, 32)}, 32, "twice"),
    ],
)
def test_safetensors_that_cost_or_lie(header, size, message, tmp_path):
    path = tmp_path / "bomb.safetensors"
    path.write_bytes(safetensors_file(header, bytes(size)))
    said, peak = reading_takes(path)
    assert message in said
    assert peak < 2**27


def tar_member(name, content=b"", size=None, kind=b"0"):
    header = bytearray(512)
    header[: len(name)] = name
    size = len(content) if size is None else size
    octal = b"%011o\0" % size
    header[124:136] = octal if size >= 0 else b"\xff" + size.to_bytes(11, "big", signed=True)
    header[148:156], header[156:157], header[257:265] = b" " * 8, kind, b"ustar\x0000"
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content + bytes(-len(content) % 512)


END_OF_TAR = bytes(1024)


def zipped(*members, compression=zipfile.ZIP_DEFLATED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return content.getvalue()


def nested(levels):
    content = b"nothing"
    for _ in range(levels):
        content = zipped(("a", content))
    return content


def damaged_trailer(content):
    return content[:-6] + bytes([content[-6] ^ 1]) + content[-5:]


ZEROS = bytes(80 * 2**20)
TAR = tar_member(b"a.ckpt", b"data") + END_OF_TAR


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: zipped(("a.pth", ZEROS)), "its member 'a.pth' would take 83,886,080 bytes"),
        (lambda: zipped(("a/data.pkl", ZEROS)), "would take 83,886,080 bytes"),
        (lambda: zipped(("model.weights.h5", ZEROS)), "would take 83,886,080 bytes"),
        (lambda: nested(400), "it is nested too deeply"),
        (lambda: zipped(("a", b"data" * 99), compression=zipfile.ZIP_LZMA), "neither stored nor"),
        (lambda: gzip.compress(TAR[:512] + ZEROS), "what is packed in it would take"),
        (lambda: gzip.compress(tar_member(b"a.ckpt", size=2**33 - 1)), "would take 8,589,934,591"),
        (lambda: gzip.compress(tar_member(b"a.ckpt", size=2**30, kind=b"S")), "unexpected end"),
        (lambda: tar_member(b"a", b"data") + tar_member(b"b/a") + END_OF_TAR, "called 'a'"),
        (lambda: tar_member(b"a", b"data") + tar_member(b"b", size=-512), "is no plain file"),
        (lambda: gzip.compress(TAR)[:-4], "before the end-of-stream marker"),
        (lambda: damaged_trailer(gzip.compress(TAR)), "CRC check failed"),
        (lambda: gzip.compress(TAR) + b"more", "Not a gzipped file"),
        (lambda: gzip.compress(gzip.compress(gzip.compress(TAR))), "truncated header"),
    ],
)
def test_archives_that_cost_or_lie(content, message, tmp_path):
    path = tmp_path / "bomb.zip"
    path.write_bytes(content())
    said, peak = reading_takes(path)
    assert message in said
    assert peak < 2**28


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def caffe_net(*blobs, name=b"conv"):
    layer = field(1, name) + field(2, b"InnerProduct") + b"".join(field(7, b) for b in blobs)
    return field(1, b"net") + field(100, layer)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (field(1, b"net") + b"\x80" * 10_000_000 + b"\1", "more than 64 bits"),
        (field(1, b"net") + varint(100 << 3 | 2) + varint(2**63), "ends within a field"),
        (caffe_net(field(7, field(1, varint(10**12)))), "a blob would take 4,000,000,000,000"),
        (caffe_net(field(7, field(1, b"\1" * 100_000))), "a blob has an impossible shape"),
        (caffe_net(field(5, bytes(8)) + field(7, field(1, b"\1\2"))) * 2, "conv/kernel twice"),
        (caffe_net(field(5, bytes(8)), name=b"\xff\xfe"), "UnicodeDecodeError"),
    ],
)
def test_caffemodels_that_cost_or_lie(content, message, tmp_path):
    path = tmp_path / "bomb.caffemodel"
    path.write_bytes(content)
    said, peak = reading_takes(path)
    assert message in said
    assert peak < 2**28


@pytest.mark.parametrize(
    ("reader", "content"),
    [
        (caffemodel.read, memoryview(field(1, b"net") + b"\x18\0" * 1000)),
        (torch_pickle.read, pickled(b"K\1" + b"\x85" * 1000)),
    ],
)
def test_the_objects_of_the_smallest_parts_are_counted(reader, content):
    with pytest.raises(ValueError, match="one more of its parts would take 100 bytes"):
        reader(content, Budget(memory=10**5, seconds=1))


def h5_bomb(file, kind, tmp_path):
    """A legacy file whose one array is not what it seems."""
    group = file.create_group("predictions")
    if kind == "external links":
        del file["predictions"]
        file["predictions"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/predictions")
        group = None
    file.attrs["layer_names"] = np.array([b"predictions"])
    if group is None:
        return
    group.attrs["weight_names"] = np.array([b"bias:0"])
    secret = str(tmp_path / "secret.h5")
    if kind == "external storage":
        group.create_dataset("bias:0", (4,), "<f4", external=[(secret, 0, 16)])
    elif kind == "virtual data sets":
        layout = h5py.VirtualLayout((4,), "<f4")
        layout[:] = h5py.VirtualSource(secret, "predictions/bias:0", (4,))
        group.create_virtual_dataset("bias:0", layout)
    elif kind == "external links of arrays":
        group["bias:0"] = h5py.ExternalLink(secret, "/predictions/bias:0")
    elif kind == "soft links":
        group["bias:0"] = h5py.SoftLink("/predictions")
    elif kind == "3.64 TB":
        group.create_dataset("bias:0", (10**12,), "<f4", chunks=(2**20,))
    elif kind == "a deflate bomb":
        data = group.create_dataset("bias:0", (2**25,), "<f4", chunks=(2**25,), compression="gzip")
        data[:4] = 1
    elif kind == "no values":
        group.create_dataset("bias:0", (4,), "<f4")
    elif kind == "texts":
        group["bias:0"] = ["a", "b"]
    elif kind == "the same twice":
        group["bias:0"] = np.zeros(4, np.float32)
        file.attrs["layer_names"] = np.array([b"predictions"] * 2)
    elif kind == "lzf":
        group.create_dataset("bias:0", data=np.zeros(4, np.float32), compression="lzf")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("external storage", "lies in another file"),
        ("external storage in .keras", "lies in another file"),
        ("virtual data sets", "lies in another file"),
        ("virtual data sets in .keras", "lies in another file"),
        ("external links", "'predictions' is a link"),
        ("external links in .keras", "'predictions' is a link"),
        ("external links of arrays", "'bias:0' is a link"),
        ("soft links", "'bias:0' is a link"),
        ("3.64 TB", "would take 4,000,000,000,000 bytes"),
        ("a deflate bomb", "would take 134,217,728 bytes"),
        ("no values", "has no values in the file"),
        ("texts", "is no array of numbers"),
        ("the same twice", "predictions/bias twice"),
        ("lzf", "is packed with HDF5's filters"),
    ],
)
def test_hdf5_that_costs_lies_or_reads_other_files(kind, message, tmp_path):
    kind, _, packed = kind.partition(" in ")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["predictions/bias:0"] = np.full(4, 42, np.float32)
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        h5_bomb(file, kind, tmp_path)
    if packed:
        members = ("model.weights.h5", path.read_bytes()), ("config.json", b"{}")
        path = tmp_path / "bomb.keras"
        path.write_bytes(zipped(*members))
    said, _ = reading_takes(path)
    assert message in said
    if packed or kind == "external links of arrays":
        with pytest.raises(ValueError, match=rf"bomb\.(keras|h5).*{message}"):
            load_model(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("conv.bias", np.nan), ("bn.weight", np.inf), ("bn.running_var", -1e-3)],
)
def test_values_that_no_network_has_are_named(name, value, tmp_path):
    arrays = dict(native.arrays(TORCH))
    arrays[name] = np.full_like(arrays[name], value)
    header, data = {}, b""
    for key, array in arrays.items():
        end = len(data) + array.nbytes
        kind = {"float32": "F32", "int64": "I64"}[str(array.dtype)]
        header[key] = entry(list(array.shape), len(data), end, kind)
        data += array.tobytes()
    path = tmp_path / "bad.safetensors"
    path.write_bytes(safetensors_file(header, data))
    said, _ = reading_takes(path)
    ours = {"conv.bias": "conv/bias", "bn.weight": "bn/gamma"}.get(name, "bn/moving_variance")
    assert f"NaN, infinite values or a negative variance: {ours}" in said


@pytest.mark.parametrize("kind", ["fifo", "/dev/zero", "socket"])
def test_a_pipe_or_a_device_is_no_file(kind, tmp_path):
    path = Path("/dev/zero")
    if kind == "fifo":
        os.mkfifo(path := tmp_path / "fifo.h5")
    elif kind == "socket":
        path = tmp_path / "socket.h5"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    with pytest.raises(ValueError, match="no regular file"):
        readers.read(path)


def test_a_name_with_control_characters_stays_in_its_line(tmp_path):
    path = tmp_path / "two\nlines\x1b[2J.h5"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError) as caught:
        readers.read(path)
    assert r"two\nlines\x1b[2J.h5" in str(caught.value)


def test_a_file_that_cannot_be_opened_is_an_oserror(tmp_path, monkeypatch):
    path = tmp_path / "secret.h5"
    path.write_bytes(b"secret")
    denied = PermissionError(13, "Permission denied", str(path))
    monkeypatch.setattr(Path, "open", lambda *a, **k: (_ for _ in ()).throw(denied))
    with pytest.raises(PermissionError, match="secret.h5"):
        readers.read(path)


GOOD_HEADER = {"format": "keras_inception", "variant": "InceptionV3"}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"variant": "InceptionV9"}, "Received: 'InceptionV9'"),
        ({"builder_arguments": '{"classes": 1000000000}'}, "classes=1000000000"),
        ({"builder_arguments": '{"weights": "imagenet"}'}, "weights='imagenet'"),
        ({"builder_arguments": '{"bn_epsilon": "small"}'}, "bn_epsilon='small'"),
        ({"builder_arguments": '{"bn_epsilon": NaN}'}, "numbers from 0 to 100.*bn_epsilon=nan"),
        ({"builder_arguments": '{"bn_epsilon": -1}'}, "numbers from 0 to 100"),
        ({"builder_arguments": '{"bn_epsilon": 1e999}'}, "numbers from 0 to 100"),
        ({"builder_arguments": '{"bn_scale": 1}'}, "bn_scale=1"),
        ({"builder_arguments": '{"width_multiplier": 99.0}'}, "holds the 4 values of a narrower"),
        ({"builder_arguments": "[1]"}, "should be a JSON dict. Received: a list"),
        ({"builder_arguments": "null"}, "should be a JSON dict. Received: a NoneType"),
        ({"builder_arguments": "{"}, "`builder_arguments` in a file should be JSON"),
        ({"builder_arguments": "[" * 100_000}, "`builder_arguments` in a file should be JSON"),
        ({"preprocessing": "[]"}, "should be a JSON dict. Received: a list"),
        ({"preprocessing": '{"size": "big"}'}, "size='big'"),
        ({"preprocessing": '{"size": [1000000000, 1]}'}, "both from 1 to 16384"),
        ({"preprocessing": '{"size": [299, 299], "mean": "x"}'}, "mean='x'"),
        ({"preprocessing": '{"size": [299, 299], "std": NaN}'}, "std=nan"),
        ({"preprocessing": '{"size": [299, 299], "std": 0}'}, "`std` should be above 0"),
        ({"preprocessing": '{"size": [299, 299], "antialias": "no"}'}, "antialias='no'"),
        ({"preprocessing": '{"size": [299, 299], "crop_fraction": "1"}'}, "crop_fraction='1'"),
        ({"preprocessing": '{"seize": 1}'}, "Unknown preprocessing fields"),
        ({"preprocessing": '{"mean": 1}'}, "A contract has a `size`"),
        ({"class_names": '"abc"'}, "should be a JSON list. Received: a str"),
        ({"class_names": "[1, 2]"}, "`class_names` in a file should be texts"),
    ],
)
def test_a_header_is_held_against_the_builder(metadata, message, tmp_path):
    path = tmp_path / "lying.safetensors"
    header = {"__metadata__": {**GOOD_HEADER, **metadata}, "stem_0_conv/bias": entry([4], 0, 16)}
    path.write_bytes(safetensors_file(header, bytes(16)))
    with pytest.raises(ValueError, match=message) as caught:
        InceptionV3(weights=path)
    assert "lying.safetensors" in str(caught.value)
    assert str(caught.value).isprintable()


# --- TensorFlow's tables --------------------------------------------------------------------------


def test_a_compressed_block_is_refused(tmp_path):
    """TensorFlow writes none; the format's other writers may."""
    path = tmp_path / "model.ckpt"
    native.tf_v1(SLIM, path)
    table = bytearray(path.read_bytes())
    numbers, at = [], len(table) - 48
    for _ in range(4):
        number, at = protobuf.varint(table, at)
        numbers.append(number)
    start, end = numbers[2], sum(numbers[2:])  # of the index
    table[end] = 1  # snappy
    checksum = tf_table.masked_crc32c(memoryview(table)[start : end + 1])
    table[end + 1 : end + 5] = checksum.to_bytes(4, "little")
    path.write_bytes(table)
    with pytest.raises(ValueError, match="snappy, which is not read: load it with TensorFlow 2"):
        readers.read(path)


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 31, 32, 1000, 4099])
def test_the_checksum_is_crc32c(size):
    data = np.random.default_rng(size).bytes(size)
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
    assert tf_table.masked_crc32c(memoryview(data)) == masked


def test_any_file_of_a_checkpoint_stands_for_it(tmp_path):
    native.tf_v2(SLIM, tmp_path / "model.ckpt-7")
    (tmp_path / "model.ckpt-7.meta").write_bytes(b"a graph")
    (tmp_path / "checkpoint").write_text(
        'model_checkpoint_path: "/elsewhere/model.ckpt-7"\nall_model_checkpoint_paths: "x"\n'
    )
    want = readers.read(tmp_path / "model.ckpt-7").layers
    for name in ("model.ckpt-7.data-00000-of-00001", "model.ckpt-7.meta", "checkpoint"):
        found = readers.read(tmp_path / name).layers
        assert found.keys() == want.keys()
    (tmp_path / "model.ckpt-7.index").unlink()
    for name in ("model.ckpt-7.meta", "checkpoint"):
        with pytest.raises(ValueError, match="in no format that can be read"):
            readers.read(tmp_path / name)


def test_a_checkpoint_without_its_shard_and_with_a_damaged_one(tmp_path):
    native.tf_v2(SLIM, tmp_path / "model.ckpt")
    (shard,) = tmp_path.glob("*.data-*")
    content = bytearray(shard.read_bytes())
    content[3] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match="model.ckpt.*the checksum of Net/.* is wrong"):
        readers.read(tmp_path / "model.ckpt")
    shard.unlink()
    with pytest.raises(OSError, match="model.ckpt.data-00000-of-00001"):
        readers.read(tmp_path / "model.ckpt")
