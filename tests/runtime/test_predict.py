"""Names for images: what people hand in, in any form, and what cannot be read."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import types
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_inception
from keras_inception import cli
from keras_inception.data import Fingerprint
from keras_inception.identity import Identity
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder
from keras_inception.runtime import Classifier, load_classifier
from keras_inception.runtime.predict import pixels, predict


class Brightness:
    """Answers "dark", "gray" or "bright" by an image's mean."""

    name = "numpy"
    input_shape = (16, 16, 3)
    classes = 3

    def __init__(self):
        self.batches = []

    def __call__(self, images):
        self.batches.append(len(images))
        distance = np.abs(images.mean((1, 2, 3))[:, None] - np.array([-1.0, 0.0, 1.0]))
        return np.exp(-4 * distance) / np.exp(-4 * distance).sum(1, keepdims=True)


@pytest.fixture
def model():
    contract = Preprocessing(size=(16, 16))
    return Classifier(Brightness(), Identity("", (), contract, ("dark", "gray", "bright")))


@pytest.fixture
def photos(tmp_path):
    """Six images that can be read and four files that cannot."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    bright, dark = Image.new("RGB", (40, 30), "white"), Image.new("RGB", (40, 30), "black")
    bright.save(folder / "a.jpg")
    dark.save(folder / "b.PNG")
    dark.convert("L").save(folder / "c.bmp")
    frames = {"save_all": True, "append_images": [dark], "duration": 100}
    bright.save(folder / "d animated.gif", **frames)
    Image.new("RGB", (1, 1), "gray").save(folder / "e.png")
    Image.new("RGB", (3000, 20), "gray").save(folder / "more" / "ü.webp")
    (folder / "f corrupt.jpg").write_bytes((folder / "a.jpg").read_bytes()[:200])
    (folder / "g empty.png").write_bytes(b"")
    (folder / "h text.jpeg").write_text("no image")
    # A claim of 40,000 x 40,000 pixels in a header; it must cost nothing.
    huge = bytearray((folder / "b.PNG").read_bytes())
    huge[16:24] = (40_000).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    (folder / "i huge.png").write_bytes(huge)
    (folder / "notes.txt").write_text("not looked at")
    return folder


EXPECTED = {"a.jpg": "bright", "b.PNG": "dark", "c.bmp": "dark", "d animated.gif": "bright"}
EXPECTED |= {"e.png": "gray", "ü.webp": "gray"}


def test_files_that_were_read_answer_as_their_paths(model, photos):
    paths = [photos / "a.jpg", photos / "b.PNG", photos / "g empty.png"]
    by_path = predict(model, paths)
    by_content = list(predict(model, [path.read_bytes() for path in paths]))
    assert [(r.top, r.error) for r in by_content] == [(r.top, r.error) for r in by_path]
    assert by_content[1].image == "image 1"


def test_a_folder_streams_and_the_unreadable_are_named(model, photos, capsys, monkeypatch):
    monkeypatch.setattr("keras_inception.bar._SECONDS_IN_A_LOG", 0.0)
    records = predict(model, photos, batch_size=4)
    named = {r.image.rsplit("/", 1)[-1]: r for r in records}
    assert {k: r.top[0][0] for k, r in named.items() if not r.error} == EXPECTED
    assert {k for k, r in named.items() if r.error} == {
        "f corrupt.jpg",
        "g empty.png",
        "h text.jpeg",
        "i huge.png",
    }
    assert named["g empty.png"].error == "the file is empty"
    assert str(named["b.PNG"]).startswith(f"{photos / 'b.PNG'}: dark ")
    assert "10 of 10 images" in capsys.readouterr().err and max(model.engine.batches) <= 4
    assert sum(p for _, p in named["a.jpg"].top) == pytest.approx(1)


def test_an_image_over_the_limit_of_pixels_is_not_decoded(tmp_path):
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png", max_pixels=1200).shape == (30, 40, 3)
    with pytest.raises(OSError, match="more than max_pixels=1199 pixels"):
        pixels(tmp_path / "a.png", max_pixels=1199)


def test_what_pillow_reads_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    want = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(want).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), want)
    with pytest.raises(OSError, match="more than max_pixels=1199 pixels"):
        pixels(tmp_path / "a.tif", max_pixels=1199)
    (tmp_path / "b.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:100])
    with pytest.raises(OSError, match="Pillow cannot read it"):
        pixels(tmp_path / "b.tif")


def test_images_are_decoded_as_the_run_decoded_its_own(model, tmp_path):
    """Twelve bits in sixteen are bright, and what is transparent lies over the run's color."""
    Image.fromarray(np.full((16, 16), 4000, np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.zeros((16, 16, 4), np.uint8)).save(tmp_path / "clear.png")

    run = RunFolder(tmp_path / "run")
    run.begin(Recipe(background="000000"), model.class_names, model.preprocessing, {})
    Fingerprint(model.class_names, {}, white=4095).write(run.data_path)

    def answers(folder):
        known = Classifier(model.engine, model.identity, folder)
        files = [tmp_path / "deep.png", tmp_path / "clear.png"]
        return [record.top[0][0] for record in predict(known, files)]

    assert answers(None) == ["dark", "bright"]
    assert answers(run.path) == ["bright", "dark"]


def test_bands_are_chosen(model, tmp_path):
    """The first three bands are white, the fourth is black."""
    tifffile = pytest.importorskip("tifffile")
    values = np.full((16, 16, 4), 255, np.uint8)
    values[..., 3] = 0
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unspecified"])
    for bands, want in (("1,2,3", "bright"), ("4", "dark"), ("4,4,4", "dark")):
        (record,) = predict(model, tmp_path / "a.tif", bands=bands)
        assert record.top[0][0] == want
    with pytest.raises(ValueError, match="bands='4;3'"):
        predict(model, tmp_path / "a.tif", bands="4;3")


def test_a_photograph_on_its_side_is_turned_upright(tmp_path):
    """The lower half is bright; the camera noted that the image has to be turned."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[20:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    turned = Image.fromarray(np.rot90(pixels).copy())
    turned.save(tmp_path / "a.jpg", exif=exif, quality=95)
    from keras_inception.runtime.predict import pixels as read

    upright = read(tmp_path / "a.jpg")
    assert upright[:16].max() < 30 and upright[24:].min() > 225


def test_arrays_patterns_and_lists(model, photos):
    white = np.full((20, 30, 3), 255, np.uint8)
    for images, count in [
        (white, 1),
        (np.stack([white] * 3), 3),
        ([white, photos / "a.jpg"], 2),
        (photos.glob("a.jpg"), 1),
    ]:
        records = predict(model, images, top=1, crops="12")
        assert [r.top[0][0] for r in records] == ["bright"] * count
    (record,) = predict(model, f"{photos}/*.PNG")
    assert record.top[0][0] == "dark"
    for images, message in [
        (photos / "none.jpg", "no image, no folder"),
        (f"{photos.parent}/{photos.name}*", "Folders match it; add /\\*"),
        ([], "at least one"),
        ([3], "at least one"),
        ((white for _ in iter(int, 1)), "a generator of paths, at least one. Received: "),
    ]:
        with pytest.raises(ValueError, match=message):
            predict(model, images)
    with pytest.raises(ValueError, match="top=0"):
        predict(model, white, top=0)


def test_floats_up_to_1_get_a_warning_that_says_what_to_do(model):
    bright = np.full((32, 32, 3), 0.9)
    for ask in (
        lambda: model.classify(bright),
        lambda: model.predict(np.full((1, *model.input_shape), 0.9, np.float32)),
        lambda: list(predict(model, [np.full((32, 32, 3), 255, np.uint8), bright])),
    ):
        with pytest.warns(UserWarning, match="none above 0.9 .*multiply images in 0..1 by 255"):
            ask()
    model.classify(np.full((32, 32, 3), 1, np.uint8) * 0)
    model.classify(bright * 255)


@pytest.mark.parametrize("given", [b"x" * 9999, [np.ones((99, 99, 3)), 3], tf.ones((1, 99, 99, 3))])
def test_errors_do_not_print_what_was_given(given):
    for ask in (
        lambda: predict("any", given),
        lambda: load_classifier(given),
        lambda: keras_inception.InceptionV1(weights=given),
        lambda: Preprocessing(size=given),
        lambda: Preprocessing(size=(9, 9), mean=given),
    ):
        with pytest.raises(ValueError) as raised:
            ask()
        assert re.search("Received:.*(9,999 bytes|shape|list of 2)", str(raised.value))
        assert len(str(raised.value)) < 1000


def run(arguments, code):
    with pytest.raises(SystemExit) as end:
        cli.run(arguments)
    assert end.value.code == code


def test_the_command_prints_and_its_exit_code_tells(model, photos, capsys, monkeypatch):
    monkeypatch.setattr("keras_inception.runtime.predict.load_classifier", lambda _: model)
    command = ["predict", str(photos), "--model", "any", "--top", "2"]
    run(command, 1)
    printed = capsys.readouterr()
    assert "a.jpg\n   " in printed.out and "bright" in printed.out
    assert printed.err.count("cannot be read:") == 4
    run([*command, "--format", "json"], 1)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 10 and sum("error" in line for line in lines) == 4
    run(["predict", str(photos / "a.jpg"), "--model", "any", "--format", "csv"], 0)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["label"] for row in rows] == ["bright", "gray", "dark"]
    assert sum(float(row["probability"]) for row in rows) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["an image", "paths"])
def test_standard_input_is_an_image_or_paths(kind, model, photos, capsys, monkeypatch):
    monkeypatch.setattr("keras_inception.runtime.predict.load_classifier", lambda _: model)
    given = (photos / "b.PNG").read_bytes() if kind == "an image" else f"{photos}/b.PNG\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    run(["predict", "-", "--model", "any", "--top", "1"], 0)
    assert "dark" in capsys.readouterr().out


NAMES = ("b\xe9.png", "c\udce9.png", "d\x1b[31m.png", "=e.png")


@pytest.fixture
def odd_names(tmp_path, monkeypatch):
    """Images whose names, and a class whose name, an output may not be able to show."""
    contract = Preprocessing(size=(16, 16))
    names = ("+dark\x9b2J", "gray", "bright \u20ac")
    monkeypatch.setattr(
        "keras_inception.runtime.predict.load_classifier",
        lambda _: Classifier(Brightness(), Identity("", (), contract, names)),
    )
    for name, color in zip(NAMES, ("black", "black", "black", "white"), strict=True):
        Image.new("RGB", (9, 9), color).save(tmp_path / name)
    return [str(tmp_path / name) for name in NAMES]


def printed_in(encoding, arguments, monkeypatch, code=0):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    monkeypatch.setattr(sys, "stdout", stream)
    run(["predict", *arguments, "--model", "any", "--top", "1"], code)
    return stream.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
def test_a_name_that_cannot_be_shown_is_escaped_and_ends_nothing(encoding, odd_names, monkeypatch):
    e_acute = "\\xe9" if encoding == "ascii" else "\xe9"
    euro = "\u20ac" if encoding in ("utf-8", "cp1252") else "\\u20ac"
    text = printed_in(encoding, odd_names, monkeypatch)
    folder = odd_names[0].removesuffix(NAMES[0])
    assert [line.removeprefix(folder) for line in text.splitlines()[::2]] == [
        f"b{e_acute}.png",
        "c\\xe9.png",
        "d\\x1b[31m.png",
        "=e.png",
    ]
    labels = [line.split("%  ")[1] for line in text.splitlines()[1::2]]
    assert labels == [*["+dark\\x9b2J"] * 3, f"bright {euro}"]

    lines = printed_in(encoding, [*odd_names, "--format", "json"], monkeypatch).splitlines()
    assert all(line.isprintable() for line in lines)
    records = [json.loads(line) for line in lines]
    assert [record["image"] for record in records] == odd_names
    assert [record["top"][0]["label"] for record in records][::3] == [
        "+dark\x9b2J",
        "bright \u20ac",
    ]


def test_formulas_of_spreadsheets_are_told_by_a_flag(odd_names, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for flag, mark in ([], ""), (["--spreadsheet"], "'"):
        text = printed_in("utf-8", [*NAMES[2:], "--format", "csv", *flag], monkeypatch)
        rows = list(csv.reader(io.StringIO(text)))
        assert [row[0] for row in rows[1:]] == ["d\\x1b[31m.png", f"{mark}=e.png"]
        assert [row[2] for row in rows[1:]] == [f"{mark}+dark\\x9b2J", "bright \u20ac"]


def test_standard_input_has_a_limit(monkeypatch, capsys):
    monkeypatch.setattr("keras_inception.cli.predict.LARGEST_IMAGE", 1000)
    with open("/dev/zero", "rb") as zeros:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=zeros))
        run(["predict", "-", "--model", "any"], 2)
    assert "at most 1,000 bytes are read" in capsys.readouterr().err
