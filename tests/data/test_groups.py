"""Groups stay together: in the parts that are drawn, and in the intervals of an evaluation."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_inception.data import open_source
from keras_inception.data.groups import groups_of_names, numbers_of, shared_groups, united
from keras_inception.data.inspection import inspect
from keras_inception.data.parts import stratified
from keras_inception.evaluation.groups import accuracy_interval, difference_interval
from keras_inception.evaluation.metrics import wilson_interval

RNG = np.random.default_rng(0)


def test_no_group_is_divided_whatever_the_data_the_seed_and_the_share():
    for trial in range(100):
        rng = np.random.default_rng(trial)
        images, classes = int(rng.integers(4, 200)), int(rng.integers(1, 8))
        labels = rng.integers(0, classes, images)
        groups = rng.integers(0, max(2, int(images * rng.uniform(0.05, 1.2))), images)
        if trial % 2:  # as of products, whose images are of one class
            labels = groups % classes
        share = float(rng.uniform(0.02, 0.6))
        kept, held = stratified(labels, share, trial, groups)
        assert sorted([*kept, *held]) == list(range(images))
        assert not set(groups[kept]) & set(groups[held])
        assert set(labels[held]) <= set(labels[kept])
        again = stratified(labels, share, trial, groups)
        assert (again[1] == held).all()


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_whole_groups_give_each_class_its_share(share):
    """600 patients with 1 to 15 images, of four classes of unequal size."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(600), rng.integers(1, 16, 600))
    usual = rng.choice(4, 600, p=[0.6, 0.2, 0.15, 0.05])
    labels = np.where(rng.random(len(groups)) < 0.7, usual[groups], rng.integers(0, 4, len(groups)))
    _, held = stratified(labels, share, 0, groups)
    assert len(held) == pytest.approx(share * len(labels), rel=0.02)
    for label in range(4):
        of_class = (labels == label).sum()
        assert (labels[held] == label).sum() == pytest.approx(share * of_class, rel=0.05, abs=2)


def test_two_patients_are_two_parts():
    labels, groups = np.array([0, 1] * 10), np.repeat([0, 1], 10)
    kept, held = stratified(labels, 0.2, 0, groups)
    assert (len(kept), len(held)) == (10, 10)


def test_what_any_grouping_joins_stays_together():
    assert united(np.array([0, 0, 1, 2]), np.array([5, 6, 6, 7])).tolist() in (
        [0, 0, 0, 1],
        [1, 1, 1, 0],
    )
    assert len(np.unique(numbers_of(np.array(["", "a", "", "a"])))) == 3
    parts = {"train": np.array(["", "a", "b"]), "test": np.array(["", "b"])}
    assert shared_groups(parts) == {"test in train": ["b"]}


def test_groups_that_names_say(tmp_path):
    names = ["cat/p1_0.png", "dog/p1_1.png", "dog/p12_0.png"]
    assert groups_of_names(names, r"(p\d+)_").tolist() == ["p1", "p1", "p12"]
    table = tmp_path / "twins.csv"
    table.write_text("path,group\ncat/p1_0.png,7\ndog/p12_0.png,7\n")
    assert groups_of_names(names, str(table)).tolist() == ["7", "", "7"]
    for how, message in (
        (r"p\d+_", "a pair of parentheses"),
        (r"(p\d+", "a regular expression"),
        (r"(p1)_", re.escape("does not match 1 of 3: dog/p12_0.png")),
        (str(tmp_path / "none.csv"), "the columns path and group"),
    ):
        with pytest.raises(ValueError, match=message):
            groups_of_names(names, how)
    table.write_text("path,group\nother.png,7\n")
    with pytest.raises(ValueError, match="names none of the 3 images.*Received: other.png"):
        groups_of_names(names, str(table))


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (12, 12, 3), np.uint8)).save(path)


def patients(root, part=""):
    """48 images of 12 patients; each patient has images of both classes."""
    for i in range(48):
        write(root / part / "ab"[i % 2] / f"p{i // 4}_{i}.png")


def patients_of(source):
    return {
        part: {re.search(r"(p\d+)_", split.name(i))[1] for i in range(len(split))}
        for part, split in source.splits.items()
    }


def assert_whole(found):
    assert len(found["train"]) + len(found["validation"]) + len(found["test"]) == 12
    assert min(map(len, found.values())) >= 1


