"""Runs that are killed, asked to stop, damaged or fed nonsense."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from small_stage import descent

from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder
from keras_inception.training import NonFinite, train
from keras_inception.training.checkpoints import Store

# The real loop with a short network, dropout included, on tiny images.
RUN = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from short_googlenet import shorten
shorten()
from keras_inception.recipes import Recipe
from keras_inception.training import Interrupted, loop, repeat_bit_for_bit, train
repeat_bit_for_bit()
loop.SECONDS_BETWEEN_CHECKPOINTS = 0.0
recipe = Recipe(
    dataset="fake", image_size=16, width_multiplier=0.25, epochs=2, batch_size=32, dropout=0.5,
    aux_weight=0.0, precise_bn=64,
)
try:
    for folder in sys.argv[1:]:
        train(recipe, folder)
except Interrupted as stop:
    print(stop)
    sys.exit(75)
"""


def start(*folders):
    """A process that trains in one folder after the other."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, folders)], stdout=subprocess.PIPE, text=True
    )


def weights(folder):
    return [w.copy() for w in RunFolder(folder).load_model().get_weights()]


def wait_for_checkpoint(folder, process):
    deadline = time.monotonic() + 900
    while not list(Path(folder).glob("checkpoints/ckpt-*.index")):
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.05)


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_stopped_run_goes_on_to_the_same_weights(how, tmp_path):
    """Bit for bit, after kill -9 in the middle and after a polite request."""
    stopped, uninterrupted = RunFolder(tmp_path / "stopped"), RunFolder(tmp_path / "whole")
    with start(stopped.path) as process:
        wait_for_checkpoint(stopped.path, process)
        process.send_signal(how)
        code = process.wait()
    assert code == (-signal.SIGKILL if how == signal.SIGKILL else 75)
    assert not stopped.model_path.exists()
    with start(stopped.path, uninterrupted.path) as again:
        output = again.communicate()[0]
    assert again.returncode == 0
    assert output.count("Going on from step") == 1
    for got, want in zip(weights(stopped.path), weights(uninterrupted.path), strict=True):
        np.testing.assert_array_equal(got, want)
    # The history, too, though the run stopped in the middle of an epoch; its speed aside.
    rows, wanted = stopped.history, uninterrupted.history
    assert [row["epoch"] for row in wanted] == [1, 2]
    assert [row | {"images_per_second": 0} for row in rows] == [
        row | {"images_per_second": 0} for row in wanted
    ]
    names = {p.name for p in uninterrupted.path.rglob("*") if "tfevents" not in p.name}
    assert {p.name for p in stopped.path.rglob("*") if "tfevents" not in p.name} == names


def small_store(folder):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)])
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(model.trainable_variables)
    return model, Store(folder, model, optimizer, None)


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, caplog):
    model, store = small_store(tmp_path)
    for step in (1, 2, 3, 4):
        model.layers[0].kernel.assign(np.full((3, 2), step))
        store.save(step)
    kept = sorted(p.name for p in tmp_path.glob("*.index"))
    assert kept == ["ckpt-2.index", "ckpt-3.index", "ckpt-4.index"]
    data = tmp_path / "ckpt-4.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:40])
    raw = bytearray((tmp_path / "ckpt-3.data-00000-of-00001").read_bytes())
    raw[-30] ^= 255
    (tmp_path / "ckpt-3.data-00000-of-00001").write_bytes(raw)
    model, store = small_store(tmp_path)
    assert store.restore_newest() == 2
    assert (model.layers[0].kernel.numpy() == 2).all()
    assert "ckpt-4 is damaged" in caplog.text and "ckpt-3 is damaged" in caplog.text
    (tmp_path / "ckpt-2.index").write_bytes(b"")
    with pytest.raises(ValueError, match="damaged. Start anew with `fresh=True`"):
        small_store(tmp_path)[1].restore_newest()


def test_the_first_checkpoint_half_written_is_none(tmp_path):
    """A kill while TensorFlow wrote its index left a run that could not go on."""

    class Killed(BaseException):
        pass

    _, store = small_store(tmp_path)
    write = store._checkpoint.write

    def killed(prefix):
        write(prefix)
        Path(f"{prefix}.index").write_bytes(b"")
        raise Killed

    store._checkpoint.write = killed
    with pytest.raises(Killed):
        store.save(1)
    assert small_store(tmp_path)[1].restore_newest() == 0
    _, store = small_store(tmp_path)
    store.save(1)
    assert small_store(tmp_path)[1].restore_newest() == 1
    assert {p.name for p in tmp_path.iterdir()} == {
        "ckpt-1.index",
        "ckpt-1.data-00000-of-00001",
    }


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 1 MB; mounting needs root, as CI has."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_full_disk_leaves_the_checkpoint_before(tiny_disk):
    model, store = small_store(tiny_disk)
    store.save(1)
    (tiny_disk / "filler").write_bytes(b"\0" * (950 * 1024))
    big = keras.Sequential([keras.Input((300,)), keras.layers.Dense(300)])
    with pytest.raises(OSError, match="step 2 could not be written.*is intact"):
        Store(tiny_disk, big, keras.optimizers.SGD(), None).save(2)
    (tiny_disk / "filler").unlink()
    assert small_store(tiny_disk)[1].restore_newest() == 1


def test_a_run_that_diverges_stops_before_it_saves(tmp_path):
    recipe = Recipe(
        dataset="fake",
        image_size=16,
        epochs=1,
        optimizer="sgd",
        learning_rate=1e30,
        warmup_epochs=0.0,
    )
    with pytest.raises(NonFinite, match="fake example .*`learning_rate`"):
        descent(recipe, tmp_path).run({})
    assert not list(tmp_path.glob("checkpoints/*.index"))


def test_an_average_that_is_not_finite_is_not_exported(tmp_path):
    run = descent(Recipe(dataset="fake", image_size=16, ema=0.9), tmp_path)
    run.average.shadows[0].assign(run.average.shadows[0] * float("nan"))
    with pytest.raises(NonFinite, match="^An averaged weight is not finite within steps"):
        run.finish()
    assert not list(tmp_path.iterdir())


def test_another_recipe_in_the_same_folder_is_refused(finished_run):
    recipe = finished_run.recipe.replace(epochs=7, seed=5)
    with pytest.raises(ValueError, match="epochs was 3, is 7, seed was 0, is 5.*`fresh=True`"):
        train(recipe, str(finished_run.path))
