"""Run folders in a bucket: worked on as copies, which are copied back."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception import buckets
from keras_inception.data import decoding_of
from keras_inception.evaluation import evaluate
from keras_inception.locks import FolderLock, InUse
from keras_inception.models.registry import default_preprocessing
from keras_inception.recipes import Recipe
from keras_inception.report import write_report
from keras_inception.runs import RunFolder
from keras_inception.runtime import load_classifier
from keras_inception.training import Interrupted, loop, stages, train
from keras_inception.training.checkpoints import Store


def in_another_process():
    """What was copied is forgotten, as by another process or on another machine."""
    buckets._copy_of.cache_clear()


@pytest.fixture
def run(bucket):
    yield f"{bucket}/runs/first"
    in_another_process()


def names(address):
    return {
        f"{folder}/{name}".removeprefix(f"{address}/")
        for folder, _, files in tf.io.gfile.walk(address)
        for name in files
    }


@pytest.mark.slow
def test_a_run_is_trained_goes_on_and_is_evaluated(run, monkeypatch, capsys):
    recipe = Recipe(
        dataset="fake",
        image_size=32,
        width_multiplier=0.25,
        epochs=2,
        batch_size=32,
        background="102030",
    )
    save = loop.Descent._save

    def save_and_stop(self):
        save(self)
        raise Interrupted("stopped", 15)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(loop.Descent, "_save", save_and_stop)
        train(recipe, run)
    steps = 486 // 32
    assert {"config.json", "data.json.gz", "history.csv", f"checkpoints/ckpt-{steps}.index"} <= (
        names(run)
    )
    assert "owner.json" not in names(run)
    in_another_process()
    with pytest.raises(ValueError, match="epochs was 2, is 3"):
        train(recipe.replace(epochs=3), run)
    trained = train(recipe, run)
    assert f"Going on from step {steps} of {2 * steps}." in capsys.readouterr().out
    assert len(trained.history) == 2 and trained.load_model()
    in_another_process()
    result = evaluate(run)
    assert str(write_report(run)) == f"{run}/report.html"
    assert {"model.keras", "weights.safetensors", "evaluation.json", "report.html"} <= names(run)
    in_another_process()
    stored = json.loads(tf.io.read_file(f"{run}/evaluation.json").numpy())
    assert stored["results"] == result["results"]
    classifier = load_classifier(run)
    assert classifier.class_names == ("darkest", "dark", "bright", "brightest")
    assert classifier.decoding.background == (0x10, 0x20, 0x30)
    assert classifier.decoding == decoding_of(RunFolder(run))
    image = np.zeros((1, 32, 32, 3), np.uint8)
    want = load_classifier(f"{run}/model.keras").predict(image)
    np.testing.assert_array_equal(classifier.predict(image), want)


def test_weights_of_a_bucket_are_copied_here(bucket):
    address = f"{bucket}/start.safetensors"
    recipe, strategy = Recipe(dataset="fake"), tf.distribute.get_strategy()
    source = stages.open_bound(recipe, RunFolder("none"))

    def plan(weights):
        return next(
            stages.plan(recipe.replace(weights=weights), source, RunFolder("none"), strategy)
        )

    with pytest.raises(ValueError, match=f"no weights file {bucket}/other.safetensors"):
        plan(f"{bucket}/other.safetensors")
    tf.io.write_file(address, b"arrays")
    with pytest.raises(ValueError, match="start.safetensors"):  # the copy, which holds no arrays
        plan(address)


def test_a_run_goes_on_from_its_checkpoint(run):
    recipe = Recipe(dataset="fake", background="102030")

    def store():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        return model, Store(RunFolder(run).checkpoints_path, model, keras.optimizers.SGD(), None)

    folder = RunFolder(run)
    source = stages.open_bound(recipe, folder)
    with folder.published():
        stages.begin(folder, recipe, source, default_preprocessing(recipe.model))
        model, checkpoints = store()
        for step in range(1, 6):
            model.layers[0].kernel.assign(np.full((3, 2), step))
            checkpoints.save(step)
    in_another_process()
    model, checkpoints = store()
    assert checkpoints.restore_newest() == 5 and (model.layers[0].kernel.numpy() == 5).all()
    folder = RunFolder(run)
    assert folder.recipe == recipe and stages.open_bound(recipe, folder).splits
    assert decoding_of(folder).background == (0x10, 0x20, 0x30)
    with pytest.raises(ValueError, match="seed was 0, is 1"):
        stages.open_bound(recipe.replace(seed=1), folder)
    stages.begin(folder, recipe, source, default_preprocessing(recipe.model))
    assert str(write_report(run)) == f"{run}/report.html"
    assert names(run) == {
        *("config.json", "split.json", "data.json.gz", "labels.txt", "preprocessing.json"),
        *(f"checkpoints/ckpt-{step}.index" for step in (3, 4, 5)),
        *(f"checkpoints/ckpt-{step}.data-00000-of-00001" for step in (3, 4, 5)),
        "report.html",
    }
    with pytest.raises(ValueError, match="holds no trained model"):
        evaluate(run)


def test_files_are_copied_both_ways(run):
    folder = RunFolder(run)
    folder.write_json("config.json", {"a": 1})
    folder.write_json("checkpoints/ckpt-1.index", {})
    (folder.path / ".hidden").write_text("")
    folder.publish()
    assert names(run) == {"config.json", "checkpoints/ckpt-1.index"}
    (folder.path / "checkpoints" / "ckpt-1.index").unlink()
    folder.write_json("checkpoints/ckpt-2.index", {})
    tf.io.gfile.copy(f"{run}/config.json", f"{run}/by somebody else")
    folder.publish()
    assert names(run) == {"config.json", "checkpoints/ckpt-2.index", "by somebody else"}
    folder.fetch()
    assert (folder.path / "by somebody else").exists()
    tf.io.gfile.remove(f"{run}/by somebody else")
    folder.fetch()
    assert sorted(p.name for p in folder.path.iterdir()) == [
        ".hidden",
        "checkpoints",
        "config.json",
    ]


def test_a_folder_that_holds_no_run_is_not_copied(run):
    tf.io.gfile.makedirs(run)
    with tf.io.gfile.GFile(f"{run}/large", "w") as file:
        file.write("a data set")
    assert not RunFolder(run).path.exists()
    with pytest.raises(ValueError, match=r"ram://.*/first is neither a run folder nor"):
        load_classifier(run)
    with pytest.raises(ValueError, match="is no run folder"):
        evaluate(run)


def test_one_process_writes_a_folder(run, monkeypatch):
    """The owner writes its file anew again and again; one that stands still is a dead one's."""
    monkeypatch.setattr("keras_inception.locks.SECONDS_BETWEEN_BEATS", 0.2)

    def write_owner(beat):
        with tf.io.gfile.GFile(f"{run}/owner.new", "w") as file:
            file.write(json.dumps({"host": "elsewhere", "machine": "another", "beat": beat}))
        # As a bucket does, and a file system in memory does not: whole, or not at all.
        tf.io.gfile.rename(f"{run}/owner.new", f"{run}/owner.json", overwrite=True)

    with FolderLock(run) as mine:
        mine.take()
        with FolderLock(run) as other, pytest.raises(InUse, match=f"process {os.getpid()} on"):
            other.take()
        deadline = time.monotonic() + 60
        while not mine._owner().get("beat"):
            assert time.monotonic() < deadline, "the owner shows that it lives"
    assert names(run) == set()
    ended = threading.Event()

    def beat():
        for number in itertools.count():
            write_owner(number)
            if ended.wait(0.02):
                return

    write_owner(0)
    thread = threading.Thread(target=beat)
    thread.start()
    with FolderLock(run) as lock, pytest.raises(InUse, match="on elsewhere"):
        lock.take()
    ended.set()
    thread.join()
    with FolderLock(run) as lock:
        lock.take()
    assert names(run) == set()
