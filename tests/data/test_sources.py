"""Folders, TFDS and what is wrong with them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_inception import Preprocessing
from keras_inception.data import open_source
from keras_inception.data.inspection import cropped_away, inspect
from keras_inception.data.parts import stratified
from keras_inception.data.splits import Source, Split
from keras_inception.recipes import Recipe
from keras_inception.training.stages import train


def write_images(folder, count, shade, suffix):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(shade)
    for i in range(count):
        pixels = np.clip(rng.normal(shade, 20, (24 + i, 31, 3)), 0, 255).astype(np.uint8)
        encode = tf.io.encode_png if suffix == "png" else tf.io.encode_jpeg
        (folder / f"{i:03d}.{suffix}").write_bytes(encode(pixels).numpy())


@pytest.fixture
def folder(tmp_path):
    for name, shade, suffix in (("bright", 200, "png"), ("dark", 40, "jpg"), ("mid", 120, "jpeg")):
        write_images(tmp_path / name, 20, shade, suffix)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def files(source, split):
    part = source.splits[split]
    return {part.describe(i) for i in range(len(part))}


def test_a_folder_is_split_deterministically_by_class(folder):
    source = open_source(f"folder:{folder}")
    assert source.class_names == ("bright", "dark", "mid")
    assert {s: len(source.splits[s]) for s in source.splits} == {
        "train": 43,
        "validation": 5,
        "test": 12,
    }
    assert np.bincount(source.splits["test"].labels).tolist() == [4, 4, 4]
    again = open_source(f"folder:{folder}")
    for split in source.splits:
        assert files(source, split) == files(again, split)
    assert not files(source, "train") & files(source, "test")
    assert len(source.provenance["held_out"]["test"]) == 12
    assert files(open_source(f"folder:{folder}", seed=1), "test") != files(source, "test")


def test_a_folder_with_its_own_parts_keeps_them(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    for part in ("train", "val", "test"):
        shutil.copytree(folder, root / part)
    source = open_source(f"folder:{root}")
    assert [len(source.splits[s]) for s in ("train", "validation", "test")] == [60, 60, 60]
    assert all("/val/" in name for name in files(source, "validation"))


def test_a_class_that_train_lacks_is_named(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    shutil.copytree(folder, root / "train")
    write_images(root / "test" / "purple", 2, 90, "png")
    with pytest.raises(ValueError, match="purple"):
        open_source(f"folder:{root}")


def test_unreadable_images_are_named_and_left_out_up_to_a_limit(folder, caplog):
    write_images(folder / "mid", 120, 120, "jpeg")
    (folder / "dark" / "broken.jpg").write_bytes(b"\xff\xd8\xff not an image")
    source = open_source(f"folder:{folder}")
    assert "broken.jpg" in caplog.text
    assert sum(len(source.splits[s]) for s in source.splits) == 160
    truncated = (folder / "bright" / "003.png").read_bytes()[:200]
    for i in range(5):
        (folder / "bright" / f"cut{i}.png").write_bytes(truncated)
    with pytest.raises(ValueError, match=r"6 of 166 images.*cannot be read.*cut0\.png"):
        open_source(f"folder:{folder}")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("folder:/nowhere/at/all", "no folder /nowhere/at/all"),
        ("imagenet", "Received: 'imagenet'"),
        ("tfds:tf_flower", "tf_flowers"),
        ("tfds:tf_flowers", "Give `download=True`"),
    ],
)
def test_what_is_missing_is_said_at_once(dataset, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        open_source(dataset, data_dir=str(tmp_path))


def test_one_class_is_refused(tmp_path):
    write_images(tmp_path / "only", 3, 100, "png")
    with pytest.raises(ValueError, match="at least two class folders.*1: only"):
        open_source(f"folder:{tmp_path}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has 1: only .and without a file: empty"):
        open_source(f"folder:{tmp_path}")
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="has no readable images of empty"):
        open_source(f"folder:{tmp_path}")


def test_imagenets_validation_is_a_source_for_evaluation(tmp_path):
    for name in ("n01440764", "n01443537"):
        write_images(tmp_path / "folders" / name, 2, 100, "png")
    source = open_source(f"imagenet:{tmp_path / 'folders'}")
    assert [source.num_examples(p) for p in ("train", "validation", "test")] == [0, 0, 4]
    assert source.splits["test"].labels.tolist() == [0, 0, 1, 1]
    assert "4 images of 1000 classes" in inspect(source)[0]
    for name in ("2", "10"):  # as ImageNetV2 is published
        write_images(tmp_path / "numbers" / name, 2, 100, "png")
    numbered = open_source(f"imagenet:{tmp_path / 'numbers'}")
    assert sorted(numbered.splits["test"].labels.tolist()) == [2, 2, 10, 10]
    write_images(tmp_path / "flat", 1, 100, "png")
    (tmp_path / "list.txt").write_text("000.png n01443537")
    listed = open_source(f"imagenet:{tmp_path / 'flat'}", ground_truth=tmp_path / "list.txt")
    assert listed.splits["test"].labels.tolist() == [1]
    with pytest.raises(ValueError, match="`ground_truth` lists the classes of imagenet:PATH"):
        open_source("fake", ground_truth=tmp_path / "list.txt")
    with pytest.raises(ValueError, match="has no training part: it is for evaluation only"):
        train(Recipe(dataset=source.name), tmp_path / "run")


@pytest.fixture(params=["tfrecord", "array_record"])
def shades(tmp_path, request):
    """A TFDS set of 50 images; image i is of shade 4 i and of class i % 2."""
    import tensorflow_datasets as tfds

    shade = 4 * np.arange(50, dtype=np.uint8)
    pixels = shade[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
    tfds.dataset_builders.store_as_tfds_dataset(
        name="shades",
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                "label": tfds.features.ClassLabel(names=["even", "odd"]),
            }
        ),
        split_datasets={
            "train": tf.data.Dataset.from_tensor_slices(
                {"image": pixels, "label": np.arange(50) % 2}
            )
        },
        data_dir=str(tmp_path),
        disable_shuffling=True,
        file_format=request.param,
    )
    return tmp_path


def numbers(split):
    """Which images of `shades` a split has, by their pixels; their labels must agree."""
    shades = [int(split.pixels(i, 1)[0, 0, 0]) for i in range(len(split))]
    assert split.labels.tolist() == [shade // 4 % 2 for shade in shades]
    return [shade // 4 for shade in shades]


@pytest.mark.parametrize("where", ["in memory", "by an index"])
def test_tfds_without_a_test_part_is_sliced(shades, where, monkeypatch):
    if where == "by an index":
        monkeypatch.setattr("keras_inception.data.sources.tfds.IN_MEMORY_BYTES", 10)
    source = open_source("tfds:shades", data_dir=str(shades), validation_fraction=0.25)
    assert source.class_names == ("even", "odd")
    assert source.provenance["splits"]["test"] == "train[80%:]"
    assert numbers(source.splits["train"]) == list(range(30))
    assert numbers(source.splits["validation"]) == list(range(30, 40))
    assert numbers(source.splits["test"]) == list(range(40, 50))


@pytest.mark.parametrize("shades", ["tfrecord"], indirect=True)
def test_tfds_splits_by_flag(shades):
    def split(text, dataset="tfds:shades"):
        return open_source(dataset, data_dir=str(shades), split=text).splits

    parts = split("train[:10], train[20:30%]+train[45:], train[10:12]".replace("20:30%", "40%:50%"))
    assert numbers(parts["train"]) == list(range(10))
    assert numbers(parts["validation"]) == [*range(20, 25), *range(45, 50)]
    assert numbers(parts["test"]) == [10, 11]
    assert not len(split("train[:50%],train[50%:]")["validation"])
    with pytest.raises(ValueError, match="train and the test part share the images 20 to 25"):
        split("train[:25],train[40%:]")
    with pytest.raises(ValueError, match="Unknown split 'trian'"):
        split("trian[:25],train[25:]")
    with pytest.raises(ValueError, match="`split` should be two or three TFDS splits"):
        split("train")
    with pytest.raises(ValueError, match="`split` names the splits of a TFDS data set"):
        split("train,test", dataset="fake")


def test_stratified_keeps_an_example_of_a_rare_class():
    labels = np.array([0] * 10 + [1])
    kept, held = stratified(labels, 0.5, seed=0)
    assert len(held) == 5 and 10 in kept
    assert sorted([*kept, *held]) == list(range(11))


@pytest.mark.parametrize(
    ("classes", "images", "share", "want"),
    [(60, 8, 0.05, 24), (60, 2, 0.2, 24), (3, 20, 0.2, 12), (3, 16, 0.1, 5), (5, 1, 0.2, 0)],
)
def test_the_whole_gives_its_share_spread_over_the_classes(classes, images, share, want):
    labels = np.tile(np.arange(classes), images)
    _, held = stratified(labels, share, seed=0)
    counts = np.bincount(labels[held], minlength=classes)
    assert len(held) == want and counts.max() - counts.min() <= 1
    if want % classes:  # which classes give more is drawn
        others = stratified(labels, share, seed=1)[1]
        assert (np.bincount(labels[others], minlength=classes) != counts).any()


def test_what_the_crop_takes_away_is_said_where_it_is_much():
    facts = {"width": np.array([400, 400, 90]), "height": np.array([50, 50, 90])}
    split = Split(np.zeros(3, np.int64), lambda i: i, str, facts=facts)
    source = Source("", ("a", "b"), {"train": split}, {})
    (line,) = cropped_away(source, Preprocessing((96, 96), crop_fraction=1.0))
    assert "more than a third of 2 of 3 images: 88% of them on average, 88% of 400 x 50" in line
    assert "aspect=pad or aspect=stretch and crop_fraction=1 keeps whole images" in line
    for aspect in ("pad", "stretch"):
        assert cropped_away(source, Preprocessing((96, 96), aspect=aspect)) == []
    assert cropped_away(open_source("fake"), Preprocessing((96, 96))) == []
