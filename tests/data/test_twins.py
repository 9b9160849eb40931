"""Twins are found by what they show, whatever was done to them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_inception.data import open_source, twins
from keras_inception.data.inspection import inspect
from keras_inception.data.splits import array_split
from keras_inception.data.twins import COPIES, copy, find_twins


@pytest.fixture(autouse=True)
def few_copies(monkeypatch):
    monkeypatch.setattr(twins, "_COPIES", 16)


def pictures(count, seed=0, side=64):
    """Pictures of different things: smooth fields of color."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        field = rng.integers(0, 256, (7, 7, 3), np.uint8)
        found.append(np.asarray(Image.fromarray(field).resize((side, side), Image.BICUBIC)))
    return found


def split_of(images):
    return array_split(np.stack(images), np.zeros(len(images), int), "image")


def test_copies_are_found_and_nothing_else():
    rng, originals = np.random.default_rng(0), pictures(120)
    copies = [copy(originals[i], COPIES[i % 4], rng) for i in range(40)]
    found = find_twins([split_of(originals), split_of(copies)])
    pairs = {tuple(pair) for pair in found.pairs.tolist()}
    hidden = {(i, 120 + i) for i in range(40)}
    assert len(pairs & hidden) >= 37 and pairs <= hidden
    assert (np.diff(found.likeness) <= 0).all() and found.likeness[-1] >= found.threshold
    groups = found.groups(160)
    assert all(groups[one] == groups[other] for one, other in pairs)
    assert len(np.unique(groups)) == 160 - len(pairs)


def test_images_of_one_color_are_no_twins():
    plain = [np.full((20, 20, 3), shade, np.uint8) for shade in range(0, 250, 25)]
    assert not len(find_twins([split_of([*plain, *pictures(30, side=20)])]).pairs)


def write(root, images, name):
    for i, image in enumerate(images):
        folder = root / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{name}{i:02}.png")


def test_parts_that_are_drawn_keep_twins_together(tmp_path):
    originals = pictures(30)
    write(tmp_path, originals, "original")
    write(tmp_path, [image[:, ::-1] for image in originals], "mirrored")
    source = open_source(f"folder:{tmp_path}", groups="twins", validation_fraction=0.2)
    for split in source.splits.values():
        numbers = sorted(split.name(i)[-6:-4] for i in range(len(split)))
        assert numbers[::2] == numbers[1::2] and len(numbers) >= 8
    assert source.provenance["groups"]["by"] == "twins"


def test_inspect_names_twins_across_and_within_parts(tmp_path):
    originals = pictures(40)
    write(tmp_path / "train", originals, "original")
    write(tmp_path / "train", [originals[3][:, ::-1]], "again")
    write(tmp_path / "test", [*pictures(5, 1), originals[0][6:58, 6:58]], "other")
    source = open_source(f"folder:{tmp_path}", validation_fraction=0.0)
    page = tmp_path / "page.html"
    lines = [line for line in inspect(source, near=True, page=page) if "look alike" in line]
    assert len(lines) == 2
    assert any(
        "test in train (1): test/b/other05.png = train/a/original00.png" in line for line in lines
    )
    within = next(line for line in lines if "), train (1): " in line)
    assert "again00.png" in within and "original03.png" in within
    rows = page.read_text().partition("<h2>Alike, ")[2]  # side by side, with their classes
    assert rows.count("<h2>") == 1 and rows.count("<img") == 4
    assert "b: test/b/other05.png" in rows and "(likeness 0.9" in rows


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_has_the_shape_and_the_type_of_its_original(kind):
    image = pictures(1)[0]
    made = copy(image, kind, np.random.default_rng(0))
    assert made.shape == image.shape and made.dtype == np.uint8 and (made != image).any()
