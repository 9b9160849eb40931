"""Back to the publishers: their files, read and written back, are equal array by array."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import safetensors.numpy

import keras_inception
from keras_inception import BNInception, InceptionV1, InceptionV3, get_weights
from keras_inception.cli import run as run_command
from keras_inception.models import publishers
from keras_inception.models.publishers import convert_weights, layers_for
from keras_inception.weights import layouts, read, readers, writers

GOLDENS = Path(__file__).parents[1] / "goldens"
sys.path.insert(0, str(GOLDENS))
import native  # noqa: E402

SLOW = pytest.mark.slow
# peer -> (record, how its file is written here, how it is written back)
PEERS = [
    ("tv_googlenet", "inception_v1.torchvision", native.torch_zip),
    ("timm_inception_v3_aux", "inception_v3.timm_tf", native.safetensors),
    ("slim_inception_v1", "inception_v1.slim", native.tf_v2),
    ("slim_inception_v2", "bn_inception.slim", native.tf_v2),
    ("slim_inception_v2_nosep", "bn_inception.slim", native.tf_v2),
    ("keras_InceptionV3", "inception_v3.keras", native.keras_h5),
    pytest.param("slim_inception_v1_nobn", "inception_v1.slim", native.tf_v2, marks=SLOW),
    pytest.param("slim_inception_v3", "inception_v3.slim", native.tf_v2, marks=SLOW),
    pytest.param("slim_inception_v4", "inception_v4.slim", native.tf_v2, marks=SLOW),
    pytest.param("slim_inception_resnet_v2", "inception_resnet_v2.slim", native.tf_v2, marks=SLOW),
    pytest.param("tv_inception_v3", "inception_v3.torchvision", native.torch_zip, marks=SLOW),
    pytest.param("timm_inception_v4", "inception_v4.timm_tf", native.safetensors, marks=SLOW),
    pytest.param(
        "timm_inception_resnet_v2", "inception_resnet_v2.timm_tf", native.safetensors, marks=SLOW
    ),
    pytest.param(
        "keras_InceptionResNetV2", "inception_resnet_v2.keras", native.keras_h5, marks=SLOW
    ),
]


def check_equal(got, wanted):
    assert got.keys() == wanted.keys()
    for layer, values in wanted.items():
        assert got[layer].keys() == values.keys(), layer
        for variable, array in values.items():
            np.testing.assert_array_equal(got[layer][variable], array, err_msg=layer)


@pytest.mark.parametrize(("peer", "name", "written"), PEERS)
def test_a_publishers_file_comes_back_array_by_array(peer, name, written, tmp_path):
    spec = json.loads((GOLDENS / f"{peer}.json").read_text())
    path = tmp_path / ("given.ckpt" if written is native.tf_v2 else "given")
    written(spec, path)
    record = get_weights(name)
    loaded = read(path, record if "nosep" not in peer else None)
    arguments = {"separable_stem": "nosep" not in peer}
    back = layers_for(loaded.arrays, arguments, record)
    given = readers.read(path).layers
    if written is native.keras_h5:
        given = layouts.recognise(given).layers  # its automatic numbers, counted from 0
    check_equal(back, given)
    if written is native.tf_v2:
        writers.checkpoint(tmp_path / "back.ckpt", back)
        check_equal(readers.read(tmp_path / "back.ckpt").layers, given)
    elif written is not native.keras_h5:
        writers.torch_safetensors(tmp_path / "back.safetensors", back)
        arrays = safetensors.numpy.load_file(tmp_path / "back.safetensors")
        theirs = dict(native.arrays(spec))
        assert arrays.keys() == theirs.keys()
        for key, array in theirs.items():
            assert arrays[key].shape == array.shape and arrays[key].dtype == array.dtype
            if not key.endswith("num_batches_tracked"):  # of its training, which is over
                np.testing.assert_array_equal(arrays[key], array, err_msg=key)


def test_tensorflow_reads_the_checkpoint(tmp_path):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    layers = {
        "InceptionV1/b": {"kernel": rng.normal(size=(3, 3, 2, 700)).astype(np.float32)},
        "InceptionV1/a/BatchNorm": {"moving_mean": np.float32([1, 2]), "beta": np.float32([3, 4])},
    }
    writers.checkpoint(tmp_path / "model.ckpt", layers)
    reader = tf.train.load_checkpoint(str(tmp_path / "model.ckpt"))
    assert reader.get_variable_to_shape_map() == {
        "InceptionV1/b/weights": [3, 3, 2, 700],
        "InceptionV1/a/BatchNorm/moving_mean": [2],
        "InceptionV1/a/BatchNorm/beta": [2],
    }
    np.testing.assert_array_equal(
        reader.get_tensor("InceptionV1/b/weights"), layers["InceptionV1/b"]["kernel"]
    )
    np.testing.assert_array_equal(reader.get_tensor("InceptionV1/a/BatchNorm/beta"), [3, 4])


def seeded(model):
    """The model with random values in every variable, so that nothing can be left out unseen."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        scale = np.sqrt(2 / np.prod(variable.shape[:-1])) if len(variable.shape) > 1 else 0.1
        value = rng.normal(size=variable.shape) * scale
        around = {"gamma": 1, "moving_variance": 1}.get(variable.name, 0)
        variable.assign(value + around)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".weights.h5", ".h5"])
