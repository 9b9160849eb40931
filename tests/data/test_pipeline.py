"""Batches: repeatable, resumable, each example once, and interpreted by the contract."""

from __future__ import annotations

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception import Preprocessing
from keras_inception.data import Augmentation, Order, evaluation_batches, open_source, train_batches
from keras_inception.data.policies import POLICIES
from keras_inception.data.splits import Source, array_split
from keras_inception.data.transforms import random_crop_box

CONTRACT = Preprocessing(size=(32, 32), crop_fraction=1.0)


@pytest.fixture(scope="module")
def mini():
    return open_source("fashion_mnist_mini")


def take(batches, count):
    return [{k: v.numpy() for k, v in batch.items()} for batch in batches.take(count)]


def test_the_embedded_set_is_balanced_and_split_without_overlap(mini):
    assert {s: len(mini.splits[s]) for s in mini.splits} == {
        "train": 5400,
        "validation": 600,
        "test": 2000,
    }
    assert np.bincount(mini.splits["test"].labels).tolist() == [200] * 10
    both = np.bincount(mini.splits["train"].labels) + np.bincount(mini.splits["validation"].labels)
    assert both.tolist() == [600] * 10
    files = {
        mini.splits[s].image(tf.constant(i)).numpy()
        for s in ("train", "validation", "test")
        for i in range(0, 600, 7)
    }
    assert len(files) == 3 * 86, "the parts share images"


@pytest.mark.parametrize("augmentation", ["none", "flip", "mild", "crop", "inception"])
def test_a_step_depends_on_seed_and_step_only(mini, augmentation):
    def stream(**changes):
        arguments = {
            "batch_size": 8,
            "seed": 3,
            "augmentation": Augmentation(augmentation),
        } | changes
        return train_batches(mini, CONTRACT, **arguments)

    whole = take(stream(), 6)
    resumed = take(stream(start_step=4), 2)
    for one, other in zip(whole[4:], resumed, strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
    # Two hosts with one replica each, and one host with two: the same global batch.
    hosts = [take(stream(batch_size=4, shard=(h, 2)), 2) for h in range(2)]
    replicas = take(stream(batch_size=4, replicas=2), 4)
    for step in range(2):
        for key in whole[step]:
            parts = [host[step][key] for host in hosts]
            np.testing.assert_array_equal(np.concatenate(parts), whole[step][key])
            parts = [part[key] for part in replicas[2 * step : 2 * step + 2]]
            np.testing.assert_array_equal(np.concatenate(parts), whole[step][key])
    other = take(stream(seed=4), 1)
    assert not np.array_equal(other[0]["index"], whole[0]["index"])


def test_streams_of_one_data_set_do_not_share_what_they_remember():
    """As when the statistics of BatchNorm are computed while the next training batches are read."""
    split = open_source("fake").splits["train"].subset(np.arange(8))
    begins, at = range(0, 8000, 1000), np.arange(8)

    def read(begin):
        order = Order(split, seed=0)
        return [order.examples_at(8 * epoch + at) for epoch in range(begin, begin + 2000)]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(begins)) as pool:
            together = list(pool.map(read, begins))
    finally:
        sys.setswitchinterval(interval)
    for one, following in itertools.pairwise(together):
        np.testing.assert_array_equal(one[1000:], following[:1000])


def test_augmentation_changes_images_from_epoch_to_epoch():
    source = open_source("fake")
    how = Augmentation("crop")
    epochs = take(train_batches(source, CONTRACT, batch_size=461, seed=0, augmentation=how), 2)
    for epoch in epochs:  # every example once an epoch, each time in another order
        assert sorted(epoch["index"]) == list(range(461))
    first = {i: p for i, p in zip(epochs[0]["index"], epochs[0]["image"], strict=True)}
    same = [
        np.array_equal(first[i], p)
        for i, p in zip(epochs[1]["index"], epochs[1]["image"], strict=True)
    ]
    assert not np.array_equal(epochs[0]["index"], epochs[1]["index"])
    assert not any(same)


@pytest.mark.parametrize("batch_size", [7, 64, 500])
def test_evaluation_counts_every_example_once_on_any_number_of_hosts(batch_size):
    source = open_source("fake")
    seen = []
    for host in range(3):
        batches = take(
            evaluation_batches(
                source, "test", CONTRACT, batch_size=batch_size, shard=(host, 3), replicas=2
            ),
            -1,
        )
        assert len(batches) % 2 == 0
        for batch in batches:
            assert batch["image"].shape == (batch_size, 32, 32, 3)
            seen += batch["index"][batch["weight"] > 0].tolist()
    assert sorted(seen) == list(range(source.num_examples("test")))


