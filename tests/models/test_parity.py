"""Every variant equals a public implementation, weight for weight.

tests/goldens holds, for each peer, the names and shapes of its arrays and what its own code
computed (float32, inference mode, before softmax) for arrays and pictures that are functions of a
name (see goldens/rule.py). Here the same arrays are put into our builder. BatchNorm's four vectors
are random too, so that a wrong epsilon, padding, pool or order of branches moves the logits by 0.01
to 2, while float32 noise is below 1e-4 (v4, without residual path, amplifies it).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_inception import endpoints, get_model

GOLDENS = Path(__file__).parents[1] / "goldens"
sys.path.insert(0, str(GOLDENS))
import rule  # noqa: E402

TORCH = {"bn_scale": True}
V3_TORCH = {"bn_scale": True, "avg_pool_counts_padding": True}
# peer -> (variant, what its checkpoints need)
PEERS = {
    "slim_inception_v1": ("InceptionV1", {}),
    "tv_googlenet": (
        "InceptionV1",
        TORCH | {"aux_logits": True, "adaptive_aux_pool": True, "symmetric_padding": True},
    ),
    "slim_inception_v2": ("BNInception", {}),
    "cadene_bninception": (
        "BNInception",
        V3_TORCH
        | {
            "separable_stem": False,
            "widths": "caffe",
            "symmetric_padding": True,
            "bn_epsilon": 1e-5,
        },
    ),
    "slim_inception_v3": ("InceptionV3", {"aux_logits": True}),
    "keras_InceptionV3": ("InceptionV3", {}),
    "tv_inception_v3": ("InceptionV3", V3_TORCH | {"aux_logits": True}),
    "timm_inception_v3": ("InceptionV3", V3_TORCH),
    "timm_inception_v3_aux": ("InceptionV3", V3_TORCH | {"aux_logits": True}),
    "pytorch_fid": ("InceptionV3", TORCH | {"last_pool": "max"}),
    "timm_inception_v4": ("InceptionV4", TORCH),
    "facenet_pytorch": ("InceptionResNetV1", TORCH | {"embedding": 512}),
    "keras_InceptionResNetV2": ("InceptionResNetV2", {}),
    "timm_inception_resnet_v2": ("InceptionResNetV2", TORCH),
}
KINDS = {  # our variable -> the kinds of array that can fill it
    "kernel": ("conv_kernel", "dense_kernel"),
    "depthwise_kernel": ("depthwise_kernel",),
    "pointwise_kernel": ("conv_kernel",),
    "bias": ("bias",),
    "gamma": ("bn_gamma",),
    "beta": ("bn_beta",),
    "moving_mean": ("bn_mean",),
    "moving_variance": ("bn_var",),
}


def their_layers(spec):
    """[(name, {kind: array in our layout})], in the order of the peer's file."""
    layers = {}
    for name, shape, kind, *rest in spec["arrays"]:
        if kind == "int":  # torch's counters
            continue
        array = rule.array_for(name, shape, kind, *rest)
        layout = rest[0] if rest else "-"
        if layout == "OIHW":
            array = array.transpose(2, 3, 1, 0)
        elif layout == "OI":
            array = array.T
        owner = re.split(r"[/.](?=[^/.]+$)", name)[0]
        layers.setdefault(owner, {})[kind] = array
    return list(layers.items())


def our_layers(model):
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


def has_kernel(kinds):
    return any(kind.endswith("kernel") for kind in kinds)


def is_norm(layer):
    return isinstance(layer, keras.layers.BatchNormalization)


def pairs_by_order(ours, theirs):
    """Kernels with kernels and norms with norms, the auxiliary heads apart."""
    for auxiliary in (False, True):
        for kernel in (True, False):
            mine = [v for v in ours if ("aux" in v.name, not is_norm(v)) == (auxiliary, kernel)]
            other = [
                kinds
                for name, kinds in theirs
                if ("aux" in name.lower(), has_kernel(kinds)) == (auxiliary, kernel)
            ]
            yield from zip(mine, other, strict=True)


