"""Every published checkpoint computes what its publisher's own code computes.

tests/goldens holds, for each peer, the names and shapes of its arrays and what its own code
computed (float32, inference mode, before softmax) for arrays and images that are functions of a
name (see goldens/rule.py). Here the same arrays are written in the peer's own file format, loaded
by path and by catalogue name from a server on loopback, and the model's outputs compared. All four
vectors of BatchNorm are random too, so that a wrong epsilon, padding, pool or order of branches
moves the logits by 0.01 to 2, while float32 noise is below 1e-4 (v4, without residual path,
amplifies it).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import tarfile
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_inception import InceptionV3, catalog, get_model, get_weights, save_weights
from keras_inception.weights import layouts, resolve

GOLDENS = Path(__file__).parents[1] / "goldens"
sys.path.insert(0, str(GOLDENS))
import native  # noqa: E402
import rule  # noqa: E402

# peer -> (its published file, writer of that file's format, auxiliary heads)
PEERS = {
    "slim_inception_v1": ("inception_v1.slim", native.tf_v1, False),
    "tv_googlenet": ("inception_v1.torchvision", native.torch_zip, True),
    "bvlc_googlenet": ("inception_v1.caffe", native.caffemodel, True),
    "slim_inception_v2": ("bn_inception.slim", native.tf_v1, False),
    "cadene_bninception": ("bn_inception.cadene", native.torch_old, False),
    "tf2cv_bninception": ("bn_inception.tf2cv", native.tf2cv_h5, False),
    "slim_inception_v3": ("inception_v3.slim", native.tf_v2, True),
    "keras_InceptionV3": ("inception_v3.keras", native.keras_h5, False),
    "tv_inception_v3": ("inception_v3.torchvision", native.torch_zip, True),
    "timm_inception_v3": ("inception_v3.timm_tf", native.safetensors, False),
    "timm_inception_v3_aux": ("inception_v3.timm_tv", native.safetensors, True),
    "tf2cv_inceptionv3": ("inception_v3.tf2cv", native.tf2cv_h5, False),
    "pytorch_fid": ("inception_v3.fid", native.torch_legacy, False),
    "timm_inception_v4": ("inception_v4.timm_tf", native.safetensors, False),
    "facenet_pytorch": ("inception_resnet_v1.facenet_vggface2", native.torch_zip, False),
    "pytorchcv_inceptionresnetv1": ("inception_resnet_v1.pytorchcv", native.torch_legacy, False),
    "keras_InceptionResNetV2": ("inception_resnet_v2.keras", native.keras_h5, False),
    "timm_inception_resnet_v2": ("inception_resnet_v2.timm_tf", native.safetensors, False),
}
# The same networks from further publishers: `make test-all` runs them.
TWINS = {
    "pytorchcv_bninception": ("bn_inception.pytorchcv", native.torch_zip, False),
    "pytorchcv_inceptionv3": ("inception_v3.pytorchcv", native.torch_zip, False),
    "pytorchcv_inceptionv4": ("inception_v4.pytorchcv", native.torch_zip, False),
    "tf2cv_inceptionv4": ("inception_v4.tf2cv", native.tf2cv_h5, False),
    "tf2cv_inceptionresnetv1": ("inception_resnet_v1.tf2cv", native.tf2cv_h5, False),
    "pytorchcv_inceptionresnetv2": ("inception_resnet_v2.pytorchcv", native.torch_zip, False),
    "tf2cv_inceptionresnetv2": ("inception_resnet_v2.tf2cv", native.tf2cv_h5, False),
}
ALL = [*PEERS, *(pytest.param(peer, marks=pytest.mark.slow) for peer in TWINS)]


def spec_of(peer):
    return json.loads((GOLDENS / f"{peer}.json").read_text())


def write(peer, folder):
    """The peer's file, as its publisher calls and packs it. Returns (record, path to load)."""
    name, writer, _ = {**PEERS, **TWINS}[peer]
    record = get_weights(name)
    path = folder / record.filename
    if path.name.endswith(".tar.gz"):
        inner = folder / "checkpoint" / "inception.ckpt"
        inner.parent.mkdir()
        writer(spec_of(peer), inner)
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            for member in sorted(inner.parent.iterdir()):
                archive.add(member, member.name)
                member.unlink()
    else:
        writer(spec_of(peer), path)
    return record, path


