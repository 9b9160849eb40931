"""Evaluation by protocol: any engine, many views, ensembles, ImageNet's layouts, going on."""

from __future__ import annotations

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception.data.sources import open_source
from keras_inception.data.sources.imagenet import open_imagenet
from keras_inception.data.views import take
from keras_inception.evaluation import notes, results
from keras_inception.evaluation.protocol import evaluate
from keras_inception.evaluation.published import published_figures
from keras_inception.identity import Identity, attach
from keras_inception.models.imagenet import imagenet_classes
from keras_inception.models.saving import save_model
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder
from keras_inception.runtime import Classifier
from keras_inception.training.stages import begin

IDS = [c.wordnet_id for c in imagenet_classes()]


class Linear:
    """An engine whose answer is a function of the image that numpy can repeat."""

    name = "numpy"
    input_shape = (24, 24, 3)

    def __init__(self, classes=4, seed=0):
        self.classes = classes
        self.kernel = np.random.default_rng(seed).normal(size=(24 * 24 * 3, classes)) / 20
        self.images = 0

    def __call__(self, images):
        self.images += len(images)
        logits = images.reshape(len(images), -1) @ self.kernel
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)


FAKE = ("darkest", "dark", "bright", "brightest")


def classifier(seed=0, names=FAKE, classes=4, **contract):
    contract = Preprocessing(size=(24, 24), **contract)
    return Classifier(Linear(classes, seed), Identity("", (), contract, tuple(names)))


@pytest.fixture(scope="module")
def fake():
    return open_source("fake")


@pytest.mark.parametrize("crops", ["1", "12"])
def test_an_ensemble_is_the_average_of_all_models_over_all_views(crops, fake):
    """Recomputed by hand, with another contract for each model and another order of classes."""
    models = [classifier(0), classifier(1, FAKE[::-1], interpolation="bicubic")]
    result = evaluate(models, fake, crops=crops, ensemble=True, limit=20, batch_size=8)
    numbers = np.sort(np.random.default_rng(0).permutation(128)[:20])
    split = fake.splits["test"]
    means = []
    for model, order in zip(models, [slice(None), slice(None, None, -1)], strict=True):
        seen = [take(split.pixels(int(i)), model.preprocessing, crops) for i in numbers]
        answers = [model.predict(views).mean(0)[order] for views in seen]
        means.append(np.array(answers))
    labels = split.labels[numbers]
    for one, mean in zip(result["results"], [*means, sum(means) / 2], strict=True):
        assert one["accuracy"] == pytest.approx((mean.argmax(1) == labels).mean(), abs=1e-6)
        confidence = sum(b["confidence"] * b["images"] for b in one["calibration"]["bins"]) / 20
        assert confidence == pytest.approx(mean.max(1).mean(), abs=1e-5)
    assert [one["name"] for one in result["results"]] == ["model", "model (2)", "ensemble"]
    assert len(result["comparisons"]) == 3
    assert result["sample"] == "20 of 128 images, drawn by seed 0"
    assert "bicubic" in result["results"][1]["protocol"]
    assert "model minus model (2)" in results.table(result)


def test_a_stopped_evaluation_goes_on_and_another_is_refused(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(notes, "SAVE_EVERY", 0.0)
    whole = evaluate(classifier(), fake, crops="mirror", batch_size=8, output=tmp_path / "a")

    def stop(done, total):
        if done >= 64:
            raise KeyboardInterrupt

    stopped = {"crops": "mirror", "batch_size": 8, "output": tmp_path / "b"}
    with pytest.raises(KeyboardInterrupt):
        evaluate(classifier(), fake, progress=stop, **stopped)
    with pytest.raises(ValueError, match="unfinished evaluation of other models"):
        evaluate(classifier(seed=1), fake, **stopped)
    with pytest.raises(ValueError, match="unfinished evaluation of other models"):
        evaluate(classifier(), fake, **(stopped | {"crops": "1"}))
    model = classifier()
    assert evaluate(model, fake, **stopped) == whole
    assert model.engine.images == 1 + 2 * (128 - 60)  # the fingerprint, then what was left
    files = {p.name for p in (tmp_path / "b").iterdir()}
    assert files == {
        "evaluation.json",
        "predictions.npz",
        "confusion_matrix.png",
        "reliability.png",
    }
    assert json.loads((tmp_path / "b" / "evaluation.json").read_text()) == json.loads(
        json.dumps(whole)
    )
    with np.load(tmp_path / "b" / "predictions.npz") as answers:
        hits = (answers["rank"][:, 0] == 0).mean()
    assert hits == pytest.approx(whole["results"][0]["accuracy"], abs=1e-6)


def test_a_run_is_measured_on_its_own_test_part(tmp_path, caplog):
    """Drawn by another seed, the test part would hold images that the run has trained on."""
    contract = Preprocessing(size=(24, 24))
    mine = open_source("fake", seed=3, validation_fraction=0.05)
    run = RunFolder(tmp_path / "run")
    begin(run, Recipe(dataset="fake", seed=3), mine, contract)
    layers = [keras.Input((24, 24, 3)), keras.layers.Flatten(), keras.layers.Dense(4, "softmax")]
    save_model(attach(keras.Sequential(layers), Identity("", (), contract, FAKE)), run.model_path)
    result = evaluate(run.path, "fake", limit=9)
    assert result["provenance"]["seed"] == 3 and result["results"][0]["trained_on"] == 0
    trained = dataclasses.replace(mine, splits={"test": mine.splits["train"].subset(np.arange(9))})
    result = evaluate([run.model_path, classifier()], trained)
    assert [one["trained_on"] for one in result["results"]] == [9, None]
    said = "9 of the 9 images are ones that its run trained on"
    assert said in caplog.text and said in results.table(result)
    with pytest.raises(ValueError, match="is a run folder"):
        evaluate(run.path, "fake", output=run.path)


def image(path, seed, side=32):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tf.io.encode_png(pixels).numpy())


