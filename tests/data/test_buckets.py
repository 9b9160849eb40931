"""Data sets in a bucket: as the same files on this machine."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_inception import cli
from keras_inception.buckets import as_path
from keras_inception.data import open_source
from keras_inception.files import write

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))


def upload(folder, address):
    """Copies a folder of this machine into a bucket; returns its address there."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            target = f"{address}/{path.relative_to(folder.parent).as_posix()}"
            tf.io.gfile.makedirs(target.rpartition("/")[0])
            tf.io.gfile.copy(str(path), target)
    return f"{address}/{folder.name}"


def image(path, kind="PNG", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (4, 5, 3), np.uint8)
    Image.fromarray(pixels).resize((20, 16), Image.BICUBIC).save(path, kind, **options)


def contents(source):
    """Part -> (name, class, pixels) of its examples."""
    return {
        part: [
            (split.name(i), source.class_names[split.labels[i]], split.pixels(i).numpy().tolist())
            for i in range(len(split))
        ]
        for part, split in source.splits.items()
    }


def test_class_folders(tmp_path, bucket):
    root = tmp_path / "data"
    turned = Image.Exif()
    turned[0x0112] = 6
    for part in ("Training", "Testing"):
        for name in ("Kätzchen", "dog"):
            for i in range(4):
                image(root / part / name / f"{i}.png")
            image(root / part / name / "deeper" / "no_ending")
            write(root / part / name / "notes.txt", "no image")
            write(root / part / name / ".DS_Store", "x")
    image(root / "Training" / "dog" / "turned.jpg", "JPEG", exif=turned)
    image(root / "Training" / "dog" / "old.tif", "TIFF")
    here = open_source(f"folder:{root}", seed=3)
    there = open_source(f"folder:{upload(root, bucket)}", seed=3)
    assert contents(there) == contents(here)
    assert there.left_out == here.left_out and there.provenance["converted"]["TIFF"]
    assert there.fingerprint() == here.fingerprint()
    assert there.describe("train", 0) == f"{bucket}/data/{there.splits['train'].name(0)}"


def test_each_folder_is_listed_once(tmp_path, bucket, monkeypatch):
    """Each listing of a bucket is a request, of a folder of many files several."""
    for part in ("train", "test"):
        for name in "ab":
            image(tmp_path / "data" / part / name / "deeper" / "0.png")
            image(tmp_path / "data" / part / name / "1.png")
    address = upload(tmp_path / "data", bucket)
    listed, listdir = [], tf.io.gfile.listdir
    monkeypatch.setattr(tf.io.gfile, "listdir", lambda path: listed.append(path) or listdir(path))
    open_source(f"folder:{address}")
    assert len(listed) == 1 + 2 + 4 + 4 and len(set(listed)) == len(listed)


def test_tables_beside_their_images_and_on_this_machine(tmp_path, bucket):
    root = tmp_path / "data"
    lines = ["path,label"]
    for i in range(12):
        image(root / "images" / f"{i}.png")
        lines.append(f"images/{i}.png,{'ab'[i % 2]}")
    write(root / "table.csv", "\n".join(lines))
    address = upload(root, bucket)
    here, there = (contents(open_source(f"csv:{where}/table.csv")) for where in (root, address))
    assert there == here
    full = "\n".join(line.replace("images/", f"{address}/images/") for line in lines)
    write(tmp_path / "full.csv", full)
    found = contents(open_source(f"csv:{tmp_path / 'full.csv'}"))
    assert [row[1:] for row in found["test"]] == [row[1:] for row in here["test"]]
    write(tmp_path / "full.csv", f"{full}\n{address}/images/12.png,a")
    with pytest.raises(ValueError, match="1 of the 13 images in .* are not there.*/12.png"):
        open_source(f"csv:{tmp_path / 'full.csv'}")


def test_shards(tmp_path, bucket):
    root = tmp_path / "shards"
    root.mkdir()
    for part in ("train", "validation"):
        with tf.io.TFRecordWriter(str(root / f"{part}-00000-of-00001")) as writer:
            for i in range(10):
                example = tf.train.Example()
                pixels = tf.io.encode_png(np.full((8, 9, 3), 10 * i, np.uint8)).numpy()
                example.features.feature["image/encoded"].bytes_list.value.append(pixels)
                example.features.feature["image/class/label"].int64_list.value.append(i % 2)
                writer.write(example.SerializeToString())
    packed = root / "validation-00000-of-00001"
    packed.write_bytes(gzip.compress(packed.read_bytes()))
    write(root / "labels.txt", "0:even\n1:odd\n")
    address = upload(root, bucket)
    here = open_source(f"tfrecord:{root}")
    there = open_source(f"tfrecord:{address}")
    assert there.class_names == ("even", "odd") and contents(there) == contents(here)
    tf.io.gfile.copy(f"{address}/labels.txt", f"{address}/train-0.array_record")
    with pytest.raises(ValueError, match="ArrayRecord files are read on this machine only"):
        open_source(f"tfrecord:{address}")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("folder:{}/nowhere", "There is no folder ram://.*/nowhere"),
        ("csv:{}/nowhere.csv", "There is no file ram://.*/nowhere.csv"),
        ("tfrecord:{}/nowhere", "There is no folder ram://.*/nowhere"),
        ("folder:ftp://host/folder", "No file system is known for ftp://; gs:// is"),
        ("folder:s3://bucket/folder", "cannot be read: File system scheme 's3' not implemented"),
    ],
)
def test_what_is_not_there_is_said(dataset, message, bucket):
    with pytest.raises((ValueError, OSError), match=message) as caught:
        open_source(dataset.format(bucket))
    assert "\n" not in str(caught.value)


def test_inspect_reads_a_bucket_and_writes_here(tmp_path, bucket, capsys):
    for name in "ab":
        for i in range(4):
            image(tmp_path / "data" / name / f"{i}.png")
    address = upload(tmp_path / "data", bucket)

    def inspect(output):
        with pytest.raises(SystemExit) as ended:
            cli.run(["inspect", f"folder:{address}", f"--output={output}"])
        return ended.value.code, capsys.readouterr()

    code, said = inspect(tmp_path / "sheet.html")
    assert code == 0 and "8 images of 2 classes" in said.out
    code, said = inspect(f"{bucket}/sheet.html")
    assert code == 2 and f"on this machine only. Received: {bucket}/sheet.html" in said.err


def test_paths():
    assert str(as_path("gs://bucket/a") / "b") == "gs://bucket/a/b"
    with pytest.raises(ValueError, match="Received: gs://bucket/a"):
        write(as_path("gs:/bucket/a"), "")
