"""ImageNet's kind of TFRecord shards."""

from __future__ import annotations

import dataclasses
import gzip
import io

import numpy as np
import pytest
import tensorflow as tf
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from keras_inception import Preprocessing, bar
from keras_inception.data import Augmentation, open_source, train_batches
from keras_inception.data.order import in_file_order
from keras_inception.data.sources import shards as module

SHADES = {1: 40, 2: 120, 3: 220}  # label, counted from 1 -> brightness of its images


def write(folder, part, shards, examples, text=True, array=False):
    """`examples` images of one shade each, dealt to the shards in turn. Returns their labels."""
    labels = []
    end = ".array_record" if array else ""
    names = [folder / f"{part}{end}-{i:05d}-of-{shards:05d}" for i in range(shards)]
    open_writer = ArrayRecordWriter if array else tf.io.TFRecordWriter
    writers = [open_writer(str(name)) for name in names]
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
def shards(tmp_path, monkeypatch, request):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    folder = tmp_path / "imagenet"
    folder.mkdir()
    array = getattr(request, "param", "TFRecord") == "ArrayRecord"
    write(folder, "train", 4, 30, array=array)
    write(folder, "validation", 2, 9, array=array)
    return folder


@pytest.mark.parametrize("shards", ["TFRecord", "ArrayRecord"], indirect=True)
def test_images_belong_to_their_labels(shards):
    source = open_source(f"tfrecord:{shards}", validation_fraction=0.1)
    assert source.class_names == ("shade 1", "shade 2", "shade 3")
    assert source.provenance["labels"] == [1, 2, 3]
    counts = {split: source.num_examples(split) for split in ("train", "validation", "test")}
    assert counts == {"train": 27, "validation": 3, "test": 9}
    for split in counts:
        part = source.splits[split]
        for i in range(len(part)):
            pixels = part.pixels(i).numpy()
            assert abs(pixels.mean() - SHADES[1 + part.labels[i]]) < 2
    assert "-of-00002 at " in source.describe("test", 0)


def test_batches_are_the_same_after_the_index_was_kept(shards, capsys, monkeypatch):
    monkeypatch.setattr(bar, "_SECONDS_IN_A_LOG", 0)
    contract = Preprocessing(size=(16, 16))

    def first():
        source = open_source(f"tfrecord:{shards}")
        how = Augmentation("inception")
        batches = train_batches(source, contract, batch_size=8, seed=3, augmentation=how)
        return next(iter(batches))

    one = first()
    assert "4 of 4 shards indexed" in capsys.readouterr().err
    two = first()
    assert "indexed" not in capsys.readouterr().err
    for key in one:
        np.testing.assert_array_equal(one[key], two[key])


def test_records_read_together_are_those_read_one_by_one(shards):
    source = open_source(f"tfrecord:{shards}", validation_fraction=0.1)
    train = source.splits["train"]
    numbers = tf.constant([5, 0, 26, 5], tf.int64)
    together = train.images(numbers).numpy().tolist()
    assert together == [train.image(i).numpy() for i in numbers]
    alone = dataclasses.replace(train, images=None)
    arguments = {"batch_size": 20, "seed": 1, "augmentation": Augmentation("crop"), "start_step": 2}
    batches = [
        next(iter(train_batches(one, Preprocessing(size=(16, 16)), **arguments)))
        for one in (source, dataclasses.replace(source, splits={**source.splits, "train": alone}))
    ]
    for key in batches[0]:
        np.testing.assert_array_equal(batches[0][key], batches[1][key])


def test_an_unreadable_image_is_named_once_and_left_out(shards, caplog):
    """In 240 records one is no image: below the limit of 1 %."""
    write(shards, "train", 4, 200)
    example = tf.train.Example()
    example.features.feature["image/encoded"].bytes_list.value.append(b"\xff\xd8\xff no image")
    example.features.feature["image/class/label"].int64_list.value.append(2)
    with tf.io.TFRecordWriter(str(shards / "train-00003-of-00004")) as writer:
        for _ in range(2):
            writer.write(example.SerializeToString())
    with pytest.raises(ValueError, match="2 of 161 images.*train-00003-of-00004 at byte 12"):
        open_source(f"tfrecord:{shards}")
    with tf.io.TFRecordWriter(str(shards / "train-00003-of-00004")) as writer:
        writer.write(example.SerializeToString())
    source = open_source(f"tfrecord:{shards}", validation_fraction=0.0)
    assert "Left out 1 unreadable images: train-00003-of-00004 at byte 12" in caplog.text
    assert source.num_examples("train") == 150
    for batch in train_batches(source, Preprocessing(size=(8, 8)), batch_size=50, seed=0).take(3):
        assert batch["image"].shape == (50, 8, 8, 3)


