"""ONNX and OpenVINO files, for the runtimes of those names; both are optional extras."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from keras_inception.exporting.exportable import Exportable, write_archive
from keras_inception.exporting.targets import Target
from keras_inception.files import write
from keras_inception.runtime.openvino import IDENTITY


@dataclasses.dataclass(frozen=True, eq=False)
class Onnx(Target):
    """A .onnx file: image float32 (batch, height, width, channels) in 0..255 -> probabilities
    (batch, classes). Its metadata hold what the network is.
    """

    format = "onnx"
    needs = ("onnx", "tf2onnx", "onnxruntime")

    def make(self, network: Exportable, path: Path) -> None:
        import onnx
        import tf2onnx

        made, _ = tf2onnx.convert.from_function(
            tf.function(network.classify, autograph=False), [_image(network)], opset=17
        )
        onnx.helper.set_model_props(made, network.written_identity.to_metadata())
        write(path, made.SerializeToString())


@dataclasses.dataclass(frozen=True, eq=False)
class OpenVINO(Target):
    """A folder with model.xml and model.bin, which compute as the file of `Onnx` does."""

    format = "openvino"
    holds = ("model.xml", "model.bin")
    needs = ("openvino",)

    def make(self, network: Exportable, path: Path) -> None:
        import openvino

        with tempfile.TemporaryDirectory() as scratch:
            archive = keras.export.ExportArchive()
            archive.add_endpoint("serving_default", network.classify, [_image(network)])
            write_archive(archive, Path(scratch))
            made = openvino.convert_model(scratch)
            identity = network.written_identity.to_metadata()
            made.set_rt_info(json.dumps(identity, ensure_ascii=False), IDENTITY)
            path.mkdir(parents=True)
            try:
                openvino.save_model(made, str(path / "model.xml"), compress_to_fp16=False)
            except RuntimeError as error:  # OpenVINO's writer has no errors of Python's
                raise OSError(str(error)) from error


def _image(network: Exportable) -> tf.TensorSpec:
    return tf.TensorSpec((None, *network.input_shape), tf.float32, "image")