def build(peer, weights, **changes):
    spec, (name, _, auxiliary) = spec_of(peer), {**PEERS, **TWINS}[peer]
    size = spec["input_size"]
    return get_model(
        get_weights(name).variant,
        weights=weights,
        classes=spec["classes"],
        classifier_activation=None,
        input_shape=(size, size, 3),
        aux_logits=auxiliary,
        **changes,
    )


def outputs_of(model, x):
    """What the goldens hold, by their names."""
    layers = {"pooled": "avg_pool", "embedding": "bottleneck_bn"}
    names = {layer.name for layer in model.layers}
    inner = {k: model.get_layer(v).output for k, v in layers.items() if v in names}
    outputs = model.output if isinstance(model.output, dict) else {"predictions": model.output}
    found = keras.Model(model.input, {**outputs, **inner})(x, training=False)
    return {"logits" if k == "predictions" else k: np.asarray(v) for k, v in found.items()}


def tolerance(peer):
    if peer == "bvlc_googlenet":  # without BatchNorm its logits have a spread of 100, not of 1 to 5
        return 5e-3
    return 1e-3 if "inceptionv4" in peer.replace("_", "") else 2e-4


@pytest.mark.parametrize("peer", ALL)
def test_outputs_equal_the_peers(peer, tmp_path, file_server, monkeypatch):
    record, path = write(peer, tmp_path)
    model = build(peer, path)
    got = outputs_of(model, model.preprocessing.scale(rule.images(spec_of(peer)["input_size"])))
    with np.load(GOLDENS / f"{peer}.npz") as golden:
        wanted = dict(golden)
    if "logits_transform_input" in wanted:  # torchvision's model rescales its input itself
        wanted = {"logits": wanted["logits_transform_input"]}
    compared = set(got) & set(wanted)
    assert "logits" in compared
    for name in compared:
        np.testing.assert_allclose(
            got[name], wanted[name], atol=tolerance(peer), rtol=0, err_msg=name
        )
    check_by_name(record, path, file_server, monkeypatch)


def check_by_name(record, path, server, monkeypatch):
    """The same file, downloaded by its catalogue name, gives the same arrays."""
    by_path = resolve(path, record.variant).arrays
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    ours = dataclasses.replace(record, hash=f"sha256:{digest}", size=None)
    if record.url.endswith(".zip"):
        with zipfile.ZipFile(f"{path}.zip", "w") as archive:
            archive.write(path, path.name)
    monkeypatch.setattr(
        catalog, "CATALOG", tuple(ours if r.name == record.name else r for r in catalog.CATALOG)
    )
    monkeypatch.setenv("KERAS_HOME", str(path.parent / "home"))
    monkeypatch.setenv("KERAS_INCEPTION_MIRROR", server.serve(path.parent))
    by_name = resolve(record.tag, record.variant)
    assert by_name.arrays.keys() == by_path.keys()
    for name, array in by_name.arrays.items():
        np.testing.assert_array_equal(array, by_path[name])
    assert by_name.label_offset == record.label_offset


@pytest.mark.parametrize("peer", ["tv_googlenet", "tv_inception_v3"])
def test_auxiliary_logits_equal_torchvisions(peer, tmp_path):
    """Recorded without torchvision's rescaling of the input."""
    _, path = write(peer, tmp_path)
    model = build(peer, path)
    spec = spec_of(peer)
    got = outputs_of(model, rule.preprocess(rule.images(spec["input_size"]), spec))
    with np.load(GOLDENS / f"{peer}.npz") as golden:
        compared = set(got) & set(golden)
        assert sum("aux" in name for name in compared) == (2 if "googlenet" in peer else 1)
        for name in compared:
            np.testing.assert_allclose(got[name], golden[name], atol=2e-4, rtol=0, err_msg=name)


