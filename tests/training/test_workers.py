"""Two workers, as two processes on loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from keras_inception.data import evaluation_batches, open_run
from keras_inception.runs import RunFolder

# The real loop, on a small network with synchronised BatchNorm.
RUN = f"""
import hashlib, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from short_googlenet import shorten
shorten()
from keras_inception.recipes import Recipe
from keras_inception.training import Interrupted, LostWorker, loop, make_strategy, train
folder, workers, index = sys.argv[1], sys.argv[2], int(sys.argv[3])
# Alone, one process has as many replicas: BatchNorm over replicas rounds otherwise than over one.
devices = 0 if workers else 2
strategy = make_strategy(
    "auto", workers=workers, worker_index=index, num_virtual_devices=devices
)
loop.SECONDS_BETWEEN_CHECKPOINTS = 0.0
finish = loop.Descent.finish

def finish_and_tell(run):
    finish(run)
    arrays = b"".join(weight.numpy().tobytes() for weight in run.model.weights)
    print("WEIGHTS", hashlib.sha256(arrays).hexdigest())

loop.Descent.finish = finish_and_tell
recipe = Recipe(
    dataset="fake", image_size=16, width_multiplier=0.25, epochs=2, batch_size=96, dropout=0.0,
    sync_bn=True, ema=0.9, optimizer="sgd", learning_rate=0.02, weight_decay=4e-5,
    aux_weight=0.0, precise_bn=0,  # statistics over replicas are tested in one process
)
try:
    train(recipe, folder, strategy=strategy, steps_per_loop=1)
except Interrupted as stop:
    print(stop)
    sys.exit(75)
except LostWorker as error:
    print(error)
    sys.exit(76)
"""


def ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    numbers = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return numbers


def start(folder, count):
    workers = ",".join(f"127.0.0.1:{port}" for port in ports(count)) if count > 1 else ""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CONFIG"}
    return [
        subprocess.Popen(
            [sys.executable, "-c", RUN, str(folder), workers, str(i)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        for i in range(count)
    ]


def finish(processes, seconds=900):
    outputs = [process.communicate(timeout=seconds)[0] for process in processes]
    return [process.returncode for process in processes], outputs


def wait_for_checkpoint(folder, processes):
    deadline = time.monotonic() + 900
    while not list(Path(folder).glob("checkpoints/ckpt-*.index")):
        assert all(p.poll() is None for p in processes) and time.monotonic() < deadline
        time.sleep(0.05)


def told(output):
    """What a worker says of the weights that it ended with."""
    return output.partition("WEIGHTS ")[2].split()[0]


def weights(folder):
    return RunFolder(folder).load_model().get_weights()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    codes, outputs = finish(start(folder, 1))
    assert codes == [0], outputs
    return folder


@pytest.mark.slow  # a process with two replicas, for what test_pipeline.py says of the batches
def test_validation_counts_every_example_once_when_a_replicas_share_is_empty(alone):
    """26 validation images and two replicas of 48: the second one has none."""
    run = RunFolder(alone)
    source, model = open_run(run), run.load_model()
    count = source.num_examples("validation")
    assert 0 < count < run.recipe.batch_size // 2
    batch = next(
        iter(evaluation_batches(source, "validation", run.preprocessing, batch_size=count))
    )
    answers, labels = model(batch["image"], training=False).numpy(), batch["label"].numpy()
    row = run.history[-1]
    loss = -np.log(answers[np.arange(count), labels]).mean()
    assert row["validation_loss"] == pytest.approx(loss, rel=1e-4)
    right = (answers.argmax(1) == labels).mean()
    assert row["validation_accuracy"] == pytest.approx(right, abs=1e-6)


@pytest.mark.slow  # the other test's end says the same of a run that was interrupted
def test_two_workers_train_what_one_process_does(alone, tmp_path):
    codes, outputs = finish(start(tmp_path, 2))
    assert codes == [0, 0], outputs
    assert told(outputs[0]) == told(outputs[1]), "both workers have the same weights, bit for bit"
    for got, want in zip(weights(tmp_path), weights(alone), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4)
    history, wanted = RunFolder(tmp_path).history, RunFolder(alone).history
    for row, want in zip(history, wanted, strict=True):
        assert row["loss"] == pytest.approx(want["loss"], rel=1e-3)
        assert row["accuracy"] == pytest.approx(want["accuracy"], abs=0.02)
    assert "epoch 1/2" in outputs[0] and "epoch 1/2" not in outputs[1]
    assert json.loads((tmp_path / "config.json").read_text())["recipe"]["sync_bn"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_dies_or_is_asked_to_stop(how, alone, tmp_path):
    """The other ends within a bound, and all of them go on to the same weights."""
    processes = start(tmp_path, 2)
    wait_for_checkpoint(tmp_path, processes)
    processes[1].send_signal(how)
    begun = time.monotonic()
    codes, outputs = finish(processes, seconds=90)
    assert time.monotonic() - begun < 60
    if how == signal.SIGKILL:
        assert codes == [76, -signal.SIGKILL], outputs
        assert "restart all of them with the same command" in outputs[0]
    else:
        assert codes == [75, 75], outputs
        steps = [output.partition("Stopped at step ")[2].partition(";")[0] for output in outputs]
        assert steps[0] == steps[1] != ""
    codes, outputs = finish(start(tmp_path, 2))
    assert codes == [0, 0], outputs
    assert "Going on from step" in outputs[0]
    assert told(outputs[0]) == told(outputs[1])
    for got, want in zip(weights(tmp_path), weights(alone), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4)
