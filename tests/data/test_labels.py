"""Labels and classes: one rule, whatever the images come from."""

from __future__ import annotations

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from keras_inception.data import open_source
from keras_inception.data.splits import Source, array_split
from keras_inception.evaluation.protocol import evaluate
from keras_inception.identity import Identity
from keras_inception.preprocessing import Preprocessing
from keras_inception.runtime import Classifier


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))


def pixels(number, side=8):
    """An image like no other."""
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)


def png(number):
    return tf.io.encode_png(pixels(number)).numpy()


def record(**features):
    """A tf.train.Example; "__" in a key stands for "/"."""
    example = tf.train.Example()
    for key, values in features.items():
        feature = example.features.feature[key.replace("__", "/")]
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, bytes):
                feature.bytes_list.value.append(value)
            elif isinstance(value, float):
                feature.float_list.value.append(value)
            else:
                feature.int64_list.value.append(value)
    return example.SerializeToString()


def write_records(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in records:
            writer.write(one)


def labelled_records(folder, **parts):
    """A shard a part, of ImageNet's keys; a label None is left away."""
    number = 0
    for part, labels in parts.items():
        rows = []
        for label in labels:
            number += 1
            given = {} if label is None else {"image__class__label": label}
            rows.append(record(image__encoded=png(number), **given))
        write_records(folder / f"{part}-00000-of-00001", rows)
    return f"tfrecord:{folder}"


def table(folder, rows):
    """A table of images, of rows (label, part)."""
    lines = ["path,label,split"]
    for number, (label, part) in enumerate(rows):
        Image.fromarray(pixels(number)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{label},{part}")
    (folder / "table.csv").write_text("\n".join(lines))
    return f"csv:{folder / 'table.csv'}"


def store(folder, names, parts, **labels):
    """A TFDS set of class names and of labels a part; `labels` are further features."""
    features = {
        "image": tfds.features.Image(shape=(8, 8, 3), encoding_format="png"),
        "label": tfds.features.ClassLabel(names=names),
        **{name: tfds.features.ClassLabel(names=values) for name, values in labels.items()},
    }
    number, splits = 0, {}
    for part, given in parts.items():
        images = np.stack([pixels(number + i) for i in range(len(given))])
        number += len(given)
        columns = {"image": images} | dict.fromkeys(["label", *labels], np.array(given))
        splits[part] = tf.data.Dataset.from_tensor_slices(columns)
    tfds.dataset_builders.store_as_tfds_dataset(
        name="stored",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets=splits,
        data_dir=str(folder),
        disable_shuffling=True,
    )
    return {"dataset": "tfds:stored", "data_dir": str(folder)}


def sizes(source):
    return [source.num_examples(part) for part in ("train", "validation", "test")]


@pytest.mark.parametrize("missing", [-1, 0, None])
def test_an_unlabelled_part_of_records_is_left_out_and_said(tmp_path, caplog, missing):
    """-1 and no key at all; 0 where classes count from 1."""
    dataset = labelled_records(
        tmp_path / "data", train=[1, 2, 3] * 4, validation=[1, 2, 3], test=[missing] * 5
    )
    source = open_source(dataset)
    assert "The test part of" in caplog.text and "(5 images) has no labels" in caplog.text
    assert sizes(source) == [11, 1, 3]
    assert source.splits["test"].labels.tolist() == [0, 1, 2]


def test_an_unlabelled_part_of_a_tfds_set_is_left_out_and_said(tmp_path, caplog):
    where = store(tmp_path, ["a", "b"], {"train": [0, 1] * 5, "test": [-1] * 4})
    source = open_source(**where, validation_fraction=0.0)
    assert "The test part of stored (4 images) has no labels" in caplog.text
    assert sizes(source) == [8, 0, 2] and source.provenance["splits"]["test"] == "train[80%:]"
    with pytest.raises(ValueError, match="`split` names test, which has no labels"):
        open_source(**where, split="train,test")


@pytest.mark.parametrize("missing", ["", "-1", "-1.0", "0"])
def test_an_unlabelled_part_of_a_table_is_left_out_and_said(tmp_path, caplog, missing):
    rows = [(1 + i % 2, "train") for i in range(10)] + [(missing, "test")] * 3
    source = open_source(table(tmp_path, rows), validation_fraction=0.0)
    assert "(3 images) has no labels" in caplog.text
    assert source.class_names == ("1", "2") and sizes(source) == [8, 0, 2]


def test_labels_of_records_with_gaps_are_as_many_classes(tmp_path):
    dataset = labelled_records(tmp_path / "data", train=[10**9, 7, 300.0] * 5, test=[300, 7])
    source = open_source(dataset, validation_fraction=0.0)
    assert source.class_names == ("7", "300", "1000000000")
    assert source.splits["train"].labels.tolist() == [2, 0, 1] * 5
    assert source.splits["test"].labels.tolist() == [1, 0]
    (tmp_path / "data" / "labels.txt").write_text("seven\nmany\nmore")
    assert open_source(dataset).class_names == ("seven", "many", "more")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        # One part counts from 1, the other from 0.
        (
            {"train": [1, 2, 3], "validation": [0, 1, 2]},
            "validation-00000-of-00001 at byte 12 in .* has the label 0, which no training",
        ),
        ({"train": [0, 1], "test": [1, 5]}, "test-00000-of-00001 at byte .* has the label 5"),
        ({"train": [0, 1, -1]}, "train-00000-of-00001 at byte .* has no label, or a negative one"),
        ({"train": [0, 1], "test": [1, None]}, "test-00000-of-00001 at byte .* has no label"),
        ({"train": [0, 1.5]}, "train-00000-of-00001 at byte .* has the label 1.5 under 'image"),
        ({"train": [0, float("nan")]}, "has the label nan"),
        ({"train": [0, b"cat"]}, "at byte .* has the label b'cat' .* one whole number"),
        ({"train": [4, 4]}, "at least two classes; .* has 1: 4"),
    ],
)
def test_labels_of_records_that_would_be_guessed_are_refused(tmp_path, parts, message):
    with pytest.raises(ValueError, match=message):
        open_source(labelled_records(tmp_path / "data", **parts))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([b"Katze", "Hündin".encode("latin-1")], "at byte .* has no text in UTF-8 under 'image"),
        ([b"Katze", 3], "has no text in UTF-8"),
        ([b"cat", b"dog", b"dog"], "calls its class 'dog', .* label 0 call it 'cat'"),
    ],
)
def test_names_in_records_that_would_be_guessed_are_refused(tmp_path, texts, message):
    rows = [
        record(image__encoded=png(i), image__class__label=i % 2, image__class__text=text)
        for i, text in enumerate(texts)
    ]
    write_records(tmp_path / "data" / "train-00000-of-00001", rows)
    with pytest.raises(ValueError, match=f"train-00000-of-00001 .*{message}"):
        open_source(f"tfrecord:{tmp_path / 'data'}")


