"""A network's identity goes through every door: what comes back computes the same, bit for bit.

The ordinary suite sends one combination of arguments of every variant through the doors; the slow
one every argument by itself, through every door.
"""

from __future__ import annotations

import inspect
import json
import logging
import typing
import zipfile

import keras
import numpy as np
import pytest

import keras_inception
from keras_inception import Preprocessing, get_model, list_models
from keras_inception.cli import run as command_line
from keras_inception.identity import identity_of
from keras_inception.models.arguments import recorded
from keras_inception.models.registry import builder_of


def other_values(variant):
    """A value other than the default for every argument that an identity holds, by its type."""
    parameters = inspect.signature(builder_of(variant)).parameters
    hints = recorded(builder_of(variant))
    return {name: other_value(hint, parameters[name].default) for name, hint in hints.items()}


def other_value(hint, default):
    if typing.get_origin(hint) is typing.Literal:
        return next(choice for choice in typing.get_args(hint) if choice != default)
    if isinstance(default, tuple) and isinstance(default[0], int):
        return (2, 1, 3)
    if isinstance(default, tuple):
        return tuple(number + 0.04 for number in default)
    if isinstance(default, bool):
        return not default
    if isinstance(default, float):
        return default * 0.3 + 0.0123
    if isinstance(default, int):
        return default + 1
    return None if isinstance(default, str) else 7


SIDES = {"InceptionV1": 64, "BNInception": 64}


def side(variant):
    return SIDES.get(variant, 75)


def images(variant):
    shape = (2, side(variant), side(variant), 3)
    return np.random.default_rng(1).normal(0, 0.6, shape).astype(np.float32)


def make(variant, **arguments):
    """A small network whose every weight, BatchNorm's statistics included, is its own."""
    heads = {"aux_logits": True} if arguments.get("adaptive_aux_pool") else {}
    arguments = {"width_multiplier": 0.25, "classes": 4, **heads, **arguments}
    model = get_model(variant, weights=None, input_shape=(side(variant),) * 2 + (3,), **arguments)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        scale = rng.uniform(0.5, 1.5, weight.shape)
        signs = rng.choice([-1, 1], weight.shape) if weight.name.endswith("kernel") else 1
        fan = max(1, np.prod(weight.shape[:-1])) if weight.name.endswith("kernel") else 1
        weight.assign(scale * signs / np.sqrt(fan))
    return model


def outputs(model, variant):
    answers = model(images(variant), training=False)
    answers = answers if isinstance(answers, dict) else {"predictions": answers}
    return {name: keras.ops.convert_to_numpy(v) for name, v in answers.items()}


def clone(model):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def native(model, folder):
    return keras_inception.save_weights(model, folder / "native.safetensors")


def kerass_own(model, folder):
    model.save(folder / "plain.keras")
    return folder / "plain.keras"


def ours(model, folder):
    return keras_inception.save_model(model, folder / "ours.keras")


def cloned(model, folder):
    return native(clone(model), folder)


def loaded_and_saved(model, folder):
    return native(keras.models.load_model(kerass_own(model, folder)), folder)


def frozen(model, folder):
    return ours(keras_inception.freeze_backbone(model), folder)


def converted(write, ending):
    def door(model, folder):
        path, variant = folder / f"converted{ending}", identity_of(model).variant
        command = ["convert", str(write(model, folder)), f"--model={variant}", f"--output={path}"]
        with pytest.raises(SystemExit) as ended:
            command_line(command)
        assert ended.value.code == 0
        return path

    return door


DOORS = {
    "native": native,
    "Keras' own": kerass_own,
    "ours": ours,
    "cloned": cloned,
    "loaded and saved": loaded_and_saved,
    "frozen": frozen,
    "Keras' own converted to .safetensors": converted(kerass_own, ".safetensors"),
    "native converted to .keras": converted(native, ".keras"),
}
# What neither holds a contract nor comes from a builder has a contract assumed, which is said.
WITHOUT_CONTRACT = {"Keras' own", "cloned", "loaded and saved"}