def test_evaluation_images_are_the_contracts(mini):
    contract = Preprocessing(size=(40, 24), crop_fraction=0.8, interpolation="bicubic", mean=100.0)
    batch = next(iter(evaluation_batches(mini, "test", contract, batch_size=4)))
    for i in range(4):
        pixels = tf.io.decode_png(mini.splits["test"].image(tf.constant(i)), channels=3).numpy()
        want = contract.scale(contract.crop_and_resize(pixels))
        np.testing.assert_allclose(batch["image"][i].numpy(), want, atol=1e-5)


def test_images_are_mirrored_unless_that_changes_their_meaning(mini):
    def images(how):
        batches = train_batches(mini, CONTRACT, batch_size=64, seed=0, augmentation=how)
        return take(batches, 1)[0]["image"]

    plain, mirrored = images(Augmentation()), images(Augmentation("flip"))
    turned = [not np.array_equal(a, b) for a, b in zip(plain, mirrored, strict=True)]
    assert 16 < sum(turned) < 48
    np.testing.assert_array_equal(images(Augmentation("flip", mirror=False)), plain)
    for image, original in zip(mirrored[turned], plain[turned], strict=True):
        np.testing.assert_array_equal(image[:, ::-1], original)


@pytest.mark.parametrize("aspect", ["pad", "stretch"])
def test_training_crops_have_the_shape_that_evaluation_sees(aspect):
    """A patch of an image in white, 400 x 50 pixels: padded to 40 x 5, or the whole input."""
    white = array_split(np.full((8, 50, 400, 3), 255, np.uint8), np.arange(8) % 2, "a")
    source = Source("", ("a", "b"), {"train": white}, {})
    contract = Preprocessing(size=(40, 40), crop_fraction=1.0, aspect=aspect, mean=100.0, std=1.0)
    batch = take(
        train_batches(source, contract, batch_size=8, seed=0, augmentation=Augmentation("crop")), 1
    )[0]
    heights = (batch["image"][:, :, 20, 0] > 154).sum(1)
    assert ((heights >= 3) & (heights <= 7)).all() if aspect == "pad" else (heights == 40).all()
    crops = [
        random_crop_box(tf.constant([50, 400]), tf.constant([0, i]), of_its_aspect=True)
        for i in range(20)
    ]
    for top, left, height, width in np.stack(crops):
        assert 0 <= top <= 50 - height and 0 <= left <= 400 - width
        assert 8 * 0.7 < width / height < 8 * 1.4


def test_color_and_crop_stay_in_range(mini):
    how = Augmentation("inception")
    batch = take(train_batches(mini, CONTRACT, batch_size=64, seed=0, augmentation=how), 1)
    assert batch[0]["image"].min() >= -1 and batch[0]["image"].max() <= 1
    assert batch[0]["label"].sum(1).tolist() == [1.0] * 64


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="461 images.*batch_size=500"):
        train_batches(open_source("fake"), CONTRACT, batch_size=500, seed=0)


@pytest.mark.parametrize("policy", POLICIES)
def test_keras_cv_policies_depend_on_seed_and_step_only(mini, policy):
    """Also under a 16-bit dtype policy, in which their inner layers could not be built."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    crop, policy = Augmentation("crop"), Augmentation(policy)
    try:
        arguments = {"batch_size": 16, "seed": 3}
        plain = take(train_batches(mini, CONTRACT, augmentation=crop, **arguments), 4)
        whole = take(train_batches(mini, CONTRACT, augmentation=policy, **arguments), 4)
        resumed = train_batches(mini, CONTRACT, augmentation=policy, start_step=2, **arguments)
        resumed = take(resumed, 2)
    finally:
        keras.config.set_dtype_policy(before)
    for one, other in zip(whole[2:], resumed, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
    for cropped, batch in zip(plain, whole, strict=True):
        assert batch["image"].dtype == np.float32
        assert -1 <= batch["image"].min() and batch["image"].max() <= 1
        np.testing.assert_array_equal(batch["index"], cropped["index"])
        pairs = zip(batch["image"], cropped["image"], strict=True)
        assert sum(not np.allclose(a, b) for a, b in pairs) >= 8
