"""Arrays, paths, tables, data sets of tf.data and of Hugging Face, as a program holds them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_inception
from keras_inception.data import Held, open_source
from keras_inception.data.sources import memory

SIZE = (20, 24)
NAMES = ("cat", "dog")


class Table(dict):
    """A table as pandas has them, as far as it is looked at."""

    @property
    def columns(self):
        return list(self)


@dataclasses.dataclass
class Image:
    """A feature of Hugging Face's `datasets`."""

    decode: bool = True


@dataclasses.dataclass
class ClassLabel:
    """A feature of Hugging Face's `datasets`."""

    names: list[str]


class HuggingFace:
    """As much of `datasets.Dataset` as is looked at; images are files or their bytes."""

    _fingerprint = None

    def __init__(self, columns, features):
        self.columns_, self.features = columns, features

    def select_columns(self, names):
        return HuggingFace(*({n: d[n] for n in names} for d in (self.columns_, self.features)))

    def with_format(self, _):
        return self

    def cast_column(self, name, feature):
        return HuggingFace(self.columns_, self.features | {name: feature})

    def __len__(self):
        return len(next(iter(self.columns_.values())))

    def __getitem__(self, i):
        assert not any(getattr(feature, "decode", False) for feature in self.features.values())
        return {name: column[i] for name, column in self.columns_.items()}