def test_imagenets_layouts_give_the_same_numbers(tmp_path):
    """Class folders, one folder by the original names, and with three kinds of list."""
    known = protocol_labels()
    for number in range(1, 9):
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        image(tmp_path / "folders" / known[number - 1] / name, number)
        image(tmp_path / "flat" / name, number)
    # The challenge's own numbers are another order of the classes; Caffe's list is ours, from 0.
    numbers = {wordnet_id: str(1 + (i * 7) % 1000) for i, wordnet_id in enumerate(IDS)}
    (tmp_path / "numbers.txt").write_text("".join(numbers[k] + "\n" for k in known))
    (tmp_path / "ids.txt").write_text("".join(k + "\n" for k in known[:8]))
    pairs = [f"ILSVRC2012_val_{i + 1:08d}.JPEG {IDS.index(known[i])}" for i in range(8)]
    (tmp_path / "val.txt").write_text("\n".join(pairs))
    sources = [open_imagenet(tmp_path / "folders"), open_imagenet(tmp_path / "flat")]
    for name in ("numbers.txt", "ids.txt", "val.txt"):
        sources.append(open_imagenet(tmp_path / "flat", tmp_path / name))
    expected = sorted(IDS.index(k) for k in known[:8])
    for source in sources:
        assert sorted(source.splits["test"].labels) == expected
    for source in sources[1:]:
        assert source.splits["test"].labels.tolist() == [IDS.index(k) for k in known[:8]]

    # 1,000 outputs and 1,001, whose first is the background: the same answers.
    plain, background = classifier(0, (), 1000), classifier(0, (), 1001)
    background.engine.kernel[:, 1:] = plain.engine.kernel
    results = [evaluate(m, s)["results"][0] for m in (plain, background) for s in sources[:2]]
    for other in results[1:]:
        assert other["accuracy"] == results[0]["accuracy"]
        assert other["top5_accuracy"] == results[0]["top5_accuracy"]
        assert other["most_confused"] == results[0]["most_confused"]


def protocol_labels():
    from keras_inception.data.sources import imagenet

    labels = imagenet._classes_of_the_original()
    assert len(labels) == 50_000 and set(labels) == set(IDS)
    assert labels[0] == "n01751748"  # the first image is a sea snake
    return labels


def test_a_list_that_cannot_be_is_refused(tmp_path):
    for number in (1, 2, 3):
        image(tmp_path / f"ILSVRC2012_val_{number:08d}.JPEG", number)
    shifted = protocol_labels()[1:4]
    (tmp_path / "shifted.list").write_text("\n".join(shifted))
    with pytest.raises(ValueError, match="belongs to other images"):
        open_imagenet(tmp_path, tmp_path / "shifted.list")
    (tmp_path / "short.list").write_text("5\n")
    with pytest.raises(ValueError, match="1 lines for 3 images"):
        open_imagenet(tmp_path, tmp_path / "short.list")
    image(tmp_path / "other" / "a.png", 0)
    with pytest.raises(ValueError, match="Give `ground_truth`"):
        open_imagenet(tmp_path / "other")
    (tmp_path / "n.list").write_text("a.png 65")
    with pytest.raises(ValueError, match="numbers count the classes in one of several orders"):
        open_imagenet(tmp_path / "other", tmp_path / "n.list")


@pytest.mark.parametrize(
    ("names", "classes", "message"),
    [
        (("a", "b", "c", "d"), 4, "does not know the data set's class 'darkest'"),
        ((), 5, "5 outputs and the data set 4 classes"),
    ],
)
def test_other_classes_are_refused(names, classes, message, fake):
    with pytest.raises(ValueError, match=message):
        evaluate(classifier(0, names, classes), fake)


@pytest.mark.parametrize("classes", [1000, 1008])
def test_the_graph_of_2015_is_not_taken_for_a_classifier(classes, tmp_path):
    image(tmp_path / IDS[0] / "a.png", 0)
    model = classifier(0, (), classes)
    model.identity = Identity.create("InceptionV3", {"last_pool": "max"}, model.preprocessing)
    with pytest.raises(ValueError, match="in an order of their own"):
        evaluate(model, f"imagenet:{tmp_path}")


def test_unreadable_images_are_left_out_and_named(fake, tmp_path, caplog):
    broken = dataclasses.replace(
        fake.splits["test"],
        image=lambda i: tf.constant(b"no image") if int(i) == 3 else fake.splits["test"].image(i),
    )
    source = dataclasses.replace(fake, splits={**fake.splits, "test": broken})
    result = evaluate(classifier(), source, limit=0)
    assert result["images"] == 127 and result["unreadable"] == [broken.describe(3)]
    assert "cannot be read" in caplog.text


def test_published_figures_stand_beside_what_was_measured():
    summary = {"accuracy": 0.801, "accuracy_interval": [0.7975, 0.8045]}
    summary |= {"top5_accuracy": 0.95, "top5_accuracy_interval": [0.948, 0.9515]}
    top1, top5 = published_figures("inception_v4.slim", "InceptionV4", "1", summary, True)
    assert top1["published"] == 0.802 and top1["inside"]
    assert top5["published"] == 0.952 and not top5["inside"]
    assert "central crop" in top1["text"]
    (top1, _) = published_figures("", "InceptionV4", "144", summary, True)
    assert top1["published"] == pytest.approx(0.823)
    assert published_figures("inception_v4.slim", "InceptionV4", "1", summary, False) == []
