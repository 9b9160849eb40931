"""A run is bound to its data: which images, of which class and content, are in which part."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_inception.data import open_run
from keras_inception.models.registry import default_preprocessing
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder
from keras_inception.training import stages, train


def image(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 20, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tf.io.encode_png(pixels).numpy())


@pytest.fixture
def images(tmp_path):
    """Two classes of ten images, in parts of their own."""
    for number, part in enumerate(("train", "test")):
        for label, name in enumerate(("cat", "dog")):
            for i in range(10):
                image(tmp_path / "images" / part / name / f"{i}.png", [number, label, i])
    return tmp_path / "images"


@pytest.fixture
def begun(images, tmp_path):
    """A run on them, as it is when its training begins."""
    recipe = Recipe(dataset=f"folder:{images}", image_size=32, batch_size=4)
    folder = RunFolder(tmp_path / "run")
    source = stages.open_bound(recipe, folder)
    stages.begin(folder, recipe, source, default_preprocessing(recipe.model))
    return folder


def names(source):
    return {part: [split.name(i) for i in range(len(split))]
            for part, split in source.splits.items()}  # fmt: skip


def contents(folder):
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.path.iterdir()}


def add(images):
    for i in range(4):
        image(images / "train" / "cat" / f"new{i}.png", [9, i])


def swap_classes(images):
    (images / "train" / "cat").rename(images / "train" / "zebra")
    (images / "test" / "cat").rename(images / "test" / "zebra")


def new_class(images):
    for part in ("train", "test"):
        image(images / part / "eel" / "0.png", [8, len(part)])


CHANGES = {
    "added": (add, r"4 images added: .*new0.png, .*new1.png, .*new2.png and 1 more"),
    "removed": (lambda i: (i / "train/cat/3.png").unlink(), r"1 image removed: .*cat/3.png"),
    "moved to another class": (
        lambda i: (i / "train/cat/3.png").rename(i / "train/dog/33.png"),
        r"1 image (renamed|relabelled): .*cat/3.png -> .*dog/33.png",
    ),
    "moved to another part": (
        lambda i: (i / "train/cat/3.png").rename(i / "test/cat/33.png"),
        r"1 image moved: .*3.png \(train -> test\)",
    ),
    "renamed": (
        lambda i: (i / "train/cat/3.png").rename(i / "train/cat/three.png"),
        r"1 image renamed: .*cat/3.png -> .*cat/three.png",
    ),
    "another content": (lambda i: image(i / "train/cat/3.png", 77), r"1 image changed: .*3.png"),
    "a class renamed, so that the order changes": (swap_classes, r"classes that are gone: cat"),
    "a new class": (new_class, r"new classes: eel"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_data_is_named_and_nothing_is_written(change, images, begun):
    alter, message = CHANGES[change]
    alter(images)
    before = contents(begun)
    with pytest.raises(ValueError, match=message) as caught:
        train(begun.recipe, begun.path)
    assert "`fresh=True`" in str(caught.value) and "\n" not in str(caught.value)
    assert ("`keep_parts=True`" in str(caught.value)) == (change == "added")
    assert contents(begun) == before
    assert stages.open_bound(begun.recipe, begun, fresh=True)  # the way out


def test_a_run_goes_on_with_the_images_that_it_has(images, begun):
    parts = names(stages.open_bound(begun.recipe, begun))
    add(images)
    assert names(stages.open_bound(begun.recipe, begun, keep_parts=True)) == parts
    # Evaluation, exports and the report read the same ones, asked or not.
    assert names(open_run(begun)) == parts
    assert names(stages.open_bound(begun.recipe, begun, fresh=True)) != parts


def test_a_folder_that_was_drawn_into_parts_keeps_them(tmp_path):
    """Added images would otherwise draw every part anew, training images into the test part."""
    for label, name in enumerate(("cat", "dog")):
        for i in range(20):
            image(tmp_path / "images" / name / f"{i}.png", [label, i])
    recipe = Recipe(dataset=f"folder:{tmp_path / 'images'}", batch_size=4)
    folder = RunFolder(tmp_path / "run")
    source = stages.open_bound(recipe, folder)
    stages.begin(folder, recipe, source, default_preprocessing(recipe.model))
    for i in range(6):
        image(tmp_path / "images" / "cat" / f"a{i}.png", [5, i])
    assert names(open_run(folder)) == names(source)
    with pytest.raises(ValueError, match="6 images added"):
        train(recipe, folder.path)
    shutil.rmtree(tmp_path / "images" / "dog")
    with pytest.raises(ValueError, match="at least two class"):
        open_run(folder)


def test_a_run_that_was_killed_while_it_began_begins_again(images, begun):
    """Without the record of its data; once it has checkpoints, it is held to that record."""
    begun.data_path.unlink()
    assert stages.open_bound(begun.recipe, begun).num_examples("train")
    begun.checkpoints_path.mkdir()
    with pytest.raises(ValueError, match="data.json.gz is no record of a run's data"):
        stages.open_bound(begun.recipe, begun)


def test_unreadable_images_are_listed_in_the_run_folder(tmp_path):
    for label, name in enumerate(("cat", "dog")):
        for i in range(80):
            image(tmp_path / "images" / name / f"{i}.png", [label, i])
    bad = tmp_path / "images" / "cat" / "7.png"
    bad.write_bytes(bad.read_bytes()[:70])
    recipe = Recipe(dataset=f"folder:{tmp_path / 'images'}", batch_size=4)
    folder = RunFolder(tmp_path / "run")
    source = stages.open_bound(recipe, folder)
    stages.begin(folder, recipe, source, default_preprocessing(recipe.model))
    (line,) = (folder.path / "unreadable.txt").read_text().splitlines()
    assert "cat/7.png" in line
