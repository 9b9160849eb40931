"""One decode for all stages, held against Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_inception.data.decode import decode, decode_crop, decode_request
from keras_inception.data.decoding import Decoding
from keras_inception.data.headers import jpeg_orientation
from keras_inception.data.plain import CannotRead, as_png, pixels_of, read_header

RNG = np.random.default_rng(0)
COLORS = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (4, 5, 3), np.uint8)).resize((33, 23), Image.BICUBIC)
)
RGB = Image.fromarray(COLORS)
GRAY, PALETTE = RGB.convert("L"), RGB.quantize(64)
_ALPHA = np.zeros(COLORS.shape[:2], np.uint8)
_ALPHA[:, 10:], _ALPHA[5:9] = 255, 128
RGBA = Image.fromarray(np.dstack([COLORS, _ALPHA]))
TURNED = RGB.rotate(180)
SMALL = RGB.crop((4, 2, 20, 14))


def encoded(image, kind, orientation=None, **options):
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def frames(*images, kind="GIF", **options):
    first, *rest = images
    return encoded(first, kind, save_all=True, append_images=rest, **options)


def by_pillow(content):
    """Upright RGB over white, of the first frame."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if image.has_transparency_data:
        over = Image.new("RGBA", image.size, "white")
        over.alpha_composite(image.convert("RGBA"))
        image = over
    return np.asarray(image.convert("RGB")).astype(int)


def a_gif_whose_frame_is_smaller():
    """A frame of 16 x 12 at (4, 2) on a canvas of 33 x 23, as optimizers write them."""
    content = bytearray(encoded(SMALL.quantize(16), "GIF"))
    content[6:10] = (33).to_bytes(2, "little") + (23).to_bytes(2, "little")
    at = content.index(b"\x2c\0\0\0\0" + (16).to_bytes(2, "little"))
    content[at + 1], content[at + 3] = 4, 2
    return bytes(content)


# Name -> bytes; JPEG decoders round differently, everything else is exact.
IMAGES = {
    "JPEG": encoded(RGB, "JPEG", quality=95, subsampling=0),
    "gray JPEG": encoded(GRAY, "JPEG", quality=95),
    "CMYK JPEG": encoded(RGB.convert("CMYK"), "JPEG", quality=95, subsampling=0),
    "progressive JPEG": encoded(RGB, "JPEG", progressive=True, quality=95, subsampling=0),
    "PNG of 1 bit": encoded(RGB.convert("1"), "PNG"),
    "PNG of 2 bits": encoded(RGB.quantize(4), "PNG", bits=2),
    "PNG of 4 bits": encoded(RGB.quantize(16), "PNG", bits=4),
    "gray PNG": encoded(GRAY, "PNG"),
    "PNG": encoded(RGB, "PNG"),
    "PNG with a palette": encoded(PALETTE, "PNG"),
    "PNG with a transparent color of the palette": encoded(PALETTE, "PNG", transparency=3),
    "PNG with a transparent color": encoded(RGB, "PNG", transparency=tuple(COLORS[0, 0].tolist())),
    "gray PNG with a transparent value": encoded(GRAY, "PNG", transparency=GRAY.getpixel((0, 0))),
    "LA PNG": encoded(RGBA.convert("LA"), "PNG"),
    "RGBA PNG": encoded(RGBA, "PNG"),
    "GIF": encoded(PALETTE, "GIF"),
    "transparent GIF": encoded(PALETTE, "GIF", transparency=3),
    "animated GIF": frames(PALETTE, TURNED.quantize(64), PALETTE),
    "animated transparent GIF": frames(PALETTE, TURNED.quantize(64), transparency=5, disposal=2),
    "BMP of 1 bit": encoded(RGB.convert("1"), "BMP"),
    "gray BMP": encoded(GRAY, "BMP"),
    "BMP with a palette": encoded(PALETTE, "BMP"),
    "BMP": encoded(RGB, "BMP"),
    "BMP of 32 bits": encoded(RGBA, "BMP"),
    "lossy WebP": encoded(RGB, "WEBP", quality=90),
    "lossless WebP": encoded(RGB, "WEBP", lossless=True),
    "lossy WebP with alpha": encoded(RGBA, "WEBP", quality=90),
    "lossless WebP with alpha": encoded(RGBA, "WEBP", lossless=True),
    "animated WebP": frames(RGB, TURNED, kind="WEBP", quality=90),
    "animated lossless WebP": frames(RGB, TURNED, kind="WEBP", lossless=True),
    "animated WebP with alpha": frames(RGBA, RGBA.rotate(180), kind="WEBP", quality=90),
}
IMAGES |= {f"JPEG {o}": encoded(RGB, "JPEG", o, quality=95, subsampling=0) for o in range(1, 10)}
IMAGES |= {f"PNG {o}": encoded(RGB, "PNG", o) for o in (3, 6)}
IMAGES |= {f"WebP {o}": encoded(RGB, "WEBP", o, lossless=True) for o in (5, 8)}