def test_keras_applications_computes_the_same(ending, tmp_path, caplog):
    """Also of a network with gammas, which its own does not have."""
    shape = (75, 75, 3)
    model = seeded(InceptionV3(weights=None, classes=5, bn_scale=True, input_shape=shape))
    path = tmp_path / "made" / f"v3{ending}"
    assert convert_weights(model, path, "keras") == path
    assert "holds weights only" in caplog.text and "mean=127.5" in caplog.text
    peer = keras.applications.InceptionV3(weights=None, classes=5, input_shape=shape)
    peer.load_weights(path)
    images = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    want = model(images, training=False)
    np.testing.assert_allclose(peer(images, training=False), want, atol=1e-5)


def test_gammas_go_where_a_publisher_has_them():
    """relu((kernel * x - mean) * gamma / sqrt(variance)) with the gamma in kernel and mean."""
    kernel, mean, gamma = np.float32([[[[2, 3]]]]), np.float32([5, 7]), np.float32([-1, 4])
    norm = {"beta": mean * 0, "moving_mean": mean, "moving_variance": mean}
    arrays = {"stem_0_0_conv/kernel": kernel, "stem_0_0_bn/gamma": gamma}
    arrays |= {f"stem_0_0_bn/{name}": array for name, array in norm.items()}
    back = layers_for(arrays, {}, get_weights("inception_v3.keras"))
    np.testing.assert_array_equal(back["conv2d_0"]["kernel"], [[[[-2, 12]]]])
    np.testing.assert_array_equal(back["batch_normalization_0"]["moving_mean"], [-5, 28])
    assert back["batch_normalization_0"].keys() == norm.keys()
    del arrays["stem_0_0_bn/gamma"]
    back = layers_for(arrays, {}, get_weights("inception_v3.timm_tf"))
    np.testing.assert_array_equal(back["Conv2d_1a_3x3.bn"]["gamma"], [1, 1])


def test_heads_that_a_publisher_lacks_are_left_out(caplog):
    arrays = dict.fromkeys(["stem_0_0_conv/kernel", "aux_0_conv/kernel", "aux_logits/bias"], 0)
    kept = publishers._without_heads(arrays, layouts.LAYOUTS["keras/inception_v3"], "keras")
    assert [*kept] == ["stem_0_0_conv/kernel"]
    assert "keras has no aux_0_conv, aux_logits: left out" in caplog.text
    assert publishers._without_heads(arrays, layouts.LAYOUTS["slim/inception_v3"], "x") == arrays


@pytest.mark.parametrize(
    ("arguments", "to", "message"),
    [
        ({}, "timm", "timm has InceptionV3, InceptionV4, InceptionResNetV2. Received: InceptionV1"),
        (
            {"width_multiplier": 0.5},
            "slim",
            r"slim's InceptionV1 cannot hold width_multiplier=0.5 \(it computes .*=1",
        ),
        ({"batch_norm": False, "symmetric_padding": True}, "torchvision", "hold batch_norm=False"),
        ({"symmetric_padding": True, "input_shape": (64, 64, 1)}, "torchvision", "of 1 channels"),
    ],
)
def test_what_a_publisher_cannot_hold_is_refused_by_name(arguments, to, message, tmp_path):
    arguments = {"input_shape": (64, 64, 3), **arguments}
    model = InceptionV1(weights=None, include_top=False, **arguments)
    path = tmp_path / ("a.ckpt" if to == "slim" else "a.safetensors")
    with pytest.raises(ValueError, match=message):
        convert_weights(model, path, to)
    assert not any(tmp_path.iterdir())


def test_strange_layers_parts_and_endings_are_refused(tmp_path):
    model = BNInception(weights=None, include_top=False, pooling="avg", input_shape=(64, 64, 3))
    more = keras.Model(model.input, keras.layers.Dense(3, name="mine")(model.output))
    with pytest.raises(ValueError, match="slim's BNInception cannot hold the layers mine"):
        convert_weights(more, tmp_path / "a.ckpt", "slim")
    with pytest.raises(ValueError, match="for slim ends in .ckpt. Received: .*a.h5"):
        convert_weights(model, tmp_path / "a.h5", "slim")
    with pytest.raises(ValueError, match="`to` should be one of timm, .* Received: to='onnx'"):
        convert_weights(model, tmp_path / "a.h5", "onnx")


def test_the_command_writes_it(tmp_path, capsys):
    """A native file names its network; the checkpoint comes back as the same arrays."""
    model = seeded(InceptionV1(weights=None, classes=3, input_shape=(64, 64, 3)))
    path = keras_inception.save_weights(model, tmp_path / "mine.safetensors")
    out = tmp_path / "v1.ckpt"
    with pytest.raises(SystemExit) as caught:
        run_command(["convert", str(path), "--to=slim", f"--output={out}"])
    assert not caught.value.code
    printed = capsys.readouterr().out.splitlines()[-1]
    assert printed.startswith(f"{out}: 230 arrays, 21.") and printed.endswith(" MiB")
    got, want = read(out).arrays, read(path).arrays
    assert got.keys() == want.keys()
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)
