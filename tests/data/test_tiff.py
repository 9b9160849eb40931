"""TIFFs of science: what becomes of 16 bits, many bands, and values that are no brightness."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_inception.data import open_source
from keras_inception.data.decoding import Decoding
from keras_inception.data.plain import CannotRead, pixels_of

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (24, 33, 13)).astype(np.uint8)
TWELVE_BITS = RNG.integers(0, 4096, (24, 33, 13)).astype(np.uint16)
TWELVE_BITS[0, 0] = 4095


def tiff(values, photometric="rgb", **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, photometric=photometric, **options)
    return stream.getvalue()


def of_twelve(values):
    return np.round(values * (255 / 4095))


@pytest.mark.parametrize("how", [{}, {"byteorder": ">"}, {"planarconfig": "separate"}])
def test_sixteen_bits_of_color_are_as_exact_as_those_of_gray(how):
    color = TWELVE_BITS[..., :3]
    stored = color.transpose(2, 0, 1) if "planarconfig" in how else color
    pixels = pixels_of(tiff(stored, **how), Decoding(white=4095))
    np.testing.assert_array_equal(pixels, of_twelve(color))
    gray = pixels_of(tiff(color[..., 0], "minisblack"), Decoding(white=4095), 1)
    np.testing.assert_array_equal(gray[..., 0], of_twelve(color[..., 0]))


def test_a_data_set_has_one_range(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(5):
            values = (TWELVE_BITS[..., :3] // (i + 1)).astype(np.uint16)
            values[0, 0, 0] = 8 * i + (name == "a")
            (tmp_path / "data" / name / f"{i}.tif").write_bytes(tiff(values))
    source = open_source(f"folder:{tmp_path / 'data'}", validation_fraction=0.0)
    assert source.decoding.white == 4095 and "taken for 12 bits" in caplog.text
    for split in source.splits.values():
        for i in range(len(split)):
            stored = tifffile.imread(tmp_path / "data" / split.name(i))
            np.testing.assert_array_equal(split.pixels(i), of_twelve(stored))


def test_zero_is_white_where_the_file_says_so():
    values = (TWELVE_BITS[..., 0] * 16).astype(np.uint16)
    pixels = pixels_of(tiff(values, "miniswhite"), Decoding(), 1)[..., 0]
    np.testing.assert_array_equal(pixels, np.round((65535 - values.astype(int)) / 257))
    pixels = pixels_of(tiff(BYTES[..., 0], "miniswhite"), Decoding(), 1)[..., 0]
    np.testing.assert_array_equal(pixels, 255 - BYTES[..., 0])
    with pytest.raises(CannotRead, match="0 is white in it, and its values end at 4095"):
        pixels_of(tiff(TWELVE_BITS[..., 0], "miniswhite"), Decoding())


@pytest.mark.parametrize("values", [BYTES, TWELVE_BITS])
def test_infrared_that_is_marked_as_alpha_is_laid_over_nothing(values):
    white = 255 if values is BYTES else 4095
    content = tiff(values[..., :4], extrasamples=["unassalpha"])
    with pytest.raises(CannotRead, match="it has 4 bands.*such as bands=1,2,3"):
        pixels_of(content, Decoding(white=white))
    pixels = pixels_of(content, Decoding(white=white, bands=(4, 3, 2)))
    np.testing.assert_array_equal(pixels, np.round(values[..., [3, 2, 1]] * (255 / white)))
    # Transparency that hides nothing is none.
    opaque = np.concatenate(
        [values[..., :3], np.full_like(values[..., :1], np.iinfo(values.dtype).max)], -1
    )
    pixels = pixels_of(tiff(opaque, extrasamples=["unassalpha"]), Decoding(white=white))
    np.testing.assert_array_equal(pixels, np.round(values[..., :3] * (255 / white)))


@pytest.mark.parametrize("values", [BYTES, TWELVE_BITS])
def test_of_many_bands_those_are_taken_that_are_asked_for(values):
    white = 255 if values is BYTES else 4095
    content = tiff(values, "minisblack", planarconfig="contig")
    for decoding in (Decoding(), Decoding(bands=(14, 1, 2))):
        with pytest.raises(CannotRead, match="it has 13 bands"):
            pixels_of(content, decoding)
    for bands in ((4, 3, 2), (13,)):
        pixels = pixels_of(content, Decoding(white=white, bands=bands))
        want = np.round(values[..., [b - 1 for b in bands]] * (255 / white))
        np.testing.assert_array_equal(pixels, np.broadcast_to(want, pixels.shape))
    with pytest.raises(CannotRead, match="it is no TIFF"):
        stream = io.BytesIO()
        Image.fromarray(BYTES[..., :3]).save(stream, "PNG")
        pixels_of(stream.getvalue(), Decoding(bands=(4, 3, 2)))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (TWELVE_BITS[..., 0].astype(np.int16), "signed numbers of 16 bits"),
        (BYTES[..., 0].astype(np.int8), "signed numbers of 8 bits"),
        (TWELVE_BITS[..., :3].astype(np.float32), "floating-point numbers of 32 bits"),
        (TWELVE_BITS[..., 0].astype(np.uint32), "unsigned numbers of 32 bits"),
    ],
)
def test_values_without_a_range_are_refused_with_the_reason(values, reason, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    content = tiff(values, "rgb" if values.ndim == 3 else "minisblack")
    with pytest.raises(CannotRead, match=f"{reason}, whose range nothing says"):
        pixels_of(content, Decoding())
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "x.tif").write_bytes(content)
    with pytest.raises(ValueError, match=f"a/x.tif .its values are {reason}"):
        open_source(f"folder:{tmp_path / 'data'}")


def test_a_turned_tiff_of_many_bands_is_turned():
    tag = [(274, "H", 1, 6, True)]
    content = tiff(TWELVE_BITS[..., :3], extratags=tag)
    pixels = pixels_of(content, Decoding(white=4095))
    np.testing.assert_array_equal(pixels, np.rot90(of_twelve(TWELVE_BITS[..., :3]), -1))


def test_without_tifffile_it_is_named(monkeypatch):
    content = tiff(TWELVE_BITS[..., :3])
    nir = tiff(BYTES[..., :4], extrasamples=["unassalpha"])
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(CannotRead, match="3 bands of 16 bits, which need the package tifffile"):
        pixels_of(content, Decoding())
    # Of 8 bits Pillow knows all bands.
    pixels = pixels_of(nir, Decoding(bands=(4, 3, 2)))
    np.testing.assert_array_equal(pixels, BYTES[..., [3, 2, 1]])