def test_an_odd_image_among_records(shards):
    """An animation, which TensorFlow does not decode rightly, read alone and with others."""
    frames = [Image.new("RGB", (30, 20), color) for color in ("gray", "white")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    example = tf.train.Example()
    example.features.feature["image/encoded"].bytes_list.value.append(buffer.getvalue())
    example.features.feature["image/class/label"].int64_list.value.append(2)
    with tf.io.TFRecordWriter(str(shards / "train-00003-of-00004")) as writer:
        writer.write(example.SerializeToString())
    source = open_source(f"tfrecord:{shards}", validation_fraction=0.0)
    train = source.splits["train"]
    (odd,) = np.flatnonzero(train.facts["odd"])
    np.testing.assert_array_equal(train.pixels(odd), np.full((20, 30, 3), 128))
    batches = train_batches(
        source,
        Preprocessing(size=(8, 8)),
        batch_size=len(train),
        seed=0,
        augmentation=Augmentation("crop"),
    )
    batch = next(iter(batches))
    image = batch["image"][np.flatnonzero(batch["index"] == odd)[0]]
    want = Preprocessing(size=(8, 8)).scale(np.full((8, 8, 3), 128, np.float32))
    np.testing.assert_allclose(image, want, atol=0.01)


def test_names_from_a_file(shards):
    (shards / "labels.txt").write_text("a\nb\nc\n")
    assert open_source(f"tfrecord:{shards}").class_names == ("a", "b", "c")
    (shards / "labels.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match="has 2 names, and the records 3 classes"):
        open_source(f"tfrecord:{shards}")


def test_names_and_numbers_as_tf_slim_writes_them(tmp_path, monkeypatch):
    """flowers_train_00000-of-00002.tfrecord, "0:daisy" in labels.txt, and packed shards."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    folder = tmp_path / "flowers"
    folder.mkdir()
    write(folder, "train", 2, 12, text=False)
    write(folder, "validation", 1, 6, text=False)
    for path in list(folder.iterdir()):
        part, rest = path.name.split("-", 1)
        content = path.read_bytes()
        packed = gzip.compress(content) if part == "train" else content
        (folder / f"flowers_{part}_{rest}.tfrecord").write_bytes(packed)
        path.unlink()
    (folder / "model.ckpt-train.data-00000-of-00001").write_bytes(b"a checkpoint's")
    (folder / "labels.txt").write_text("3:tulips\n1:daisy\n2:röses\n", encoding="utf-8")
    source = open_source(f"tfrecord:{folder}", validation_fraction=0.0)
    assert source.class_names == ("daisy", "röses", "tulips")
    for split, count in (("train", 12), ("test", 6)):
        part = source.splits[split]
        assert len(part) == count
        for i in range(count):
            assert abs(part.pixels(i).numpy().mean() - SHADES[1 + part.labels[i]]) < 2
    shard = folder / "flowers_train_00000-of-00002.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(ValueError, match="00000-of-00002.tfrecord cannot be unpacked"):
        open_source(f"tfrecord:{folder}")
    shard.write_bytes(gzip.compress(bytes(50_000_000)))
    with pytest.raises(ValueError, match="more than 20 times its compressed size"):
        open_source(f"tfrecord:{folder}")


def test_what_cannot_be_read_is_named(shards, tmp_path):
    damaged = shards / "train-00002-of-00004"
    damaged.write_bytes(damaged.read_bytes()[:-30])
    with pytest.raises(ValueError, match="train-00002-of-00004 is damaged: its record at byte"):
        open_source(f"tfrecord:{shards}")
    with tf.io.TFRecordWriter(str(damaged)) as writer:
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(ValueError, match="train-00002-of-00004 at byte 12 has no 'image/encoded'"):
        open_source(f"tfrecord:{shards}")
    with pytest.raises(ValueError, match="has no training shards"):
        open_source(f"tfrecord:{tmp_path}")
    with pytest.raises(ValueError, match="There is no folder"):
        open_source(f"tfrecord:{tmp_path / 'nowhere'}")


def test_large_sets_are_read_from_file_to_file(shards, monkeypatch):
    """The same examples in the files' order, each epoch anew; resuming is bit for bit."""
    monkeypatch.setattr(module, "SEQUENTIAL_BYTES", 1000)
    monkeypatch.setattr(module, "BLOCK_BYTES", 700)  # records of some 600 bytes straddle blocks
    monkeypatch.setattr(module, "WINDOW_BYTES", 3000)
    source = open_source(f"tfrecord:{shards}", validation_fraction=0.1)
    train = source.splits["train"]
    assert 2 <= train.window <= 8 and len(np.unique(train.shards)) == 4
    contract = Preprocessing(size=(8, 8))

    def stream(**changes):
        arguments = {"batch_size": 4, "seed": 5, "augmentation": Augmentation("flip")} | changes
        return train_batches(source, contract, **arguments)

    def take(batches, count):
        return [{k: v.numpy() for k, v in batch.items()} for batch in batches.take(count)]

    whole = take(stream(), 14)
    for step in (1, 7, 12):
        for one, other in zip(
            whole[step : step + 2], take(stream(start_step=step), 2), strict=True
        ):
            for key in one:
                np.testing.assert_array_equal(one[key], other[key])
    seen = np.concatenate([batch["index"] for batch in whole])[: 2 * len(train)]
    first, second = seen[: len(train)], seen[len(train) :]
    for epoch in (first, second):
        assert sorted(epoch) == list(range(len(train)))
        # Whole files: a file's examples end before those of the file after the next begin.
        files = train.shards[epoch]
        spans = sorted(
            (np.flatnonzero(files == f).min(), np.flatnonzero(files == f).max()) for f in range(4)
        )
        for (_, end), (begin, _) in zip(spans, spans[2:], strict=False):
            assert end < begin + train.window
    assert (first != second).any()
    assert (np.diff(first) != 1).sum() > len(train) / 4  # shuffled
    for batch in whole[:3]:
        for i, label in zip(batch["index"], batch["label"].argmax(1), strict=True):
            assert abs(int(train.pixels(i).numpy().mean()) - SHADES[label + 1]) < 4

    # A block is read once a window, or twice where it straddles two; never once a record.
    files = sorted(map(str, shards.glob("train-*")))
    records = module.index_shards(files, module.Keys(), shards)
    blocks = module._Blocks()
    order = in_file_order(np.random.default_rng(0), records.shard, records.window)
    for i in order:
        path, at, length = records.shards[records.shard[i]], records.offset[i], records.length[i]
        with open(path, "rb") as file:
            file.seek(at)
            assert blocks.read(path, int(at), int(length)) == file.read(length)
    sizes = [
        -(-(shards / name).stat().st_size // 700)
        for name in {p.split("/")[-1] for p in records.shards}
    ]
    assert blocks.reads <= sum(sizes)


def test_small_sets_are_read_at_random(shards):
    train = open_source(f"tfrecord:{shards}", validation_fraction=0.1).splits["train"]
    assert train.shards is None


@pytest.mark.parametrize("window", [1, 7, 1000])
def test_the_files_order_is_a_permutation(window):
    sizes = [40, 3, 25, 60]
    files = np.repeat(np.arange(4) * 10, sizes)
    order = in_file_order(np.random.default_rng(1), files, window)
    assert sorted(order) == list(range(128))
    other = in_file_order(np.random.default_rng(2), files, window)
    assert (order != other).any()
    whole = np.argsort(order)  # where each example comes
    begin = {f: whole[files == f].min() for f in np.unique(files)}
    drawn = np.concatenate([np.flatnonzero(files == f) for f in sorted(begin, key=begin.get)])
    if window < 20:  # larger windows mix files, whose order then no longer shows
        assert np.abs(np.argsort(drawn) - whole).max() < window
