"""A folder for Hugging Face: it comes back, and its card says what is known and no more."""

from __future__ import annotations

import json

import numpy as np
import pytest

import keras_inception
from keras_inception import InceptionV1, Preprocessing, publish, recipes
from keras_inception.identity import Identity
from keras_inception.report import publication
from keras_inception.weights import hub

NAMES = ("cat", "[dog](http://x)")
CONTRACT = Preprocessing(size=(64, 64), crop_fraction=1.0)
FOUND = {
    "name": "run",
    "protocol": "central crop, 64 x 64",
    "accuracy": 0.875,
    "accuracy_interval": [0.8, 0.925],
    "majority_baseline": 0.5,
    "trained_on": 3,
    "calibration": {"expected_calibration_error": 0.0125},
}
EVALUATION = {"dataset": "folder:/home/me/pets", "part": "test", "images": 80, "results": [FOUND]}
EXPORTED = {
    "images": 16,
    "origin": "test images",
    "files": {
        "model.tflite": {"bytes": 2_500_000, "largest_difference": 1e-6, "same_answers": 1.0}
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder as far as `publish` looks at it."""
    folder = tmp_path_factory.mktemp("run")
    recipe = recipes.named("finetune").replace(
        model="InceptionV1", dataset="folder:/home/me/pets", image_size=64, epochs=7
    )
    model = InceptionV1(weights=None, classes=2, input_shape=(64, 64, 3), width_multiplier=0.25)
    keras_inception.save_model(model, folder / "model.keras")
    texts = {
        "config.json": json.dumps({"recipe": recipe.to_dict(), "versions": {}}),
        "labels.txt": "".join(f"{name}\n" for name in NAMES),
        "preprocessing.json": json.dumps(CONTRACT.to_dict()),
        "evaluation.json": json.dumps(EVALUATION),
        "export.json": json.dumps(EXPORTED),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "reliability.png").write_bytes(b"png")
    return folder


def test_a_runs_folder_comes_back_and_its_card_says_what_the_run_knows(run, tmp_path, caplog):
    folder = publish(run, tmp_path / "pets", license="MIT")
    assert {path.name for path in folder.iterdir()} == {
        *("README.md", "config.json", "labels.txt", "model.safetensors", "reliability.png")
    }
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    again, before = map(keras_inception.load_classifier, (folder, run))
    assert (again.class_names, again.preprocessing) == (NAMES, CONTRACT)
    np.testing.assert_allclose(again.predict(images), before.predict(images), atol=1e-6)
    text = (folder / "README.md").read_text()
    for said in (
        'license: "MIT"',
        'library_name: "keras"',
        "InceptionV1 for 2 classes: cat, \\[dog\\](http://x). Its last activation is softmax.",
        "timm has InceptionV3, InceptionV4, InceptionResNetV2. Received: InceptionV1",
        "On folder:pets, from",
        "`--epochs=7`",
        "80 images of the part test of folder:pets; central crop, 64 x 64.",
        "| accuracy | 87.50% | 80.00% to 92.50% |",
        "alone gives 50.00%; the expected calibration error is 1.25%",
        "![reliability](reliability.png)",
        "| `model.tflite` | 2.5 | 1e-06 | 100.00% |",
        "3 of the images are ones that it was trained on",
        'load_classifier("hf://OWNER/pets")',
    ):
        assert said in text, said
    assert "/home/me" not in text and "top-5" not in text
    assert "No license" not in caplog.text


def test_publishing_again_gives_the_earlier_folder_or_the_new_one(run, tmp_path, monkeypatch):
    def contents():
        return {p.name: p.read_bytes() for p in (tmp_path / "pets").rglob("*") if p.is_file()}

    folder = publish(run, tmp_path / "pets", license="MIT")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main")
    (folder / "curves.png").write_bytes(b"of an earlier run")
    earlier = contents()
    card = publication.card
    monkeypatch.setattr(publication, "card", lambda *given: 1 / 0)  # after all but one file
    with pytest.raises(ZeroDivisionError):
        publish(run, folder, license="Apache-2.0")
    assert contents() == earlier
    monkeypatch.setattr(publication, "card", card)
    assert publish(run, folder, license="Apache-2.0") == folder
    del earlier["curves.png"]
    assert contents().keys() == earlier.keys() and contents()["HEAD"] == earlier["HEAD"]
    assert b"Apache-2.0" in contents()["README.md"]
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


def test_what_is_not_known_is_said(run, tmp_path, caplog):
    model = InceptionV1(weights=None, classes=2, input_shape=(64, 64, 3), width_multiplier=0.25)
    text = (publish(model, tmp_path / "out") / "README.md").read_text()
    assert "how it was trained is not known here" in text and "license:" not in text
    assert "how well it answers is not known" in text and text.count("None was at hand.") == 2
    assert "No license was given" in text and "No license was given" in caplog.text


def test_config_json_is_timms_where_timm_has_the_network(tmp_path):
    contract = Preprocessing((299, 299), 0.9, "stretch", "bicubic", False, (1.0, 2.0, 4.0), 51.0)
    identity = Identity.create("InceptionResNetV2", {}, contract)
    config = publication.config_of(identity, NAMES, timm=True)
    assert (config["architecture"], config["num_classes"]) == ("inception_resnet_v2", 2)
    timms = config["pretrained_cfg"]
    assert (timms["crop_mode"], timms["std"]) == ("squash", [0.2] * 3)
    assert (timms["classifier"], timms["first_conv"]) == ("classif", "conv2d_1a.conv")
    repository = hub._understood(json.loads(json.dumps(config)), tmp_path)
    assert repository.class_names == NAMES and repository.record.classes == 2
    assert repository.record.preprocessing == contract
    assert repository.record.variant == "InceptionResNetV2"
    del config[hub.OURS]  # as another tool writes it
    theirs = hub._understood(config, tmp_path).record.preprocessing
    assert theirs == contract.replace(antialias=True)


def test_an_exported_file_is_refused(tmp_path):
    class Engine:
        name, classes, input_shape = "LiteRT", 2, (64, 64, 3)

    classifier = keras_inception.Classifier(Engine(), Identity("", preprocessing=CONTRACT))
    with pytest.raises(ValueError, match="an exported file no longer has"):
        publish(classifier, tmp_path)
