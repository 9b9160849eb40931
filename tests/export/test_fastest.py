"""optimize: what it chooses gives the network's answers, and a folder that is a model. Untimed."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable

import keras
import numpy as np
import pytest

from keras_inception import Preprocessing, load_classifier, optimize, save_model
from keras_inception.cli import run as command_line
from keras_inception.exporting import fastest
from keras_inception.exporting.fastest import Candidate
from keras_inception.identity import Identity, attach
from keras_inception.runtime import Classifier

LABELS = ("darkest", "dark", "bright", "brightest")
CONTRACT = Preprocessing(size=(16, 16), mean=(120.0, 110.0, 100.0), std=60.0)


@pytest.fixture(scope="module")
def model():
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, use_bias=False)(image)
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    x = keras.layers.Activation("relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(4, activation="softmax", name="answers")(x))
    model(np.random.default_rng(0).normal(1, 2, (64, 16, 16, 3)), training=True)
    model.get_layer("answers").kernel.assign(np.random.default_rng(1).normal(0, 2, (8, 4)))
    return attach(model, Identity("", preprocessing=CONTRACT, class_names=LABELS))


@pytest.fixture(scope="module")
def images(model):
    """Images whose answers are not ties."""
    many = np.random.default_rng(2).uniform(0, 255, (64, 1, 1, 3)) * np.ones((64, 16, 16, 3))
    ordered = np.sort(load_classifier(model).predict(many), axis=1)
    return many[ordered[:, -1] - ordered[:, -2] > 0.2].astype(np.float32)


class Clock:
    """Stands for `time`: a call takes 100 ms, and of an engine what `Timed` says."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        self.now += 0.1
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(fastest, "time", types.SimpleNamespace(perf_counter=clock.perf_counter))
    return clock


@dataclasses.dataclass(frozen=True)
class Made(Candidate):
    """A candidate whose network is made by a function."""

    making: Callable = None

    def make(self, fused, folder):
        return self.making(fused, folder)


def timed(candidate, clock, milliseconds):
    """The candidate, whose engine takes so long on the clock; Keras takes 100 ms."""

    class Timed:
        def __init__(self, engine):
            self.engine = engine

        def __getattr__(self, name):
            return getattr(self.engine, name)

        def __call__(self, images):
            clock.now += milliseconds / 1000 - 0.1
            return self.engine(images)

    def make(fused, folder):
        made = candidate.make(fused, folder)
        return Classifier(Timed(made.engine), made.identity)

    return Made(candidate.engine, candidate.precision, candidate.frozen, make)


class Stub:
    """An engine that gives a classifier's answers, changed."""

    input_shape, classes = (16, 16, 3), 4

    def __init__(self, name, truth, change):
        self.name, self.truth, self.change = name, truth, change

    def __call__(self, images):
        return self.change(self.truth.engine(images))


def stub(name, clock, milliseconds, precision="float32", change=lambda answers: answers):
    def make(fused, folder):
        folder.mkdir()
        return Classifier(Stub(name, fused, change), fused.identity)

    return timed(Made(name, precision, making=make), clock, milliseconds)


@pytest.mark.parametrize("candidate", fastest.CANDIDATES, ids=lambda candidate: candidate.name)
def test_what_is_chosen_gives_the_answers_and_is_a_model(candidate, model, images, clock, tmp_path):
    """Each of this environment's candidates as the winner."""
    if candidate.missing:
        pytest.skip(candidate.missing)
    assert len(images) > 8
    truth = load_classifier(model).predict(images)
    chosen = optimize(
        model, tmp_path / "fast", images, candidates=[timed(candidate, clock, 10.0)], verbose=0
    )
    record = json.loads((tmp_path / "fast" / "optimize.json").read_text())
    assert record["chosen"]["engine"] == candidate.engine
    assert record["chosen"]["precision"] == candidate.precision
    assert record["images"] == len(images) and record["machine"]["processors"] >= 1
    assert {row["name"]: row["milliseconds"] for row in record["measured"]} == {
        "keras float32": pytest.approx(100.0),
        candidate.name: pytest.approx(10.0),
    }
    for classifier in (chosen, load_classifier(tmp_path / "fast")):
        assert classifier.class_names == LABELS
        answers = classifier.predict(images)
        np.testing.assert_array_equal(answers.argmax(1), truth.argmax(1))
        np.testing.assert_allclose(answers, truth, atol=0.05)
        np.testing.assert_allclose(classifier.predict(images[:3]), answers[:3], atol=1e-3)


