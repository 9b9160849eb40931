"""ImageNet's class names, which come with the package."""

from __future__ import annotations

import numpy as np
import pytest

from keras_inception.models.imagenet import class_names, decode_predictions, imagenet_classes


def test_the_classes_are_those_of_tensorflow_datasets():
    """The order of the 1,000 is what a name stands or falls with."""
    from importlib import resources

    peer = resources.files("tensorflow_datasets") / "datasets" / "imagenet2012" / "labels.txt"
    assert [c.wordnet_id for c in imagenet_classes()] == peer.read_text().split()
    # As keras.applications' imagenet_class_index.json has them.
    assert imagenet_classes()[0].names == ("tench", "Tinca tinca")
    assert [class_names()[i] for i in (1, 281, 388, 999)] == [
        "goldfish",
        "tabby",
        "giant panda",
        "toilet tissue",
    ]


def test_names_are_unique():
    """Two classes are called crane, the bird and the machine, and two maillot."""
    assert len(set(class_names())) == 1000
    assert {"crane (n02012849)", "crane (n03126707)"} < set(class_names())


def test_decoding_leaves_the_background_out():
    preds = np.zeros((2, 1001), np.float32)
    preds[0, [0, 1, 2]] = 0.5, 0.3, 0.2
    preds[1, 389] = 1
    first, second = decode_predictions(preds, top=2)
    assert first == [
        ("n01440764", "tench", pytest.approx(0.3)),
        ("n01443537", "goldfish", pytest.approx(0.2)),
    ]
    assert second[0][:2] == ("n02510455", "giant_panda")
    assert decode_predictions(preds[:, 1:], top=2) == [first, second]
    with pytest.raises(ValueError, match=r"your list of names.*\(2, 5\)"):
        decode_predictions(preds[:, :5])


def test_the_graph_of_2015_needs_its_own_order(tmp_path):
    preds = np.zeros((1, 1008), np.float32)
    preds[0, 7] = 1
    with pytest.raises(ValueError, match="an order of their own"):
        decode_predictions(preds)
    ids = [c.wordnet_id for c in imagenet_classes()]
    label_map = tmp_path / "map.pbtxt"
    entry = 'entry {{\n  target_class: {}\n  target_class_string: "{}"\n}}\n'
    label_map.write_text("".join(entry.format(1000 - i, w) for i, w in enumerate(ids)))
    assert decode_predictions(preds, 1, label_map=label_map) == [[(ids[993], "gyromitra", 1.0)]]
    label_map.write_text(entry.format(1, ids[0]))
    with pytest.raises(ValueError, match="1 entries"):
        decode_predictions(preds, label_map=label_map)
