"""Folders of images as people have them: parts, leftovers, links, formats, equal files."""

from __future__ import annotations

import io
import logging
import os
import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_inception
from keras_inception import Preprocessing
from keras_inception.data import Augmentation, inspected, open_source, train_batches
from keras_inception.data.decode import Decoding
from keras_inception.data.facts import find_facts
from keras_inception.data.kept import folder_of_kept
from keras_inception.data.sources.opening import part_named

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))


def an_image(shade, dtype=np.uint8):
    """An image like no other."""
    values = RNG.normal(shade, 20, (10, 12, 3)).clip(0, 255)
    return Image.fromarray(values.astype(dtype))


def fill(folder, count, shade=100):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        an_image(shade).save(folder / f"{i:03d}.png")


def tree(root, *folders, count=4):
    for folder in folders:
        fill(root / folder, count)
    return root


def sizes(source):
    return [source.num_examples(part) for part in ("train", "validation", "test")]


def names(source):
    return {s.name(i) for s in source.splits.values() for i in range(len(s))}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("TRAIN_DATA", "train"),
        ("seg-train", "train"),
        ("train2017", "train"),
        ("val", "validation"),
        ("Valid", "validation"),
        ("validation_set", "validation"),
        ("dev", "validation"),
        ("Test", "test"),
        ("testing", "test"),
        ("ImagesTest", "test"),
        ("eval", "test"),
        ("trainers", ""),
        ("contest", ""),
        ("train and test", ""),
        ("images", ""),
    ],
)
def test_part_names(name, part):
    assert part_named(name) == part


@pytest.mark.parametrize(
    ("folders", "want"),
    [
        (("Training/a", "Training/b", "Testing/a", "Testing/b"), [7, 1, 8]),
        (("train/a", "train/b", "valid/a", "valid/b", "test/a", "test/b"), [8, 8, 8]),
        (("seg_train/a", "seg_train/b", "seg_eval/a", "seg_eval/b"), [7, 1, 8]),
        # Images directly in a folder: a class, whatever its name.
        (("car", "train", "test_tube"), [9, 1, 2]),
        # Below the folder of a part, a class may have folders of its own.
        (("train/a/images", "train/b/images", "val/a/x", "val/b/y"), [6, 8, 2]),
    ],
)
def test_parts_are_known_by_what_they_hold_and_by_their_names(tmp_path, folders, want):
    source = open_source(f"folder:{tree(tmp_path / 'data', *folders)}", validation_fraction=0.1)
    assert sizes(source) == want


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("data/a", "data/b"), r"data has no image directly in it, but folders \(a, b\)"),
        (("train/a", "train/b", "extra/a"), "extra has no image directly in it"),
        (("a/x", "a/y", "b"), r"a has no image directly in it, but folders \(x, y\)"),
        (("train/a", "Training/b"), "two folders for the train part"),
        (("test/a", "test/b"), "has no training part, only test"),
        (("train", "test"), "images directly in test, train, which are names of parts"),
        (("train/a", "train/b", "cats"), "beside them a folder with images, cats"),
        (("train/a", "train/b", "test/a", "test/c"), "class folders that .*train lacks: c"),
        (("a\nb", "c"), r"Received: 'a\\\\nb' with U\+000A"),
        (("\u00e9", "e\u0301"), "differ only in how their accents"),
        (("only",), "at least two class folders with images; .* has 1: only"),
    ],
)
def test_what_is_no_data_set_is_refused_with_what_was_found(tmp_path, folders, message):
    with pytest.raises(ValueError, match=message):
        open_source(f"folder:{tree(tmp_path / 'data', *folders, count=1)}")


def test_unlabelled_images_of_a_part_are_said(tmp_path, caplog):
    root = tree(tmp_path / "data", "train/a", "train/b", "test")
    source = open_source(f"folder:{root}")
    assert "images without labels, directly in test/ (4): test/000.png" in caplog.text
    assert sizes(source) == [5, 1, 2] and not any("test/" in name for name in names(source))


def test_class_names_of_any_script(tmp_path):
    classes = ["Kätzchen", "μ", "кот", "बिल्ली", "猫", "고양이"]
    source = open_source(f"folder:{tree(tmp_path / 'data', *classes, count=3)}")
    assert source.class_names == tuple(classes)