def through(door, model, variant, folder, caplog):
    """Holds a network against what comes back through a door."""
    want = outputs(model, variant)
    path = DOORS[door](model, folder)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        back = get_model(variant, weights=path, aux_logits=len(want) > 1)
    for name, answer in outputs(back, variant).items():
        np.testing.assert_array_equal(answer, want[name], err_msg=f"{door}: {name}")
    assert ("does not say how its images" in caplog.text) == (door in WITHOUT_CONTRACT)
    identity = identity_of(model)
    widths = [i.arguments["width_multiplier"] for i in (identity, back.identity)]
    assert abs(widths[0] - widths[1]) < 0.01
    for name, value in identity.arguments.items():
        if name != "width_multiplier" and (name[:2] != "bn" or identity.arguments["batch_norm"]):
            assert back.identity.arguments[name] == value, f"{door}: {name}"
    assert back.preprocessing.size == identity.preprocessing.size


def through_surgery(model, variant, folder):
    """New heads, stripped heads: the body computes what it did, and the record says the same."""
    want = outputs(keras.Model(model.input, model.get_layer("avg_pool").output), variant)
    other = keras_inception.replace_head(keras_inception.to_inference(model), 3)
    path = keras_inception.save_weights(other, folder / "other.safetensors")
    back = get_model(variant, weights=path)
    assert back.identity == other.identity
    assert back.output_shape == (None, 3)
    body = keras.Model(back.input, back.get_layer("avg_pool").output)
    np.testing.assert_array_equal(outputs(body, variant)["predictions"], want["predictions"])


@pytest.fixture(
    params=[
        # Its arguments are those of v3, and it takes longest.
        pytest.param(name, marks=pytest.mark.slow) if name == "InceptionV4" else name
        for name in list_models()
    ]
)
def variant(request):
    return request.param


def test_a_combination_goes_through_the_doors(variant, tmp_path, caplog):
    """The graph's arguments are each variant's own; the other doors are the same for all."""
    arguments = other_values(variant)
    arguments["batch_norm"] = variant not in ("InceptionV1", "InceptionV2")
    if variant == "InceptionResNetV2":  # the paper's network has no padded average pool
        arguments["avg_pool_counts_padding"] = False
    model = make(variant, **arguments)
    for door in ["Keras' own"] if variant != "InceptionV1" else DOORS:
        through(door, model, variant, tmp_path, caplog)
    if variant in ("InceptionV1", "InceptionResNetV1"):
        through_surgery(model, variant, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "argument"), [(v, a) for v in list_models() for a in recorded(builder_of(v))]
)
def test_every_argument_goes_through_every_door(variant, argument, tmp_path, caplog):
    model = make(variant, **{argument: other_values(variant)[argument]})
    for door in DOORS:
        through(door, model, variant, tmp_path, caplog)
    through_surgery(model, variant, tmp_path)


@pytest.mark.parametrize("width", [1 / 3, 1.5])
def test_any_width_is_seen_in_the_graph(width, tmp_path, caplog):
    model = make("BNInception", width_multiplier=width)
    through("Keras' own", model, "BNInception", tmp_path, caplog)


# ------------------------------------------------------------------------------- what is refused


@pytest.fixture(scope="module")
def small():
    return make("InceptionV1")


@pytest.fixture(scope="module")
def file(small, tmp_path_factory):
    return kerass_own(small, tmp_path_factory.mktemp("keras"))


