"""Damaged files at every door but weights: used as they are meant, or refused in one line.

Mutant number n of a door is the same on every machine. `weights/test_fuzz.py` does the same for
files of weights.
"""

from __future__ import annotations

import copy
import dataclasses
import gzip
import io
import json
import random
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_inception import Preprocessing, load_classifier, load_model, save_model
from keras_inception.data import open_source
from keras_inception.data.kept import kept_arrays, kept_path
from keras_inception.explaining.distances import read_statistics, save_statistics, statistics
from keras_inception.identity import Identity, attach

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "weights"), str(HERE / "report")]
import page_runs  # noqa: E402
from fuzzing import mutated, zip_mutated  # noqa: E402

CONTRACT = Preprocessing(size=(8, 8))
SLOW = 20_000
ODD = [None, True, -1, 0, 10**400, 1e308, float("nan"), float("inf"), "", "x" * 3000, "\x1b[31m\n"]
ODD += [[], [[]], {}, {"a": 1}, [None], ["x", 2], "../../etc/passwd", "1", [[[1]]]]


@dataclasses.dataclass
class Door:
    """What opens files of others.

    Attributes:
        make: Writes sound files into a folder.
        ask: Opens what lies there; raises what a user would see.
        mutants: How many are tried in the ordinary suite.
        places: Patterns of the files that are mutated.
    """

    make: Callable[[Path], None]
    ask: Callable[[Path], object]
    mutants: int
    places: tuple[str, ...]


def json_mutated(data: bytes, rng: random.Random) -> bytes:
    """JSON with one to three of its values replaced, moved or removed."""
    if rng.random() < 0.05:
        return b"[" * 100_000
    content = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        parents = list(containers(content))
        if not parents:
            break
        parent = rng.choice(parents)
        key = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
        if rng.random() < 0.2:
            del parent[key]
        else:
            parent[key] = odd(rng)
    if rng.random() < 0.05:
        content = odd(rng)
    return json.dumps(content).encode()


def odd(rng: random.Random) -> object:
    """A value of its own: a shared list would carry one mutant's changes into the next."""
    return copy.deepcopy(rng.choice(ODD))


def containers(content: object):
    """All lists and objects in some JSON that hold something."""
    if isinstance(content, dict | list) and content:
        yield content
        for below in content.values() if isinstance(content, dict) else content:
            yield from containers(below)


