"""The builders' contract, one table of variants by one list of behaviours."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_inception
from keras_inception import Preprocessing, get_model, list_models, smallest_input

# Parameters at 1000 classes: (trainable without gammas, trainable with gammas and auxiliary heads).
# From torchvision's, Keras' and TF-Slim's counts; TF-Slim's are at 1001 classes and without gammas:
# a class is `features + 1` parameters in each classifier, a gamma one a BatchNorm channel. No
# implementation of InceptionV2 is there to compare with; its figures are counted below.
COUNTS = {
    "InceptionV1": (6_617_624, 13_004_888),
    # GoogLeNet's two heads on 576 channels, with gammas; 9,888 BatchNorm channels before them
    "BNInception": (11_179_361 - 1025, 11_179_361 - 1025 + 2 * 3_197_160 + 9_888),
    "InceptionV3": (23_817_352, 27_161_264),
    "InceptionV4": (42_649_769 - 1537, 46_009_106 - 1537 - 769 + 31_584 + 128 + 768),
    # FaceNet's to the embedding, its bottleneck exchanged for a classifier; v3's head on 896
    # channels, with gammas; 14,288 BatchNorm channels before it
    "InceptionResNetV1": (
        23_467_824 - 1793 * 512 + 1793 * 1000,
        24_342_808 + 3_343_080 + 14_288,
    ),
    "InceptionResNetV2": (55_813_192, 59_182_258 - 1537 - 769 + 30_272 + 128 + 768),
}
APPLICATIONS = [
    "include_top",
    "weights",
    "input_tensor",
    "input_shape",
    "pooling",
    "classes",
    "classifier_activation",
    "name",
]


def build(name, /, **arguments):
    return get_model(name, weights=None, **arguments)


def narrow(name, /, **arguments):
    """A quarter of the width, and few blocks: the same kinds of layers, built sooner."""
    fewer = {"blocks": (1, 1, 1)} if name == "InceptionResNetV1" else {}
    return build(name, width_multiplier=0.25, **fewer, **arguments)


def answer(model, images):
    """One eager call: `predict` would trace a graph for each model, which costs more."""
    return keras.ops.convert_to_numpy(model(images, training=False))


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_variables)


@pytest.fixture(params=list_models())
def variant(request):
    return request.param


# The shared decorator is the same code for every variant: one without and one with residuals.
LIGHT = ("InceptionV1", "InceptionResNetV1")


@pytest.fixture(
    params=[
        name if name in LIGHT else pytest.param(name, marks=pytest.mark.slow)
        for name in list_models()
    ]
)
def light(request):
    return request.param


def small(variant):
    """An input that every variant takes."""
    return (96, 96, 3)


def test_help_describes_every_argument(variant):
    """The shared arguments' descriptions are written once and stand in every builder's help."""
    builder = getattr(keras_inception, variant)
    text = inspect.getdoc(builder)
    for name in inspect.signature(builder).parameters:
        assert re.search(rf"^    {name}: \S.{{15}}", text, re.MULTILINE), name
    for section in ("Args", "Returns", "Raises", "Reference"):
        assert text.count(f"\n{section}:\n") == 1
    assert "arXiv" in text and inspect.signature(builder).return_annotation is keras.Model


def test_signature_begins_as_keras_applications(variant):
    parameters = inspect.signature(getattr(keras_inception, variant)).parameters.values()
    positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    assert positional == APPLICATIONS


def test_facenets_network_has_its_counts():
    """davidsandberg/facenet to the embedding; timesler/facenet-pytorch with VGGFace2's classes."""
    face = build("InceptionResNetV1", include_top=False, pooling="avg", embedding=512)
    assert trainable(face) == 23_467_824
    assert face.count_params() == 23_497_424
    classifier = build("InceptionResNetV1", embedding=512, classes=8631, bn_scale=True)
    assert trainable(classifier) == 27_910_327


def test_caffes_bn_inception_has_its_count():
    """Cadene's: every convolution has a bias too, which its BatchNorm makes redundant."""
    plain = build("BNInception", separable_stem=False, widths="caffe", bn_scale=True)
    biases = sum(layer.filters for layer in plain.layers if isinstance(layer, keras.layers.Conv2D))
    assert trainable(plain) + biases == 11_295_240


def test_the_papers_googlenet_has_caffes_count():
    """BVLC GoogLeNet: 5 x 5 kernels, biases, local response normalisation, both heads."""
    paper = keras_inception.InceptionV1(
        weights=None,
        batch_norm=False,
        lrn=True,
        branch5x5=5,
        last_pool=3,
        dropout=0.4,
        aux_logits=True,
    )
    assert paper.count_params() == 13_378_280


