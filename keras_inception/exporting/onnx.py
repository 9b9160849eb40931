"""ONNX and OpenVINO files, for the runtimes of those names; both are optional extras."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_inception.exporting.networks import Function, Network, network_of, write_archive
from keras_inception.files import write
from keras_inception.preprocessing import Preprocessing
from keras_inception.runtime.openvino import IDENTITY


def export_onnx(
    model: Any,
    path: str | Path,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
) -> Path:
    """Writes a .onnx file: image float32 (batch, height, width, channels) in 0..255 ->
    probabilities (batch, classes). Its metadata hold what the network is.

    Args:
        model: What `keras_inception.load_classifier` makes a Keras model of.
        path: File to write.
        preprocessing: The contract, by default the model's own.
        labels: Class names in the order of the outputs, by default the model's own.

    Raises:
        ValueError: the model is no classifier.
        ImportError: tf2onnx or onnx is missing.
    """
    import onnx

    network = network_of(model, preprocessing, labels)
    made = onnx_model(*_function(network))
    onnx.helper.set_model_props(made, network.written_identity.to_metadata())
    write(Path(path), made.SerializeToString())
    return Path(path)


def export_openvino(
    model: Any,
    path: str | Path,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
) -> Path:
    """Writes a folder with model.xml and model.bin, which compute as `export_onnx`'s file does.

    Args:
        model: What `keras_inception.load_classifier` makes a Keras model of.
        path: Folder to write into.
        preprocessing: The contract, by default the model's own.
        labels: Class names in the order of the outputs, by default the model's own.

    Raises:
        ValueError: the model is no classifier.
        ImportError: OpenVINO is missing.
    """
    network = network_of(model, preprocessing, labels)
    function, image = _function(network)
    said = json.dumps(network.written_identity.to_metadata(), ensure_ascii=False)
    write_openvino(function, image, Path(path), said)
    return Path(path)


def onnx_model(function: Function, image: tf.TensorSpec) -> Any:
    """The `onnx.ModelProto` of a function from an image to named tensors.

    Raises:
        ImportError: tf2onnx is missing.
    """
    import tf2onnx

    return tf2onnx.convert.from_function(tf.function(function), [image], opset=17)[0]


def write_openvino(
    function: Function,
    image: tf.TensorSpec,
    path: Path,
    identity: str = "",
) -> None:
    """Writes a function from an image to named tensors, and what it says of itself.

    Raises:
        ImportError: OpenVINO is missing.
        OSError: it cannot be written, since the disk is full for instance.
    """
    import openvino

    with tempfile.TemporaryDirectory() as scratch:
        archive = keras.export.ExportArchive()
        archive.add_endpoint("serving_default", function, [image])
        write_archive(archive, Path(scratch), path)
        made = openvino.convert_model(scratch)
        made.set_rt_info(identity, IDENTITY)
        path.mkdir(parents=True, exist_ok=True)
        try:
            openvino.save_model(made, str(path / "model.xml"), compress_to_fp16=False)
        except RuntimeError as error:  # OpenVINO's writer has no errors of Python's
            raise OSError(f"{path} cannot be written: {error}") from error


def _function(network: Network) -> tuple[Any, tf.TensorSpec]:
    """What is traced, and its input."""

    def classify(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": network.probabilities(image)}

    return classify, tf.TensorSpec((None, *network.input_shape), tf.float32, "image")
