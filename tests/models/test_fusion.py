"""fuse: the same answers without BatchNorm, in files too, for every variant and head."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import keras_inception
from keras_inception import fuse, get_model, list_models
from keras_inception.identity import attach

SIDE = {"InceptionV1": 64, "BNInception": 64}  # the others take 75 and more
FEWER_BLOCKS = {"InceptionResNetV1": {"blocks": (1, 2, 2)}, "InceptionResNetV2": {"paper": True}}


SLOW = (
    "InceptionV2",
    "InceptionV4",
    "InceptionResNetV2",
)  # they hold no kind of layer of their own


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
        for name in list_models()
    ]
)
def variant(request):
    return request.param


def randomised(model):
    """Gives every layer what training gives it; all of BatchNorm matters then."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        arrays = []
        for weight in layer.weights:
            values = rng.normal(0, 0.2, weight.shape)
            if weight.name in ("moving_variance", "gamma"):
                values = 0.5 + np.abs(values)
            if "kernel" in weight.name:
                fan_in = np.prod(weight.shape[:-1])
                values = rng.normal(0, 1.6 / np.sqrt(fan_in), weight.shape)
            arrays.append(values)
        layer.set_weights(arrays)
    return model


def images(model, n=2):
    """Noise around a colour of each image's own, in 0..255."""
    rng = np.random.default_rng(1)
    noise = rng.uniform(-60, 60, (n, *model.input_shape[1:]))
    colours = np.array([[40.0, 200.0, 60.0], [220.0, 70.0, 180.0]])[:n, None, None]
    return np.clip(noise + colours, 0, 255).astype(np.float32)


def small(variant, **arguments):
    side = SIDE.get(variant, 80)
    settings = {"input_shape": (side, side, 3), "classes": 5, "width_multiplier": 0.25}
    return randomised(get_model(variant, weights=None, **{**settings, **arguments}))


def close(ours, theirs, largest=2e-5):
    """Whether answers agree to float32's rounding, beside how far answers lie apart."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    allowed = largest * max(1, np.abs(theirs).max())
    # Random weights whose answers hardly depend on the image would test nothing.
    assert np.abs(theirs - theirs.mean(0)).max() > 50 * allowed
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=allowed)


def answers(model, x):
    return np.asarray(model(x, training=False))  # a graph of each network would take minutes


def test_the_answers_stay(variant):
    """Within 2e-5 of the largest logit, with gammas, an odd epsilon and a replaced head."""
    fewer = FEWER_BLOCKS.get(variant, {})
    model = small(variant, bn_scale=True, bn_epsilon=0.01, **fewer)
    model = randomised(keras_inception.replace_head(model, 3, classifier_activation=None))
    attach(model, model.identity.replace(class_names=("a", "b", "c")))
    fused = fuse(model)
    kinds = {type(layer).__name__ for layer in fused.layers}
    assert "BatchNormalization" not in kinds and "Dropout" in kinds
    x = images(model) / 127.5 - 1
    close(answers(fused, x), answers(model, x))
    drawn = get_model(
        variant,
        weights=None,
        input_shape=model.input_shape[1:],
        classes=3,
        **fused.identity.arguments,
    )
    assert drawn.identity.arguments == fused.identity.arguments
    assert fused.identity.class_names == model.identity.class_names
    assert fused.preprocessing == model.preprocessing
    assert [layer.name for layer in drawn.layers] == [layer.name for layer in fused.layers]
    assert [w.shape for w in drawn.weights] == [w.shape for w in fused.weights]


def test_files_bring_it_back(tmp_path):
    model = small("InceptionResNetV1", blocks=(1, 1, 1), embedding=16, classifier_activation=None)
    fused = fuse(model)
    x = images(model) / 127.5 - 1
    close(answers(fused, x), answers(model, x))
    path = keras_inception.save_weights(fused, tmp_path / "fused.safetensors")
    again = keras_inception.InceptionResNetV1(weights=path, input_shape=model.input_shape[1:])
    keras_inception.save_model(fused, tmp_path / "fused.keras")
    loaded = keras_inception.load_model(tmp_path / "fused.keras")
    for back in (again, loaded):
        assert back.identity == fused.identity
        np.testing.assert_array_equal(answers(back, x), answers(fused, x))
    assert json.loads(again.to_json()) == json.loads(fused.to_json())


def test_auxiliary_heads_and_operations_that_are_no_layers():
    model = small(
        "InceptionV1",
        aux_logits=True,
        lrn=True,
        symmetric_padding=True,
        include_preprocessing=True,
        classifier_activation=None,
        input_shape=(96, 96, 3),
    )
    x = images(model)
    given, fused = model(x, training=False), fuse(model)(x, training=False)
    for name, expected in given.items():
        close(fused[name], expected)


def test_what_cannot_be_folded_stays():
    image = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization(name="first")(image)
    x = keras.layers.Conv2D(4, 3, activation="relu", name="active")(x)
    x = keras.layers.BatchNormalization(name="behind_a_relu")(x)
    both = keras.layers.Conv2D(4, 1, name="both")(x)
    x = keras.layers.BatchNormalization(name="beside_another")(both)
    x = keras.layers.Add()([x, both])
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.BatchNormalization(name="behind_depthwise")(x)
    x = keras.layers.Conv2D(4, 1, name="conv")(x)
    x = keras.layers.Rescaling(0.5, 1.0, name="shifted")(x)
    x = keras.layers.Conv2D(4, 1, name="last")(x)
    x = keras.layers.BatchNormalization(center=False, name="folded")(x)
    model = randomised(keras.Model(image, keras.layers.GlobalAveragePooling2D()(x)))
    fused = fuse(model)
    names = {layer.name for layer in fused.layers}
    gone = {layer.name for layer in model.layers} - names
    assert {name for name in gone if not name.startswith("input")} == {"folded"}
    assert fused.get_layer("shifted").scale == 0.5
    x = images(model) / 255
    close(answers(fused, x), answers(model, x))
    with pytest.raises(ValueError, match="flat functional graph"):
        fuse(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)]))


def test_sixteen_bits_are_for_the_features_only():
    model = small("InceptionV1", include_preprocessing=True)
    fused = fuse(model, "bfloat16")
    dtypes = {layer.name: layer.dtype_policy.name for layer in fused.layers}
    exact = {name for name, dtype in dtypes.items() if dtype == "float32"}
    assert exact - {"image"} == {"preprocessing", "avg_pool", "dropout", "predictions"}
    assert fused.get_layer("stem_0_conv").kernel.dtype == "bfloat16"
    x = images(model)
    assert answers(fused, x).dtype == np.float32
    np.testing.assert_allclose(answers(fused, x), answers(model, x), atol=0.05)
    with pytest.raises(ValueError, match="`dtype` should be .* Received: dtype='int8'"):
        fuse(model, "int8")