def test_every_operation_has_a_name_of_its_own_making():
    """Also those that are no layers, in a second build."""
    paper = {"batch_norm": False, "lrn": True, "include_preprocessing": True}
    names = [[o.name for o in build("InceptionV1", **paper).operations] for _ in range(2)]
    assert names[0] == names[1]
    assert {"preprocessing", "stem_0_lrn_power", "stem_1_lrn_power"} <= set(names[0])


# 1409.4842 Table 1: (thousands of 1024 parameters, millions of multiply-adds) of a row. The rows
# marked so print a number that does not follow from their own widths.
TABLE_1 = {
    "inception_3a": (159, 128),
    "inception_3b": (380, 304),
    "inception_4a": (364, 73),  # 367 follows
    "inception_4b": (437, 88),
    "inception_4c": (463, 100),  # 497 follows
    "inception_4d": (580, 119),  # 591 follows
    "inception_4e": (840, 170),  # 847 follows
    "inception_5a": (1072, 54),  # 1018 and 51 follow
    "inception_5b": (1388, 71),  # 1409 follows
    "predictions": (1000, 1),
}
PRINTED_OTHERWISE = {"inception_4c": (497, 100), "inception_5a": (1018, 51)}


def test_the_papers_googlenet_costs_what_its_table_says():
    """By stage, within the rounding of the table, except where the table contradicts itself."""
    model = build("InceptionV1", batch_norm=False, lrn=True, branch5x5=5, last_pool=3)
    costs = keras_inception.multiply_adds(model)
    for stage, printed in TABLE_1.items():
        layers = [v for v in model.layers if v.name.startswith(stage) and hasattr(v, "kernel")]
        parameters = sum(int(np.prod(v.kernel.shape)) for v in layers) / 1024
        operations = sum(costs[v.name] for v in layers) / 1e6
        wanted = PRINTED_OTHERWISE.get(stage, printed)
        assert parameters == pytest.approx(wanted[0], rel=0.03), stage
        assert operations == pytest.approx(wanted[1], abs=1.0), stage


def head_parameters(channels, classes):
    """A batch-normalised auxiliary head without gammas, from its description."""
    return channels * 128 + 128 + 5 * 5 * 128 * 768 + 768 + (768 + 1) * classes


@pytest.mark.parametrize(
    ("name", "features", "width", "heads"),
    [
        ("InceptionV1", 5_592_624, 1024, [(512,), (528,)]),
        ("BNInception", 10_153_336, 1024, [(576,), (576,)]),
        ("InceptionV2", 22_945_824, 2048, [768]),
        ("InceptionV3", 21_768_352, 2048, [768]),
        ("InceptionV4", 41_111_232, 1536, [1024]),
        ("InceptionResNetV1", 22_549_808, 1792, [896]),
        ("InceptionResNetV2", 54_276_192, 1536, [1088]),
    ],
)
def test_exact_counts_and_names_with_and_without_top_and_heads(name, features, width, heads):
    """From the features' count, the widths and the heads' description, gammas not counted."""
    assert trainable(build(name, include_top=False)) == features
    model = build(name, aux_logits=True, bn_scale=True)
    assert weight_layers(model) == (LAYER_NAMES / f"{name}.txt").read_text()
    wanted = features + (width + 1) * 1000
    assert trainable(keras_inception.to_inference(model)) - gammas(model, "aux") == wanted
    plain, full = COUNTS.get(name, (wanted, trainable(model)))
    assert (wanted, trainable(model)) == (plain, full)
    for head in heads:
        if isinstance(head, tuple):  # GoogLeNet's: 1 x 1 to 128, 1024 units on the 4 x 4 map
            wanted += head[0] * 128 + 128 + (128 * 16 + 1) * 1024 + (1024 + 1) * 1000
        else:
            wanted += head_parameters(head, 1000)
    assert trainable(model) - gammas(model) == wanted


# Layer names are an interface: weights load by them for ever. One golden file a variant; after a
# change that is meant, write the files anew: `python tests/models/test_builders.py`.
LAYER_NAMES = Path(__file__).parent / "layer_names"


def weight_layers(model):
    """The layers that hold weights, a line each."""
    return "".join(sorted(f"{layer.name}\n" for layer in model.layers if layer.weights))


def gammas(model, but="nothing"):
    """BatchNorm's gammas in a model, without those of layers whose names begin so."""
    return sum(
        int(np.prod(layer.gamma.shape))
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization) and not layer.name.startswith(but)
    )