def pairs_of_keras(ours, theirs):
    """keras.applications numbers most layers in drawing order and names the rest."""
    automatic = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?$")
    numbered = [(int(m[2] or 0), n, k) for n, k in theirs if (m := automatic.match(n))]
    named = {n: k for n, k in theirs if not automatic.match(n)}

    def their_name(layer):
        if layer.name.endswith("_up"):
            return layer.name.removesuffix("_up") + "_conv"
        return {"conv_7b_conv": "conv_7b"}.get(layer.name, layer.name)

    yield from ((v, named[their_name(v)]) for v in ours if their_name(v) in named)
    rest = [v for v in ours if their_name(v) not in named]
    ordered = [(n, k) for _, n, k in sorted(numbered, key=lambda entry: entry[0])]
    yield from pairs_by_order(rest, ordered)


def fill(model, spec):
    ours, theirs = our_layers(model), their_layers(spec)
    pairs = pairs_of_keras if spec["peer"].startswith("keras") else pairs_by_order
    extra_bias = {}  # Caffe's convolutions have biases before BatchNorm, which its mean absorbs
    for layer, kinds in pairs(ours, theirs):
        values = []
        for variable in layer.weights:
            value = next(kinds[kind] for kind in KINDS[variable.name] if kind in kinds)
            if variable.name == "moving_mean":
                value = value - extra_bias.get(layer.name.removesuffix("bn") + "conv", 0)
            if layer.name in ("aux1_1", "aux2_1") and variable.name == "kernel":
                # torch flattens channels first
                value = value.reshape(128, 4, 4, -1).transpose(1, 2, 0, 3).reshape(2048, -1)
            values.append(value.reshape(variable.shape))
        if "bias" in kinds and not getattr(layer, "use_bias", True):
            extra_bias[layer.name] = kinds["bias"]
        layer.set_weights(values)


def outputs_for(peer, **changes):
    """Our outputs on the peer's weights and pictures, by the goldens' names, and the goldens."""
    spec = json.loads((GOLDENS / f"{peer}.json").read_text())
    variant, arguments = PEERS[peer]
    model = get_model(
        variant,
        weights=None,
        classes=spec["classes"],
        classifier_activation=None,
        input_shape=(spec["input_size"], spec["input_size"], 3),
        **{**arguments, **changes},
    )
    fill(model, spec)
    x = rule.preprocess(rule.images(spec["input_size"]), spec)
    outputs = model(x, training=False)
    outputs = dict(outputs) if isinstance(outputs, dict) else {"predictions": outputs}
    outputs["logits"] = outputs.pop("predictions")
    pooled = "embedding" if variant == "InceptionResNetV1" else "pooled"
    layer = model.get_layer("bottleneck_bn" if pooled == "embedding" else "avg_pool")
    outputs[pooled] = keras.Model(model.input, layer.output)(x, training=False)
    with np.load(GOLDENS / f"{peer}.npz") as golden:
        return outputs, dict(golden)


@pytest.mark.parametrize("peer", PEERS)
def test_outputs_equal_the_peers(peer):
    outputs, golden = outputs_for(peer)
    assert set(outputs) <= set(golden)
    tolerance = 1e-3 if PEERS[peer][0] == "InceptionV4" else 2e-4
    for name, got in outputs.items():
        np.testing.assert_allclose(got, golden[name], atol=tolerance, rtol=0, err_msg=name)


@pytest.mark.parametrize(
    ("peer", "mistake"),
    [
        ("slim_inception_v1", {"bn_epsilon": 1e-2}),
        ("slim_inception_v1", {"symmetric_padding": True}),
        ("tv_inception_v3", {"avg_pool_counts_padding": False}),
        ("pytorch_fid", {"last_pool": "avg"}),
    ],
)
def test_a_mistake_would_show(peer, mistake):
    """What separates the published conventions moves the logits far beyond the tolerance."""
    outputs, golden = outputs_for(peer, **mistake)
    assert np.abs(outputs["logits"] - golden["logits"]).max() > 50 * 2e-4
