"""ImageNet's kind of TFRecord shards."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_inception import Preprocessing
from keras_inception.data import open_source, train_batches
from keras_inception.data.sources import decode

SHADES = {1: 40, 2: 120, 3: 220}  # label, counted from 1 -> brightness of its pictures


def write(folder, part, shards, examples, text=True):
    """`examples` pictures of one shade each, dealt to the shards in turn. Returns their labels."""
    labels = []
    names = [folder / f"{part}-{i:05d}-of-{shards:05d}" for i in range(shards)]
    writers = [tf.io.TFRecordWriter(str(name)) for name in names]
    for i in range(examples):
        label = 1 + i % 3
        pixels = np.full((20 + i, 30, 3), SHADES[label], np.uint8)
        features = {
            "image/encoded": tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[tf.io.encode_jpeg(pixels).numpy()])
            ),
            "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        }
        if text:
            features["image/class/text"] = tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[f"shade {label}".encode()])
            )
        example = tf.train.Example(features=tf.train.Features(feature=features))
        writers[i % shards].write(example.SerializeToString())
        labels.append(label)
    for writer in writers:
        writer.close()
    return labels


@pytest.fixture
def shards(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    folder = tmp_path / "imagenet"
    folder.mkdir()
    write(folder, "train", 4, 30)
    write(folder, "validation", 2, 9)
    return folder


def test_pictures_belong_to_their_labels(shards):
    source = open_source(f"tfrecord:{shards}", validation_fraction=0.1)
    assert source.class_names == ("shade 1", "shade 2", "shade 3")
    assert source.provenance["first label"] == 1
    counts = {split: source.num_examples(split) for split in ("train", "validation", "test")}
    assert counts == {"train": 27, "validation": 3, "test": 9}
    for split in counts:
        part = source.splits[split]
        for i in range(len(part)):
            pixels = decode(part.picture(tf.constant(i, tf.int64)), 3).numpy()
            assert abs(pixels.mean() - SHADES[1 + part.labels[i]]) < 2
    assert "-of-00002 at byte" in source.describe("test", 0)


def test_batches_are_the_same_after_the_index_was_kept(shards, capsys):
    contract = Preprocessing(size=(16, 16))

    def first():
        source = open_source(f"tfrecord:{shards}")
        batches = train_batches(source, contract, batch_size=8, seed=3, augmentation="inception")
        return next(iter(batches))

    one = first()
    assert "indexed 4 of 4 shards, 30 records" in capsys.readouterr().err
    two = first()
    assert "indexed" not in capsys.readouterr().err
    for key in one:
        np.testing.assert_array_equal(one[key], two[key])


def test_names_from_a_file(shards):
    (shards / "labels.txt").write_text("a\nb\nc\n")
    assert open_source(f"tfrecord:{shards}").class_names == ("a", "b", "c")
    (shards / "labels.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match="has 2 names, and the records 3 classes"):
        open_source(f"tfrecord:{shards}")


def test_what_cannot_be_read_is_named(shards, tmp_path):
    damaged = shards / "train-00002-of-00004"
    damaged.write_bytes(damaged.read_bytes()[:-30])
    with pytest.raises(ValueError, match="train-00002-of-00004 is damaged: its record at byte"):
        open_source(f"tfrecord:{shards}")
    with tf.io.TFRecordWriter(str(damaged)) as writer:
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(ValueError, match="at byte 0 has no 'image/class/label'"):
        open_source(f"tfrecord:{shards}")
    with pytest.raises(ValueError, match="has no training shards"):
        open_source(f"tfrecord:{tmp_path}")
    with pytest.raises(ValueError, match="There is no folder"):
        open_source(f"tfrecord:{tmp_path / 'nowhere'}")