def box(size):
    return tf.stack([2, 3, size[0] - 7, size[1] - 12])


@tf.function(input_signature=[tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int32)])
def decoded_crop(content, orientation):
    return decode_crop(Decoding(), content, box, orientation=orientation)


@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_pillows(name):
    content = IMAGES[name]
    want = by_pillow(content)
    largest = 12 if "JPEG" in name else 0
    pixels = pixels_of(content, Decoding()).astype(int)
    assert pixels.shape == want.shape
    assert np.abs(pixels - want).max() <= largest and np.abs(pixels - want).mean() <= 2.5
    gray = pixels_of(content, Decoding(), 1)[..., 0].astype(int)
    want_gray = np.asarray(Image.fromarray(want.astype(np.uint8)).convert("L")).astype(int)
    assert np.abs(gray - want_gray).max() <= max(largest, 1)

    header = read_header(content, Decoding())
    assert (header.height, header.width) == want.shape[:2] and header.format in name
    if header.odd:
        content = as_png(content)
        header = read_header(content, Decoding())
        assert not header.odd and header.orientation == 1
    part = decoded_crop(tf.constant(content), header.orientation).numpy()
    height, width = want.shape[:2]
    np.testing.assert_array_equal(part, pixels[2 : height - 5, 3 : width - 9])
    for channels, whole in ((3, pixels), (1, gray[..., None])):
        if header.plain >= (1 if channels == 3 else 2):
            fast = decode(Decoding(), tf.constant(content), channels, plainly=True)
            np.testing.assert_array_equal(fast, whole)
            rest = decode_crop(Decoding(), tf.constant(content), box, channels, plainly=True)
            np.testing.assert_array_equal(rest, whole[2 : height - 5, 3 : width - 9])


