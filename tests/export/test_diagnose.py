"""A network with one broken layer: the comparison by layers names it."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import keras_inception
from keras_inception import Preprocessing, cli
from keras_inception.exporting import ExportCheckError
from keras_inception.exporting.diagnose import LayerError, relative_error, verdict
from keras_inception.identity import Identity, attach

CONTRACT = Preprocessing(size=(32, 32), crop_fraction=1.0)
NAMES = ("darkest", "dark", "bright", "brightest")


def network(change, nested=False):
    """Three convolutions; `change` gets the kernels of the second and the third."""
    rng = np.random.default_rng(0)
    x = keras.Input((32, 32, 3))
    y = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="first")(x)
    y = keras.layers.Conv2D(8, 3, use_bias=False, name="second")(y)
    y = keras.layers.BatchNormalization(name="second_bn")(y)
    y = keras.layers.Activation("relu", name="second_relu")(y)
    y = keras.layers.Conv2D(8, 3, activation="relu", name="third")(y)
    y = keras.layers.GlobalAveragePooling2D(name="pool")(y)
    body = keras.Model(x, y, name="body")
    for name in ("first", "second", "third"):
        layer = body.get_layer(name)
        kernel = rng.normal(0, 0.3, layer.kernel.shape)
        layer.kernel.assign(kernel)
    change(body.get_layer("second").kernel, body.get_layer("third").kernel)
    dense = keras.layers.Dense(4, activation="softmax", name="answers")
    if nested:
        image = keras.Input((32, 32, 3))
        model = keras.Model(image, dense(body(image)))
    else:
        model = keras.Model(x, dense(y))
    dense.kernel.assign(rng.normal(0, 1.0, dense.kernel.shape))
    return attach(model, Identity("", preprocessing=CONTRACT, class_names=NAMES))


def overflow(second, third):
    """More than float16's 65,504 in the second's kernel; the third brings it back."""
    second.assign(second * 1e6)
    third.assign(third * 1e-6)


def one_wide_channel(second, third):
    """A range that leaves no steps of an int8 for the other channels; the third ignores it."""
    scale = np.ones(8)
    scale[0] = 1e5
    second.assign(second * scale)
    ignored = np.array(third)
    ignored[:, :, 0] = 0
    third.assign(ignored)


@pytest.mark.parametrize(
    ("change", "quantize", "nested", "named"),
    [
        (overflow, "float16", True, "body/second_relu"),
        (one_wide_channel, "int8", False, "second_relu"),
    ],
)
def test_the_first_layer_that_departs_is_named(change, quantize, nested, named, tmp_path, capsys):
    broken = network(change, nested)
    with pytest.raises(
        ExportCheckError, match=rf"\. The first layer whose output departs is {named}, with"
    ):
        keras_inception.export(
            broken,
            ["tflite"],
            [quantize],
            tmp_path,
            dataset="fake",
            images=16,
            calibration=16,
            latency=False,
            diagnose=True,
        )
    assert f"    {named} " in capsys.readouterr().out
    assert not [p for p in tmp_path.iterdir() if p.suffix == ".tflite"]


def test_layers_of_a_sound_file_are_recorded(tmp_path, capsys):
    keras_inception.save_model(network(lambda second, third: None), tmp_path / "sound.keras")
    command = ["export", str(tmp_path / "sound.keras"), "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        cli.run([*command, "--diagnose", "--format", "tflite", "--quantize", "float16"])
    assert end.value.code == 0
    assert "No layer's output departs by itself" in capsys.readouterr().out
    (file,) = json.loads((tmp_path / "out" / "export.json").read_text())["files"].values()
    names = [layer["layer"] for layer in file["layers"]]
    # The converters merge the second's batch norm and activation into it.
    assert names == ["the scaled image", "first", "second_relu", "third", "pool", "answers"]
    assert 0 < max(layer["error"] for layer in file["layers"]) < 0.01


def test_an_error_in_one_of_two_channels_is_seen_beside_large_values():
    want = np.stack([np.full((1, 4, 4), 1e4), np.ones((1, 4, 4)), np.ones((1, 4, 4))], axis=-1)
    got = want * [1, 0, 0]
    assert relative_error(got, want) == pytest.approx(1.0)
    assert relative_error(want, want) == 0
    assert relative_error(np.where(want > 2, np.inf, want), want) == np.inf


def test_a_growing_error_is_laid_on_no_layer():
    errors = [LayerError(name, name, error) for name, error in (("a", 0.1), ("b", 0.4))]
    assert verdict(errors, 0.5).startswith("No layer's output departs by itself")
    assert "departs is b, with a relative error of 0.4" in verdict(errors, 0.3)