def inside(data: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """A zip archive with one member changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.namelist():
            content = old.read(member)
            new.writestr(member, change(content) if member == name else content)
    return out.getvalue()


def records_mutated(data: bytes, rng: random.Random) -> bytes:
    """A shard of which one record is mutated, with the checksums right."""
    raw, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        raw.append(data[at + 12 : at + 12 + length])
        at += 16 + length
    chosen = rng.randrange(len(raw))
    if rng.random() < 0.5:
        example = tf.train.Example.FromString(raw[chosen])
        kinds = tf.train.Int64List, tf.train.FloatList, tf.train.BytesList
        values = [[], [2**63 - 1], [10**9], [1, 2], [float("inf")], [b"\xff"], [b""], [b"7"], [-1]]
        value = rng.choice(values)
        kind = {bytes: kinds[2], float: kinds[1]}.get(type([*value, 0][0]), kinds[0])
        names = dict(zip(kinds, ("int64_list", "float_list", "bytes_list"), strict=True))
        feature = tf.train.Feature(**{names[kind]: kind(value=value)})
        if rng.random() < 0.2:
            feature = tf.train.Feature()
        example.features.feature[rng.choice(sorted(example.features.feature))].CopyFrom(feature)
        raw[chosen] = example.SerializeToString()
    else:
        raw[chosen] = mutated(raw[chosen], rng)
    return shard(raw)


def shard(raw: list[bytes]) -> bytes:
    from keras_inception.weights.readers.tf_table import masked_crc32c

    def sealed(part: bytes) -> bytes:
        return part + masked_crc32c(memoryview(part)).to_bytes(4, "little")

    return b"".join(sealed(len(one).to_bytes(8, "little")) + sealed(one) for one in raw)


def mutate(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    within = rng.random() < 0.75
    if within and path.suffix == ".json":
        data = json_mutated(data, rng)
    elif within and path.suffix == ".gz":
        change = json_mutated if rng.random() < 0.5 else mutated
        data = gzip.compress(change(gzip.decompress(data), rng), 1)
    elif within and path.suffix == ".keras":
        member = rng.choice(("config.json", "config.json", "identity.json", "metadata.json"))
        data = inside(data, member, lambda content: json_mutated(content, rng))
    elif within and path.suffix == ".npz":
        data = zip_mutated(data, rng)
    elif within and path.suffix == ".tflite":
        archive = data[data.index(b"PK\x03\x04") :]
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            name = next(n for n in files.namelist() if n.endswith(".json"))
        changed = inside(archive, name, lambda content: json_mutated(content, rng))
        data = data[: -len(archive)] + changed
    elif within and path.suffix == ".tfrecord":
        data = records_mutated(data, rng)
    elif path.suffix == ".tflite":  # of the graph, LiteRT could end the process
        start = data.index(b"PK\x03\x04")
        data = data[:start] + mutated(data[start:], rng)
    else:
        data = mutated(data, rng)
    path.write_bytes(data)


def network() -> keras.Model:
    x = keras.Input((8, 8, 3))
    y = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3, name="conv")(x))
    y = keras.layers.Dense(2, activation="softmax", name="predictions")(y)
    return attach(keras.Model(x, y), Identity("", preprocessing=CONTRACT, class_names=("a", "b")))


def make_run(folder: Path) -> None:
    page_runs.made_run(folder / "run", 3)


def ask_run(folder: Path) -> None:
    from keras_inception.report import write_report

    write_report(folder / "run", images=False)


def make_statistics(folder: Path) -> None:
    features = np.random.default_rng(0).normal(size=(9, 3))
    save_statistics(statistics(features, weights="fid", resize="tf1"), folder / "set.npz")
    np.save(folder / "set.npy", features)


def ask_statistics(folder: Path) -> None:
    for path in sorted(folder.iterdir(), reverse=True):
        found = read_statistics(path)
        assert np.isfinite(found.mean).all() and found.covariance.shape == (len(found.mean),) * 2


def make_records(folder: Path) -> None:
    for part, count in (("train", 6), ("test", 2)):
        raw = []
        for i in range(count):
            pixels = tf.fill((8, 8, 3), tf.constant(20 * i, tf.uint8))
            example = tf.train.Example()
            feature = example.features.feature
            feature["image/encoded"].bytes_list.value.append(tf.io.encode_png(pixels).numpy())
            feature["image/class/label"].int64_list.value.append(i % 2)
            feature["image/class/text"].bytes_list.value.append(b"ab"[i % 2 :][:1])
            raw.append(example.SerializeToString())
        (folder / f"{part}.tfrecord").write_bytes(shard(raw))


def ask_records(folder: Path) -> None:
    source = open_source(f"tfrecord:{folder}", validation_fraction=0.2)
    assert len(source.class_names) < 9
    for split in source.splits.values():
        for number in range(len(split)):
            own = np.asarray(split.labels[number])  # a number; 0 and 1 of each where it has several
            assert split.pixels(number).numpy().size and ((own >= 0) & (own < 9)).all()


COLUMNS = {"labels": np.arange(5), "names": np.array(["a", "bb", "c", "d", "e"])}


def ask_kept(folder: Path) -> None:
    path = kept_path("fuzz", "state")
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "kept.npz", path)
    like = {name: column[:0] for name, column in COLUMNS.items()}
    found = kept_arrays("fuzz", "state", like, lambda: COLUMNS)
    assert {n: (a.dtype.kind, a.ndim) for n, a in found.items()} == {
        n: (a.dtype.kind, a.ndim) for n, a in COLUMNS.items()
    }


def make_tflite(folder: Path) -> None:
    from keras_inception.exporting import TFLite

    TFLite().write(network(), folder / "toy.tflite")


def ask_classifier(folder: Path) -> None:
    (path,) = folder.glob("toy.*")
    classifier = load_classifier(path)
    answers = classifier.predict(np.full((1, 8, 8, 3), 100, np.uint8))
    assert answers.shape == (1, len(classifier.class_names)) and np.isfinite(answers).all()


def make_h5(folder: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.save(folder / "toy.h5")


DOORS = {
    "run folder": Door(
        make_run, ask_run, 27, ("*.json", "*.gz", "*.txt", "history.csv", "predictions.npz")
    ),
    "statistics": Door(make_statistics, ask_statistics, 150, ("*",)),
    "records": Door(make_records, ask_records, 24, ("*.tfrecord",)),
    "kept file": Door(
        lambda folder: np.savez(folder / "kept.npz", **COLUMNS), ask_kept, 100, ("*.npz",)
    ),
    "keras file": Door(
        lambda folder: save_model(network(), folder / "toy.keras"),
        lambda folder: load_model(folder / "toy.keras"),
        8,
        ("*.keras",),
    ),
    "h5 file": Door(make_h5, lambda folder: load_model(folder / "toy.h5"), 3, ("*.h5",)),
    "identity": Door(make_tflite, ask_classifier, 60, ("*.tflite",)),
}


def complaint(error: BaseException, names: str) -> str:
    """What is wrong with the error of a mutant; empty if nothing is.

    Args:
        error: What was raised.
        names: A pattern of the files' names.
    """
    text = str(error)
    wrong = {
        f"an error of type {type(error).__name__}": not isinstance(error, ValueError | OSError),
        "no file's name": not re.search(rf"mutant folder|{names}", text),
        "not one line": not text.isprintable(),
        "a long message": len(text) > 1300,
    }
    return ", ".join(what for what, is_so in wrong.items() if is_so)


def wrong_mutants(door: Door, sound: Path, place: Path, numbers: range) -> list[str]:
    """The mutants that were neither used as they should nor refused as they should."""
    wrong = []
    files = sorted({p for pattern in door.places for p in sound.rglob(pattern) if p.is_file()})
    for number in numbers:
        folder = place / "mutant folder"
        shutil.copytree(sound, folder)
        rng = random.Random(number)
        file = files[number % len(files)].relative_to(sound)
        mutate(folder / file, rng)
        try:
            door.ask(folder)
        except BaseException as error:  # noqa: B036
            said = complaint(error, "|".join(re.escape(path.name) for path in files))
            if said:
                wrong.append(f"{number} {file}: {said}: {error!r:.300}")
        shutil.rmtree(folder)
    return wrong


def blank(figure, file):
    """In the place of `pictures._save`: what is drawn is what may fail, not its pixels."""
    Image.new("RGB", (4, 4)).save(file, "png")


@pytest.fixture
def sound(request, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("keras_inception.pictures._save", blank)
    folder = tmp_path / "sound"
    folder.mkdir()
    request.param.make(folder)
    request.param.ask(folder) if request.param.places != ("*",) else None
    return request.param, folder


# runtime/test_engine_files.py asks the ordinary suite's questions about identities.
QUICK = {name: door for name, door in DOORS.items() if name != "identity"}


@pytest.mark.parametrize("sound", QUICK.values(), ids=QUICK.keys(), indirect=True)
def test_damaged_files(sound, tmp_path):
    door, folder = sound
    wrong = wrong_mutants(door, folder, tmp_path, range(door.mutants))
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("sound", DOORS.values(), ids=DOORS.keys(), indirect=True)
def test_many_damaged_files(sound, tmp_path):
    door, folder = sound
    total = sum(one.mutants for one in DOORS.values())
    count = SLOW * door.mutants // total
    wrong = wrong_mutants(door, folder, tmp_path, range(door.mutants, door.mutants + count))
    assert not wrong, "\n".join(wrong)
