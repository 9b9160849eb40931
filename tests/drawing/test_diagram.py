"""Diagrams: what is drawn is what was built."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import keras
import pytest

from keras_inception import InceptionResNetV1, InceptionV1, InceptionV4, cli, diagram

SVG = "{http://www.w3.org/2000/svg}"


def drawn(model):
    """The cards of a diagram: title -> the words of its boxes; and the boxes of the whole."""
    root = ElementTree.fromstring(diagram(model))
    whole = [e.text for e in root.findall(f"{SVG}text")]
    cards = {}
    for card in root.findall(f"{SVG}g"):
        title, _, *words = [e.text for e in card.findall(f"{SVG}text")]
        cards[title] = words
    boxes = [
        [float(rect.get(k, 0)) for k in ("x", "y", "width", "height")]
        for card in root.findall(f"{SVG}g")
        for rect in card.findall(f"{SVG}rect")
    ]
    return whole, cards, boxes


def test_v4_is_figure_9_with_the_blocks_of_figures_4_to_8():
    whole, cards, boxes = drawn(InceptionV4(weights=None, aux_logits=True))
    assert [w for w in whole if re.match(r"\d x mixed", w)] == [
        "4 x mixed_5b-5e",
        "7 x mixed_6b-6h",
        "3 x mixed_7b-7d",
    ]
    figure_4 = ["1x1 conv", "96", "1x1 conv", "64", "3x3 conv", "96", "1x1 conv", "64", "3x3 conv"]
    figure_4 += ["96", "3x3 conv", "96", "3x3 avg pool", "1x1 conv", "96", "filter concat", "384"]
    assert sorted(cards["mixed_5b-5e (4 times)"]) == sorted(["input", *figure_4])
    figure_7 = ["3x3 conv", "384 / 2 V", "1x1 conv", "192", "3x3 conv", "224", "3x3 conv"]
    figure_7 += ["256 / 2 V", "3x3 max pool", "/ 2 V", "filter concat", "1024"]
    assert sorted(cards["mixed_6a"]) == sorted(["input", *figure_7])
    # Every box lies within its card: no drawing is cut off, none runs into another.
    card = None
    for x, y, width, height in boxes:
        if x == y == 0 or card is None:
            card = width, height
        assert 0 <= x and x + width <= card[0] and 0 <= y and y + height <= card[1]


def test_a_residual_block_has_its_scale_and_sum():
    size = {"width_multiplier": 0.25}
    whole, cards, _ = drawn(InceptionResNetV1(weights=None, **size))
    assert "10 x block17_1-10" in whole and "5 x block35_1-5" in whole
    block = cards["block17_1-10 (10 times)"]
    assert block[-5:] == ["1x1 linear", "224", "x 0.1", "+", "ReLU"]


def test_googlenets_pools_and_auxiliary_heads_are_in_the_whole():
    model = InceptionV1(weights=None, aux_logits=True, width_multiplier=0.25)
    whole, cards, _ = drawn(model)
    assert "3x3 max pool / 2" in whole and "aux1" in whole and "aux2" in whole
    assert "aux1, aux2 (2 times)" in cards


def test_a_network_without_blocks_is_refused():
    image = keras.Input((32, 32, 3))
    model = keras.Model(image, keras.layers.Conv2D(3, 3)(image))
    with pytest.raises(ValueError, match="no inception blocks"):
        diagram(model)


def test_the_command_draws_and_tells_what_a_published_name_is(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        cli.run(["info", "inception_v1.slim", "--diagram", str(tmp_path / "v1.svg")])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    for fact in ("69.80 % top-1", "224 x 224, crop_fraction=0.875", "Apache-2.0", "`inception_5b`"):
        assert fact in printed
    ElementTree.fromstring((tmp_path / "v1.svg").read_text())
    with pytest.raises(SystemExit) as end:
        cli.run(["info", "InceptionV1", "--diagram", "v1.png"])
    assert end.value.code == 2