def branch(channels, *convs):
    """Parameters of convolutions in a row, each (filters, height, width) with BatchNorm's beta."""
    total = 0
    for filters, height, width in convs:
        total += channels * filters * height * width + filters
        channels = filters
    return total


def test_the_rethinking_v2_has_the_parameters_of_its_figures():
    """1512.00567 Table 1 and figures 5, 6, 7 and 10 in plain numbers; widths as documented."""
    total = branch(3, (32, 3, 3), (32, 3, 3), (64, 3, 3), (80, 3, 3), (192, 3, 3), (288, 3, 3))
    for _ in range(3):  # figure 5
        total += branch(288, (64, 1, 1)) + branch(288, (48, 1, 1), (64, 3, 3))
        total += branch(288, (64, 1, 1), (96, 3, 3), (96, 3, 3)) + branch(288, (64, 1, 1))
    total += branch(288, (64, 1, 1), (384, 3, 3))
    total += branch(288, (64, 1, 1), (96, 3, 3), (96, 3, 3))
    assert 384 + 96 + 288 == 768
    for n in (128, 160, 160, 160, 192):  # figure 6, n of the figure being 7
        total += 2 * branch(768, (192, 1, 1)) + branch(768, (n, 1, 1), (n, 1, 7), (192, 7, 1))
        total += branch(768, (n, 1, 1), (n, 1, 7), (n, 7, 1), (n, 1, 7), (192, 7, 1))
    total += branch(768, (192, 1, 1), (320, 3, 3))
    total += branch(768, (192, 1, 1), (192, 3, 3), (192, 3, 3))
    assert 320 + 192 + 768 == 1280
    for channels in (1280, 2048):  # figure 7
        total += branch(channels, (320, 1, 1)) + branch(channels, (192, 1, 1))
        total += branch(channels, (384, 1, 1)) + branch(channels, (448, 1, 1), (384, 3, 3))
        total += 2 * (branch(384, (384, 1, 3)) + branch(384, (384, 3, 1)))
    assert total == 22_945_824
    assert trainable(build("InceptionV2", include_top=False)) == total


def residual_block(channels, *branches):
    """Parameters of a block of figures 10 to 19: its branches and the linear 1 x 1, with biases."""
    width = sum(convs[-1][0] for convs in branches)
    return sum(branch(channels, *convs) for convs in branches) + width * channels + channels


def test_the_papers_inception_resnets_have_the_parameters_of_their_figures():
    """1602.07261 figures 3, 7, 10-19 in plain numbers: 5, 10 and 5 blocks, without top."""
    v1 = branch(3, (32, 3, 3), (32, 3, 3), (64, 3, 3), (80, 1, 1), (192, 3, 3), (256, 3, 3))
    v1 += 5 * residual_block(
        256, [(32, 1, 1)], [(32, 1, 1), (32, 3, 3)], [(32, 1, 1), (32, 3, 3), (32, 3, 3)]
    )
    v1 += branch(256, (384, 3, 3)) + branch(256, (192, 1, 1), (192, 3, 3), (256, 3, 3))
    v1 += 10 * residual_block(896, [(128, 1, 1)], [(128, 1, 1), (128, 1, 7), (128, 7, 1)])
    v1 += branch(896, (256, 1, 1), (384, 3, 3)) + branch(896, (256, 1, 1), (256, 3, 3))
    v1 += branch(896, (256, 1, 1), (256, 3, 3), (256, 3, 3))
    v1 += 5 * residual_block(1792, [(192, 1, 1)], [(192, 1, 1), (192, 1, 3), (192, 3, 1)])
    model = build("InceptionResNetV1", include_top=False, blocks=(5, 10, 5))
    assert trainable(model) == v1

    v2 = branch(3, (32, 3, 3), (32, 3, 3), (64, 3, 3)) + branch(64, (96, 3, 3))
    v2 += branch(160, (64, 1, 1), (96, 3, 3))
    v2 += branch(160, (64, 1, 1), (64, 7, 1), (64, 1, 7), (96, 3, 3)) + branch(192, (192, 3, 3))
    v2 += 5 * residual_block(
        384, [(32, 1, 1)], [(32, 1, 1), (32, 3, 3)], [(32, 1, 1), (48, 3, 3), (64, 3, 3)]
    )
    v2 += branch(384, (384, 3, 3)) + branch(384, (256, 1, 1), (256, 3, 3), (384, 3, 3))
    v2 += 10 * residual_block(1152, [(192, 1, 1)], [(128, 1, 1), (160, 1, 7), (192, 7, 1)])
    v2 += branch(1152, (256, 1, 1), (384, 3, 3)) + branch(1152, (256, 1, 1), (288, 3, 3))
    v2 += branch(1152, (256, 1, 1), (288, 3, 3), (320, 3, 3))
    v2 += 5 * residual_block(2144, [(192, 1, 1)], [(192, 1, 1), (224, 1, 3), (256, 3, 1)])
    assert trainable(build("InceptionResNetV2", include_top=False, paper=True)) == v2


