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

from keras_inception import Preprocessing, files, pictures
from keras_inception.evaluation import results
from keras_inception.evaluation.metrics import KEPT_ROWS
from keras_inception.exporting import Target, run
from keras_inception.exporting.samples import Samples
from keras_inception.identity import Identity

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
        thresholds=None,
        identity=Identity(""),
    )
    samples = Samples(IMAGES, None, b"", IMAGES[0], "images")
    targets = [Slow(name, step) for name in ("folder", "file", "other")]
    run._exported(network, targets, samples, folder, False, lambda line: None)


def killed_at(moment, work):
    """Works in a process that kills itself before a step, if it has so many; whether it did."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python 3.12: other threads do not go along
        child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)
    steps = itertools.count()

    def step():
        if next(steps) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def stepping(function):
        return lambda *given, **named: step() or function(*given, **named)

    try:
        for name in ("rename", "replace", "unlink"):
            setattr(Path, name, stepping(getattr(Path, name)))
        files._swapped = stepping(files._swapped)
        work(step)
        os._exit(0)
    finally:
        os._exit(1)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@needs_fork
@pytest.mark.parametrize("system", ["exchanges in one step", "exchanges in two steps"])
def test_an_export_killed_at_any_moment(tmp_path, monkeypatch, system):
    monkeypatch.setattr(run, "_probabilities", lambda network, images: ANSWERS)
    if system == "exchanges in two steps":  # other systems than Linux
        monkeypatch.setattr(files, "_swapped", lambda one, other: False)
    export(tmp_path, "0")
    finished, states = "0", set()
    for moment in range(STEPS):
        mark = str(moment + 1)
        killed = killed_at(moment, lambda step, mark=mark: export(tmp_path, mark, step))
        for file in ("folder", "file", "other"):
            files.restore(tmp_path / file)  # as each command does first that writes there
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


def evaluation(folder, mark):
    """Writes an evaluation in which all that could be mixed is a number."""
    numbers = np.full((1, 1), mark)
    rows = {name: numbers for name in ("index", "labels", "content", "single_view", *KEPT_ROWS)}
    calibration = {"bins": [], "expected_calibration_error": 0.0}
    one = {"mark": mark, "confusion_matrix": [], "calibration": calibration}
    task = types.SimpleNamespace(names=["a"], answer_names=["x"], class_names=["x"])
    results.write(folder, task, rows, {"results": [one]})


@needs_fork
def test_an_evaluation_killed_at_any_moment(tmp_path, monkeypatch):
    """Its files are of one evaluation, or the report and everybody else are told."""
    for name in ("confusion", "reliability"):
        monkeypatch.setattr(
            pictures, name, lambda *given: Path(given[-1]).write_bytes(bytes([given[0] is None]))
        )
    evaluation(tmp_path, 0)
    refused = 0
    for moment in range(STEPS):
        mark = moment + 1
        killed = killed_at(moment, lambda step, mark=mark: evaluation(tmp_path, mark))
        said = results.read(tmp_path)["results"][0]["mark"]
        assert said in (moment, mark)
        try:
            assert results.read_predictions(tmp_path)["labels"] == said
        except ValueError as error:
            assert "Evaluate again" in str(error)
            refused += 1
        if not killed:
            break
        evaluation(tmp_path, mark)
        assert results.read_predictions(tmp_path)["labels"] == mark
    assert not killed and refused
    assert not list(tmp_path.glob(".*"))


@needs_fork
def test_a_file_killed_at_any_moment(tmp_path):
    """What report and save_model write: one file each."""
    path = tmp_path / "model.keras"

    def write(mark, step=lambda: None):
        files.write(path, lambda place: step() or place.write_text(mark) and step())

    write("0")
    for moment in range(STEPS):
        mark = str(moment + 1)
        killed = killed_at(moment, lambda step, mark=mark: write(mark, step))
        assert path.read_text() in (str(moment), mark)
        if not killed:
            break
        write(mark)
        assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]
    assert not killed and moment > 2


def test_exports_side_by_side_leave_each_others_work_alone(tmp_path):
    with files.scratch(tmp_path) as mine:
        (mine / "half").write_text("half")
        files.remove_scratch(tmp_path)
        assert (mine / "half").exists()
        left = tmp_path / f"{files.SCRATCH}left"
        left.mkdir()
        files.remove_scratch(tmp_path)
        assert not left.exists() and mine.exists()
    assert not list(tmp_path.iterdir())
