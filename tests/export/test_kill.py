"""An export that is killed leaves the earlier files whole or the new ones, and says which."""

from __future__ import annotations

import itertools
import json
import os
import signal
import types
import warnings
from pathlib import Path

import numpy as np
import pytest

from keras_inception import Preprocessing, files
from keras_inception.exporting import Target, run
from keras_inception.exporting.samples import Samples

IMAGES = np.zeros((2, 8, 8, 3), np.float32)
ANSWERS = np.full((2, 2), 0.5)
STEPS = 40  # more than an export takes


class Slow(Target):
    """Writes its network's mark into a file, or into two files of a folder, in two steps."""

    format = "slow"
    file = ""

    def __init__(self, file, step):
        self.file, self.step = file, step

    def make(self, network, path):
        places = [path / "a", path / "b"] if self.file == "folder" else [path]
        for place in places:
            self.step()
            place.parent.mkdir(exist_ok=True)
            place.write_text(network.class_names[0])

    def check(self, path, network, samples, want):
        self.step()
        return [], want


def export(folder, mark, step=lambda: None):
    network = types.SimpleNamespace(
        class_names=[mark, "other"],
        preprocessing=Preprocessing((8, 8)),
    )
    samples = Samples(IMAGES, None, b"", IMAGES[0], "images")
    targets = [Slow(name, step) for name in ("folder", "file", "other")]
    run._exported(network, targets, samples, folder, False, lambda line: None)


def killed_at(moment, folder, mark):
    """Exports in a process that kills itself before a step, if it has so many; whether it did."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python 3.12: other threads do not go along
        child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    steps = itertools.count()

    def step():
        if next(steps) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def stepping(function):
        return lambda *given: step() or function(*given)

    try:
        Path.rename, Path.replace = stepping(Path.rename), stepping(Path.replace)
        files._swapped = stepping(files._swapped)
        export(folder, mark, step)
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_an_export_killed_at_any_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_probabilities", lambda network, images: ANSWERS)
    export(tmp_path, "0")
    finished, states = "0", set()
    for moment in range(STEPS):
        mark = str(moment + 1)
        killed = killed_at(moment, tmp_path, mark)
        record = json.loads((tmp_path / "export.json").read_text())
        parts = ("folder/a", "folder/b", "file", "other")
        marks = [(tmp_path / part).read_text() for part in parts]
        assert set(marks) <= {finished, mark} and marks[0] == marks[1]
        if not record.get("unfinished"):
            assert set(marks) == {record["class_names"][0]}
        states.add(tuple(found == mark for found in marks) + (record.get("unfinished", False),))
        if not killed:
            break
        export(tmp_path, mark)  # goes on where another one was killed
        finished = mark
    assert not killed and moment > 8
    assert {p.name for p in tmp_path.iterdir()} == {
        "folder",
        "file",
        "other",
        "labels.txt",
        "export.json",
    }
    assert (True, True, False, False, True) in states  # a mixture, which export.json tells