def test_what_is_in_a_class_folder_is_used_by_content_or_named(tmp_path, caplog):
    root = tree(tmp_path / "data", "a", "b")
    here = root / "a"
    for name, kind in {
        "x.jfif": "JPEG",
        "x.jpe": "JPEG",
        "no_ending": "JPEG",
        "y.webp": "WEBP",
        "z.TIF": "TIFF",
        "z.avif": "AVIF",
        "a_tiff.jpg": "TIFF",
    }.items():
        an_image(100).save(here / name, kind)
    gray = Image.fromarray(np.arange(120, dtype=np.uint16).reshape(10, 12) * 500)
    gray.save(here / "deep.tiff")
    fill(here / "deeper", 1)
    used = {f"a/{p.name}" for p in here.iterdir() if p.is_file()} | {"a/deeper/000.png"}
    for leftover in ("._x.jpg", ".DS_Store", "Thumbs.db"):
        (here / leftover).write_bytes(b"x")
    for folder in (".ipynb_checkpoints", "@eaDir"):
        fill(here / folder, 1)
    tree(root, "__MACOSX/a", "empty/.hidden", count=1)
    (here / "notes.txt").write_text("no image")
    (here / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (here / os.fsdecode(b"caf\xe9.png")).write_bytes((here / "000.png").read_bytes())
    an_image(0).save(root / "stray.png")
    os.mkfifo(here / "fifo.jpg")
    fill(tmp_path / "elsewhere", 1)
    for target, link in {
        "/dev/zero": "zero.jpg",
        "/nowhere": "dangling.jpg",
        "itself.jpg": "itself.jpg",
        here: "loop",
        tmp_path / "elsewhere": "linked",
    }.items():
        os.symlink(target, here / link)
    with caplog.at_level(logging.INFO):
        source = open_source(f"folder:{root}")
    assert names(source) == used | {"a/linked/000.png"} | {f"b/{i:03d}.png" for i in range(4)}
    assert {kind: content["count"] for kind, content in source.provenance["left_out"].items()} == {
        ".txt files": 1,
        "FIFOs, sockets and devices": 2,
        "class folders without a file": 1,
        "dangling links": 1,
        "images beside the class folders": 1,
        "images of which HEIC needs the package pillow-heif": 1,
        "leftovers of file managers and notebooks": 6,
        "links to folders, which were followed": 1,
        "links to themselves": 2,
        "names that are not UTF-8": 1,
    }
    for said in ("a/notes.txt", "a/fifo.jpg", "a/dangling.jpg", r"a/caf\xe9.png", "a/photo.heic"):
        assert said in caplog.text
    assert source.provenance["converted"] == {"TIFF": 3, "AVIF": 1}
    by_name = {s.name(i): s.pixels(i) for s in source.splits.values() for i in range(len(s))}
    np.testing.assert_array_equal(by_name["a/a_tiff.jpg"], Image.open(here / "a_tiff.jpg"))
    # 16 bits stay 16 bits on their way through Pillow.
    want = np.round(np.asarray(gray) * (255 / source.decoding.white))
    np.testing.assert_array_equal(by_name["a/deep.tiff"][..., 0], want)


def test_orientation_in_training_and_evaluation(tmp_path):
    """A mirrored copy that notes so is the same image upright, whichever way it is decoded."""
    root = tmp_path / "data"
    for name in "ab":
        (root / "train" / name).mkdir(parents=True)
        image = an_image(100)
        noted = Image.Exif()
        noted[0x0112] = 3
        options = {"quality": 100, "subsampling": 0}
        image.save(root / "train" / name / "upright.jpg", **options)
        image.rotate(180).save(root / "train" / name / "turned.jpg", exif=noted, **options)
    shutil.copytree(root / "train", root / "test")
    train = open_source(f"folder:{root}").splits["train"]
    assert train.facts["orientation"].tolist() == [3, 1, 3, 1]
    for turned, upright in ((0, 1), (2, 3)):
        pair = [train.pixels(i).numpy().astype(int) for i in (turned, upright)]
        # The blocks of 8 x 8 lie elsewhere in the copy, so that its losses are others.
        assert np.abs(pair[0] - pair[1]).mean() <= 8
        part = train.crop(tf.constant(turned, tf.int64), lambda size: tf.constant([1, 2, 5, 6]))
        np.testing.assert_array_equal(part, pair[0][1:6, 2:8])


def test_twelve_bits_in_sixteen_are_said_and_scaled(tmp_path, caplog):
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(3):
            values = RNG.integers(0, 4000, (8, 8)).astype(np.uint16)
            Image.fromarray(values).save(tmp_path / "data" / name / f"{i}.png")
    source = open_source(f"folder:{tmp_path / 'data'}")
    assert source.decoding.white == 4095
    assert "of 65535: they are taken for 12 bits, and 4095 becomes white" in caplog.text
    train = source.splits["train"]
    path = tmp_path / "data" / train.name(0)
    want = np.round(np.asarray(Image.open(path)) * (255 / 4095))
    np.testing.assert_array_equal(train.pixels(0, 1)[..., 0], want)


@pytest.mark.slow
def test_heic_photographs(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the [images] extra")
    root = tree(tmp_path / "data", "a", "b", count=2)
    pixels = np.asarray(Image.fromarray(RNG.integers(0, 256, (4, 6, 3), np.uint8)).resize((48, 32)))
    noted = Image.Exif()
    noted[0x0112] = 6
    for name, options in {"upright": {}, "turned": {"exif": noted.tobytes()}}.items():
        heif = pillow_heif.from_pillow(Image.fromarray(pixels))
        heif.save(root / "a" / f"{name}.heic", quality=95, **options)
    source = open_source(f"folder:{root}", validation_fraction=0.0)
    assert source.provenance["converted"] == {"HEIC": 2}
    by_name = {s.name(i): s.pixels(i) for s in source.splits.values() for i in range(len(s))}
    for name, want in {"upright": pixels, "turned": np.rot90(pixels, -1)}.items():
        got = by_name[f"a/{name}.heic"].numpy().astype(int)
        assert got.shape == want.shape and np.abs(got - want).mean() < 10


def test_images_over_the_limit_of_pixels_are_left_out(tmp_path, caplog):
    root = tree(tmp_path / "data", "a", "b", count=60)
    Image.new("L", (4000, 4000)).save(root / "a" / "bomb.jpg")
    source = open_source(f"folder:{root}", decoding=Decoding(max_pixels=1_000_000))
    assert (
        len(source.unreadable) == 1
        and "more than max_pixels=1000000 pixels" in source.unreadable[0]
    )
    assert "bomb.jpg" in caplog.text


def test_equal_images_across_parts_are_named(tmp_path, caplog):
    root = tree(tmp_path / "data", "train/a", "train/b", "val/a", "val/b")
    shutil.copytree(root / "train", root / "test")
    shutil.copy(root / "train" / "a" / "000.png", root / "train" / "b" / "again.png")
    source = open_source(f"folder:{root}")
    assert source.provenance["duplicates"] == {
        "test in train": {
            "count": 8,
            "examples": [[f"test/a/00{i}.png", f"train/a/00{i}.png"] for i in range(3)],
        },
        "with two classes": {
            "count": 1,
            "examples": [["train/b/again.png", "train/a/000.png"]],
        },
    }
    assert "images of the test part are in the train part as well (8)" in caplog.text
    assert "the same image has two classes (1)" in caplog.text


def test_equal_images_stay_together_when_parts_are_drawn(tmp_path):
    root = tree(tmp_path / "data", "a", "b", count=20)
    for i in range(20):
        shutil.copy(root / "a" / f"{i:03d}.png", root / "a" / f"copy {i:03d}.png")
    source = open_source(f"folder:{root}", validation_fraction=0.25)
    assert sizes(source) == [36, 12, 12]
    assert "duplicates" not in source.provenance


def test_only_what_changed_is_looked_at_again(tmp_path, monkeypatch, caplog):
    from keras_inception.data import facts

    root = tree(tmp_path / "data", "a", "b")
    seen = []
    look = facts._look
    monkeypatch.setattr(
        facts,
        "_look",
        lambda image, rows, *rest: seen.append(len(rows)) or look(image, rows, *rest),
    )
    first = open_source(f"folder:{root}").fingerprint()
    assert open_source(f"folder:{root}").fingerprint() == first
    an_image(5).save(root / "a" / "new.png")
    open_source(f"folder:{root}")
    assert seen == [8, 1]
    for damage in (lambda content: b"", lambda content: content[:50], lambda content: b"PK" * 99):
        for file in folder_of_kept().glob("*.npz"):
            file.write_bytes(damage(file.read_bytes()))
        open_source(f"folder:{root}")
    assert seen == [8, 1, 9, 9, 9] and "is damaged" in caplog.text


def test_odd_images_are_made_plain_once(tmp_path, caplog):
    """Animations, transparent GIF and BMP with a palette, in training as in evaluation."""
    root = tree(tmp_path / "data", "train/a", "train/b", "test/a", "test/b", count=3)
    frames = [an_image(shade).resize((24, 20)) for shade in (60, 180)]
    odd = {
        "a.webp": {"save_all": True, "append_images": frames[1:], "lossless": True},
        "b.gif": {"save_all": True, "append_images": frames[1:]},
        "c.bmp": {},
    }
    for name, options in odd.items():
        image = frames[0] if name == "a.webp" else frames[0].quantize(16)
        image.save(root / "train" / "a" / name, **options)
    with caplog.at_level(logging.INFO):
        source = open_source(f"folder:{root}", validation_fraction=0.0)
    assert source.provenance["converted"] == {"WebP": 1, "GIF": 1, "BMP": 1}
    assert "1 BMP, 1 GIF, 1 WebP" in caplog.text
    train = source.splits["train"]
    for i in range(len(train)):
        with Image.open(root / train.name(i)) as image:
            want = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(train.pixels(i), want)
        np.testing.assert_array_equal(Image.open(io.BytesIO(train.file(i))).convert("RGB"), want)

    contract = Preprocessing(size=(8, 8))
    batches = train_batches(
        source, contract, batch_size=9, seed=1, augmentation=Augmentation("crop")
    )
    assert next(iter(batches))["image"].shape == (9, 8, 8, 3)

    made = sorted((folder_of_kept() / "plain").iterdir())
    times = [path.stat().st_mtime_ns for path in made]
    open_source(f"folder:{root}", validation_fraction=0.0)
    assert [path.stat().st_mtime_ns for path in made] == times and len(made) == 3
    made[0].unlink()
    again = open_source(f"folder:{root}", validation_fraction=0.0)
    assert made[0].exists() and again.fingerprint() == source.fingerprint()


def test_a_cache_that_cannot_be_written_is_said_once_and_does_without(
    tmp_path, monkeypatch, caplog
):
    """As in containers: an earlier version took a good TIFF for damaged."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file" / "home"))
    root = tree(tmp_path / "data", "train/a", "train/b", "test/a", "test/b")
    image = an_image(7)
    image.save(root / "train" / "a" / "tiled.tif")
    source = open_source(f"folder:{root}", validation_fraction=0.0)
    assert caplog.text.count("Nothing is kept for later runs") == 1
    assert not source.unreadable
    train = source.splits["train"]
    (i,) = [i for i in range(len(train)) if train.name(i).endswith(".tif")]
    np.testing.assert_array_equal(train.pixels(i), np.asarray(image))


def test_an_image_that_could_not_be_read_is_looked_at_again(tmp_path):
    """Its name, size and time may be the same: a disk fails and comes back."""
    path = tmp_path / "a.png"

    def found():
        facts = find_facts(lambda i: tf.io.read_file(str(path)), ["a state"], Decoding(), "here")
        return facts["problem"][0]

    assert found() == "it cannot be read"
    an_image(5).save(path)
    assert found() == ""


def test_what_is_kept_is_for_all_users_and_computed_anew_where_a_column_lacks(tmp_path, caplog):
    root = tree(tmp_path / "data", "a", "b")
    first = open_source(f"folder:{root}")
    (file,) = folder_of_kept().glob("facts-*.npz")
    assert file.stat().st_mode & 0o777 == 0o644
    for lacking in ("plain", "key"):
        columns = dict(np.load(file))
        del columns[lacking]
        np.savez(file, **columns)
        caplog.clear()
        again = open_source(f"folder:{root}")
        assert caplog.text.count("is damaged") == 1
        for part, split in first.splits.items():
            for name, column in split.facts.items():
                np.testing.assert_array_equal(again.splits[part].facts[name], column)


def test_warnings_are_among_what_inspect_finds(tmp_path, monkeypatch, caplog):
    """All that opening the data set warns of, and nothing that another thread warns of."""
    root = tree(tmp_path / "data", "train/a", "train/b", "test/a", "test/b", count=3)
    shutil.copy(root / "train" / "a" / "000.png", root / "test" / "a" / "000.png")
    for image in (root / "train" / "b").iterdir():
        Image.fromarray(RNG.integers(0, 4096, (9, 8)).astype(np.uint16)).save(image)

    def warn_beside(*given, **more):
        thread = threading.Thread(target=logging.warning, args=("of another thread",))
        thread.start()
        thread.join()
        return open_for(*given, **more)

    open_for = inspected.open_for
    monkeypatch.setattr(inspected, "open_for", warn_beside)
    found = keras_inception.inspect(root)["findings"]
    assert [record.message for record in caplog.records] == ["of another thread"]
    bits, equal = found[-2:]
    assert "are taken for 12 bits" in bits and "images of the test part are in" in equal
    logging.warning("afterwards")
    assert "afterwards" in caplog.text
