"""Surgery on built models: heads, freezing, features and costs, for every variant."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_inception
from keras_inception import get_model, list_models
from keras_inception.training.networks import first_block


@pytest.fixture(scope="module", params=list_models())
def variant(request):
    return request.param


@pytest.fixture(scope="module")
def whole(variant):
    """At its own size, with an operation in front that is no layer; no test changes it."""
    return get_model(variant, weights=None, include_preprocessing=True)


def images(side=96, n=4):
    return np.random.default_rng(0).normal(0, 0.5, (n, side, side, 3)).astype(np.float32)


# The papers' own maps, at their own image size: (height and width, channels) after each stage.
STAGES = {
    # 1409.4842 Table 1
    "InceptionV1": {
        "inception_3a": (28, 256),
        "inception_3b": (28, 480),
        "inception_4a": (14, 512),
        "inception_4b": (14, 512),
        "inception_4c": (14, 512),
        "inception_4d": (14, 528),
        "inception_4e": (14, 832),
        "inception_5a": (7, 832),
        "inception_5b": (7, 1024),
    },
    # 1502.03167 figure 5, with TF-Slim's narrower 4c and 4d
    "BNInception": {
        "inception_3a": (28, 256),
        "inception_3b": (28, 320),
        "inception_3c": (14, 576),
        "inception_4d": (14, 576),
        "inception_4e": (7, 1024),
        "inception_5b": (7, 1024),
    },
    # 1512.00567 Table 1, whose column is the input of a row: a stage is the next row's
    "InceptionV2": {
        "stem_0_0_relu": (149, 32),
        "stem_0_1_relu": (147, 32),
        "stem_0_2_relu": (147, 64),
        "stem_0_pool": (73, 64),
        "stem_1_0_relu": (71, 80),
        "stem_1_1_relu": (35, 192),
        "stem_1_2_relu": (35, 288),
        "mixed2": (35, 288),  # 3 x figure 5
        "mixed3": (17, 768),  # figure 10
        "mixed8": (17, 768),  # 5 x figure 6
        "mixed9": (8, 1280),  # figure 10
        "mixed11": (8, 2048),  # 2 x figure 7
        "avg_pool": (None, 2048),
    },
    "InceptionV3": {
        "mixed0": (35, 256),
        "mixed2": (35, 288),
        "mixed7": (17, 768),
        "mixed8": (8, 1280),
        "mixed10": (8, 2048),
    },
    # 1602.07261 figures 3 and 9
    "InceptionV4": {
        "mixed_3a": (73, 160),
        "mixed_4a": (71, 192),
        "mixed_5a": (35, 384),
        "mixed_5e": (35, 384),  # 4 x Inception-A
        "mixed_6a": (17, 1024),
        "mixed_6h": (17, 1024),  # 7 x Inception-B
        "mixed_7a": (8, 1536),
        "mixed_7d": (8, 1536),  # 3 x Inception-C
    },
    # figures 14 and 15
    "InceptionResNetV1": {
        "block35_5": (35, 256),
        "mixed_6a": (17, 896),
        "block17_10": (17, 896),
        "mixed_7a": (8, 1792),
        "block8_5": (8, 1792),
    },
    # as released: 10, 20 and 10 blocks
    "InceptionResNetV2": {
        "mixed_5b": (35, 320),
        "block35_10": (35, 320),
        "mixed_6a": (17, 1088),
        "block17_20": (17, 1088),
        "mixed_7a": (8, 2080),
        "block8_10": (8, 2080),
        "conv_7b": (8, 1536),
    },
}


# The reduction to a sixteenth of the image, from which on a recipe may train.
STRIDE_16 = {
    "InceptionV1": "inception_4a",
    "BNInception": "inception_3c",
    "InceptionV2": "mixed3",
    "InceptionV3": "mixed3",
    "InceptionV4": "mixed_6a",
    "InceptionResNetV1": "mixed_6a",
    "InceptionResNetV2": "mixed_6a",
}


def test_every_stage_has_the_papers_shape(variant, whole):
    for name, (side, channels) in STAGES[variant].items():
        map_of = (None, side, side, channels) if side else (None, channels)
        assert whole.get_layer(name).output.shape == map_of, name
    assert first_block(whole, "stride16") == STRIDE_16[variant]


def test_the_pyramid_has_four_strides(whole):
    pyramid, side = keras_inception.feature_pyramid(whole), whole.input_shape[1]
    assert list(pyramid.output) == ["P2", "P3", "P4", "P5"]
    for stride, level in zip((4, 8, 16, 32), pyramid.output.values(), strict=True):
        assert side / stride - 4 < level.shape[1] <= np.ceil(side / stride)


def test_the_papers_inception_resnet_v2():
    """Figure 15: 5, 10 and 5 blocks on v4's stem; the sums' channels are those that arrive."""
    model = keras_inception.InceptionResNetV2(weights=None, paper=True)
    blocks = keras_inception.endpoints(model)
    shapes = {name: tensor.shape[1:] for name, tensor in blocks.items()}
    assert shapes["mixed_5a"] == (35, 35, 384)
    assert shapes["mixed_6a"] == (17, 17, 1152)
    assert shapes["mixed_7a"] == (8, 8, 2144)
    kinds = [name.partition("_")[0] for name in shapes]
    assert [kinds.count(kind) for kind in ("block35", "block17", "block8")] == [5, 10, 5]


def test_to_inference_keeps_the_predictions():
    model = keras_inception.InceptionV1(
        weights=None, aux_logits=True, input_shape=(96, 96, 3), classes=3
    )
    plain = keras_inception.to_inference(model)
    x = images()
    np.testing.assert_array_equal(plain(x), model(x, training=False)["predictions"])
    assert not any(layer.name.startswith("aux") for layer in plain.layers)
    assert plain.identity == model.identity
    assert keras_inception.to_inference(plain) is plain


@pytest.mark.parametrize("up_to", [pytest.param(None, marks=pytest.mark.slow), "inception_4c"])
def test_frozen_means_frozen_moving_statistics_too(up_to):
    model = keras_inception.InceptionV1(weights=None, input_shape=(64, 64, 3), classes=2)
    keras_inception.freeze_backbone(model, up_to=up_to)
    frozen = {layer.name for layer in model.layers if not layer.trainable}
    assert "stem_0_bn" in frozen and "inception_4c_branch3_0_bn" in frozen
    assert ("inception_5b_branch0_0_bn" in frozen) == (up_to is None)
    before = {w.path: w.numpy() for w in model.weights}
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(images(64), np.array([0, 1, 0, 1]), epochs=1, verbose=0)
    moved = {w.path.split("/")[0] for w in model.weights if (before[w.path] != w.numpy()).any()}
    assert "predictions" in moved
    assert not moved & frozen
    if up_to is not None:
        assert "inception_5b_branch0_0_bn" in moved  # the test can fail


def test_freezing_names_what_is_there():
    model = keras_inception.InceptionV1(weights=None, input_shape=(64, 64, 3))
    with pytest.raises(ValueError, match="inception_3a.*Received: up_to='mixed_6a'"):
        keras_inception.freeze_backbone(model, up_to="mixed_6a")


def test_a_new_head_keeps_the_features():
    model = keras_inception.InceptionV1(
        weights=None, aux_logits=True, input_shape=(96, 96, 3), classes=7
    )
    new = keras_inception.replace_head(model, 3)
    assert {name: t.shape for name, t in new.output.items()} == {
        "predictions": (None, 3),
        "aux1_logits": (None, 3),
        "aux2_logits": (None, 3),
    }
    assert new.get_layer("stem_0_conv") is model.get_layer("stem_0_conv")
    logits = keras_inception.replace_head(model, 3, classifier_activation=None)
    assert new.identity == model.identity
    assert logits.identity.arguments == {**new.identity.arguments, "classifier_activation": None}
    with pytest.raises(ValueError, match="include_top=True"):
        keras_inception.replace_head(
            keras_inception.InceptionV1(weights=None, include_top=False), 3
        )


def cost(*kernels):
    """Multiply-adds of padded convolutions in a row, 64 channels, as built."""
    from keras_inception.models.layers import chain

    x = keras.Input((17, 17, 64))
    model = keras.Model(x, chain(x, "test", *((64, kernel) for kernel in kernels)))
    return sum(keras_inception.multiply_adds(model).values())


def test_the_articles_cost_claims():
    assert cost(3, 3) / cost(5) == 18 / 25
    assert cost((1, 3), (3, 1)) / cost(3) == 6 / 9


def test_costs_by_hand():
    x = keras.Input((10, 12, 3))
    y = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(x)  # 5 x 6
    y = keras.layers.SeparableConv2D(5, 3, padding="same", depth_multiplier=2, name="two")(y)
    y = keras.layers.Dense(7, name="dense")(keras.layers.Flatten()(y))
    assert keras_inception.multiply_adds(keras.Model(x, y)) == {
        "conv": 30 * 9 * 3 * 4,
        "two": 30 * (9 * 4 * 2 + 8 * 5),
        "dense": 30 * 5 * 7,
    }
    with pytest.raises(ValueError, match="input_shape"):
        keras_inception.multiply_adds(get_model("InceptionV1", weights=None, include_top=False))


def test_the_papers_googlenet_by_stage():
    """1409.4842 Table 1, column "ops", rows 3a to 5b, in millions.

    The paper prints 54 for 5a, whose own widths give 51 (its 1072K parameters are 1043K, too).
    """
    printed = [128, 304, 73, 88, 100, 119, 170, 51, 71]
    model = keras_inception.InceptionV1(weights=None, branch5x5=5)
    costs = keras_inception.multiply_adds(model)
    built = [
        sum(n for layer, n in costs.items() if layer.startswith(f"{block}_")) / 1e6
        for block in keras_inception.endpoints(model)
    ]
    np.testing.assert_allclose(built, printed, atol=1)


def test_residual_scale_sets_the_spread():
    """1602.07261 section 3.3: whole residuals blow the activations up, small ones do not."""
    spread = {}
    for scale in (1.0, 0.3):
        keras.utils.set_random_seed(1)
        model = keras_inception.InceptionResNetV1(
            weights=None, include_top=False, input_shape=(96, 96, 3), residual_scale=scale
        )
        block = keras.Model(model.input, model.get_layer("block17_10").output)
        spread[scale] = float(np.std(block(images(), training=False)))
    assert spread[1.0] > 3 * spread[0.3]
