"""optimize: what it chooses gives the network's answers, and what it remembers holds. Untimed."""

from __future__ import annotations

import json

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


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def race(monkeypatch):
    """Decides by name who wins, instead of a clock."""

    def set_times(**milliseconds):
        def time_of(classifier):
            return milliseconds.get(classifier.engine.name.replace(" ", "_"), 50.0)

        def take_turns(self, one, other):
            return time_of(one), time_of(other)

        monkeypatch.setattr(fastest._Trial, "_milliseconds", take_turns)
        monkeypatch.setattr(fastest._Trial, "_is_hopeless", lambda *_: "")

    return set_times


class Stub:
    """An engine that gives a classifier's answers, changed."""

    input_shape, classes = (16, 16, 3), 4

    def __init__(self, name, truth, change):
        self.name, self.truth, self.change = name, truth, change

    def __call__(self, images):
        return self.change(self.truth.engine(images))


def stub(name, precision="float32", change=lambda answers: answers, makes=None):
    def make(fused, folder):
        if makes is not None:
            makes.append(name)
        return Classifier(Stub(name, fused, change), fused.identity)

    return Candidate(name, precision, make)


def test_every_engine_that_is_there_gives_the_answers(model, images, race, capsys):
    """Whichever wins: each of this environment's candidates is made, checked and in the table."""
    assert len(images) > 8
    truth = load_classifier(model).predict(images)
    for winner in ("TensorFlow", "LiteRT"):
        race(**{winner: 1.0})
        chosen = optimize(model, images, fresh=True)
        assert chosen.engine.name == winner and chosen.class_names == LABELS
        answers = chosen.predict(images)
        np.testing.assert_array_equal(answers.argmax(1), truth.argmax(1))
        np.testing.assert_allclose(answers, truth, atol=0.05)
        np.testing.assert_allclose(chosen.predict(images[:3]), answers[:3], atol=1e-3)
    said = capsys.readouterr().out
    for candidate in fastest.CANDIDATES:
        (line,) = (
            line
            for line in said.split("The network")[1].splitlines()
            if line[4:].startswith(f"{candidate.name} ") and line[4:32].strip() == candidate.name
        )
        assert ("not installed" in line) == bool(candidate.missing)
        assert candidate.missing or "ms" in line, line


def test_other_answers_are_refused(model, images, race, monkeypatch, capsys):
    swapped = stub("swapped", "int8", lambda answers: answers[:, ::-1])
    nudged = stub("nudged", "float32", lambda answers: answers + 0.001)
    broken = stub("broken", "float32", lambda answers: answers * np.nan)
    honest = stub("honest")
    monkeypatch.setattr(fastest, "CANDIDATES", (swapped, nudged, broken, honest))
    race(swapped=1.0, nudged=1.0, broken=1.0, honest=40.0)
    assert optimize(model, images).engine.name == "honest"
    said = {line[4:].split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert "differs by" in said["swapped"] and "differs by 0.001" in said["nudged"]
    assert "not finite" in said["broken"] and said["honest"].startswith("  *")
    monkeypatch.setattr(fastest, "CANDIDATES", (swapped, nudged))
    assert optimize(model, images).engine.name == "Keras"
    monkeypatch.setattr(fastest, "CHOICES", ("auto", "swapped"))
    with pytest.raises(ValueError, match="swapped.*nothing of it can run this network"):
        optimize(model, images, engine="swapped")


def test_without_images_only_float32_is_tried(model, race, monkeypatch, capsys):
    eight_bits, exact = stub("eight", "int8"), stub("exact")
    monkeypatch.setattr(fastest, "CANDIDATES", (eight_bits, exact))
    race(eight=1.0, exact=40.0)
    assert optimize(model).engine.name == "exact"
    assert "needs images" in capsys.readouterr().out


def test_the_choice_is_remembered_until_a_version_changes(
    model, images, race, monkeypatch, capsys, home
):
    makes: list[str] = []
    slow, quick = stub("slow", makes=makes), stub("quick", makes=makes)
    monkeypatch.setattr(fastest, "CANDIDATES", (slow, quick))
    race(slow=40.0, quick=20.0)
    assert optimize(model, images).engine.name == "quick" and makes == ["slow", "quick"]
    assert optimize(model, images).engine.name == "quick" and makes == ["slow", "quick", "quick"]
    assert "quick float32, as measured before" in capsys.readouterr().out.splitlines()[-1]
    # Without images, another batch, another shape: measured by themselves.
    optimize(model)
    optimize(model, images, batch_size=4)
    assert makes[3:] == ["slow", "quick"] * 2
    # A damaged memory is no memory.
    for file in (home / "engines").glob("*.json"):
        assert json.loads(file.read_text())["circumstances"]["machine"]["processors"] >= 1
        file.write_text("{")
    makes.clear()
    optimize(model, images)
    assert makes == ["slow", "quick"]
    monkeypatch.setattr(fastest, "versions", lambda: {"tensorflow": "3.0"})
    optimize(model, images)
    assert makes == ["slow", "quick"] * 2
    # What was remembered is held against the images each time.
    wrong = stub("quick", change=lambda answers: answers[:, ::-1])
    monkeypatch.setattr(fastest, "CANDIDATES", (slow, wrong))
    assert optimize(model, images).engine.name == "slow"
    assert "was fastest, but a probability differs" in capsys.readouterr().out


def test_arguments_are_checked(model, images, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="`engine` should be one of .* Received: engine='tpu'"):
        optimize(model, engine="tpu")
    with pytest.raises(ValueError, match="batch_size=0"):
        optimize(model, batch_size=0)
    absent = Candidate("onnx", "float32", stub("x").make, needs=("no_such_package",))
    monkeypatch.setattr(fastest, "CANDIDATES", (absent,))
    with pytest.raises(ValueError, match="engine=onnx.*not installed.*keras-inception.onnx"):
        optimize(model, images, engine="onnx")
    assert optimize(model, images, engine="keras").engine.name == "Keras"


def ran(*arguments):
    with pytest.raises(SystemExit) as ended:
        command_line([str(argument) for argument in arguments])
    return ended.value.code


def test_the_commands_run_on_an_engine(model, tmp_path, race, monkeypatch, capsys):
    """predict and evaluate say what they chose on stderr, and answer as with Keras."""
    monkeypatch.setattr(fastest, "CANDIDATES", (stub("tensorflow"), stub("eight", "int8")))
    race(tensorflow=1.0)
    path = save_model(model, tmp_path / "toy.keras")
    for name, value in (("one.png", 90.0), ("two.png", 200.0)):
        keras.utils.save_img(tmp_path / name, np.full((40, 40, 3), value), scale=False)
    answers = []
    for engine in ("keras", "auto"):
        arguments = [f"--model={path}", f"--engine={engine}", "--format=csv"]
        assert ran("predict", tmp_path / "one.png", tmp_path / "two.png", *arguments) == 0
        out, err = capsys.readouterr()
        answers.append([line.split(",")[:3] for line in out.splitlines()])  # image, rank, label
        assert ("* tensorflow" in err) == (engine == "auto")
    assert answers[0] == answers[1] and len(answers[0]) == 1 + 2 * 4
    arguments = ["--dataset=fake", "--engine=tensorflow", f"--output={tmp_path / 'out'}"]
    assert ran("evaluate", path, *arguments) == 0
    assert "* tensorflow" in capsys.readouterr().err