def test_local_response_norm_is_the_formula():
    from keras_inception.models.inception_v1 import LRN, local_response_norm

    x = np.random.default_rng(0).normal(0, 60, (2, 3, 4, 7)).astype(np.float32)
    symbolic = keras.Input((3, 4, 7))
    model = keras.Model(symbolic, local_response_norm(symbolic, "lrn", *LRN))
    want = np.empty_like(x)
    for c in range(7):  # Caffe: alpha is divided by the number of neighbours
        near = x[..., max(0, c - 2) : c + 3]
        want[..., c] = x[..., c] / (1 + 1e-4 / 5 * (near**2).sum(-1)) ** 0.75
    np.testing.assert_allclose(answer(model, x), want, rtol=1e-5)


def test_file_round_trip_needs_nothing_from_us(light, tmp_path):
    model = narrow(light, input_shape=small(light), include_preprocessing=True, classes=5)
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3)).astype(np.uint8)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(answer(loaded, image), answer(model, image))
    assert {type(layer).__module__.partition(".")[0] for layer in loaded.layers} == {"keras"}


def test_preprocessing_inside_is_preprocessing_outside(light):
    image = np.random.default_rng(1).integers(0, 256, (1, 96, 96, 3)).astype(np.uint8)
    inside = narrow(light, input_shape=small(light), include_preprocessing=True, classes=5)
    outside = narrow(light, input_shape=small(light), classes=5)
    outside.set_weights(inside.get_weights())
    scaled = keras_inception.default_preprocessing(light).scale(image)
    for given in (image, image.astype(np.float32), inside.preprocessing.scale(image)):
        np.testing.assert_allclose(answer(inside, given), answer(outside, scaled), atol=1e-6)
    np.testing.assert_array_equal(outside.preprocessing.scale(image), scaled)


def test_scaling_inside_is_one_layer_and_guesses_nothing():
    """Dark, bright and scaled images alike: (x - mean) / std, by the contract that is given."""
    contract = Preprocessing(size=(48, 48), mean=(123.675, 116.28, 103.53), std=(58.4, 57.1, 57.4))
    model = build("InceptionV1", input_shape=(48, 48, 3), include_preprocessing=contract, classes=2)
    steps = [o.name for o in model.operations[:3]]
    assert steps == ["image", "preprocessing", "stem_0_conv"]
    scaled = keras.Model(model.input, model.get_layer("preprocessing").output)
    for low, high in [(0, 255), (-2.1, 2.6), (0, 1)]:
        images = np.random.default_rng(0).uniform(low, high, (2, 48, 48, 3)).astype(np.float32)
        want = (images - np.float32(contract.mean)) / np.float32(contract.std)
        np.testing.assert_allclose(answer(scaled, images), want, rtol=1e-5, atol=1e-5)


def test_channels_pooling_and_open_sizes(light):
    channels = (1, 4)[list_models().index(light) % 2]
    model = narrow(light, include_top=False, pooling="max", input_shape=(None, None, channels))
    side = {1: 96, 4: 113}[channels]
    features = answer(model, np.zeros((1, side, side + 5, channels)))
    assert features.shape == (1, model.output_shape[-1])
    assert narrow(light, include_top=False).output_shape[:3] == (None, None, None)


def test_the_smallest_input_is_computed_and_named(light):
    least = smallest_input(narrow(light))[0]
    inside = narrow(light, input_shape=(least, least, 3), include_preprocessing=True)
    assert inside.output_shape == (None, 1000)
    assert smallest_input(inside) == (least, least)
    if least > 1:
        with pytest.raises(ValueError, match=f"at least {least} x {least}.*{least - 1} x 300"):
            narrow(light, input_shape=(least - 1, 300, 3), include_preprocessing=True)


