"""The publishers' tables: complete, in drawing order, and nothing passes unseen."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from keras_inception import endpoints, get_model
from keras_inception.catalog import CATALOG
from keras_inception.weights import layouts
from keras_inception.weights.layouts.layout import rows
from keras_inception.weights.native import variables
from keras_inception.weights.resolve import records_for

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
        assert layouts.recognise(layers).layout is layout


@pytest.mark.slow
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
    found, layers, _, _ = layouts.recognise(moved)
    assert found is layout
    assert all(values["was"] == name for name, values in layers.items())


HEAD = ("fc_new", "head.0", "top/dense")


def file_of(layout, prefix=""):
    """The names in a file of a layout's features with a head of one's own."""
    names = (name for name in layout.names if name in layout.body)
    return {**{prefix + name: {} for name in names}, **{name: {} for name in HEAD}}


@pytest.mark.parametrize("prefix", ["", "module.", "model.backbone.", "inception/"])
def test_wrapped_files_and_heads_are_told_apart(prefix):
    """Whatever stands around the network, it is taken for itself alone."""
    for layout in layouts.LAYOUTS.values():
        found = layouts.recognise(file_of(layout, prefix))
        assert found.layout is layout
        assert found.layers.keys() == layout.body
        assert found.foreign == HEAD
        assert all(theirs == prefix + name for name, theirs in found.origin.items())


@pytest.mark.parametrize("prefix", ["", "module/"])
def test_the_classifier_of_retrain_py_stands_for_the_networks_own(prefix):
    """It lies outside of the network's scope, and a TF-Hub module is a scope of its own."""
    layout = layouts.LAYOUTS["slim/inception_v3"]
    body = {prefix + name: {} for name in layout.body}
    found = layouts.recognise(body | {"final_training_ops": {}})
    assert found.layout is layout and not found.foreign
    assert found.origin["InceptionV3/Logits/Conv2d_1c_1x1"] == "final_training_ops"
    both = body | {f"{prefix}InceptionV3/Logits/Conv2d_1c_1x1": {}, "final_training_ops": {}}
    assert layouts.recognise(both) == found


def test_an_incomplete_network_is_refused():
    """Also where its names would do for another layout, as keras.applications' numbers do."""
    for layout in layouts.LAYOUTS.values():
        for lost in sorted(layout.body)[::20]:
            layers = file_of(layout)
            del layers[lost]
            with pytest.raises(ValueError, match="part of the network is missing"):
                layouts.recognise(layers)
    resnet = layouts.LAYOUTS["keras/inception_resnet_v2"]
    half = {name: {} for name, ours in resnet.names.items() if not ours.startswith("block8")}
    with pytest.raises(ValueError, match="like keras/inception_resnet_v2.* missing: block8_1_conv"):
        layouts.recognise(half)


@pytest.mark.parametrize(
    ("name", "stray"),
    [
        ("torchvision/inception_v3", "Mixed_6b.attention.query"),
        ("slim/inception_v4", "InceptionV4/Mixed_5b/Branch_4/Conv2d_0a_1x1"),
        ("cadene/inception_v4", "features.22.branch0.conv"),
        ("keras/inception_v3", "block8_1_conv"),
        ("facenet_pytorch/inception_resnet_v1", "conv2d_2a.conv.lora_A"),
    ],
)
def test_layers_among_the_features_make_another_network(name, stray):
    with pytest.raises(ValueError, match=f"looks like {name}.*does not have.*: {stray}"):
        layouts.recognise({**file_of(layouts.LAYOUTS[name]), stray: {}})


def test_two_networks_in_one_file_are_refused():
    layout = layouts.LAYOUTS["torchvision/inception_v3"]
    two = {**file_of(layout, "encoder_q."), **file_of(layout, "encoder_k.")}
    with pytest.raises(ValueError, match="two networks, in 'encoder_[qk]\\.' and in 'encoder_"):
        layouts.recognise(two)


def test_no_variants_own_names_do_for_another_variant():
    """A file of variant A always lacks features of variant B, whatever else is in it."""
    folder = Path(__file__).parents[1] / "models" / "layer_names"
    features = {
        path.stem: {name for name in path.read_text().split() if not layouts.own.in_head(name)}
        for path in folder.glob("*.txt")
    }
    same = {
        (a, b)
        for a, b in itertools.permutations(features, 2)
        if features[b] <= features[a] and all(map(layouts.own.is_ours, features[a] - features[b]))
    }
    assert same == set()
    assert all(layouts.own.is_ours(name) for names in features.values() for name in names)


def test_every_layout_finds_a_record():
    for layout in layouts.LAYOUTS.values():
        assert all(r.variant == layout.variant for r in records_for(layout))
        assert records_for(layout)


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
