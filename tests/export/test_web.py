"""The page for browsers: what it pins, and in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception import Preprocessing, load_classifier
from keras_inception.exporting import Web
from keras_inception.exporting.web import LITERT_JS
from keras_inception.identity import Identity, attach

CONTRACT = Preprocessing(size=(24, 20), crop_fraction=0.875, interpolation="bicubic")
LABELS = ("<b>Kätzchen</b>", "猫", "кошка")


@pytest.fixture(scope="module")
def model():
    x = keras.Input((24, 20, 3))
    y = keras.layers.Conv2D(16, 5, strides=2, activation="relu")(x)
    y = keras.layers.Flatten()(y)
    model = keras.Model(x, keras.layers.Dense(3, activation="softmax")(y))
    return attach(model, Identity("", preprocessing=CONTRACT, class_names=LABELS))


def test_a_page_pins_its_runtime_and_needs_nothing_else(model, tmp_path):
    folder = Web().write(model, tmp_path / "web")
    files = {"index.html", "offline.js", "network.json", "model.tflite"}
    assert {p.name for p in folder.iterdir()} == files
    network = json.loads((folder / "network.json").read_text("utf-8"))
    assert network["class_names"] == list(LABELS)
    assert Preprocessing.from_dict(network["preprocessing"]) == CONTRACT
    for file in network["runtime"].values():
        assert f"@{LITERT_JS}/" in file["url"] and file["url"].startswith("https://")
        assert file["integrity"].startswith("sha384-") and len(file["integrity"]) == 71
    assert "VERSION" not in (folder / "offline.js").read_text("utf-8").split("\n")[2]
    assert load_classifier(folder / "model.tflite").class_names == LABELS


def test_another_runtime_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="npm install @litertjs/core@"):
        Web(runtime=tmp_path)
    core = tmp_path / "@litertjs" / "core" / "dist" / "index.js"
    core.parent.mkdir(parents=True)
    core.write_text("export {}")
    with pytest.raises(ValueError, match="index.js is not of LiteRT.js"):
        Web(runtime=tmp_path)


def test_a_folder_of_the_users_own_is_left_alone(model, tmp_path):
    (tmp_path / "index.html").write_text("a page of mine")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="also holds notes.txt"):
        Web().write(model, tmp_path)
    assert (tmp_path / "index.html").read_text() == "a page of mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.html", "notes.txt"]


@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
def test_the_pages_code_takes_the_contracts_part_of_an_image(aspect):
    node = shutil.which("node")
    if not node:
        pytest.skip("needs node")
    page = (files("keras_inception") / "exporting" / "page" / "index.html").read_text("utf-8")
    functions = re.findall("^function (?:cropBox|innerSize).*?^}", page, re.M | re.S)
    contract = Preprocessing((24, 20), crop_fraction=0.875, aspect=aspect)
    sides = [(61, 130), (300, 20), (50, 400), (24, 20), (1, 900)]
    script = f"""
{"".join(functions)}
const contract = {json.dumps(contract.to_dict())};
console.log(JSON.stringify({json.dumps(sides)}.map(([height, width]) => {{
  const [left, top, w, h] = cropBox(width, height, contract);
  return [[top, left, h, w], innerSize(w, h, contract)];
}})));"""
    said = json.loads(subprocess.run([node, "-e", script], capture_output=True, check=True).stdout)
    for (height, width), (box, inner) in zip(sides, said, strict=True):
        assert tuple(box) == contract.crop_box(height, width)
        assert tuple(inner) == contract.inner_size(*box[2:])


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["float32", "float16"])
def test_the_page_classifies_as_the_model_does(quantization, model, tmp_path):
    """In headless Chromium, with the runtime from npm, at a phone's width, and without a server."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium or not shutil.which("npm"):
        pytest.skip("needs Chromium and npm")
    install = ["npm", "install", "--prefix", str(tmp_path), "puppeteer-core"]
    if subprocess.run([*install, f"@litertjs/core@{LITERT_JS}"], capture_output=True).returncode:
        pytest.skip("needs npm's registry")
    modules = tmp_path / "node_modules"
    folder = Web(quantization, runtime=modules).write(model, tmp_path / "web")
    rng, images, want = np.random.default_rng(0), [], []
    classifier = load_classifier(model)
    for i, (height, width) in enumerate([(24, 20), (61, 130), (300, 200), (16, 12)]):
        smooth = Preprocessing((height, width), crop_fraction=1.0, interpolation="bicubic")
        pixels = smooth.crop_and_resize(rng.uniform(0, 255, (6, 7, 3))).astype(np.uint8)
        images.append(tmp_path / f"{i}.png")
        images[-1].write_bytes(tf.io.encode_png(pixels).numpy())
        want.append(dict(classifier.classify(pixels)))
    driver = Path(__file__).parent / "browser.mjs"
    command = ["node", driver, modules, chromium, folder, tmp_path / "screen.png", *images]
    process = subprocess.run(
        [str(part) for part in command], capture_output=True, encoding="utf-8", timeout=300
    )
    assert process.returncode == 0, process.stderr
    said = json.loads(process.stdout)
    for answers, expected in zip(said["answers"], want, strict=True):
        assert answers[0][0] == max(expected, key=expected.get)
        for label, probability in answers:
            assert probability == pytest.approx(expected[label], abs=0.01)
    assert said["problems"] == []
    assert not said["overflow"]
    assert "no image" in said["refused"]
    assert said["offline"] == said["answers"][0]
