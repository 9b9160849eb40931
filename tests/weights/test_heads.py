"""Files with a head of one's own: the features load, and what else is in the file is named."""

from __future__ import annotations

import h5py
import keras
import numpy as np
import pytest

from keras_inception import InceptionV1, InceptionV3, get_weights, save_weights
from keras_inception.cli import run
from keras_inception.weights import layouts, read
from keras_inception.weights.readers import safetensors

SMALL = {"input_shape": (75, 75, 3), "width_multiplier": 0.25}
FEATURES = {**SMALL, "include_top": False, "pooling": "avg"}
TORCH = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean"}
TORCH |= {"moving_variance": "running_var", "kernel": "weight"}
SLIM = {"kernel": "weights", "bias": "biases"}


def scrambled(model):
    rng = np.random.default_rng(0)
    for v in model.weights:
        v.assign(rng.uniform(0.5, 1.5, v.shape) / max(1, np.prod(v.shape[:-1])))
    return model


@pytest.fixture(scope="module")
def v1():
    return scrambled(InceptionV1(weights=None, classes=5, bn_scale=True, **SMALL))


@pytest.fixture(scope="module")
def v3():
    return scrambled(InceptionV3(weights=None, classes=5, **SMALL))


def images():
    return np.random.default_rng(1).normal(size=(2, 75, 75, 3)).astype(np.float32)


def features_of(model):
    return keras.Model(model.input, model.get_layer("avg_pool").output)(images()).numpy()


def published(model, layout):
    """A model's layers by a publisher's names: {layer: {Keras' variable: array}}."""
    ours = {layer.name: {w.name: w.numpy() for w in layer.weights} for layer in model.layers}
    names = layouts.LAYOUTS[layout].names
    return {theirs: ours[name] for theirs, name in names.items() if name in ours}


def torch_file(path, layers, prefix="", **head):
    """A torch-born file: the layers behind a prefix, and dense layers with full names."""
    arrays = {}
    for layer, values in layers.items():
        for variable, array in values.items():
            if variable == "kernel":
                array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            arrays[f"{prefix}{layer}.{TORCH.get(variable, variable)}"] = array
    for layer, (inputs, outputs) in head.items():
        arrays[f"{layer}.weight"] = np.ones((outputs, inputs))
        arrays[f"{layer}.bias"] = np.ones(outputs)
    arrays = {name: np.ascontiguousarray(a, "<f4") for name, a in arrays.items()}
    safetensors.write(path, arrays, {})
    return path