def test_parts_of_a_folder_and_of_a_table_hold_whole_patients(tmp_path):
    patients(tmp_path)
    source = open_source(f"folder:{tmp_path}", groups=r"(p\d+)_", validation_fraction=0.2, seed=1)
    assert_whole(patients_of(source))
    assert source.provenance["groups"]["by"] == r"(p\d+)_"
    lines = ["path,label,group"]
    for i in range(48):
        lines.append(f"{'ab'[i % 2]}/p{i // 4}_{i}.png,{'ab'[i % 2]},p{i // 4}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    table = open_source(f"csv:{tmp_path / 'table.csv'}", validation_fraction=0.2)
    assert_whole(patients_of(table))
    assert any(line.startswith("Groups: ") for line in inspect(table))
    again = open_source(f"csv:{tmp_path / 'table.csv'}", parts=source.fingerprint())
    assert patients_of(again) == patients_of(source) and again.splits["test"].groups is not None
    with pytest.raises(ValueError, match="`groups` belongs to folder:PATH"):
        open_source("fake", groups="(a)")


def test_given_parts_that_share_a_patient_are_named(tmp_path, caplog):
    for part in ("train", "test"):
        patients(tmp_path, part)
    source = open_source(f"folder:{tmp_path}", groups=r"(p\d+)_", validation_fraction=0.2)
    assert "groups of the test part have images in the train part as well" in caplog.text
    assert source.provenance["shared_groups"]["test in train"]["count"] == len(
        patients_of(source)["train"]
    )


def test_records_say_their_groups(tmp_path):
    feature = tf.train.Feature
    with tf.io.TFRecordWriter(str(tmp_path / "train-00000-of-00001")) as writer:
        for i in range(48):
            png = tf.io.encode_png(RNG.integers(0, 256, (8, 8, 3), np.uint8)).numpy()
            fields = {
                "image": feature(bytes_list=tf.train.BytesList(value=[png])),
                "label": feature(int64_list=tf.train.Int64List(value=[i % 2])),
                "patient": feature(int64_list=tf.train.Int64List(value=[i // 4])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=fields))
            writer.write(example.SerializeToString())
    source = open_source(
        f"tfrecord:{tmp_path}", keys="image,label", groups="patient", validation_fraction=0.2
    )
    assert_whole({part: set(split.groups.tolist()) for part, split in source.splits.items()})
    with pytest.raises(ValueError, match="0 values under 'person', which `groups` names"):
        open_source(f"tfrecord:{tmp_path}", keys="image,label", groups="person")


def test_a_tfds_set_is_drawn_by_groups_not_sliced(tmp_path):
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
        "label": tfds.features.ClassLabel(names=["even", "odd"]),
        "patient": tfds.features.Text(),
    }
    number = np.arange(48)
    tfds.dataset_builders.store_as_tfds_dataset(
        name="patients",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={
            "train": tf.data.Dataset.from_tensor_slices(
                {
                    "image": RNG.integers(0, 256, (48, 8, 8, 1), np.uint8),
                    "label": number % 2,
                    "patient": [f"p{i // 4}" for i in number],
                }
            )
        },
        data_dir=str(tmp_path),
    )
    where = {"data_dir": str(tmp_path), "validation_fraction": 0.2}
    source = open_source("tfds:patients", groups="patient", **where)
    assert_whole({part: set(split.groups.tolist()) for part, split in source.splits.items()})
    with pytest.raises(ValueError, match="it has .*patient.*Received: groups='person'"):
        open_source("tfds:patients", groups="person", **where)


def simulated(rng, groups, share):
    """Right answers of patients with 1 to 30 images and a difficulty of their own."""
    images = rng.geometric(1 / 8, groups)
    own = rng.beta(share * 7 / 3, (1 - share) * 7 / 3, groups)
    number = np.repeat(np.arange(groups), images)
    return rng.random(len(number)) < own[number], number


@pytest.mark.parametrize(("groups", "share"), [(10, 0.9), (30, 0.7), (60, 0.9), (60, 0.97)])
def test_the_interval_of_groups_holds_the_truth_as_often_as_it_says(groups, share, monkeypatch):
    """Of images that are not independent: Wilson's of so many images holds it too seldom."""
    monkeypatch.setattr("keras_inception.evaluation.groups.DRAWS", 300)
    rng, held, trials, of_images = np.random.default_rng(0), 0, 200, 0
    for _ in range(trials):
        right, number = simulated(rng, groups, share)
        low, high = accuracy_interval(right, number)
        held += low <= share <= high
        low, high = wilson_interval(right.sum(), len(right))
        of_images += low <= share <= high
    assert of_images / trials < 0.75
    assert 0.84 <= held / trials <= 0.995


def test_the_interval_of_a_difference_holds_no_difference(monkeypatch):
    monkeypatch.setattr("keras_inception.evaluation.groups.DRAWS", 300)
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        first, number = simulated(rng, 40, 0.8)
        second = np.roll(first, 1) ^ (rng.random(len(first)) < 0.1)
        first = first ^ (rng.random(len(first)) < 0.1)
        low, high = difference_interval(first.astype(float) - second, number)
        held += low <= 0 <= high
    assert 0.9 <= held / 200 <= 1


def test_independent_images_get_nearly_wilsons_interval():
    right = np.arange(400) % 10 > 0
    mine, theirs = accuracy_interval(right, np.arange(400)), wilson_interval(360, 400)
    np.testing.assert_allclose(mine, theirs, atol=0.004)
    assert accuracy_interval(right, np.zeros(400)) == (0.0, 1.0)  # one patient says nothing
    all_right = accuracy_interval(np.ones(400, bool), np.arange(400) // 20)
    assert all_right[1] == 1 and 0.75 < all_right[0] < 0.85  # as of 20 images
