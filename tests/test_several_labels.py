"""Images with several labels through everything: training, evaluation, predictions, exports."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception import cli, evaluate, export, load_classifier, load_run, predict, train
from keras_inception.data import open_source
from keras_inception.evaluation import results
from keras_inception.exporting import SavedModel, TFLite, Web
from keras_inception.identity import Identity, attach
from keras_inception.models.saving import save_model
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe
from keras_inception.report import write_report
from keras_inception.runs import RunFolder
from keras_inception.training import Interrupted, loop
from keras_inception.training.stages import begin
from keras_inception.training.thresholds import chosen

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import garments  # noqa: E402

TINY = Recipe(
    image_size=48,
    width_multiplier=0.25,
    epochs=2,
    batch_size=16,
    learning_rate=0.016,
    augmentation="none",
    views="center",
    precise_bn=0,
    ema=0.0,
    formats="saved_model,tflite",
    quantization="float32",
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """96 canvases; the path of their table."""
    return garments.write(tmp_path_factory.mktemp("garments"), 96)


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    """A run that was never trained: a small network with thresholds, measured and exported."""
    source = open_source(f"csv:{table}")
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "run")
    recipe = Recipe(dataset=f"csv:{table}", image_size=24, views="mirror")
    contract = Preprocessing((24, 24), crop_fraction=1.0)
    begin(folder, recipe, source, contract)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(8, 5, 2, activation="relu")(inputs)
    x = keras.layers.GlobalMaxPooling2D()(x)
    outputs = keras.layers.Dense(10, "sigmoid", name="predictions")(x)
    model = keras.Model(inputs, outputs)
    known = Identity("", (), contract, source.class_names, "sigmoid")
    thresholds, said = chosen(model, source, contract)
    assert "Thresholds of the best F1 on 14 validation images" in said
    save_model(attach(model, known.replace(thresholds=thresholds)), folder.model_path)
    evaluate(folder.path, source=source)
    export(folder.path, targets=["saved_model", "tflite", Web("float32")], latency=False, verbose=0)
    return load_run(folder.path)


def test_a_run_is_measured_and_reported(run, table):
    found = run.evaluation["results"][0]
    assert found["output"] == "sigmoid" and found["examples"] == 14
    thresholds = run.classifier.identity.thresholds
    assert [row["threshold"] for row in found["per_class"]] == pytest.approx(thresholds, abs=1e-6)
    assert 0 < found["mean_average_precision"] <= 1
    lines = results.table(run.evaluation)
    assert "mean average precision" in lines and "macro F1" in lines and "threshold" in lines
    assert "precision" in repr(run)
    page = write_report(run.path).read_text()
    assert "mean average precision" in page and "no class is taken for another" in page
    assert f"thresholds = {list(thresholds)}" in page  # in the program for phones
    exports = json.loads((Path(run.path) / "export.json").read_text())
    assert 0 <= exports["keras"]["accuracy"] <= 1 and exports["thresholds"] == list(thresholds)


def test_exports_name_the_classes_that_reach_their_thresholds(run, table):
    folder, images = Path(run.path), sorted(table.parent.glob("test-*.png"))[:6]
    exact = run.classifier
    files = [folder / "model.keras", folder / "saved_model", folder / "model.tflite"]
    files += [folder / "web" / "model.tflite"]
    want = list(predict(folder, images, verbose=0))
    for record in want:
        image = np.asarray(keras.utils.load_img(record.image))
        (answers,) = exact.predict(exact.crop_and_resize(image)[None])
        reached = {
            name
            for name, p, least in zip(exact.class_names, answers, exact.thresholds, strict=True)
            if p >= least
        }
        assert {name for name, _ in record.top} == reached
    for file in files:
        loaded = load_classifier(file)
        assert loaded.identity.thresholds == exact.identity.thresholds, file
        got = list(predict(loaded, images, verbose=0))
        assert [[n for n, _ in r.top] for r in got] == [[n for n, _ in r.top] for r in want], file
    network = json.loads((folder / "web" / "network.json").read_text())
    assert network["thresholds"] == list(exact.identity.thresholds)


def test_exports_for_servers_name_them(run, table):
    images = sorted(table.parent.glob("test-*.png"))[:6]
    signatures = tf.saved_model.load(str(Path(run.path) / "saved_model")).signatures
    encoded = tf.constant([image.read_bytes() for image in images])
    got = signatures["classify_bytes"](image_bytes=encoded)
    want = [[name for name, _ in record.top] for record in predict(run.path, images, verbose=0)]
    rows = [[n.decode() for n in row if n] for row in got["classes"].numpy().tolist()]
    assert rows == want and got["classes"].shape[1] == max(map(len, want))
    assert (got["indices"].numpy() >= 0).sum() == sum(map(len, want))
    marked = signatures["classify_bytes_marked"](image_bytes=tf.concat([encoded, ["x"]], 0))
    assert marked["valid"].numpy().tolist() == [True] * 6 + [False]


def test_exports_for_phones_tell_mediapipe(run):
    """A line a class, and none behind the last one, which MediaPipe would count."""
    path = Path(run.path) / "model.tflite"
    lines = zipfile.ZipFile(path).read("thresholds.txt").decode().split("\n")
    assert [float(line.split(",")[3]) for line in lines] == list(run.classifier.identity.thresholds)


def test_what_predict_prints_is_as_measured(run, table, capsys):
    image = sorted(table.parent.glob("test-*.png"))[0]
    with pytest.raises(SystemExit):
        cli.run(["predict", str(image), "--model", run.path, "--format", "json"])
    (line,) = capsys.readouterr().out.splitlines()
    (record,) = predict(run.path, image, verbose=0)
    assert [row["label"] for row in json.loads(line)["top"]] == [name for name, _ in record.top]


@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not(table, tmp_path, monkeypatch):
    own = {"export": False, "report": False, "verbose": 0}
    whole = train(f"csv:{table}", TINY, tmp_path / "whole", **own)
    found = whole.evaluation["results"][0]
    thresholds = whole.classifier.identity.thresholds
    assert [row["threshold"] for row in found["per_class"]] == pytest.approx(thresholds, abs=1e-6)
    weights = load_classifier(tmp_path / "whole" / "weights.safetensors")
    assert weights.identity.thresholds == thresholds

    def stop_after(self, save=loop.Descent._save):
        save(self)
        if self.step < self.total_steps:
            raise Interrupted("stopped", 15)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Descent, "_save", stop_after)
        with pytest.raises(Interrupted):
            train(f"csv:{table}", TINY, tmp_path / "run", **own)
    again = train(f"csv:{table}", TINY, tmp_path / "run", **own)
    for one, other in zip(again.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.classifier.identity.thresholds == thresholds
    for name in ("mean_average_precision", "accuracy"):
        assert again.evaluation["results"][0][name] == found[name]


@pytest.mark.slow
def test_one_class_of_yes_or_no(table, tmp_path):
    lines = table.read_text().splitlines()
    flags = [f"{n},{int('Bag' in l)},{p}" for n, l, p in (x.split(",") for x in lines[1:])]
    own = table.parent / "bag.csv"
    own.write_text("\n".join(["path,Bag,split", *flags]))
    recipe = TINY.replace(probe=True, epochs=0, formats="")
    found = train(f"csv:{own}", recipe, tmp_path / "run", verbose=0)
    assert found.class_names == ["Bag"] and len(found.classifier.identity.thresholds) == 1
    assert found.evaluation["results"][0]["mean_average_precision"] > 0


def sigmoid_network(thresholds=(), names=("a", "b", "c")):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    outputs = keras.layers.Dense(3, "sigmoid", name="predictions")(x)
    contract = Preprocessing((8, 8), crop_fraction=1.0)
    known = Identity("", (), contract, names, "sigmoid", thresholds)
    return attach(keras.Model(inputs, outputs), known)


def test_a_network_of_another_tool_names_all_above_a_half(caplog, tmp_path):
    model = sigmoid_network()
    model.identity = model.identity.replace(output="softmax")  # it does not say
    classifier = load_classifier(model)
    assert classifier.identity.thresholds == (0.5,) * 3 and "every one from 0.5" in caplog.text
    image = np.full((8, 8, 3), 90, np.uint8)
    (answers,) = classifier.predict(image[None])
    assert len(classifier.classify(image)) == (answers >= 0.5).sum()
    two = load_classifier(model, thresholds=0.0).classify(image, top=2)
    assert [p for _, p in two] == sorted(answers.tolist())[:0:-1]
    for name in ("theirs.keras", "theirs.h5"):  # as Keras writes them, without an identity
        keras.Model(model.inputs, model.outputs).save(tmp_path / name)
        opened = load_classifier(tmp_path / name, preprocessing=classifier.preprocessing)
        np.testing.assert_allclose(opened.predict(image[None]), answers[None], rtol=1e-5)
        assert len(opened.identity.thresholds) == 3


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [([0.5, 0.5], r"one for each of the 3 classes. Received: \(2,\)"), (1.5, "from 0 to 1")],
)
def test_thresholds_that_do_not_fit_are_refused(thresholds, message):
    with pytest.raises(ValueError, match=message):
        load_classifier(sigmoid_network(), thresholds=thresholds)


def test_thresholds_of_classes_that_exclude_each_other_are_refused():
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling2D()(inputs))
    model = keras.Model(inputs, outputs)
    with pytest.raises(ValueError, match="exclude each other"):
        load_classifier(model, preprocessing=Preprocessing((8, 8)), thresholds=0.5)


def test_an_identity_of_sigmoids_makes_the_round_trip_and_damage_is_refused():
    known = Identity("", (), None, ("a", "b"), "sigmoid", (0.25, 0.75))
    said = known.to_metadata()
    assert Identity.from_metadata(said) == known
    assert (
        Identity.from_metadata({"class_names": '["a"]'})
        .to_metadata()
        .keys()
        .isdisjoint({"output", "thresholds"})
    )
    for field, value in (
        ("output", "tanh"),
        ("thresholds", "[0.5]"),
        ("thresholds", "[0.5, 2]"),
        ("thresholds", '[0.5, "x"]'),
        ("thresholds", "[0.5, NaN]"),
    ):
        with pytest.raises(ValueError, match=f"`{field}` in a file"):
            Identity.from_metadata({**said, field: value})


def test_a_network_with_one_class_an_image_is_not_measured_on_several(table):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    source = open_source(f"csv:{table}")
    names = tuple(source.class_names)
    outputs = keras.layers.Dense(len(names), "softmax")(x)
    contract = Preprocessing((8, 8), crop_fraction=1.0)
    model = attach(keras.Model(inputs, outputs), Identity("", (), contract, names))
    with pytest.raises(ValueError, match="answers with one class an image"):
        evaluate(model, source)


def test_exports_of_logits_and_of_eight_bits_know_their_sigmoids(tmp_path):
    model = sigmoid_network((0.3, 0.5, 0.6))
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3)).astype(np.float32)
    want = load_classifier(model).predict(images)
    for target in (
        TFLite(outputs="logits"),
        TFLite("int8", calibration=list(images)),
        SavedModel(),
    ):
        loaded = load_classifier(target.write(model, tmp_path / target.file))
        assert loaded.identity.thresholds == (0.3, 0.5, 0.6)
        np.testing.assert_allclose(loaded.predict(images), want, atol=0.03)


def test_sampling_is_refused_by_name(table, tmp_path):
    with pytest.raises(ValueError, match="`class_weight=balanced` weighs them"):
        train(f"csv:{table}", TINY, tmp_path / "run", class_weight="sampling", verbose=0)