def test_the_auxiliary_heads_smallest_input():
    """4a is 5 x 5 or more from 65 pixels on, which the heads' pools need; the error says so."""
    assert build("InceptionV1", input_shape=(65, 65, 3), aux_logits=True).output_shape
    with pytest.raises(ValueError, match="auxiliary head need at least 65 x 65"):
        build("InceptionV1", input_shape=(64, 64, 3), aux_logits=True)


def test_the_width_multiplier_narrows_every_convolution(light):
    """But a residual's last one, which must have as many channels as what it is added to."""
    whole, half = (build(light, width_multiplier=w, aux_logits=True, classes=3) for w in (1.0, 0.5))
    narrowed = 0
    for layer, of_all in zip(half.layers, whole.layers, strict=True):
        assert layer.name == of_all.name
        if isinstance(layer, keras.layers.Conv2D | keras.layers.SeparableConv2D):
            if layer.name.endswith("_up"):
                assert layer.filters == half.get_layer(layer.name[:-3]).output.shape[-1]
            else:
                assert layer.filters == max(of_all.filters // 2, 16)
            narrowed += layer.filters < of_all.filters
    assert narrowed > 30
    assert half.output["predictions"].shape == (None, 3)


@pytest.mark.parametrize("bad", [0, -1.0])
def test_a_width_multiplier_is_positive(bad):
    with pytest.raises(ValueError, match="`width_multiplier` should be above 0"):
        build("InceptionV1", width_multiplier=bad)


def test_native_weights_bring_their_width(tmp_path):
    half = build("InceptionV1", width_multiplier=0.5, classes=3, input_shape=(48, 48, 3))
    keras_inception.save_weights(half, tmp_path / "half.safetensors")
    again = get_model("InceptionV1", weights=tmp_path / "half.safetensors", input_shape=(48, 48, 3))
    image = np.random.default_rng(0).uniform(-1, 1, (1, 48, 48, 3)).astype(np.float32)
    np.testing.assert_array_equal(answer(again, image), answer(half, image))
    with pytest.raises(
        ValueError,
        match="of another shape: stem_0_conv/kernel.*has 32 filters, not 64.*`width_multiplier`",
    ):
        get_model("InceptionV1", weights=tmp_path / "half.safetensors", width_multiplier=1.0)


def test_auxiliary_outputs_are_logits_by_name(variant):
    model = narrow(variant, aux_logits=True, classes=3)
    outputs = model(np.zeros((2, *model.input_shape[1:]), np.float32), training=True)
    assert list(outputs)[0] == "predictions"
    np.testing.assert_allclose(np.sum(outputs["predictions"], -1), 1, atol=1e-5)
    assert {v.shape for v in outputs.values()} == {(2, 3)}


def test_heads_stay_in_float32_under_mixed_precision(light):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = narrow(light, aux_logits=True, classes=3)
    finally:
        keras.config.set_dtype_policy(before)
    assert {t.dtype for t in model.output.values()} == {"float32"}
    assert list(keras_inception.endpoints(model).values())[0].dtype == "bfloat16"


def test_two_instances_in_one_model_and_stable_names(light):
    one = narrow(light, input_shape=small(light), classes=2, name="one")
    two = narrow(light, input_shape=small(light), classes=2, name="two")
    assert [layer.name for layer in one.layers] == [layer.name for layer in two.layers]
    image = keras.Input(small(light))
    both = keras.Model(image, [one(image), two(image)])
    assert len(both.weights) == 2 * len(one.weights)


def test_input_tensor(light):
    image = keras.Input(small(light), name="photo")
    model = narrow(light, input_tensor=image * 2.0, classes=2)
    assert model.input_names == ["photo"] if hasattr(model, "input_names") else True
    assert model.inputs[0] is image
    with pytest.raises(ValueError, match="too small for .* 8 x 300"):
        narrow(light, input_tensor=keras.Input((8, 300, 3)) * 2.0, aux_logits=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "sum"}, "pooling='sum'"),
        ({"classes": 0}, "classes=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"input_shape": (32, 32)}, r"input_shape=\(32, 32\)"),
        ({"input_shape": (32, 32, None)}, "channels known"),
        ({"include_top": False, "aux_logits": True}, "include_top=True"),
        ({"input_tensor": np.zeros(3)}, "Keras tensor"),
    ],
)
def test_bad_arguments_are_named(variant, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(variant, **arguments)


def test_an_unknown_variant_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean InceptionV3.*'InceptonV3'"):
        get_model("InceptonV3")


if __name__ == "__main__":
    for each in list_models():
        names = weight_layers(build(each, aux_logits=True))
        (LAYER_NAMES / f"{each}.txt").write_text(names)
