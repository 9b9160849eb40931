"""The forms that a network is exported to, as a table: what is written, and what it has to keep."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception.data.decode import MAX_REQUEST_PIXELS, Decoding
from keras_inception.exporting.networks import Function, Network, write_archive
from keras_inception.exporting.onnx import (
    export_onnx,
    export_openvino,
    onnx_model,
    write_openvino,
)
from keras_inception.exporting.saved_model import export_saved_model
from keras_inception.exporting.tflite import converted, export_tflite
from keras_inception.exporting.web import export_web
from keras_inception.files import write


@dataclasses.dataclass(frozen=True)
class Limits:
    """What may differ between an exported file and the Keras model (see `checks.agreement`).

    Attributes:
        largest: Of the largest difference of a probability; None: it is only reported.
        mean: Of the mean over the images of the probability mass that moved.
        layer: Of a layer's relative error, from which on it departs (see `diagnose`).
    """

    largest: float | None
    mean: float
    layer: float = 1e-3


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a target may need besides the network.

    Attributes:
        calibration: float32 images in 0..255, fitted, of the training part; for "int8".
        ends: dtype of input and output of an "int8" file.
        outputs: "probabilities" or "logits", of .tflite files.
        author, license: For the metadata.
        runtime: Folder to copy LiteRT.js from, for "web".
        decoding, max_pixels: How a SavedModel decodes files, and which it refuses.
    """

    calibration: Sequence[np.ndarray] = ()
    ends: str = "float32"
    outputs: str = "probabilities"
    author: str = ""
    license: str = ""
    decoding: Decoding = Decoding()
    max_pixels: int = MAX_REQUEST_PIXELS
    runtime: str | Path | None = None


_SCALING = "a contract (`preprocessing`) that is not the network's, such as another scaling"
_EIGHT_BITS = "a network that is unsure of its answers, which eight bits move most; " + _SCALING
_CALIBRATION = (
    "too few `calibration` images, or some that are unlike those that are classified; small "
    'probabilities, which an int8 softmax makes 0 (`outputs="logits"` leaves it out); '
    + _EIGHT_BITS
)


@dataclasses.dataclass(frozen=True)
class Target:
    """One form of export.

    Attributes:
        format: Such as "tflite", which the command line's --format takes.
        quantization: Such as "dynamic"; "float32" where the format has no other.
        file: Name of the file or folder.
        write: (network, path, settings) writes it.
        write_function: (function, image, path, settings) writes any function of an image in the
            same form, at `runs` or `file`.
        limits: What it has to keep.
        suspect: Why such a file usually departs from its limits.
        runs: The file that the runtime loads, where `file` is a folder around it.
        needs: Packages of optional extras, which the extra of the format's name installs.
        bytes_a_weight: Of a .tflite file; it may be 10 % larger, and `GRAPH_BYTES`.
    """

    format: str
    quantization: str
    file: str
    write: Callable[[Network, Path, Settings], Any]
    write_function: Callable[[Function, tf.TensorSpec, Path, Settings], Any]
    limits: Limits
    bytes_a_weight: int
    needs: tuple[str, ...] = ()
    runs: str = ""
    suspect: str = _SCALING

    @property
    def needs_calibration(self) -> bool:
        """Whether it cannot be made without images."""
        return self.quantization == "int8"


GRAPH_BYTES = 500_000  # what a .tflite file may hold besides weights


# Writers by format, of a network with all that belongs to it and of a function alone.


def _saved_model(network: Network, path: Path, settings: Settings) -> None:
    export_saved_model(network, path, decoding=settings.decoding, max_pixels=settings.max_pixels)


def _tflite(quantization: str, network: Network, path: Path, settings: Settings) -> None:
    export_tflite(
        network,
        path,
        quantization=quantization,
        representative=settings.calibration,
        ends=settings.ends if quantization == "int8" else "float32",
        outputs=settings.outputs,
        author=settings.author,
        license=settings.license,
    )


def _onnx(network: Network, path: Path, settings: Settings) -> None:
    export_onnx(network, path)


def _openvino(network: Network, path: Path, settings: Settings) -> None:
    export_openvino(network, path)