# What a server is sent and TensorFlow alone would decode wrongly.
REFUSED = {
    "GIF",
    "transparent GIF",
    "animated GIF",
    "animated transparent GIF",
    "BMP",
    "BMP of 1 bit",
    "gray BMP",
    "BMP with a palette",
    "BMP of 32 bits",
    "animated WebP",
    "animated lossless WebP",
    "animated WebP with alpha",
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_request_is_decoded_as_a_file_or_is_an_error(name):
    content = tf.constant(IMAGES[name])
    if name in REFUSED:
        with pytest.raises(tf.errors.InvalidArgumentError, match="decoded here"):
            decode_request(Decoding(), content)
        return
    decoding = Decoding()
    if name in ("PNG 3", "PNG 6", "WebP 5", "WebP 8"):  # only a JPEG's orientation is read
        want = decode(decoding, content)
    else:
        want = pixels_of(IMAGES[name], decoding)
    np.testing.assert_array_equal(decode_request(decoding, content), want)


def test_a_frame_stands_where_it_belongs_on_the_background():
    content = a_gif_whose_frame_is_smaller()
    pixels = pixels_of(content, Decoding(background=(9, 99, 199)))
    want = np.full((23, 33, 3), (9, 99, 199))
    want[2:14, 4:20] = np.asarray(SMALL.quantize(16).convert("RGB"))
    np.testing.assert_array_equal(pixels, want)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Only JPEG, PNG and WebP"):
        decode_request(Decoding(), tf.constant(content))


def test_alpha_lies_over_the_background_that_is_asked_for():
    pixels = Decoding(background=(9, 99, 199)).decode(tf.constant(IMAGES["RGBA PNG"])).numpy()
    assert pixels[0, 0].tolist() == [9, 99, 199]
    np.testing.assert_array_equal(pixels[10:, 10:], COLORS[10:, 10:])


@pytest.mark.parametrize("white", [65535, 4095])
def test_sixteen_bits_are_scaled_by_their_white(white):
    values = (np.arange(23 * 33).reshape(23, 33) * 5).astype(np.uint16)
    content = tf.constant(encoded(Image.fromarray(values), "PNG"))
    gray = decode(Decoding(white=white), content, 1).numpy()[..., 0]
    np.testing.assert_array_equal(gray, np.round(values * (255 / white)))
    color = np.stack([values] * 3, -1)
    content = tf.io.encode_png(color)
    pixels = decode(Decoding(white=white), content).numpy()
    np.testing.assert_array_equal(pixels, np.round(color * (255 / white)))


def jpeg_with_segments(*segments):
    """A JPEG with segments (marker, content) after its first."""
    plain = IMAGES["JPEG"]
    inserted = b"".join(
        b"\xff" + bytes([marker]) + (len(content) + 2).to_bytes(2, "big") + content
        for marker, content in segments
    )
    return plain[:2] + inserted + plain[2:]


def exif(order, value, entries=1):
    """EXIF content that notes an orientation after other entries."""
    number = lambda n, size: n.to_bytes(size, order)  # noqa: E731
    other = number(0x010F, 2) + number(2, 2) + number(1, 4) + b"x\0\0\0"
    mine = number(0x0112, 2) + number(3, 2) + number(1, 4) + number(value, 2) + b"\0\0"
    body = number(entries, 2) + other * (entries - 1) + mine + number(0, 4)
    mark = b"II" if order == "little" else b"MM"
    return b"Exif\0\0" + mark + number(42, 2) + number(8, 4) + body


@pytest.mark.parametrize(
    ("content", "want"),
    [
        (jpeg_with_segments((0xE1, exif("little", 6))), 6),
        (jpeg_with_segments((0xE1, exif("big", 8, entries=5))), 8),
        (jpeg_with_segments((0xE1, b"http://ns.adobe.com/xap"), (0xE1, exif("big", 3))), 3),
        (jpeg_with_segments((0xE2, b"\0" * 65000), (0xE1, exif("little", 5))), 5),
        (jpeg_with_segments((0xE1, exif("little", 9))), 1),
        (jpeg_with_segments((0xE1, exif("little", 6)[:14])), 1),
        (jpeg_with_segments((0xE1, b"Exif\0\0")), 1),
        (IMAGES["JPEG"], 1),
        (b"\xff\xd8\xff\xe1\xff\xffExif\0\0II*\0\xff\xff\xff\xff", 1),
        (b"", 1),
    ],
)
def test_orientation_wherever_it_is_noted(content, want):
    assert int(jpeg_orientation(tf.constant(content))) == want
    if content.startswith(IMAGES["JPEG"][:2]) and len(content) > len(IMAGES["JPEG"]):
        assert read_header(content, Decoding()).orientation == want


BROKEN = {
    "nothing": b"",
    "text": b"hello",
    "JPEG": IMAGES["JPEG"][:200],
    "PNG": IMAGES["PNG"][:100],
    "GIF": IMAGES["GIF"][:60],
    "a GIF's first bytes": b"GIF89a",
    "BMP": IMAGES["BMP with a palette"][:300],
    "a BMP's first bytes": b"BM",
    "WebP": IMAGES["lossless WebP"][:40],
    "an animated WebP without a frame": IMAGES["animated WebP"][:44],
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_an_error(name):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_request(Decoding(), tf.constant(BROKEN[name]))
    with pytest.raises(CannotRead):
        pixels_of(BROKEN[name], Decoding())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_a_limit_of_pixels_is_read_from_the_header(kind):
    content = encoded(RGB, kind)
    assert pixels_of(content, Decoding(max_pixels=23 * 33)).shape == (23, 33, 3)
    with pytest.raises(CannotRead, match=f"more than max_pixels={23 * 33 - 1} pixels"):
        pixels_of(content, Decoding(max_pixels=23 * 33 - 1))
    if kind in ("JPEG", "PNG", "WEBP"):
        content = tf.constant(content)
        assert decode_request(Decoding(max_pixels=23 * 33), content).shape == (23, 33, 3)
        with pytest.raises(tf.errors.InvalidArgumentError, match="more pixels than the limit"):
            decode_request(Decoding(max_pixels=23 * 33 - 1), content)


def test_a_turned_tiff_is_turned_once():
    pixels = pixels_of(encoded(RGB, "TIFF", 6), Decoding())
    np.testing.assert_array_equal(pixels, np.rot90(COLORS, -1))


def test_fields_out_of_range_are_refused():
    for wrong in ({"background": (0, 0, 256)}, {"max_pixels": 0}, {"white": 70000}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Decoding(**wrong)