def keras_2_file(path, groups):
    """A legacy .h5: {group: {"layer/variable": array}}, in the model's order."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [group.encode() for group in groups]
        for group, weights in groups.items():
            created = file.create_group(group)
            created.attrs["weight_names"] = [f"{name}:0".encode() for name in weights]
            for name, array in weights.items():
                created.create_dataset(f"{name}:0", data=array)
    return path


@pytest.mark.parametrize(
    ("prefix", "without", "head"),
    [
        ("", "fc", {"fc.0": (256, 64), "fc.3": (64, 5)}),
        ("", "", {"fc_new": (5, 2)}),
        ("model.backbone.", "fc", {"model.classifier": (256, 2)}),
        ("encoder.", "fc", {"projection": (256, 128)}),
    ],
)
def test_torch_files(v1, prefix, without, head, tmp_path, caplog):
    layers = {
        name: values
        for name, values in published(v1, "torchvision/googlenet").items()
        if name != without
    }
    path = torch_file(tmp_path / "mine.safetensors", layers, prefix, **head)
    names = ", ".join(head)
    with pytest.raises(
        ValueError, match=rf"own.*: {names}\. Write `classes=`.*`include_top=False`"
    ):
        InceptionV1(weights=path, **SMALL)
    facts = {"symmetric_padding": False, **FEATURES}
    features = InceptionV1(weights=path, **facts)
    np.testing.assert_array_equal(features(images()), features_of(v1))
    assert f"not part of the network are left out: {names}" in caplog.text
    caplog.clear()
    facts = {**SMALL, "symmetric_padding": False, "classes": 5}
    model = InceptionV1(weights=path, **facts)
    np.testing.assert_array_equal(features_of(model), features_of(v1))
    assert not model.get_layer("predictions").bias.numpy().any(), "the head is a new one"
    assert "the layer predictions is initialised anew" in caplog.text


def test_what_is_guessed_of_a_local_file_is_said_once(v1, tmp_path, caplog):
    """Which weights it is taken for, what that means, and how to name others."""
    layers = published(v1, "torchvision/googlenet")
    path = torch_file(tmp_path / "mine.safetensors", layers)
    loaded = read(path)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    message = record.getMessage()
    assert "(torchvision/googlenet, 5 outputs) it is taken for inception_v1.torchvision" in message
    assert "symmetric_padding=True" in message and "scaled as (image - 127.5) / 127.5" in message
    assert "describe it with weights=Weights(" in message
    caplog.clear()
    named = read(path, get_weights("inception_v1.torchvision").with_file(path))
    published_name = get_weights("inception_v1.torchvision").filename
    by_name = read(path.rename(tmp_path / published_name))
    assert loaded.identity == named.identity == by_name.identity
    assert not caplog.records


def test_a_guess_names_the_alternatives(v3, tmp_path, caplog):
    path = torch_file(tmp_path / "v3.safetensors", published(v3, "torchvision/inception_v3"))
    read(path)
    assert f"get_weights('inception_v3.timm_gluon').with_file('{path}')" in caplog.text


def test_a_prefix_alone_changes_nothing(v1, tmp_path, caplog):
    layers = published(v1, "torchvision/googlenet")
    path = torch_file(tmp_path / "mine.safetensors", layers, "net.model.")
    model = InceptionV1(weights=path, symmetric_padding=False, **SMALL)
    np.testing.assert_array_equal(model(images()), v1(images()))
    assert "left out" not in caplog.text
    assert read(path).layers["net.model.conv1.conv"] == "stem_0_conv"


@pytest.mark.parametrize("nested", [False, True])
def test_legacy_keras_files(v3, nested, tmp_path):
    """keras.applications' v3, numbered from 12, with dense and normalised layers on top."""
    layers = published(v3, "keras/inception_v3")
    del layers["predictions"]
    body = {}
    for name, values in layers.items():
        kind, _, number = name.rpartition("_")
        body[f"{kind}_{int(number) + 12}"] = values
    head = {
        "dense_1": {"kernel": np.ones((2048, 8)), "bias": np.ones(8)},
        "batch_normalization_106": {v: np.ones(8) for v in ("beta", "moving_mean")},
        "dense_2": {"kernel": np.ones((8, 5)), "bias": np.ones(5)},
    }
    weights = [
        {layer: {f"{layer}/{v}": a for v, a in values.items()} for layer, values in part.items()}
        for part in (body, head)
    ]
    if nested:
        weights[0] = {"inception_v3": dict(i for g in weights[0].values() for i in g.items())}
    path = keras_2_file(tmp_path / "mine.h5", {**weights[0], "flatten": {}, **weights[1]})
    assert read(path).foreign == ("dense_1", "batch_normalization_106", "dense_2")
    model = InceptionV3(weights=path, **FEATURES)
    np.testing.assert_array_equal(model(images()), features_of(v3))


@pytest.mark.parametrize("ending", ["keras", "weights.h5", "safetensors"])
def test_own_backbones_with_dense_layers(v3, ending, tmp_path):
    pooled = v3.get_layer("avg_pool").output
    dense = keras.layers.Dense(3, name="answer")(keras.layers.Dense(8, name="hidden")(pooled))
    model = keras.Model(v3.input, dense)
    path = tmp_path / f"mine.{ending}"
    if ending == "safetensors":
        save_weights(model, path)
    else:
        getattr(model, "save" if ending == "keras" else "save_weights")(path)
    assert set(read(path).foreign) == {"hidden", "answer"}
    loaded = InceptionV3(weights=path, **FEATURES)
    np.testing.assert_array_equal(loaded(images()), features_of(v3))
    with pytest.raises(ValueError, match="has a head of its own.*answer.*Write `classes=`"):
        InceptionV3(weights=path, **SMALL)


