"""Paths of users: pipes, devices and folders in place of files, and small files that unpack to far
more. Each is named in one line, soon, wherever it is given.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import socket
import tracemalloc
import zipfile

import numpy as np
import pytest

from keras_inception import archives, buckets, files
from keras_inception.data import kept, open_source
from keras_inception.data.fingerprint import Fingerprint
from keras_inception.explaining.distances import read_statistics
from keras_inception.models.saving import load_model
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder
from keras_inception.runtime import litert
from keras_inception.runtime.classifier import load_classifier
from keras_inception.runtime.predict import pixels


@pytest.fixture(autouse=True)
def ends():
    """What waits for a pipe's writer would wait for ever."""

    def give_up(*_):
        raise TimeoutError("it waits for a pipe")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def strange(kind, path):
    """A path that is no regular file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder"])
@pytest.mark.parametrize("read", [files.read, files.opened, files.read_text, buckets.read, pixels])
def test_what_is_no_regular_file_is_named(kind, read, tmp_path):
    path = strange(kind, tmp_path / "a\x1b[31m")
    with pytest.raises(ValueError) as caught:
        read(path)
    assert str(caught.value) == f"{tmp_path}/a\\x1b[31m is a {kind}, no regular file."


def test_a_file_has_a_limit(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"12345")
    assert files.read(path, 5) == b"12345"
    with pytest.raises(ValueError, match=r"large has 5 bytes; at most 4 are read"):
        files.read(path, 4)


def run_folder(path):
    run = RunFolder(path)
    run.begin(Recipe(), ("cat", "dog"), Preprocessing(size=(32, 32)), {})
    return run


def of_run(name, use):
    def door(folder):
        run = run_folder(folder / "run")
        (run.path / name).unlink(missing_ok=True)
        strange("pipe", run.path / name)
        return lambda: use(run)

    return door


def of_file(name, use):
    def door(folder):
        path = strange("pipe", folder / name)
        return lambda: use(path)

    return door


def table(folder):
    strange("pipe", folder / "table.csv")
    return lambda: open_source(f"csv:{folder / 'table.csv'}")


def shards(folder):
    strange("pipe", folder / "train-00000-of-00001")
    return lambda: open_source(f"tfrecord:{folder}")


DOORS = {
    "config.json": of_run("config.json", lambda run: run.recipe),
    "labels.txt": of_run("labels.txt", lambda run: run.class_names),
    "history.csv": of_run("history.csv", lambda run: run.history),
    "split.json": of_run("split.json", lambda run: run.read_json("split.json")),
    "data.json.gz": of_run("data.json.gz", lambda run: Fingerprint.read(run.data_path)),
    "load_model": of_file("model.keras", load_model),
    "weights": of_file("model.safetensors", load_classifier),
    "SavedModel": of_file("saved/saved_model.pb", lambda path: load_classifier(path.parent)),
    "shard of a SavedModel": of_file(
        "saved/variables/variables.index", lambda path: with_an_empty_graph(path.parents[1])
    ),
    "LiteRT": of_file("model.tflite", litert.LiteRTEngine),
    "statistics": of_file("statistics.npz", read_statistics),
    "table": table,
    "shards": shards,
}


def with_an_empty_graph(folder):
    (folder / "saved_model.pb").write_bytes(b"")
    return load_classifier(folder)


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_no_door_waits_for_a_pipe(door, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    use = door(tmp_path)
    with pytest.raises(ValueError, match="is a pipe, no regular file") as caught:
        use()
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_kept_file_that_is_a_pipe_is_computed_anew(tmp_path, caplog):
    path = strange("pipe", tmp_path / "facts.npz")
    assert kept.load_kept(path, {"a": np.zeros(0)}) is None
    assert "is a pipe" in caplog.text


@pytest.mark.parametrize(
    "columns",
    [{"a": np.zeros(3, "U2")}, {"a": np.zeros((3, 2))}, {"a": np.array(1.0)}, {"b": np.zeros(3)}],
    ids=["texts", "a matrix", "a number", "another name"],
)
def test_kept_columns_of_another_kind_are_computed_anew(columns, tmp_path, caplog):
    np.savez(tmp_path / "facts.npz", **columns)
    assert kept.load_kept(tmp_path / "facts.npz", {"a": np.zeros(0)}) is None
    assert "its columns are not those that are kept" in caplog.text
    np.savez(tmp_path / "facts.npz", a=np.ones(3, np.float32))
    assert kept.load_kept(tmp_path / "facts.npz", {"a": np.zeros(0)})["a"].tolist() == [1, 1, 1]


SIZE = 100 * 2**20


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


def header_only(shape):
    """An .npy file whose header promises an array that does not follow."""
    buffer = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


BOMBS = {
    "data.json.gz of zeros": (lambda: gzip.compress(bytes(SIZE)), Fingerprint.read),
    "data.json.gz of lists": (lambda: gzip.compress(b"[" + b"[]," * 10**7), Fingerprint.read),
    "statistics": (lambda: archive(mu_npy=bytes(SIZE)), read_statistics),
    "a statistic's header": (lambda: archive(mu_npy=header_only((2**40,))), read_statistics),
    "the identity in a .tflite": (
        lambda: bytes(1000) + archive(identity_json=bytes(SIZE)),
        litert.LiteRTEngine,
    ),
    "the identity's lists": (
        lambda: bytes(1000) + archive(identity_json=b"[" + b"[]," * 10**7),
        litert.LiteRTEngine,
    ),
    "predictions": (lambda: archive(top_npy=bytes(SIZE)), archives.arrays),
}


@pytest.mark.parametrize(("made", "read"), BOMBS.values(), ids=BOMBS)
def test_what_unpacks_to_far_more_is_refused(made, read, tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(made())
    assert path.stat().st_size < 2**20
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="bomb .*would take") as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 150 * 2**20
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


def test_arrays_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "arrays.npz"
    written = {
        "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "empty": np.zeros((0, 16), np.uint8),
        "names": np.array(["a", "\u00e9\u00e8"]),
        "none": np.array([], str),
        "one": np.array(7),
    }
    np.savez_compressed(path, **written)
    found = archives.arrays(path)
    assert found.keys() == written.keys()
    for name, array in written.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)
    found["columns"][0, 0] = 5  # not the file's own bytes
    np.savez(path, pickled=np.array([{}], object))
    with pytest.raises(ValueError, match=r"arrays.npz .*no array of numbers or texts"):
        archives.arrays(path)


def test_a_list_of_examples_within_the_budget_is_read(tmp_path):
    """The longest that is usual: short names, whose objects take most of their bytes."""
    rows = [(f"{i:06d}", "a", f"{i * 7919:032x}") for i in range(100_000)]
    record = Fingerprint(("a", "b"), {"train": rows})
    record.write(tmp_path / "data.json.gz")
    assert Fingerprint.read(tmp_path / "data.json.gz") == record
    assert json.loads(gzip.decompress((tmp_path / "data.json.gz").read_bytes()))["white"] == 65535