def test_what_was_measured_is_a_table(model, images, tmp_path, capsys):
    optimize(model, tmp_path / "fast", images)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "The network at 16 x 16, 1 image a call:"
    assert len([line for line in said if line.startswith("  *")]) == 1
    for candidate in fastest.CANDIDATES:
        (line,) = (line for line in said if line[4:32].strip() == candidate.name)
        assert ("not installed" in line) == bool(candidate.missing)


def test_other_answers_are_refused(model, images, clock, tmp_path, capsys):
    swapped = stub("swapped", clock, 1.0, "int8", lambda answers: answers[:, ::-1])
    nudged = stub("nudged", clock, 1.0, change=lambda answers: answers + 0.001)
    broken = stub("broken", clock, 1.0, change=lambda answers: answers * np.nan)
    honest = stub("honest", clock, 40.0)
    found = optimize(model, tmp_path / "a", images, candidates=[swapped, nudged, broken, honest])
    assert found.engine.name == "honest"
    said = {line[4:].split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert "differs by" in said["swapped"] and "differs by 0.001" in said["nudged"]
    assert "not finite" in said["broken"] and said["honest"].startswith("  *")
    found = optimize(model, tmp_path / "b", images, candidates=[swapped, nudged])
    assert found.engine.name == "Keras"
    again = load_classifier(tmp_path / "b")
    assert again.engine.name == "Keras" and again.class_names == LABELS
    np.testing.assert_allclose(again.predict(images), found.predict(images), atol=1e-6)


def test_an_engine_that_is_slower_than_keras_is_not_chosen(model, images, clock, tmp_path, capsys):
    slow, slowest = stub("slow", clock, 150.0), stub("slowest", clock, 900.0)
    found = optimize(model, tmp_path / "fast", images, candidates=[slow, slowest])
    assert found.engine.name == "Keras"
    said = capsys.readouterr().out
    assert "150.0 ms   0.67x" in said and "900.0 ms   0.11x" in said


def test_without_images_only_float32_is_tried(model, clock, tmp_path, capsys):
    eight_bits, exact = stub("eight", clock, 1.0, "int8"), stub("exact", clock, 40.0)
    found = optimize(model, tmp_path / "fast", candidates=[eight_bits, exact])
    assert found.engine.name == "exact"
    assert "needs images" in capsys.readouterr().out


def test_bad_input_is_refused_and_a_folder_of_the_users_own_is_left_alone(model, clock, tmp_path):
    with pytest.raises(ValueError, match="batch_size=0"):
        optimize(model, tmp_path / "fast", batch_size=0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.keras").write_text("mine")
    with pytest.raises(ValueError, match="mine has no optimize.json"):
        optimize(model, tmp_path / "mine")
    assert (tmp_path / "mine" / "model.keras").read_text() == "mine"
    for _ in range(2):  # an earlier one of its own is replaced
        optimize(model, tmp_path / "fast", candidates=[], verbose=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fast", "mine"]
    (tmp_path / "fast" / "optimize.json").write_text("{")
    with pytest.raises(ValueError, match="optimize.json cannot be used"):
        load_classifier(tmp_path / "fast")


def ran(*arguments):
    with pytest.raises(SystemExit) as ended:
        command_line([str(argument) for argument in arguments])
    return ended.value.code


def test_the_command_leaves_a_model_for_the_other_commands(model, tmp_path, capsys):
    path = save_model(model, tmp_path / "toy.keras")
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, value in (("one.png", 90.0), ("two.png", 200.0)):
        keras.utils.save_img(photos / name, np.full((40, 40, 3), value), scale=False)
    assert ran("optimize", path, "--output", tmp_path / "fast", "--images", photos) == 0
    assert "*" in capsys.readouterr().out
    assert json.loads((tmp_path / "fast" / "optimize.json").read_text())["images"] == 2
    answers = []
    for source in (path, tmp_path / "fast"):
        assert ran("predict", photos, f"--model={source}", "--format=csv") == 0
        out = capsys.readouterr().out
        answers.append([line.split(",")[:3] for line in out.splitlines()])  # image, rank, label
    assert answers[0] == answers[1] and len(answers[0]) == 1 + 2 * 4
    arguments = ["--dataset=fake", f"--output={tmp_path / 'out'}"]
    assert ran("evaluate", tmp_path / "fast", *arguments) == 0