def _web(network: Network, path: Path, settings: Settings) -> None:
    author, license = settings.author, settings.license
    export_web(network, path, runtime=settings.runtime, author=author, license=license)


def _saved_model_function(
    function: Function, image: tf.TensorSpec, path: Path, settings: Settings
) -> None:
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serving_default", function, [image])
    write_archive(archive, path, path)


def _tflite_function(
    quantization: str, function: Function, image: tf.TensorSpec, path: Path, settings: Settings
) -> None:
    one = tf.TensorSpec((1, *image.shape[1:]), image.dtype, image.name)
    write(path, converted(function, one, path, quantization, settings.calibration))


def _onnx_function(
    function: Function, image: tf.TensorSpec, path: Path, settings: Settings
) -> None:
    write(path, onnx_model(function, image).SerializeToString())


def _openvino_function(
    function: Function, image: tf.TensorSpec, path: Path, settings: Settings
) -> None:
    write_openvino(function, image, path)


def _tflite_target(quantization: str, file: str, limits: Limits, **more: Any) -> Target:
    return Target(
        "tflite",
        quantization,
        file,
        partial(_tflite, quantization),
        partial(_tflite_function, quantization),
        limits,
        **more,
    )


# float32 differs by rounding. Quantised weights cost an uncertain network more than a sure one, and
# what they cost depends on the processor's kernels; so a single probability is only reported there,
# and the mean has room. Images in a wrong scale or order of channels move more than that.
FLOAT32 = Limits(1e-4, 1e-4, layer=1e-3)
FLOAT16 = Limits(0.05, 0.01, layer=0.05)
INT8 = Limits(None, 0.1, layer=0.5)
TARGETS = (
    Target(
        "saved_model", "float32", "saved_model", _saved_model, _saved_model_function, FLOAT32, 4
    ),
    _tflite_target("float32", "model.tflite", FLOAT32, bytes_a_weight=4),
    _tflite_target("float16", "model_float16.tflite", FLOAT16, bytes_a_weight=2),
    _tflite_target("dynamic", "model_int8.tflite", INT8, bytes_a_weight=1, suspect=_EIGHT_BITS),
    _tflite_target("int8", "model_full_int8.tflite", INT8, bytes_a_weight=1, suspect=_CALIBRATION),
    Target(
        "onnx",
        "float32",
        "model.onnx",
        _onnx,
        _onnx_function,
        FLOAT32,
        4,
        needs=("onnx", "tf2onnx", "onnxruntime"),
    ),
    Target(
        "openvino",
        "float32",
        "openvino",
        _openvino,
        _openvino_function,
        FLOAT32,
        4,
        needs=("openvino",),
    ),
    Target(
        "web",
        "float16",
        "web",
        _web,
        partial(_tflite_function, "float16"),
        FLOAT16,
        2,
        runs="model.tflite",
    ),
)
FORMATS = tuple(dict.fromkeys(target.format for target in TARGETS))
QUANTIZATIONS = tuple(dict.fromkeys(target.quantization for target in TARGETS))


def names(text: str) -> list[str]:
    """The names in a text with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def chosen(formats: Sequence[str], quantizations: Sequence[str]) -> list[Target]:
    """The targets of formats and quantizations; a format without quantizations has its one form.

    Raises:
        ValueError: a name is unknown, or a package is missing.
    """
    for name, given, known in (
        ("formats", formats, FORMATS),
        ("quantize", quantizations, QUANTIZATIONS),
    ):
        unknown = [value for value in given if value not in known]
        if unknown or not given:
            raise ValueError(
                f"`{name}` should name some of {', '.join(known)}. Received: {list(given)}"
            )
    found = []
    for kind in dict.fromkeys(formats):
        forms = [target for target in TARGETS if target.format == kind]
        found += [t for t in forms if len(forms) == 1 or t.quantization in quantizations]
    for target in found:
        missing = [name for name in target.needs if not importlib.util.find_spec(name)]
        if missing:
            raise ValueError(
                f'The format "{target.format}" needs {" and ".join(missing)}: '
                f"pip install 'keras-inception[{target.format}]'"
            )
    return found
