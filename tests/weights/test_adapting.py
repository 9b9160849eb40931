"""Other classes, channels, heads and scalings than the file's: each handled in one place."""

from __future__ import annotations

import logging

import keras
import numpy as np
import pytest

from keras_inception import InceptionV1, InceptionV3, Preprocessing, save_weights
from keras_inception.identity import Identity, identity_of
from keras_inception.models.imagenet import decode_predictions
from keras_inception.weights import Loaded, resolve
from keras_inception.weights.adapt import fold_input_scaling
from keras_inception.weights.native import variables

SHAPE = (75, 75, 3)


def weights_of(model, preprocessing=None, **facts):
    arrays = {name: v.numpy() for name, v in variables(model).items()}
    identity = Identity(identity_of(model).variant, preprocessing=preprocessing)
    return Loaded("test.file", arrays, identity, **facts)


def scramble(model, seed=0):
    rng = np.random.default_rng(seed)
    for v in model.weights:
        v.assign(rng.uniform(0.5, 1.5, v.shape) / max(1, np.prod(v.shape[:-1])))
    return model


def images(channels=3):
    return np.random.default_rng(1).normal(size=(2, *SHAPE[:2], channels)).astype(np.float32)


@pytest.fixture(scope="module")
def slim_like():
    """1001 outputs, class 0 the background, with an auxiliary head."""
    model = InceptionV3(
        weights=None, input_shape=SHAPE, classes=1001, aux_logits=False, classifier_activation=None
    )
    return scramble(model)


def test_the_background_is_dropped_by_default(slim_like, caplog):
    loaded = weights_of(slim_like, label_offset=1)
    model = InceptionV3(weights=loaded, input_shape=SHAPE, classifier_activation=None)
    np.testing.assert_allclose(model(images()), slim_like(images())[:, 1:], atol=1e-6)
    assert "1001 outputs; of these, 1 before the first class and 0 after" in caplog.text
    kept = InceptionV3(weights=loaded, input_shape=SHAPE, classes=1001, classifier_activation=None)
    np.testing.assert_array_equal(kept(images()), slim_like(images()))


def test_1008_outputs_stay_since_their_order_is_their_own(caplog):
    """As 1000 they would be named by `decode_predictions`, and wrongly."""
    fid = scramble(
        InceptionV1(weights=None, input_shape=SHAPE, classes=1008, classifier_activation=None)
    )
    loaded = weights_of(fid, label_offset=1)
    whole = InceptionV1(weights=loaded, input_shape=SHAPE, classifier_activation=None)
    assert whole.output_shape == (None, 1008)
    assert whole.identity.class_names[0] == "class 0 in the order of 2015"
    with pytest.raises(ValueError, match="an order of their own"):
        decode_predictions(whole(images()))
    asked = {"classes": 1000, "classifier_activation": None}
    model = InceptionV1(weights=loaded, input_shape=SHAPE, **asked)
    np.testing.assert_allclose(model(images()), fid(images())[:, 1:1001], atol=1e-6)
    assert "in the order of Google's graph of 2015" in caplog.text
    assert model.identity.class_names[0] == "class 1 in the order of 2015"


def test_the_files_own_number_of_classes_is_the_default(slim_like):
    faces = InceptionV1(weights=None, input_shape=SHAPE, classes=37)
    assert InceptionV1(weights=weights_of(faces), input_shape=SHAPE).output_shape == (None, 37)


def test_one_channel_computes_what_three_equal_ones_do(slim_like, caplog):
    gray = InceptionV3(
        weights=weights_of(slim_like),
        input_shape=(*SHAPE[:2], 1),
        classes=1001,
        classifier_activation=None,
    )
    x = images(1)
    want = slim_like(np.repeat(x, 3, axis=-1))
    np.testing.assert_allclose(gray(x), want, atol=1e-5)
    assert "adapted to 1" in caplog.text


@pytest.mark.parametrize("channels", [2, 4, 6])
def test_other_channels_repeat_the_three(slim_like, channels):
    model = InceptionV3(
        weights=weights_of(slim_like), input_shape=(*SHAPE[:2], channels), classes=1001
    )
    kernel = slim_like.get_layer("stem_0_0_conv").kernel.numpy()
    got = model.get_layer("stem_0_0_conv").kernel.numpy()
    for c in range(channels):
        np.testing.assert_allclose(got[:, :, c], kernel[:, :, c % 3] * 3 / channels, rtol=1e-6)


