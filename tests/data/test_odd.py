"""Odd images are named with numbers, and usual ones are not."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image, ImageFilter

from keras_inception.data import open_source
from keras_inception.data.inspection import inspect
from keras_inception.data.odd import find_odd


def photograph(rng, width=96, height=72):
    """Large shapes with fine texture, of any brightness and some blur."""
    field = rng.integers(0, 256, (5, 6, 3), np.uint8)
    image = np.asarray(Image.fromarray(field).resize((width, height), Image.BICUBIC), float)
    image = image * rng.uniform(0.5, 1) + rng.normal(0, rng.uniform(8, 25), image.shape)
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def folder(root, odd):
    rng = np.random.default_rng(0)
    images = {f"usual{i:02}": photograph(rng, *((96, 72), (72, 96))[i % 2]) for i in range(80)}
    for i, (name, image) in enumerate((images | odd).items()):
        (root / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        image.save(root / "ab"[i % 2] / f"{name}.png")
    return open_source(f"folder:{root}", validation_fraction=0.2)


def test_odd_images_are_named_and_no_others(tmp_path):
    rng = np.random.default_rng(1)
    dark = np.asarray(photograph(rng), float) * 0.1
    odd = {
        "blank": Image.new("RGB", (96, 72), (200, 30, 30)),
        "dark": Image.fromarray(dark.astype(np.uint8)),
        "blurred": photograph(rng).filter(ImageFilter.GaussianBlur(6)),
        "tiny": photograph(rng, 16, 12),
        "of an odd aspect": photograph(rng, 400, 40),
    }
    source = folder(tmp_path, {name.replace(" ", ""): image for name, image in odd.items()})
    found = {
        source.splits[one.part].name(one.number).split("/")[1]: one for one in find_odd(source)
    }
    assert {name: one.kind for name, one in found.items()} == {
        f"{kind.replace(' ', '')}.png": kind for kind in odd
    }
    assert found["tiny.png"].measured == "16 x 12 pixels"
    lines = [line for line in inspect(source, odd=True) if line.startswith("Odd: ")]
    assert len(lines) == 5 and any("blank" in line and "0.0 of 255" in line for line in lines)


def test_a_set_without_odd_images_has_none(tmp_path):
    source = folder(tmp_path, {})
    assert find_odd(source) == []
    alike = source.splits["train"].subset(np.zeros(12, np.int64))
    assert find_odd(dataclasses.replace(source, splits=source.splits | {"train": alike})) == []


def test_images_that_are_unlike_all_others_in_a_networks_features_are_odd(tmp_path):
    source = folder(tmp_path, {"another": photograph(np.random.default_rng(1))})

    def features(split):
        rng = np.random.default_rng(len(split))
        found = 5 + rng.normal(size=(len(split), 16))
        found[[i for i in range(len(split)) if "another" in split.name(i)]] *= (-1) ** np.arange(16)
        return found

    (one,) = find_odd(source, features)
    assert one.kind == "unlike all others" and "as far from its nearest" in one.measured
    assert "another" in source.splits[one.part].name(one.number)
    page = tmp_path / "page.html"
    (line,) = [x for x in inspect(source, odd=True, features=features, page=page) if "Odd" in x]
    assert "another.png is unlike all others" in line
    assert "Odd: unlike all others (1)" in page.read_text()
