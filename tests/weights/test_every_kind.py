"""Every kind of file is a network that comes back, answers, and is trained on in two stages.

What each kind holds and computes is held to its publisher elsewhere; this sends all of them through
the same doors. One kind comes back and answers in the ordinary suite.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_inception
from keras_inception import InceptionV1, InceptionV3, Preprocessing, get_model
from keras_inception.weights import native, read

sys.path.insert(0, str(Path(__file__).parent))
from test_graphs import drawn_slim, inception5h, pixels, retrained  # noqa: E402, F401

NAMES = ("cat", "dog", "owl")
CONTRACT = Preprocessing(size=(64, 64), crop_fraction=1.0, aspect="stretch")


def small(**arguments):
    """A narrow network of three classes, whose BatchNorm has statistics of its own."""
    model = InceptionV1(
        weights=None, input_shape=(64, 64, 3), width_multiplier=0.25, classes=3, **arguments
    )
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "moving" in weight.name:
            weight.assign(weight + rng.uniform(0, 0.2, weight.shape))
    return model


def native_file(folder):
    path = folder / "a.safetensors"
    return keras_inception.save_weights(small(), path, preprocessing=CONTRACT, class_names=NAMES)


def ours(folder):
    return keras_inception.save_model(small(), folder / "a.keras")


def saved_by_keras(ending):
    def write(folder):
        path = folder / f"a{ending}"
        model = small()
        model.save_weights(path) if ending == ".weights.h5" else model.save(path)
        return path

    return write


def to(publisher, ending, make):
    def write(folder):
        return keras_inception.convert_weights(make(), folder / f"a{ending}", to=publisher)

    return write


def v1():
    return InceptionV1(weights=None, classes=3, input_shape=(64, 64, 3))


def v3(**arguments):
    return InceptionV3(weights=None, classes=3, input_shape=(75, 75, 3), **arguments)


def torchs_v3():
    return v3(bn_scale=True, avg_pool_counts_padding=True)


def saved_model(folder):
    """As Keras 2 wrote it: the layers' names, automatic numbers, an optimizer's slots."""
    module = tf.Module()
    module.layers = [tf.Variable(v.numpy(), name=n) for n, v in native.variables(small()).items()]
    tf.saved_model.save(module, folder / "saved_model")
    return folder / "saved_model"


def repository(folder):
    return keras_inception.publish(native_file(folder), folder / "published", license="MIT")


def frozen(folder):
    return drawn_slim("plain", scaled=False).written(folder / "frozen.pb")


# kind -> (what writes it, its variant, what a caller has to say of it)
NARROW = {"width_multiplier": 0.25}
V3 = {"input_shape": (75, 75, 3)}
KINDS = {
    "native": (native_file, "InceptionV1", NARROW),
    "ours": (ours, "InceptionV1", NARROW),
    ".keras": (saved_by_keras(".keras"), "InceptionV1", NARROW),
    ".h5": (saved_by_keras(".h5"), "InceptionV1", NARROW),
    ".weights.h5": (saved_by_keras(".weights.h5"), "InceptionV1", NARROW),
    "checkpoint": (to("slim", ".ckpt", v1), "InceptionV1", {}),
    "saved_model": (saved_model, "InceptionV1", NARROW),
    "repository": (repository, "InceptionV1", NARROW),
    "frozen": (frozen, "InceptionV1", {}),
    "inception5h": ("inception5h", "InceptionV1", {}),
    "retrained": ("retrained", "InceptionV3", V3),
    "timm": (
        to("timm", ".safetensors", torchs_v3),
        "InceptionV3",
        V3,
    ),
    "torchvision": (
        to("torchvision", ".safetensors", torchs_v3),
        "InceptionV3",
        V3,
    ),
    "keras.applications": (to("keras", ".weights.h5", v3), "InceptionV3", V3),
}
# Their arrays' names are those of more than one builder: the variant is the caller's to say.
NAMELESS = (".weights.h5", "saved_model")
ORDINARY = ("repository",)


@pytest.fixture(
    params=[
        kind if kind in ORDINARY else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS
    ]
)
def kind(request, tmp_path):
    write, variant, said = KINDS[request.param]
    made = request.getfixturevalue(write) if isinstance(write, str) else write(tmp_path)
    return made, variant, {"input_shape": (64, 64, 3)} | said, request.param in NAMELESS


def answer(model, images):
    return keras.ops.convert_to_numpy(model(model.preprocessing.scale(images), training=False))


def test_it_comes_back_and_answers(kind, tmp_path):
    path, variant, said, nameless = kind
    side = said["input_shape"][0]
    model = get_model(variant, weights=path, **said)
    saved = keras_inception.save_weights(model, tmp_path / "again.safetensors")
    again = get_model(variant, weights=saved, input_shape=said["input_shape"])
    assert again.identity == model.identity
    images = pixels(side, 3)
    np.testing.assert_array_equal(answer(again, images), answer(model, images))
    assert answer(model, images).std() > 1e-4

    contract = None if read(path).identity.preprocessing else CONTRACT
    if nameless:
        with pytest.raises(ValueError, match="does not say which variant"):
            keras_inception.load_classifier(path, preprocessing=contract)
        return
    by_path = keras_inception.load_classifier(path, preprocessing=contract)
    model = get_model(variant, weights=path, **said | {"input_shape": by_path.engine.input_shape})
    by_model = keras_inception.load_classifier(model, preprocessing=by_path.preprocessing)
    pair = [list(keras_inception.predict(one, images)) for one in (by_path, by_model)]
    assert len(pair[0]) == 3
    for one, other in zip(*pair, strict=True):
        np.testing.assert_allclose([p for _, p in one.top], [p for _, p in other.top], atol=1e-6)


@pytest.mark.slow
def test_two_stages_of_fine_tuning_start_from_it(kind, tmp_path):
    path, variant, said, _ = kind
    side = said["input_shape"][0]
    labels = np.arange(24) % 2
    images = pixels(side, 24) // 2 + 100 * labels[:, None, None, None].astype(np.uint8)
    run = keras_inception.train(
        (images[:16], labels[:16]),
        "finetune",
        tmp_path / "run",
        validation=(images[16:20], labels[16:20]),
        test=(images[20:], labels[20:]),
        model=variant,
        weights=str(path),
        image_size=side,
        batch_size=8,
        epochs=1,
        export=False,
        report=False,
        verbose=0,
        **{name: value for name, value in said.items() if name == "width_multiplier"},
    )
    given, head = read(path), read(tmp_path / "run" / "head" / "weights.safetensors")
    features = [n for n in head.arrays if not n.startswith("predictions")]
    assert len(features) > 100
    for name in features:  # the first stage leaves them alone
        np.testing.assert_array_equal(head.arrays[name], given.arrays[name], err_msg=name)
    trained = read(tmp_path / "run" / "weights.safetensors")
    moved = [n for n in features if not np.array_equal(trained.arrays[n], given.arrays[n])]
    assert len(moved) > 40 and run.evaluation["images"] == 4
    for field in ("mean", "std", "interpolation", "antialias"):
        assert getattr(run.model.preprocessing, field) == getattr(
            given.identity.preprocessing or Preprocessing((1, 1)), field
        )