def test_a_head_that_the_file_lacks_is_new_and_said(caplog):
    plain = scramble(InceptionV1(weights=None, input_shape=SHAPE, classes=5))
    model = InceptionV1(weights=weights_of(plain), input_shape=SHAPE, aux_logits=True)
    assert set(model.output) == {"predictions", "aux1_logits", "aux2_logits"}
    np.testing.assert_allclose(model(images())["predictions"], plain(images()), atol=1e-6)
    assert "no auxiliary head: the model's (aux1_...) is initialised anew" in caplog.text


def test_without_the_files_classifier_the_top_is_refused():
    features = InceptionV1(weights=None, include_top=False, input_shape=SHAPE)
    with pytest.raises(ValueError, match="no classifier. Write `classes=`"):
        InceptionV1(weights=weights_of(features), input_shape=SHAPE)


def test_gammas_that_the_file_lacks_are_one(caplog):
    plain = scramble(InceptionV1(weights=None, input_shape=SHAPE, classes=5))
    model = InceptionV1(weights=weights_of(plain), input_shape=SHAPE, bn_scale=True)
    np.testing.assert_allclose(model(images()), plain(images()), atol=1e-6)
    assert "no gammas" in caplog.text


def test_another_scaling_is_folded_into_the_first_convolution(slim_like):
    """The same images in 0..255, scaled by either contract, give the same outputs."""
    theirs = Preprocessing(size=(75, 75), mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))
    ours = Preprocessing(size=(75, 75))
    folded = fold_input_scaling(weights_of(slim_like, preprocessing=theirs), ours)
    assert (folded.identity.preprocessing.mean, folded.identity.preprocessing.std) == (127.5, 127.5)
    model = InceptionV3(weights=folded, input_shape=SHAPE, classes=1001, classifier_activation=None)
    raw = np.random.default_rng(3).integers(0, 256, (2, *SHAPE)).astype(np.uint8)
    want = slim_like(theirs.scale(raw)).numpy()
    np.testing.assert_allclose(model(ours.scale(raw)), want, atol=2e-5 * np.abs(want).max())


def test_the_scaling_is_folded_into_a_bias_as_well():
    """Without BatchNorm; and a kernel for other channels is left alone, contract and all."""
    theirs = Preprocessing(size=(75, 75), mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))
    ours = Preprocessing(size=(75, 75))
    rng = np.random.default_rng(4)
    kernel, bias = (rng.normal(size=s).astype(np.float32) for s in ((3, 3, 3, 8), 8))
    arrays = {"stem_0_0_conv/kernel": kernel, "stem_0_0_conv/bias": bias}
    loaded = Loaded("test.file", arrays, Identity("InceptionV3", preprocessing=theirs))
    folded = fold_input_scaling(loaded, ours)
    raw = rng.uniform(0, 255, (1, 9, 9, 3)).astype(np.float32)
    want = keras.ops.conv(theirs.scale(raw), kernel) + bias
    got = keras.ops.conv(ours.scale(raw), folded.arrays["stem_0_0_conv/kernel"])
    np.testing.assert_allclose(got + folded.arrays["stem_0_0_conv/bias"], want, atol=1e-4)
    gray = {**arrays, "stem_0_0_conv/kernel": kernel[:, :, :1]}
    loaded = Loaded("test.file", gray, Identity("InceptionV3", preprocessing=theirs))
    assert fold_input_scaling(loaded, ours) is loaded


def test_a_classifier_without_bias_has_a_bias_of_zero(caplog):
    plain = scramble(InceptionV1(weights=None, input_shape=SHAPE, classes=5))
    plain.get_layer("predictions").bias.assign(np.zeros(5))
    loaded = weights_of(plain)
    del loaded.arrays["predictions/bias"]
    model = InceptionV1(weights=loaded, input_shape=SHAPE)
    np.testing.assert_array_equal(model(images()), plain(images()))
    assert "predictions has no bias: it is 0" in caplog.text


def test_class_names_travel_in_the_native_file(tmp_path):
    model = InceptionV1(weights=None, input_shape=SHAPE, classes=2)
    path = save_weights(model, tmp_path / "cells.safetensors", class_names=["defective", "sound"])
    assert InceptionV1(weights=path, input_shape=SHAPE).identity.class_names == (
        "defective",
        "sound",
    )


def test_nothing_is_said_when_nothing_is_adapted(slim_like, caplog):
    with caplog.at_level(logging.WARNING):
        loaded = weights_of(slim_like, preprocessing=Preprocessing(size=SHAPE[:2]))
        InceptionV3(weights=loaded, input_shape=SHAPE, classes=1001)
    assert not caplog.records
    assert resolve(None, "InceptionV3") is None
