"""Models and weights on Keras' other backends, in an environment without TensorFlow.

`make test-jax` makes that environment and runs this file in it; elsewhere it is skipped. With torch
instead of jax in it and KERAS_BACKEND=torch it runs as well.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_inception import convert_weights, get_model, list_models
from keras_inception.models.measure import endpoints

GOLDENS = Path(__file__).parents[1] / "goldens"
sys.path.insert(0, str(GOLDENS))
import native  # noqa: E402
import rule  # noqa: E402

pytestmark = pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="`make test-jax` runs it on another backend"
)

# The heads of v3, v4 and Inception-ResNet need 299 pixels: too slow for what they would show.
SIZE = {"InceptionV1": 96, "BNInception": 96}


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


def test_tensorflow_is_not_there():
    assert importlib.util.find_spec("tensorflow") is None


@pytest.mark.parametrize("name", list_models())
def test_channels_first_computes_what_channels_last_does(name, channels_first):
    """The same arrays and images, with the axes swapped."""
    size = SIZE.get(name, 139)
    arguments = {"weights": None, "classes": 5, "aux_logits": name in SIZE}
    keras.utils.set_random_seed(0)
    first = get_model(name, input_shape=(3, size, size), **arguments)
    keras.config.set_image_data_format("channels_last")
    last = get_model(name, input_shape=(size, size, 3), **arguments)
    assert first.count_params() == last.count_params()
    assert list(endpoints(first)) == list(endpoints(last))
    for layer in first.layers:
        values = layer.get_weights()
        if layer.name in ("aux1_1", "aux2_1"):  # dense layers after a flattened map
            c, *sides = first.get_layer(f"{layer.name[:4]}_0_relu").output.shape[1:]
            kernel = values[0].reshape(c, *sides, -1).transpose(1, 2, 0, 3)
            values[0] = kernel.reshape(values[0].shape)
        last.get_layer(layer.name).set_weights(values)
    x = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    got, want = first(x.transpose(0, 3, 1, 2)), last(x)
    if not isinstance(want, dict):
        got, want = {"predictions": got}, {"predictions": want}
    for key in want:
        first, last = (keras.ops.convert_to_numpy(outputs[key]) for outputs in (got, want))
        np.testing.assert_allclose(first, last, atol=1e-4)


# peer -> (its file's name, its writer)
PEERS = {
    "tv_googlenet": ("googlenet-1378be20.pth", native.torch_zip, "InceptionV1"),
    "timm_inception_v4": ("inception_v4.tf_in1k.safetensors", native.safetensors, "InceptionV4"),
    "keras_InceptionV3": (
        "inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
        native.keras_h5,
        "InceptionV3",
    ),
}


@pytest.mark.parametrize("peer", PEERS)
def test_published_files_load_and_compute_the_same(peer, tmp_path):
    file, writer, variant = PEERS[peer]
    spec = json.loads((GOLDENS / f"{peer}.json").read_text())
    writer(spec, tmp_path / file)
    model = get_model(variant, weights=tmp_path / file, classifier_activation=None)
    images = rule.images(spec["input_size"])
    got = keras.ops.convert_to_numpy(model(model.preprocessing.scale(images)))
    with np.load(GOLDENS / f"{peer}.npz") as golden:
        key = "logits_transform_input" if "logits_transform_input" in golden else "logits"
        np.testing.assert_allclose(got, golden[key], atol=1e-3 if "v4" in peer else 2e-4)


def test_a_tensorflow_checkpoint_is_written_and_read_without_it(tmp_path):
    model = get_model("InceptionV3", weights=None, classes=1001, classifier_activation=None)
    convert_weights(model, tmp_path / "model.ckpt", to="slim")
    again = get_model("InceptionV3", weights=str(tmp_path / "model.ckpt"), classes=1001)
    for layer in again.layers:
        for value, before in zip(
            layer.get_weights(), model.get_layer(layer.name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(value, before)