def rewritten(path, target, change):
    """A copy of a .keras file with another configuration; nothing in it can be run or loaded."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "config.json":
                config = json.loads(content)
                change({layer["name"]: layer for layer in config["config"]["layers"]})
                content = json.dumps(config).encode()
            copy.writestr(name, content)
    return target


def other_class(layers):
    layers["inception_4b_branch0_0_relu"]["class_name"] = "Lambda"


def other_setting(layers):
    layers["inception_4b_branch0_0_bn"]["config"]["epsilon"] = 0.5


def other_activation(layers):
    layers["inception_4b_branch0_0_relu"]["config"]["activation"] = "gelu"


def other_connection(layers):
    call = layers["inception_4b_branch1_0_conv"]["inbound_nodes"][0]["args"][0]
    call["config"]["keras_history"][0] = "inception_3b_pool"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_class, "inception_4b_branch0_0_relu, its class is Lambda in the file"),
        (other_setting, "inception_4b_branch0_0_bn, `epsilon` is 0.5 in the file and 0.001 in"),
        (other_activation, "inception_4b_branch0_0_relu, `activation` is gelu in the file"),
        (other_connection, "inception_4b_branch1_0_conv, its input is inception_3b_pool in the"),
    ],
)
def test_a_graph_that_no_builder_makes_is_refused(file, change, message, tmp_path):
    path = rewritten(file, tmp_path / "changed.keras", change)
    with pytest.raises(ValueError, match=message):
        keras_inception.InceptionV1(weights=path)


def test_a_clone_that_was_changed_is_refused_when_its_weights_are_loaded(small, tmp_path):
    def changed(layer):
        config = layer.get_config()
        if layer.name == "inception_5a_branch1_1_relu":
            config["activation"] = "gelu"
        return layer.__class__.from_config(config)

    other = keras.models.clone_model(small, clone_function=changed)
    path = keras_inception.save_weights(other, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="inception_5a_branch1_1_relu, `activation` is gelu"):
        keras_inception.InceptionV1(weights=path)


def test_arguments_that_contradict_the_graph_are_refused(file):
    with pytest.raises(ValueError, match=r"inception_4e_pool, `pool_size` is \[2, 2\] in the file"):
        keras_inception.InceptionV1(weights=file, last_pool=3)


def test_arguments_that_contradict_the_record_are_said(small, tmp_path, caplog):
    keras_inception.InceptionV1(weights=native(small, tmp_path), last_pool=3)
    assert "was trained with last_pool=2 and is used with last_pool=3" in caplog.text


def test_a_model_inside_a_model_is_refused(small, tmp_path):
    layers = keras.layers
    image = keras.Input((64, 64, 3))
    nested = keras.Model(image, layers.Dense(2)(small(image)))
    for model in (keras.Sequential([small, layers.Dense(2)]), nested):
        with pytest.raises(ValueError, match="a model inside the model.*Build the head on"):
            keras_inception.save_weights(model, tmp_path / "nested.safetensors")
        for surgery in (
            lambda m: keras_inception.replace_head(m, 3),
            keras_inception.to_inference,
            keras_inception.freeze_backbone,
            keras_inception.feature_pyramid,
            keras_inception.endpoints,
            keras_inception.multiply_adds,
            keras_inception.smallest_input,
        ):
            with pytest.raises(ValueError, match="one flat functional graph.*inception_v1"):
                surgery(model)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------- contract, class names


def test_the_scaling_inside_a_keras_file_comes_back(tmp_path, caplog):
    contract = Preprocessing(
        size=(64, 64), mean=(123.675, 116.28, 103.53), std=(58.395, 57.1, 57.4)
    )
    model = make("InceptionV1", include_preprocessing=contract)
    back = keras_inception.InceptionV1(
        weights=kerass_own(model, tmp_path), include_preprocessing=True
    )
    assert back.preprocessing == contract.replace(inside_model=True)
    np.testing.assert_array_equal(
        outputs(back, "InceptionV1")["predictions"], outputs(model, "InceptionV1")["predictions"]
    )


def test_layers_in_front_that_are_left_out_are_said(small, tmp_path, caplog):
    image = keras.Input((64, 64, 3))
    flipped = keras.layers.RandomFlip(name="flip")(image)
    model = get_model(
        "InceptionV1", weights=None, width_multiplier=0.25, classes=4, input_tensor=flipped
    )
    keras_inception.InceptionV1(weights=kerass_own(model, tmp_path))
    assert "that the model does not have: flip" in caplog.text


def test_a_whole_model_comes_back_with_its_identity(small, file, tmp_path):
    contract = Preprocessing(size=(64, 64), mean=100.0, std=50.0, interpolation="bicubic")
    model = clone(small)
    model.identity = small.identity.replace(class_names=("a", "b", "c", "d"))
    model.preprocessing = contract
    path = ours(model, tmp_path)
    for back in (keras_inception.load_model(path), keras_inception.InceptionV1(weights=path)):
        assert back.identity.class_names == ("a", "b", "c", "d")
        assert back.identity.preprocessing == back.preprocessing == contract
        assert back.identity.arguments == small.identity.arguments
    assert keras.models.load_model(path).count_params() == small.count_params()
    plain = keras_inception.load_model(file)
    assert plain.identity == small.identity.replace(preprocessing=None)
    with pytest.raises(ValueError, match="end in .keras"):
        keras_inception.save_model(small, tmp_path / "model.h5")