def test_names_that_parts_of_records_disagree_about_are_refused(tmp_path):
    for part, names in (("train", (b"cat", b"dog")), ("validation", (b"dog", b"bird"))):
        rows = [
            record(image__encoded=png(i), image__class__label=i, image__class__text=name)
            for i, name in enumerate(names)
        ]
        write_records(tmp_path / "data" / f"{part}-00000-of-00001", rows)
    with pytest.raises(ValueError, match="label 0 is 'cat', and in the validation part 'dog'"):
        open_source(f"tfrecord:{tmp_path / 'data'}")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("1", "train"), ("2.5", "train")], "line 3: the label is 2.5. Labels are whole numbers"),
        ([("1", "train"), ("-1", "train")], "line 3: a row needs a path and a label"),
        (
            [("a", "train"), ("b", "train"), ("a", "test"), ("", "test")],
            "3.png in .* has no label",
        ),
    ],
)
def test_labels_of_tables_that_would_be_guessed_are_refused(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        open_source(table(tmp_path, rows))


def test_ages_that_become_classes_are_said(tmp_path, caplog):
    rows = [(age, part) for part in ("train", "test") for age in (31, 7, 18)]
    source = open_source(table(tmp_path, rows))
    assert source.class_names == ("7", "18", "31")
    assert "Each number is a class, and they stand in the numbers' order: " in caplog.text


def test_features_of_a_tfds_set_are_chosen_or_refused(tmp_path):
    where = store(tmp_path, ["a", "b", "c"], {"train": [0, 1, 0, 1] * 3}, coarse=["x", "y", "z"])
    with pytest.raises(ValueError, match="ClassLabel features .*coarse.*Name an image and a label"):
        open_source(**where)
    # Nothing has the third class.
    with pytest.raises(ValueError, match="has no readable images of z"):
        open_source(**where, keys="image,coarse")
    with pytest.raises(ValueError, match="`keys` names the keys of tfrecord:PATH or tfds:NAME"):
        open_source("fake", keys="image,label")


def test_float_images_are_refused_with_what_to_do(tmp_path):
    features = {
        "image": tfds.features.Image(shape=(8, 8, 1), dtype=np.float32),
        "label": tfds.features.ClassLabel(names=["a", "b"]),
    }
    columns = {"image": np.full((4, 8, 8, 1), 0.5, np.float32), "label": np.array([0, 1] * 2)}
    tfds.dataset_builders.store_as_tfds_dataset(
        name="floats",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": tf.data.Dataset.from_tensor_slices(columns)},
        data_dir=str(tmp_path),
    )
    with pytest.raises(ValueError, match="multiply values in 0..1 by 255"):
        open_source("tfds:floats", data_dir=str(tmp_path))
    with pytest.raises(ValueError, match="multiply values in 0..1 by 255.*Received: float32"):
        array_split(columns["image"], columns["label"], "image")


def test_records_as_kaggle_and_keras_io_write_them(tmp_path, caplog):
    """Any name of a shard; the part in the folder's name; keys found, or named."""
    folder = tmp_path / "tfrecords-jpeg-8x8"
    for part, count in (("train", 9), ("val", 6), ("test", 4)):
        given = [{} if part == "test" else {"class": i % 3} for i in range(count)]
        rows = [
            record(image=png(i + 100 * count), id=b"%d" % i, **label)
            for i, label in enumerate(given)
        ]
        write_records(folder / part / f"00-8x8-{count}.tfrec", rows)
    want = pixels(900 + 4)
    for dataset in (f"tfrecord:{folder}", f"tfrecord:{folder}/*/*.tfrec"):
        caplog.clear()
        source = open_source(dataset, validation_fraction=0.0)
        assert "images are taken from 'image', labels from 'class'" in caplog.text
        assert "(4 images) has no labels" in caplog.text
        assert sizes(source) == [9, 0, 6] and source.class_names == ("0", "1", "2")
        assert source.describe("train", 4).startswith("train/00-8x8-9.tfrec at byte ")
        np.testing.assert_array_equal(source.splits["train"].pixels(4), want)
        assert source.splits["train"].labels.tolist() == [0, 1, 2] * 3
    whole = open_source(f"tfrecord:{folder}/train/*.tfrec", validation_fraction=0.0)
    assert sum(sizes(whole)) == 9  # all of one folder: no name says a part

    rows = [record(image=png(i), path=b"x", category_id=i % 2, image_id=i) for i in range(10)]
    write_records(tmp_path / "coco" / "file_00-10.tfrec", rows)
    with pytest.raises(ValueError, match="category_id and image_id may hold a label.*Name both"):
        open_source(f"tfrecord:{tmp_path / 'coco'}")
    source = open_source(f"tfrecord:{tmp_path / 'coco'}", keys="image,category_id")
    assert sum(sizes(source)) == 10 and source.class_names == ("0", "1")
    network = Classifier(Sums(), Identity("", (), Preprocessing(size=(8, 8)), NUMBERS))
    found = evaluate(network, f"tfrecord:{tmp_path / 'coco'}", keys="image,category_id", verbose=0)
    assert found["provenance"]["keys"] == "image,category_id"
    assert found["images"] == source.num_examples("test")
    with pytest.raises(ValueError, match="file_00-10.tfrec have no 'kind'; they have"):
        open_source(f"tfrecord:{tmp_path / 'coco'}", keys="image,kind")


NUMBERS = [str(i) for i in range(12)]


class Sums:
    """An engine whose answers numpy can repeat."""

    name, input_shape, classes = "numpy", (8, 8, 3), 12

    def __call__(self, images):
        kernel = np.random.default_rng(0).normal(size=(8 * 8 * 3, 12)) / 20
        return keras.ops.convert_to_numpy(
            keras.ops.softmax(images.reshape(len(images), -1) @ kernel)
        )


def test_the_same_images_give_the_same_figures_from_every_source(tmp_path, caplog):
    """Twelve classes called 0 to 11, which text would sort as 0, 1, 10, 11, 2, ..."""
    parts = {"train": 0, "validation": 100, "test": 200}
    images = {
        part: [(pixels(first + i), i % 12) for i in range(24)] for part, first in parts.items()
    }
    lines = ["path,label,split"]
    for part, examples in images.items():
        for i, (image, label) in enumerate(examples):
            path = tmp_path / "folder" / part / str(label) / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
            lines.append(f"{path},{label},{part}")
        rows = [
            record(image__encoded=tf.io.encode_png(image).numpy(), image__class__label=label)
            for image, label in examples
        ]
        write_records(tmp_path / "records" / f"{part}-00000-of-00001", rows)
    (tmp_path / "table.csv").write_text("\n".join(lines))
    in_order_of_text = sorted(NUMBERS)
    tfds.dataset_builders.store_as_tfds_dataset(
        name="same",
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(8, 8, 3), encoding_format="png"),
                "label": tfds.features.ClassLabel(names=in_order_of_text),
            }
        ),
        split_datasets={
            part: tf.data.Dataset.from_tensor_slices(
                {
                    "image": np.stack([image for image, _ in examples]),
                    "label": [in_order_of_text.index(str(label)) for _, label in examples],
                }
            )
            for part, examples in images.items()
        },
        data_dir=str(tmp_path / "tfds"),
    )
    arrays = {
        part: array_split(
            np.stack([image for image, _ in examples]),
            np.array([label for _, label in examples]),
            "image",
        )
        for part, examples in images.items()
    }
    sources = [
        Source("arrays", tuple(NUMBERS), arrays, {}),
        open_source(f"folder:{tmp_path / 'folder'}"),
        open_source(f"csv:{tmp_path / 'table.csv'}"),
        open_source(f"tfrecord:{tmp_path / 'records'}"),
        open_source("tfds:same", data_dir=str(tmp_path / "tfds")),
    ]
    said = "they stand in the numbers' order: output 0 = '0', output 1 = '1', output 2 = '2'"
    assert caplog.text.count(said) == 4
    contract = Preprocessing(size=(8, 8))
    caplog.set_level(logging.WARNING)
    for names in (tuple(NUMBERS), ()):
        network = Classifier(Sums(), Identity("", (), contract, names))
        figures = [evaluate(network, source)["results"][0] for source in sources]
        for one in figures[1:]:
            for figure in ("accuracy", "top5_accuracy", "calibration", "confusion_matrix"):
                assert one[figure] == figures[0][figure]
    # Without names, the order is what decides.
    assert "output 2 = '2'" in caplog.text