def hugging_face(paths, labels, names=NAMES):
    """Every second image as bytes, the others as paths; of the package itself, if it is there."""
    images = [
        {"bytes": path.read_bytes() if i % 2 else None, "path": str(path)}
        for i, path in enumerate(paths)
    ]
    columns = {"picture": images, "kind": list(map(int, labels)), "size": [0] * len(images)}
    try:
        import datasets as package
    except ImportError:
        features = {"picture": Image(), "kind": ClassLabel(list(names)), "size": None}
        return HuggingFace(columns, features)
    features = {"picture": package.Image(), "kind": package.ClassLabel(names=list(names))}
    features |= {"size": package.Value("int32")}
    return package.Dataset.from_dict(columns, package.Features(features))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """15 images a class, of one size."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name in NAMES:
        (root / name).mkdir()
        for i in range(15):
            pixels = rng.integers(0, 256, (*SIZE, 3), np.uint8)
            (root / name / f"{i:02d}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    return root


def held(root, kind):
    """The images of the folder, in the order of their paths."""
    paths = sorted(root.rglob("*.png"))
    labels = np.array([NAMES.index(path.parent.name) for path in paths])
    if kind == "arrays":
        return arrays(paths), labels, NAMES
    if kind == "paths":
        return paths, labels, NAMES
    if kind == "hugging_face":
        return hugging_face(paths, labels)
    if kind == "table":
        return Table(path=list(map(str, paths)), label=[NAMES[i] for i in labels])
    return keras.utils.image_dataset_from_directory(
        root, image_size=SIZE, shuffle=kind == "shuffled", batch_size=4, verbose=False
    )


def arrays(paths):
    return np.stack([tf.io.decode_png(path.read_bytes()).numpy() for path in paths])


def pixels(source, part):
    split = source.splits[part]
    return np.stack([split.pixels(i) for i in range(len(split))])


@pytest.mark.parametrize("kind", ["arrays", "paths", "table", "dataset", "hugging_face"])
def test_the_same_images_are_the_same_parts(root, kind):
    folder = open_source(f"folder:{root}", validation_fraction=0.2, seed=3)
    source = open_source(Held(held(root, kind)), validation_fraction=0.2, seed=3)
    assert source.class_names == folder.class_names and source.name == kind
    assert source.drawn == folder.drawn
    for part, split in folder.splits.items():
        np.testing.assert_array_equal(source.splits[part].labels, split.labels)
        np.testing.assert_array_equal(pixels(source, part), pixels(folder, part))
    assert open_source(Held(held(root, kind)), parts=source.fingerprint()).fingerprint() == (
        source.fingerprint()
    )


def test_a_shuffled_data_set_comes_back_in_its_parts(root):
    source = open_source(Held(held(root, "shuffled")))
    before = source.fingerprint()
    again = open_source(Held(held(root, "shuffled")), parts=before)
    assert again.fingerprint() == before
    for part in before.parts:
        np.testing.assert_array_equal(pixels(again, part), pixels(source, part))


def test_parts_of_ones_own(root):
    images, labels, names = held(root, "arrays")
    texts = np.array(names)[labels]
    source = open_source(
        Held((images, texts), validation=(images[:4], labels[:4], names), test=(images, texts)),
    )
    assert {part: len(split) for part, split in source.splits.items()} == {
        "train": 30,
        "validation": 4,
        "test": 30,
    }
    assert source.drawn == () and source.splits["test"].name(3) == "test image 3"
    assert source.provenance["duplicates"]["test in train"]["count"] == 30
    table = held(root, "table")
    table["split"] = ["test", "train", "val"] * 10
    source = open_source(Held(table))
    assert [len(split) for split in source.splits.values()] == [10, 10, 10]
    measured = open_source(Held(test=table))
    assert [len(split) for split in measured.splits.values()] == [0, 0, 10]
    labelled = open_source(Held(test=(images[:, :, :, 0], labels[:, None]), class_names=names))
    assert labelled.class_names == names and len(labelled.splits["test"]) == 30
    np.testing.assert_array_equal(labelled.splits["test"].pixels(0)[..., 2], images[0, :, :, 0])


@pytest.mark.parametrize("kind", ["arrays", "table", "paths", "hugging_face"])
def test_groups_stay_whole(root, kind):
    """Of three images each, numbers as pandas has them; the last image is alone."""
    patients, data = [float(i // 3) for i in range(29)] + [np.nan], held(root, kind)
    source = open_source(Held(data, groups=patients), validation_fraction=0.2)
    if kind == "table":
        of_column = open_source(Held(Table(data, group=patients)), validation_fraction=0.2)
        assert of_column.fingerprint() == source.fingerprint()
    sets = [set(split.groups) - {""} for split in source.splits.values()]
    assert all(map(len, sets))
    assert sum(map(len, sets)) == len(set.union(*sets)) == 10
    assert source.provenance["groups"]["by"] == "the data set itself"


def test_groups_by_the_names_of_paths(root):
    """As of a folder's files; a table's column says those of each part."""
    how = {"groups": r"(\w+/\d)\d\.png", "validation_fraction": 0.2}
    source, folder = (open_source(one, **how) for one in (Held(held(root, "paths")), root))
    assert source.drawn == folder.drawn
    for part, split in folder.splits.items():
        np.testing.assert_array_equal(source.splits[part].labels, split.labels)
    table = Table(
        held(root, "table"), split=["test", "train", "val"] * 10, group=["a", "", "b"] * 10
    )
    parts = open_source(Held(table)).splits
    assert [set(split.groups) for split in parts.values()] == [{""}, {"b"}, {"a"}]
    equal = (np.repeat(arrays(sorted(root.rglob("*.png")))[:10], 2, 0), [0, 1] * 10)
    assert len(set(open_source(Held(equal), groups="twins").splits["train"].groups)) > 1


def test_splits_of_hugging_face_are_parts(root, caplog):
    """As published sets have them: test images without labels, and splits beside the parts."""
    paths, labels = sorted(root.rglob("*.png")), [0] * 15 + [1] * 15
    whole, none = hugging_face(paths, labels), hugging_face(paths, [-1] * 30)
    given = {"train": whole, "valid": hugging_face(paths[:4], labels[:4]), "test": none}
    source = open_source(Held(given | {"unsupervised": none}))
    assert [len(split) for split in source.splits.values()] == [24, 4, 6]
    assert source.drawn == ("test",) and "split test has no labels and is left out" in caplog.text
    assert "split unsupervised is named as no part is and is left out" in caplog.text
    assert len(open_source(Held(test=given | {"test": whole})).splits["test"]) == 30
    with pytest.raises(ValueError, match=r"Two splits are the validation part"):
        open_source(Held(given | {"dev": whole}))
    with pytest.raises(ValueError, match="One split is asked for, such as data.'train'."):
        memory.images_of(given)
    assert memory.images_of(whole)[29] == paths[29].read_bytes()
    with pytest.raises(
        ValueError, match="should have the columns path, and perhaps.* Received: file$"
    ):
        memory.images_of(Table(file=[]))


def test_inspect_takes_what_train_takes(root, tmp_path):
    page, data = tmp_path / "sheet.html", held(root, "arrays")
    found = keras_inception.inspect(data, output=page, validation_fraction=0.25)
    each = {"training": 9, "validation": 3, "test": 3}
    assert found.rows() == found.to_dict()["classes"] == [{"class": n, **each} for n in NAMES]
    assert repr(found).startswith("arrays: 30 images of 2 classes (18 training") and page.exists()
    with pytest.raises(TypeError, match="no argument 'seeds'; did you mean 'seed'"):
        keras_inception.inspect(data, seeds=1)
    with pytest.raises(ValueError, match="end in .html. Received: output='sheet'"):
        keras_inception.inspect(data, output="sheet")
    with pytest.raises(ValueError, match="`validation` and `test` go with arrays"):
        keras_inception.inspect(root, test=data)
    with pytest.raises(ValueError, match="`groups` should be a text for data in files"):
        keras_inception.inspect(root, groups=[1, 2])
    with pytest.raises(ValueError, match="each of the 30 training images. Received: 2$"):
        keras_inception.inspect(data, groups=[1, 2])
    with pytest.raises(ValueError, match="in another order. Received: a tf.data.Dataset"):
        keras_inception.inspect(held(root, "dataset"), groups=[0] * 30)


IMAGES, LABELS = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 0, 1])
ENDLESS = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).repeat()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (iter([]), "Received: list_iterator"),
        ([IMAGES, LABELS], "Received: list"),
        ((IMAGES + np.float32(0.5), LABELS), r"0..255, not scaled.*values in \[0.5, 0.5\]"),
        ((IMAGES - 1.0, LABELS), "values in"),
        ((np.full_like(IMAGES, np.nan, np.float32), LABELS), "values in"),
        ((IMAGES[0, 0], LABELS), r"Received: uint8 of shape \(8, 3\)"),
        (([IMAGES[0], IMAGES[1, :4]], LABELS[:2]), "should all have one size"),
        ((IMAGES[:0], LABELS[:0]), "at least one image. Received: none"),
        ((IMAGES, LABELS[:3]), r"each of the 4 images. Received: int64 of shape \(3,\)"),
        ((IMAGES, LABELS / 2), "Received: float64"),
        ((IMAGES, np.eye(4)), r"Received: float64 of shape \(4, 4\); of one-hot"),
        ((IMAGES, LABELS, ("a",)), "should be 0 to 0, for 1 class names. Received: 0 to 1"),
        ((IMAGES, ["a", "b", "c", "a"], ("a", "b")), "among the class names. Received: c"),
        ((["a.png", "a.png"], LABELS[:2]), "Received twice: a.png"),
        ((["a.png", "b.png"], LABELS[:2]), "paths cannot be read"),
        (
            Table(file=[], label=[]),
            "columns path and label, and perhaps split and group. Received: file",
        ),
        (Table(path=["a"], label=["b"], split=["both"]), "in every row. Received: both"),
        (ENDLESS, "without `repeat"),
        (tf.data.Dataset.from_tensor_slices(IMAGES), "should give .image, label."),
        (ENDLESS.take(0), "at least one image"),
        (ENDLESS.filter(lambda image, label: True), "more than 0.0 GB of images, or does not end"),
        (hugging_face([], []).select_columns(["picture"]), "Received: 0 ClassLabel columns among"),
        ({"test": hugging_face([], [])}, "has no train part. Received: test"),
    ],
)
def test_what_is_no_data_set_is_one_line(data, message, monkeypatch):
    monkeypatch.setattr(memory, "machine_memory", lambda: 1_000_000)
    with pytest.raises((ValueError, OSError), match=message) as error:
        open_source(Held(data))
    assert len(str(error.value)) < 300 and "\n" not in str(error.value)


def test_a_path_is_a_folder_or_a_table(root, tmp_path, monkeypatch):
    """Names of data sets come first, whatever lies in the folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fake").mkdir()
    table = "".join(f"{path},{path.parent.name}\n" for path in sorted(root.rglob("*.png")))
    (tmp_path / "table.csv").write_text(f"path,label\n{table}")
    assert open_source(root).name == f"folder:{root}"
    assert open_source("table.csv").name == "csv:table.csv"
    assert open_source("fake").name == "fake"