class Subclassed(keras.Model):
    """A backbone and a dense layer, as attributes."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.answer = backbone, keras.layers.Dense(3)

    def call(self, inputs):
        return self.answer(self.backbone(inputs))


def sequential(backbone):
    return keras.Sequential([keras.Input((75, 75, 3)), backbone, keras.layers.Dense(3)])


@pytest.mark.parametrize(
    ("around", "ending"),
    [(sequential, "keras"), (sequential, "weights.h5"), (Subclassed, "weights.h5")],
)
def test_own_backbones_inside_another_model(v3, around, ending, tmp_path):
    model = around(keras.Model(v3.input, v3.get_layer("avg_pool").output, name="backbone"))
    model(images())
    path = tmp_path / f"mine.{ending}"
    getattr(model, "save" if ending == "keras" else "save_weights")(path)
    assert len(read(path).foreign) == 1
    loaded = InceptionV3(weights=path, **FEATURES)
    np.testing.assert_array_equal(loaded(images()), features_of(v3))


@pytest.mark.parametrize("outputs", [5, 5089])
def test_slim_checkpoints_of_other_classes(v3, outputs, tmp_path, caplog):
    """Outputs other than ImageNet's are all classes; moving averages are preferred, and said."""
    import tensorflow as tf

    arrays = {"global_step": np.int64(7), "Adam/beta1_power": np.float32(0.9)}
    for layer, values in published(v3, "slim/inception_v3").items():
        for variable, array in values.items():
            name = f"{layer}/{SLIM.get(variable, variable)}"
            if layer.endswith("Logits/Conv2d_1c_1x1"):
                array = np.resize(array, (*array.shape[:-1], outputs))
                array = array[None, None] if variable == "kernel" else array
            arrays[name] = np.zeros_like(array)
            arrays[f"{name}/Momentum"] = np.ones_like(array)
            arrays[f"{name}/ExponentialMovingAverage"] = array
    names, data = zip(*arrays.items(), strict=True)
    path = tmp_path / "model.ckpt"
    tf.raw_ops.Save(filename=str(path), tensor_names=names, data=[tf.constant(a) for a in data])
    loaded = read(path)
    assert (loaded.outputs, loaded.classes, loaded.label_offset) == (outputs, outputs, 0)
    assert loaded.foreign == () and "moving averages" in caplog.text
    if outputs == 5:
        model = InceptionV3(weights=loaded, **SMALL)
        np.testing.assert_array_equal(model(images()), v3(images()))


def test_a_file_without_classifier_gives_a_new_one(v3, tmp_path, caplog):
    path = save_weights(v3, tmp_path / "top.safetensors")
    features = InceptionV3(weights=path, input_shape=(75, 75, 3), include_top=False, pooling="avg")
    path = save_weights(features, tmp_path / "notop.safetensors")
    with pytest.raises(ValueError, match=r"notop.*no classifier.*`classes=`.*`include_top=False`"):
        InceptionV3(weights=path, **SMALL)
    model = InceptionV3(weights=path, classes=4, **SMALL)
    np.testing.assert_array_equal(features_of(model), features_of(v3))
    assert "no classifier: the layer predictions is initialised anew" in caplog.text


def test_convert_writes_the_features_or_a_new_head(v1, tmp_path, capsys):
    dense = keras.layers.Dense(3, name="answer")(v1.get_layer("avg_pool").output)
    mine = save_weights(keras.Model(v1.input, dense), tmp_path / "mine.safetensors")
    for arguments, outputs in (([], 0), (["--classes=4"], 4)):
        target = tmp_path / f"converted{outputs}.safetensors"
        with pytest.raises(SystemExit, match="0"):
            run(["convert", str(mine), "--model=InceptionV1", f"--output={target}", *arguments])
        converted = read(target)
        assert (converted.outputs, converted.foreign) == (outputs, ())
