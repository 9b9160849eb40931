"""Evaluation by protocol: any engine, many views, ensembles, ImageNet's layouts, going on."""

from __future__ import annotations

import argparse
import dataclasses
import json
import tracemalloc

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception import pictures
from keras_inception.cli import evaluate as command
from keras_inception.data.sources import open_source
from keras_inception.data.sources.imagenet import open_imagenet
from keras_inception.data.views import take
from keras_inception.evaluation import notes, protocol, results, task
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
        self.images, self.bias = 0, 0.0

    def __call__(self, images):
        self.images += len(images)
        logits = images.reshape(len(images), -1) @ self.kernel + self.bias
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)


FAKE = ("darkest", "dark", "bright", "brightest")


def classifier(seed=0, names=FAKE, classes=4, **contract):
    contract = Preprocessing(size=(24, 24), **contract)
    return Classifier(Linear(classes, seed), Identity("", (), contract, tuple(names)))


def stopped_by(stop, *arguments, **options):
    """An evaluation that is stopped by what is told of its progress."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(protocol, "Bar", lambda verbose: stop)
        evaluate(*arguments, **options)


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
    assert all(one["outside"] == [] for one in result["results"])
    assert result["sample"] == "20 of 128 images, drawn by seed 0"
    assert "bicubic" in result["results"][1]["protocol"]
    assert "model minus model (2)" in results.table(result)


def test_images_in_groups_get_an_interval_that_draws_groups(fake):
    split = fake.splits["test"]
    patients = np.array([f"patient {i // 8}" for i in range(len(split))])
    grouped = dataclasses.replace(
        fake, splits=fake.splits | {"test": dataclasses.replace(split, groups=patients)}
    )
    result = evaluate([classifier(0), classifier(1)], grouped)
    one = result["results"][0]
    assert one["groups"] == 16
    for low, high in (one["accuracy_interval"], one["accuracy_interval_of_groups"]):
        assert low < one["accuracy"] < high
    low, high = result["comparisons"][0]["difference_interval_of_groups"]
    assert low <= result["comparisons"][0]["difference"] <= high
    assert "of 16 groups, whose images are not independent: 95 % interval" in results.table(result)
    alone = np.array([f"patient {i}" for i in range(len(split))])
    grouped.splits["test"] = dataclasses.replace(split, groups=alone)
    assert "groups" not in evaluate(classifier(0), grouped)["results"][0]


def test_a_stopped_evaluation_goes_on_and_another_is_refused(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(notes, "SAVE_EVERY", 0.0)
    whole = evaluate(classifier(), fake, crops="mirror", batch_size=8, output=tmp_path / "a")

    def stop(done, total):
        if done >= 64:
            raise KeyboardInterrupt

    stopped = {"crops": "mirror", "batch_size": 8, "output": tmp_path / "b"}
    stopped_by(stop, classifier(), fake, **stopped)
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
    background.engine.kernel = np.pad(plain.engine.kernel, [(0, 0), (1, 0)])
    background.engine.bias = np.eye(1001)[0] * -1e3  # as if trained without an image of it
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


def test_the_graph_of_2015_is_not_taken_for_a_classifier(tmp_path):
    """Whatever it is called by: its outputs have names of their own. Another V3 has none."""
    image(tmp_path / IDS[0] / "a.png", 0)
    own = Identity.create("InceptionV3", {"last_pool": "max"}, classifier().preprocessing)
    for classes in (1000, 1008):
        model = classifier(0, [f"class {i} in the order of 2015" for i in range(classes)], classes)
        with pytest.raises(ValueError, match="in the order of 2015"):
            evaluate(model, f"imagenet:{tmp_path}")
    model = classifier(0, (), 1000)
    model.identity = own
    assert evaluate(model, f"imagenet:{tmp_path}")["images"] == 1


def without(source, lacking):
    """A data set without the images of a class."""
    splits = {
        part: split.subset(np.flatnonzero(split.labels != source.class_names.index(lacking)))
        for part, split in source.splits.items()
    }
    return dataclasses.replace(source, splits=splits)


def test_all_outputs_compete_unless_a_restriction_is_asked_for(fake, tmp_path, caplog):
    """Four classes, of which the data have three: an answer of the fourth is wrong."""
    source, models = without(fake, "dark"), [classifier(0), classifier(1, FAKE[::-1])]
    split = source.splits["test"]
    count, contract = len(split), models[0].preprocessing
    seen = np.concatenate([take(split.pixels(i), contract, "1") for i in range(count)])
    answers = [models[0].predict(seen), models[1].predict(seen)[:, ::-1]]
    answers.append((answers[0] + answers[1]) / 2)
    right = [(probabilities.argmax(1) == split.labels).sum() for probabilities in answers]
    free = evaluate(models, source, ensemble=True)
    assert free["comparisons"][0]["difference"] == pytest.approx((right[0] - right[1]) / count)
    assert "Some outputs are no class of fake: dark. These answers count as wrong" in caplog.text
    kept = evaluate(models, source, ensemble=True, restrict="data", output=tmp_path)
    for probabilities, one, other in zip(answers, free["results"], kept["results"], strict=True):
        called = probabilities.argmax(1)
        assert one["accuracy"] == pytest.approx((called == split.labels).mean(), abs=1e-6)
        outside = int((called == 1).sum())
        assert outside and one["outside"] == [{"name": "dark", "images": outside}]
        assert [row["name"] for row in one["per_class"]] == ["darkest", "bright", "brightest"]
        probabilities[:, 1] = 0
        among = (probabilities.argmax(1) == split.labels).mean()
        assert other["accuracy"] == pytest.approx(among, abs=1e-6) and other["outside"] == []
        assert other["accuracy"] > one["accuracy"]
        assert "restricted to the 3 classes of the data" in other["protocol"]
    printed = results.table(kept).splitlines()
    assert all("restricted to the 3 classes of the data" in line for line in printed[1:])
    assert "restricted" not in results.table(free)
    assert "no class of the data: dark" in results.table(free)
    with pytest.raises(ValueError, match="`restrict` should be"):
        evaluate(models, source, restrict="classes")


def test_ten_wordnet_folders_give_the_same_figure_as_a_folder_and_as_imagenet(tmp_path):
    for number in range(40):
        part = "train" if number < 20 else "test"
        image(tmp_path / part / IDS[number % 10 * 7] / f"{number}.png", number)
    model = classifier(0, (), 1000)
    model.engine.bias = np.zeros(1000)
    model.engine.bias[[i * 7 for i in range(10)]] = 2.0  # so that they are answered now and then
    folder = evaluate(model, f"folder:{tmp_path}")
    ours = evaluate(model, f"imagenet:{tmp_path / 'test'}")
    names = ("accuracy", "top5_accuracy", "outside", "per_class", "confusion_matrix", "calibration")
    for name in names:
        assert ours["results"][0][name] == folder["results"][0][name], name
    assert folder["results"][0]["outside"] and len(folder["results"][0]["per_class"]) == 10


def test_a_model_called_ensemble_keeps_its_own_figures(fake):
    models = [classifier(0), classifier(1)]
    models[0].name = "ensemble"
    result = evaluate(models, fake, ensemble=True, limit=30)
    assert [one["name"] for one in result["results"]] == ["ensemble", "model", "ensemble of all"]
    alone = evaluate(classifier(0), fake, limit=30)["results"][0]
    assert result["results"][0]["accuracy"] == alone["accuracy"]
    assert result["results"][0]["calibration"] == alone["calibration"]


@pytest.mark.parametrize("has_facts", [True, False])
def test_a_stopped_evaluation_does_not_go_on_with_other_images(
    has_facts, fake, tmp_path, monkeypatch
):
    """The names, the number and the labels are the same, the pixels of one are not."""
    monkeypatch.setattr(notes, "SAVE_EVERY", 0.0)

    def opened(changed):
        split = fake.splits["test"]

        def pixels(i):
            return split.image(i) // 2 if int(i) in changed else split.image(i)

        facts = {}
        if has_facts:
            facts["digest"] = split.facts["digest"].copy()
            facts["digest"][list(changed)] += 1
        parts = fake.splits | {"test": dataclasses.replace(split, image=pixels, facts=facts)}
        return dataclasses.replace(fake, splits=parts)

    def stop(done, total):
        if done >= 64:
            raise KeyboardInterrupt

    stopped_by(stop, classifier(), opened([]), output=tmp_path, batch_size=8)
    with pytest.raises(ValueError, match="1 of the 56 images that were answered .* have changed"):
        evaluate(classifier(), opened([5]), output=tmp_path)
    # One that was not answered yet is measured as it is now.
    assert evaluate(classifier(), opened([99]), output=tmp_path)["images"] == 128


def test_what_could_not_be_read_is_tried_again_when_an_evaluation_goes_on(
    fake, tmp_path, monkeypatch
):
    monkeypatch.setattr(notes, "SAVE_EVERY", 0.0)
    split, gone = fake.splits["test"], [3]

    def pixels(i):
        if int(i) in gone:
            raise OSError("the disk does not answer")
        return split.image(i)

    parts = fake.splits | {"test": dataclasses.replace(split, image=pixels)}
    source = dataclasses.replace(fake, splits=parts)

    def stop(done, total):
        if done >= 64:
            raise KeyboardInterrupt

    stopped_by(stop, classifier(), source, output=tmp_path, batch_size=8)
    gone.clear()
    result = evaluate(classifier(), source, output=tmp_path)
    assert result["images"] == 128 and result["unreadable"] == []
    kept = results.read_predictions(tmp_path)
    assert kept["index"].tolist() == list(range(128))
    assert result["results"] == evaluate(classifier(), fake)["results"]


def test_each_network_sees_image_files_as_its_run_did(fake, tmp_path):
    """A transparent image lies over the color that the run was trained with."""
    split = fake.splits["test"]
    clear = tf.io.encode_png(np.zeros((24, 24, 4), np.uint8))
    split = dataclasses.replace(split, image=lambda i: clear, facts={})
    parts = {"test": split.subset(np.arange(4))}
    source, sums = dataclasses.replace(fake, splits=parts), {}
    run = RunFolder(tmp_path / "run")
    begin(run, Recipe(dataset="fake", background="000000"), fake, Preprocessing(size=(24, 24)))
    for name, folder in (("black", run.path), ("white", None)):
        model = classifier()
        model.run, model.name = folder, name
        model.engine = Seen()
        evaluate(model, source)
        sums[name] = model.engine.mean
    assert sums == {"black": -1.0, "white": 1.0}


class Seen(Linear):
    """Notes the mean of what it is shown last."""

    def __call__(self, images):
        self.mean = float(images.mean())
        return super().__call__(images)


def test_each_command_has_a_folder_of_its_own(tmp_path, monkeypatch):
    """Where models or data sets have the same last name; the same command finds its own again."""
    monkeypatch.chdir(tmp_path)
    for name in ("a/x", "b/x", "a/run"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a" / "run" / "config.json").write_text("{}")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)

    def folder(words):
        return command._folder(parser.parse_args(words.split()))

    words = [
        f"{models} --dataset folder:{data}{more}"
        for models in ("a/x", "b/x", "a/x b/x", "b/x a/x", "a/run")
        for data in ("one/val", "two/val")
        for more in ("", " --restrict data", " --limit 5", " --crops 10")
    ]
    found = [folder(line) for line in words]
    assert len(set(found)) == len(words) and found == [folder(line) for line in words]
    assert found[0].startswith("evaluations/val-1-x-")
    assert found[-1].startswith("a/run/evaluations/val-10-")
    assert folder(f"{tmp_path}/a/x --dataset folder:one/val") == found[0]


def test_a_class_more_costs_no_square(tmp_path):
    """10,000 classes with an image each: what is written and held grows by images and classes."""
    classes = 10_000
    source = open_source("fake")
    names = tuple(f"class {i}" for i in range(classes))
    rng = np.random.default_rng(0)
    labels = rng.permutation(classes)
    split = dataclasses.replace(source.splits["test"], labels=labels, name=str, facts={})
    source = dataclasses.replace(source, class_names=names, splits={"test": split})
    entrant = task.Entrant("one", classifier(0), names, "as given", "", None)
    asked = task.Task([entrant], source, "test", np.arange(classes), "1", False, 64)
    called = np.where(rng.random(classes) < 0.5, labels, rng.permutation(classes))
    scores = np.sort(rng.random((classes, 1, 5)).astype(np.float32))[..., ::-1]
    top = np.stack([called] + [(called + i) % classes for i in range(1, 5)], 1)[:, None]
    rows = {"index": np.arange(classes), "labels": labels, "top": top.astype(np.int32)}
    rows |= {"scores": scores, "single_view": called[:, None]}
    rows |= {"rank": (called != labels).astype(np.int32)[:, None], "true_score": scores[..., 0]}
    pictures.confusion(np.array([[0, 0, 1]]), names[:2], tmp_path / "first.png")  # imports
    tracemalloc.start()
    results.write(tmp_path, asked, rows, results.collect(asked, rows))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 200e6  # a number for each pair of classes would take 800 MB
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes["evaluation.json"] < 4e6 and sizes["predictions.npz"] < 2e6


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


def test_a_damaged_note_of_a_stopped_evaluation_is_named(fake, tmp_path):
    notes = {"protocol": np.array("{}"), "fingerprints": np.zeros((1, 5)), "index": np.arange(3)}
    for lacking in (*notes, "nothing"):
        kept = {name: column for name, column in notes.items() if name != lacking}
        np.savez(tmp_path / "unfinished.npz", **kept)
        with pytest.raises(ValueError, match=r"unfinished.npz \(an unfinished evaluation"):
            evaluate(classifier(), fake, output=tmp_path, verbose=0)
    evaluate(classifier(), fake, output=tmp_path, fresh=True, verbose=0, limit=3)
    assert not (tmp_path / "unfinished.npz").exists()
