"""Evaluation views: exact geometry."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from keras_inception.data.views import CROPS, View, describe, take, views
from keras_inception.preprocessing import Preprocessing

GOOGLENET = Preprocessing(size=(224, 224))


def test_each_protocol_has_as_many_different_views_as_its_name_says():
    for crops, count in CROPS.items():
        found = views(300, 500, GOOGLENET, crops)
        assert len(set(found)) == len(found) == count
        assert sum(v.mirrored for v in found) == count // 2


def test_the_144_crops_are_googlenets():
    """1409.4842 section 7 on an image of 300 x 500: every box, written out by hand."""
    found = [v for v in views(300, 500, GOOGLENET, "144") if not v.mirrored]
    expected = []
    # shorter side, longer side, offsets of the three squares, offset of a corner, of the center
    for short, long, squares, corner in [
        (256, 426, (0, 85, 170), 32),
        (288, 480, (0, 96, 192), 64),
        (320, 533, (0, 106, 213), 96),
        (352, 586, (0, 117, 234), 128),
    ]:
        for left in squares:
            for y, x in [(0, 0), (0, corner), (corner, 0), (corner, corner)]:
                expected.append(View((short, long), (y, left + x, 224, 224)))
            center = corner // 2
            expected.append(View((short, long), (center, left + center, 224, 224)))
            expected.append(View((short, long), (0, left, short, short)))
    assert found == expected
    # An upright image takes the top, the central and the bottom square.
    upright = [v for v in views(500, 300, GOOGLENET, "144") if not v.mirrored]
    assert [v.box[0] for v in upright[5:18:6]] == [0, 85, 170]


def test_other_input_sizes_scale_googlenets():
    found = views(400, 400, Preprocessing(size=(299, 299)), "144")
    sizes = collections.Counter(v.resized for v in found)
    assert sizes == {(342, 342): 36, (384, 384): 36, (427, 427): 36, (470, 470): 36}
    # Not square: boxes of the input's shape.
    wide = views(300, 800, Preprocessing(size=(112, 224)), "144")
    assert wide[0] == View((128, 341), (0, 0, 112, 224))
    assert wide[5].box == (0, 0, 128, 256)


@pytest.mark.parametrize("crops", ["10", "12", "144"])
def test_equal_views_of_a_square_image_each_count(crops):
    contract = Preprocessing(size=(24, 24), crop_fraction=0.875)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    taken, places = take(image, contract, crops), views(32, 32, contract, crops)
    assert len(taken) == len(places) == int(crops)
    for pixels, view in zip(taken, places, strict=True):
        if view == places[0]:
            np.testing.assert_array_equal(pixels, taken[0])
    if crops == "144":  # the three squares are one
        np.testing.assert_array_equal(taken[:6], taken[6:12])


def test_ten_crops_are_torchvisions_ten_crop():
    """Resize(256) makes 256 x 426 of 300 x 500; TenCrop(224) takes its corners and its center."""
    found = [v.box for v in views(300, 500, GOOGLENET, "10")[:5]]
    assert found == [
        (0, 0, 224, 224),
        (0, 202, 224, 224),
        (32, 0, 224, 224),
        (32, 202, 224, 224),
        (16, 101, 224, 224),
    ]
    # A contract that crops each side (TF-Slim's) changes the aspect here, too.
    slim = GOOGLENET.replace(aspect="stretch")
    assert {v.resized for v in views(300, 500, slim, "10")} == {(256, 256)}


def test_twelve_crops_are_144s_at_one_size_and_one_square():
    twelve, all_of_them = (views(300, 500, GOOGLENET, crops) for crops in ("12", "144"))
    assert twelve[:6] == all_of_them[6:12]
    assert [v.box for v in twelve[6:]] == [v.box for v in twelve[:6]]


def test_views_of_a_ramp_hold_the_coordinates_of_their_boxes():
    """Bilinear interpolation keeps a linear ramp, so a pixel says where it was taken from."""
    y, x = np.mgrid[0:300, 0:200].astype(np.float32)
    image = np.stack([y / 2, x], axis=-1)
    contract = Preprocessing(size=(75, 75), antialias=False)
    taken = take(image, contract, "144")
    assert taken.shape == (144, 75, 75, 2) and taken.dtype == np.float32
    for view, pixels in zip(views(300, 200, contract, "144"), taken, strict=True):
        (height, width), (top, left, tall, wide) = view.resized, view.box
        pixels = pixels[:, ::-1] if view.mirrored else pixels
        inner = np.arange(8, 67)  # the border of an image is repeated, not extrapolated
        rows = ((top + (inner + 0.5) * tall / 75) * 300 / height - 0.5) / 2
        columns = (left + (inner + 0.5) * wide / 75) * 200 / width - 0.5
        np.testing.assert_allclose(pixels[inner, 37, 0], rows, atol=1e-3)
        np.testing.assert_allclose(pixels[37, inner, 1], columns, atol=1e-3)


@pytest.mark.parametrize("aspect", ["crop", "stretch"])
def test_the_single_view_is_the_contracts_and_ten_crops_center_is_near_it(aspect):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (12, 15, 3)).repeat(10, 0).repeat(10, 1).astype(np.uint8)
    contract = Preprocessing(size=(64, 64), aspect=aspect, interpolation="bicubic")
    single = contract.crop_and_resize(image)
    mirror = take(image, contract, "mirror")
    np.testing.assert_array_equal(mirror[0], single)
    np.testing.assert_array_equal(mirror[1], single[:, ::-1])
    assert np.abs(take(image, contract, "10")[4] - single).mean() < 8  # of 0..255, half a pixel


def test_protocols_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="1, mirror, 10, 12, 144. Received: crops='11'"):
        views(10, 10, GOOGLENET, "11")
    with pytest.raises(ValueError, match="keeps the whole image"):
        take(np.zeros((9, 9, 3)), GOOGLENET.replace(crop_fraction=1.0), "10")
    with pytest.raises(ValueError, match="aspect=pad.*Use 1 or mirror"):
        take(np.zeros((9, 9, 3)), GOOGLENET.replace(aspect="pad"), "144")


def test_a_protocol_is_named_with_all_that_changes_the_number():
    assert describe(GOOGLENET, "1") == (
        "central crop, 224 x 224, crop fraction 0.875, aspect kept, bilinear with antialiasing"
    )
    assert describe(GOOGLENET.replace(antialias=False), "144") == (
        "144 crops, 224 x 224, GoogLeNet's sizes, bilinear without antialiasing"
    )