@pytest.mark.parametrize(
    ("peer", "mistake"),
    [
        ("slim_inception_v1", {"bn_epsilon": 1e-2}),
        ("slim_inception_v1", {"symmetric_padding": True}),
        ("timm_inception_v3", {"avg_pool_counts_padding": False}),
        ("pytorch_fid", {"last_pool": "avg"}),
    ],
)
def test_a_mistake_would_show(peer, mistake, tmp_path):
    """What separates the published conventions moves the logits far beyond the tolerance."""
    _, path = write(peer, tmp_path)
    model = build(peer, path, **mistake)
    got = outputs_of(model, model.preprocessing.scale(rule.images(spec_of(peer)["input_size"])))
    with np.load(GOLDENS / f"{peer}.npz") as golden:
        assert np.abs(got["logits"] - golden["logits"]).max() > 50 * 2e-4


@pytest.mark.slow
def test_weights_go_from_one_publisher_to_another(tmp_path):
    """TF-Slim's checkpoint -> keras.applications' own model and file -> ours -> native file."""
    _, path = write("slim_inception_v3", tmp_path)
    slim = build("slim_inception_v3", path)
    theirs = keras.applications.InceptionV3(weights=None, classes=1001, classifier_activation=None)
    numbered = layouts.recognise({layer.name: {} for layer in theirs.layers if layer.weights})
    assert numbered is not None
    layout = numbered[0]
    assert layout.name == "keras/inception_v3"
    order = sorted(
        (layer.name for layer in theirs.layers if layer.name.startswith(("conv2d", "batch"))),
        key=lambda name: int(name.rpartition("_")[2]) if name[-1].isdigit() else 0,
    )
    kinds = {"conv": [n for n in order if n.startswith("conv")], "bn": []}
    kinds["bn"] = [n for n in order if n.startswith("batch")]
    for name, ours in layout.names.items():
        kind, _, number = name.rpartition("_")
        if number.isdigit():
            name = kinds["conv" if kind == "conv2d" else "bn"][int(number)]
        theirs.get_layer(name).set_weights(slim.get_layer(ours).get_weights())
    x = slim.preprocessing.scale(rule.images(299))
    wanted = np.asarray(slim(x, training=False)["predictions"])
    np.testing.assert_allclose(theirs(x, training=False), wanted, atol=2e-4)
    for file in ("keras.weights.h5", "keras.keras"):
        getattr(theirs, "save" if file.endswith(".keras") else "save_weights")(tmp_path / file)
        ours = InceptionV3(weights=tmp_path / file, classes=1001, classifier_activation=None)
        np.testing.assert_allclose(ours(x, training=False), wanted, atol=2e-4)
    native_file = save_weights(ours, tmp_path / "v3.safetensors")
    again = InceptionV3(weights=native_file, classifier_activation=None)
    np.testing.assert_array_equal(again(x, training=False), ours(x, training=False))


def test_keras_files_without_top(tmp_path):
    spec = spec_of("keras_InceptionV3")
    record = get_weights("inception_v3.keras_notop")
    native.keras_h5(spec, tmp_path / record.filename, top=False, first=95)
    model = InceptionV3(weights=tmp_path / record.filename, include_top=False, pooling="avg")
    got = model(model.preprocessing.scale(rule.images(299)), training=False)
    with np.load(GOLDENS / "keras_InceptionV3.npz") as golden:
        np.testing.assert_allclose(got, golden["pooled"], atol=2e-4)
    with pytest.raises(ValueError, match="has no classifier"):
        InceptionV3(weights=tmp_path / record.filename)


def test_old_caffemodels_hold_the_same(tmp_path):
    """Caffe's first format of layers (V1LayerParameter) -> the same arrays."""
    record, path = write("bvlc_googlenet", tmp_path)
    wanted = resolve(path, record.variant).arrays
    native.caffemodel(spec_of("bvlc_googlenet"), path, v1=True)
    got = resolve(path, record.variant).arrays
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array)
