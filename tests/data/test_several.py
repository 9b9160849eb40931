"""Data sets whose images have several labels each, or none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_inception import Preprocessing
from keras_inception.data import Augmentation, evaluation_batches, open_source, train_batches
from keras_inception.data.inspection import inspect
from keras_inception.data.parts import stratified

SETS = [
    "cat|dog",
    "dog",
    "",
    "cat",
    "dog|fox",
    "cat|dog|fox",
    "",
    "fox",
    "cat",
    "dog",
    "fox|cat",
    "",
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve images, 0.png to 11.png, of shade 10 times their number."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    for i in range(12):
        Image.fromarray(np.full((8, 9), 10 * i, np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


def labels_of(source):
    """Label set of every image by its name."""
    return {
        split.name(i): source.label(split, i)
        for split in source.splits.values()
        for i in range(len(split))
    }


@pytest.mark.parametrize("form", ["|", ";", "columns"])
def test_a_table_of_several_labels(folder, form, caplog):
    if form == "columns":
        lines = ["path,Cat,dog,fox"]
        for i, one in enumerate(SETS):
            flags = [str(int(name in one)) for name in ("cat", "dog", "fox")]
            lines.append(",".join([f"{i}.png", *flags]))
    else:
        lines = ["path,label"] + [f"{i}.png,{s.replace('|', form)}" for i, s in enumerate(SETS)]
    (folder / "table.csv").write_text("\n".join(lines))
    source = open_source(f"csv:{folder / 'table.csv'}", validation_fraction=0.2)
    assert source.class_names == ("Cat" if form == "columns" else "cat", "dog", "fox")
    assert source.num_examples("train") in (7, 8, 9) and source.num_examples("test") in (1, 2, 3)
    in_order = ["|".join(sorted(filter(None, one.split("|")))) for one in SETS]
    assert labels_of(source) == {
        f"{i}.png": one.replace("cat", source.class_names[0]) for i, one in enumerate(in_order)
    }
    train = source.splits["train"]
    assert (
        train.labels.dtype == np.uint8 and train.counts(3).tolist() == train.labels.sum(0).tolist()
    )
    assert train.of_class(1).tolist() == np.flatnonzero(train.labels[:, 1]).tolist()
    assert ("taken for several" in caplog.text) == (form == ";")
    shown = inspect(source)
    assert "0 to 3 labels, 1.2 on average" in shown[1]
    again = open_source(f"csv:{folder / 'table.csv'}", parts=source.fingerprint(), seed=5)
    assert again.fingerprint() == source.fingerprint()


def test_one_yes_or_no_is_the_smallest_case(folder):
    rows = [f"{i}.png,{i % 2}.0" for i in range(12)]
    (folder / "table.csv").write_text("\n".join(["path,crack", *rows]))
    source = open_source(f"csv:{folder / 'table.csv'}")
    assert source.class_names == ("crack",) and source.splits["test"].labels.shape[1] == 1
    shown = inspect(source)
    assert " images of 1 class (" in shown[0] and shown[1].startswith("One class is a yes or no")


def test_numbers_are_ordered_as_numbers_with_their_columns(folder):
    rows = [f"{i}.png,{'10|2' if i % 2 else '2'}" for i in range(12)]
    (folder / "table.csv").write_text("\n".join(["path,label", *rows]))
    source = open_source(f"csv:{folder / 'table.csv'}")
    assert source.class_names == ("2", "10")
    assert labels_of(source)["1.png"] == "2|10" and labels_of(source)["0.png"] == "2"


def test_a_part_without_labels_is_left_out(folder, caplog):
    rows = [f"{i}.png,{'' if i > 9 else SETS[i]},{'test' if i > 9 else 'train'}" for i in range(12)]
    (folder / "table.csv").write_text("\n".join(["path,label,split", *rows]))
    source = open_source(f"csv:{folder / 'table.csv'}")
    assert "The test part of" in caplog.text and set(labels_of(source)) == {
        f"{i}.png" for i in range(10)
    }


def records(folder, lists, key="labels"):
    with tf.io.TFRecordWriter(str(folder / "train-00000-of-00001")) as writer:
        for i, labels in enumerate(lists):
            png = tf.io.encode_png(np.full((9, 9, 3), 10 * i, np.uint8)).numpy()
            features = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[png])),
                key: tf.train.Feature(int64_list=tf.train.Int64List(value=labels)),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


@pytest.mark.parametrize("form", ["lists", "filled up", "flags"])
def test_records_with_lists_of_labels(folder, form):
    lists = [[3, 7], [7], [], [3], [9], [3, 7, 9], [9], [3], [7], [], [3], [7, 9]]
    given = {
        "lists": lists,
        "filled up": [one + [-1] * (3 - len(one)) for one in lists],
        "flags": [[int(n in one) for n in (3, 7, 9)] for one in lists],
    }[form]
    records(folder, given)
    (folder / "labels.txt").write_text("three\nseven\nnine\n")
    source = open_source(f"tfrecord:{folder}", keys="image,labels")
    found = [
        (int(part.pixels(i).numpy().mean()) // 10, source.label(part, i))
        for part in source.splits.values()
        for i in range(len(part))
    ]
    names = {3: "three", 7: "seven", 9: "nine"}
    assert dict(found) == {i: "|".join(names[n] for n in one) for i, one in enumerate(lists)}


def test_a_tfds_set_with_lists_of_labels(folder):
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=["a", "b", "c"])),
        }
    )
    lists = [[0, 2], [1], [], [2], [0], [0, 1], [2], [1, 2], [0], [1]]

    def examples(count):
        for i, one in enumerate(lists[:count]):
            yield {"image": np.full((9, 9, 3), 10 * i, np.uint8), "labels": np.array(one, np.int64)}

    spec = {"image": tf.TensorSpec((9, 9, 3), tf.uint8), "labels": tf.TensorSpec((None,), tf.int64)}
    parts = {
        part: tf.data.Dataset.from_generator(examples, args=(count,), output_signature=spec)
        for part, count in {"train": 10, "test": 3}.items()
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name="several",
        version="1.0.0",
        features=features,
        split_datasets=parts,
        data_dir=str(folder / "tfds"),
    )
    source = open_source("tfds:several", data_dir=str(folder / "tfds"))
    assert source.class_names == ("a", "b", "c") and source.several
    for part in source.splits.values():
        for i in range(len(part)):
            own = lists[int(part.pixels(i).numpy().mean()) // 10]
            assert np.flatnonzero(part.labels[i]).tolist() == own


def test_arrays_of_labels():
    from keras_inception.data import Held

    images = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    flags = np.array([[name in one for name in ("cat", "dog", "fox")] for one in SETS], int)
    for labels in (flags, flags.astype(bool), flags.astype(np.float32)):
        source = open_source(Held((images, labels, ["cat", "dog", "fox"])))
        for part in source.splits.values():
            for i in range(len(part)):
                assert (part.labels[i] == flags[int(part.pixels(i).numpy().max())]).all()


@pytest.mark.parametrize("seed", range(3))
def test_drawn_parts_keep_the_shares_of_rare_labels_and_pairs(seed):
    rng = np.random.default_rng(seed)
    shares = np.array([0.5, 0.3, 0.2, 0.1, 0.05, 0.01])
    labels = (rng.random((2000, 6)) < shares).astype(np.uint8)
    labels[::97, 5] = labels[::97, 4] = 1  # a rare label that comes with another
    groups = np.arange(2000)
    groups[1::10] = groups[::10]  # twins
    kept, held = stratified(labels, 0.2, seed, groups)
    assert sorted([*kept, *held]) == list(range(2000)) and abs(len(held) - 400) <= 3
    assert not set(groups[kept]) & set(groups[held])
    for label in range(6):
        assert abs(labels[held, label].sum() - 0.2 * labels[:, label].sum()) <= 3
    for a, b in itertools.combinations(range(6), 2):
        together = labels[:, a] & labels[:, b]
        assert abs(together[held].sum() - 0.2 * together.sum()) <= 3.5
    assert stratified(labels, 0.2, seed, groups)[1].tolist() == held.tolist()
    assert stratified(labels, 0.2, seed + 9, groups)[1].tolist() != held.tolist()


def test_a_label_with_one_image_keeps_it():
    labels = np.eye(8, dtype=np.uint8).repeat([1, 1, 1, 1, 2, 2, 3, 30], axis=0)
    for seed in range(5):
        kept, held = stratified(labels, 0.4, seed)
        assert labels[kept].any(0).all() and len(held) >= 10


def test_batches_hold_all_labels_of_an_image(folder):
    rows = [f"{i}.png,{SETS[i]}" for i in range(12)]
    (folder / "table.csv").write_text("\n".join(["path,label", *rows]))
    source = open_source(f"csv:{folder / 'table.csv'}")
    contract = Preprocessing((8, 8), crop_fraction=1.0)
    train = source.splits["train"]
    options = {"batch_size": 6, "seed": 0}
    batch = next(iter(train_batches(source, contract, **options)))
    assert batch["label"].numpy().tolist() == train.labels[batch["index"].numpy()].tolist()
    mixed = next(
        iter(train_batches(source, contract, **options, augmentation=Augmentation(mix="mixup")))
    )
    assert mixed["label"].shape == (6, 3) and 0 <= mixed["label"].numpy().min()
    (test,) = evaluation_batches(source, "test", contract, batch_size=4)
    real = test["weight"].numpy() > 0
    assert test["label"].numpy()[real].tolist() == source.splits["test"].labels.tolist()