def test_the_name_of_a_kind_is_no_data_set():
    with pytest.raises(ValueError, match="came out of a program .arrays."):
        open_source("arrays")


TRAIN = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1] / "training")!r}]
from keras_inception.training import Interrupted, repeat_bit_for_bit
repeat_bit_for_bit()
import pathlib
import numpy as np
from small_stage import descent
from test_memory import held
from keras_inception.data import Held, open_source
from keras_inception.recipes import Recipe
root = pathlib.Path(sys.argv[1])
recipe = Recipe(image_size=16, epochs=2, batch_size=8, augmentation="crop", precise_bn=8)

def opened(kind, parts=None):
    return open_source(root if kind == "folder" else Held(held(root, kind)), parts=parts)

trained = []
for kind in ("folder", "arrays", "table", "dataset"):
    source = opened(kind)
    if kind != "folder":
        try:
            descent(recipe, root.parent / kind, source).run({{"signal": 15}})
        except Interrupted as stopped:
            assert "step 1;" in str(stopped)
        source = opened(kind, source.fingerprint())
    stage = descent(recipe, root.parent / kind, source)
    stage.run({{}})
    trained.append(stage.model.get_weights())
for others in trained[1:]:
    assert all(np.array_equal(*pair) for pair in zip(trained[0], others, strict=True))
print("equal", stage.step)
"""


@pytest.mark.slow  # seven small trainings in a process that repeats bit for bit
def test_the_same_weights_come_of_every_kind(root, tmp_path):
    """A folder in one go, and the others stopped after a step and gone on with."""
    process = subprocess.run(
        [sys.executable, "-c", TRAIN, str(root)], capture_output=True, text=True, check=False
    )
    assert "equal 4" in process.stdout, process.stderr[-2000:]
