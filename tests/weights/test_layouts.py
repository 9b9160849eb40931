"""The publishers' tables: complete, in drawing order, and nothing passes unseen."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from keras_inception import endpoints, get_model
from keras_inception.weights import layouts
from keras_inception.weights.catalog import CATALOG
from keras_inception.weights.layouts.layout import rows
from keras_inception.weights.native import variables

GOLDENS = Path(__file__).parents[1] / "goldens"

# Layouts whose files are written in drawing order -> (layout, what the builder needs). keras
# .applications' go by number instead; the parity tests hold those against Keras itself.
IN_DRAWING_ORDER = {
    "slim_inception_v1": ("slim/inception_v1", {}),
    "slim_inception_v1_nobn": ("slim/inception_v1", {"batch_norm": False}),
    "slim_inception_v2": ("slim/inception_v2", {}),
    "slim_inception_v2_nosep": ("slim/inception_v2_plain_stem", {"separable_stem": False}),
    "slim_inception_v3": ("slim/inception_v3", {"aux_logits": True}),
    "slim_inception_v4": ("slim/inception_v4", {"aux_logits": True}),
    "slim_inception_resnet_v2": ("slim/inception_resnet_v2", {"aux_logits": True}),
    "facenet_inception_resnet_v1": ("facenet/inception_resnet_v1", {"embedding": 512}),
    "cadene_inceptionv4": ("cadene/inception_v4", {"bn_scale": True}),
    "cadene_inceptionresnetv2": ("cadene/inception_resnet_v2", {"bn_scale": True}),
}


def drawing_order(model):
    """Layers with weights, in the order in which the figures draw them, read off their names."""
    ends = list(endpoints(model))

    def place(layer):
        name = layer.name
        if head := re.match(r"aux(\d?)_(logits|\d)", name):
            return (2, int(head[1] or 0), 9 if head[2] == "logits" else int(head[2]))
        if name == "predictions" or name.startswith("bottleneck"):
            return (3, int(name == "predictions"))
        if name.startswith("stem_"):
            return (0, *(int(n) for n in re.findall(r"\d+", name)))
        end = next(e for e in ends if name.startswith(f"{e}_"))
        branch = re.match(r"branch(\d+)([ab]?)_(\d+)", name[len(end) + 1 :])
        inside = (int(branch[1]), branch[2], int(branch[3])) if branch else (99, "", 0)
        return (1, ends.index(end), *inside)

    return sorted((layer for layer in model.layers if layer.weights), key=place)


@pytest.mark.parametrize("peer", IN_DRAWING_ORDER)
def test_tables_follow_the_drawing_order(peer):
    """A table that swapped two layers of one shape would break the order of the file."""
    name, arguments = IN_DRAWING_ORDER[peer]
    layout = layouts.LAYOUTS[name]
    spec = json.loads((GOLDENS / f"{peer}.json").read_text())
    owners = list(dict.fromkeys(re.split(r"[/.](?=[^/.]+$)", row[0])[0] for row in spec["arrays"]))
    top = {"include_top": False, "pooling": "avg"} if peer.startswith("facenet") else {}
    model = get_model(layout.variant, weights=None, classes=spec["classes"], **arguments, **top)
    for auxiliary in (False, True):  # the heads stand elsewhere in some files
        theirs = [layout.names[o] for o in owners if ("aux" in o.lower()) == auxiliary]
        ours = [v.name for v in drawing_order(model) if v.name.startswith("aux") == auxiliary]
        # A convolution and its norm are one step; the residual's last layer comes after them.
        assert [n for n in theirs if not n.endswith("_bn")] == [
            n for n in ours if not n.endswith("_bn")
        ]
        assert [n for n in theirs if n.endswith("_bn")] == [n for n in ours if n.endswith("_bn")]
    for row in spec["arrays"]:
        owner, _, _ = row[0].rpartition("/") if "/" in row[0] else row[0].rpartition(".")
        layer = model.get_layer(layout.names[owner])
        sizes = sorted(int(np.prod(w.shape)) for w in layer.weights)
        assert row[2] == "int" or int(np.prod(row[1])) in sizes, row


def test_every_published_layout_is_recognised():
    """By its own table among all others, though several share most of their names."""
    for layout in layouts.LAYOUTS.values():
        layers = {name: {} for name in layout.names}
        assert layouts.recognise(layers)[0] is layout


def test_every_table_sets_every_layer_of_its_variant():
    models = {}
    for record in CATALOG:
        layout = layouts.LAYOUTS[record.layout]
        arguments = {k: v for k, v in record.builder_arguments.items() if k != "bn_epsilon"}
        key = (layout.variant, json.dumps(arguments, sort_keys=True))
        if key not in models:
            model = get_model(layout.variant, weights=None, **arguments)
            models[key] = {name.partition("/")[0] for name in variables(model)}
        missing = models[key] - set(layout.names.values())
        assert missing <= {"predictions"}, record.name
        extra = set(layout.names.values()) - models[key]
        assert all(
            name.startswith("aux") or not arguments.get("batch_norm", True) for name in extra
        )


def test_numbers_of_keras_layers_may_start_anywhere():
    """keras.applications counts on from whatever the process had built before."""
    layout = layouts.LAYOUTS["keras/inception_v3"]
    moved = {}
    for name in layout.names:
        kind, _, number = name.rpartition("_")
        moved[f"{kind}_{int(number) + 188}" if number.isdigit() else name] = {"was": name}
    found, layers = layouts.recognise(moved)
    assert found is layout
    assert all(values["was"] == name for name, values in layers.items())


def test_a_layer_that_the_table_does_not_know_is_named():
    layout = layouts.LAYOUTS["torchvision/googlenet"]
    layers = {name: {"kernel": np.zeros((1, 1, 1, 1))} for name in layout.names}
    with pytest.raises(ValueError, match="no layers inception6a"):
        layout.translate({**layers, "inception6a.branch1.conv": {}})


def test_the_row_notation():
    assert rows("a{1..3}.{x,y}  b{c..e}_{0,1}") == (
        ("a1.x", "bc_0"),
        ("a1.y", "bc_1"),
        ("a2.x", "bd_0"),
        ("a2.y", "bd_1"),
        ("a3.x", "be_0"),
        ("a3.y", "be_1"),
    )
    with pytest.raises(ValueError, match="do not go together"):
        rows("a{1,2}  b")
