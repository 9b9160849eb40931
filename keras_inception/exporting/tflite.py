"""TFLite files for phones."""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import ConverterError

from keras_inception import data
from keras_inception.exporting import checks
from keras_inception.exporting.checks import Check
from keras_inception.exporting.exportable import Exportable, write_archive
from keras_inception.exporting.metadata import with_metadata
from keras_inception.exporting.samples import Samples, drawn
from keras_inception.exporting.targets import GRAPH_BYTES, PRECISIONS, Target
from keras_inception.files import write
from keras_inception.runs import EXPORTS

ENDS = {"float32": tf.float32, "uint8": tf.uint8, "int8": tf.int8}
OUTPUTS = ("probabilities", "logits")
FEWEST_IMAGES = 8  # to calibrate with

QUANTIZATIONS = tuple(PRECISIONS)


@dataclasses.dataclass(frozen=True, eq=False)
class TFLite(Target):
    """A .tflite file whose one signature takes an image in 0..255.

    serving_default: image (batch, height, width, channels) in 0..255 -> probabilities or logits
    (batch, classes). The scaling is in the graph; operations are TFLite's own. The file holds
    normalization, class names and descriptions as TFLite metadata, so that MediaPipe Tasks load it
    as it is, and what the network is, so that `keras_inception.load_classifier` does.

    Args:
        quantization: "float32"; "float16" (weights; half the size, for GPUs); "dynamic" (int8
            weights, activations quantised as they come: a quarter of the size, needs no data); or
            "int8" (weights and activations).
        calibration: For "int8": at least 8 images, float32 (height, width, channels) in 0..255,
            from the training part and fitted by the contract. `export` draws them of its data set
            where they are not given.
        ends: dtype of input and output of an "int8" file: "float32", "uint8" or "int8". The others
            have float32.
        outputs: "probabilities", or "logits": an int8 softmax has steps of 1/256, so that small
            probabilities become 0; of logits the caller computes the softmax.
        batch: Images a call, or None for any number.
        free_size: Whether images of any size are taken, for models built with
            `input_shape=(None, None, channels)`. LiteRT's signature runners resize the input by
            themselves, other callers call `resize_tensor_input`. Not for MediaPipe Tasks, which
            take the size of the images from the file.
        author, license: For the file's metadata.

    Raises:
        ValueError: an argument is out of range.
    """

    quantization: str = "float32"
    _: dataclasses.KW_ONLY
    calibration: Sequence[np.ndarray] | None = None
    ends: str = "float32"
    outputs: str = "probabilities"
    batch: int | None = 1
    free_size: bool = False
    author: str = ""
    license: str = ""

    format = "tflite"

    def __post_init__(self) -> None:
        for name, known in (
            ("quantization", QUANTIZATIONS),
            ("ends", tuple(ENDS)),
            ("outputs", OUTPUTS),
        ):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(
                    f"`{name}` should be one of {', '.join(known)}. Received: {name}={value!r}"
                )
        if self.ends != "float32" and self.quantization != "int8":
            raise ValueError(
                f'`ends="{self.ends}"` needs `quantization="int8"`; the other files compute in '
                f"float32. Received: quantization={self.quantization!r}"
            )
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"`batch` should be at least 1, or None. Received: batch={self.batch}")
        if self.free_size and self.quantization == "int8":
            raise ValueError(
                '`free_size=True` and `quantization="int8"` do not go together: activations are '
                "measured at one size."
            )

    @property
    def file(self) -> str:
        return EXPORTS[f"{self.format}:{self.quantization}"]

    def with_data(self, source: data.Source | None, network: Exportable, count: int) -> TFLite:
        if self.quantization != "int8" or self.calibration is not None:
            return self
        if source is None:
            raise ValueError(
                '`quantization="int8"` measures activations on real training images: export a run '
                'folder, or give `dataset`; "dynamic" needs none.'
            )
        images = drawn(source, "train", network, count)["image"]
        found = dataclasses.replace(self, calibration=list(images))
        found.check_network(network)
        return found

    def check_network(self, network: Exportable) -> None:
        height, width, channels = network.input_shape
        if self.outputs == "logits":
            network.check_logits()
        if self.free_size and None not in network.model.inputs[0].shape[1:3]:
            raise ValueError(
                "`free_size=True` needs a model of free size: build it with "
                f"`input_shape=(None, None, {channels})`. Received: one of {height} x {width}"
            )
        if self.quantization == "int8" and self.calibration is not None:
            _check_calibration(self.calibration, network.input_shape)

    def make(self, network: Exportable, path: Path) -> None:
        def serving_default(image: tf.Tensor) -> dict[str, tf.Tensor]:
            return {self.outputs: getattr(network, self.outputs)(image)}

        height, width, channels = network.input_shape
        sides = (None, None) if self.free_size else (height, width)
        image = tf.TensorSpec((self.batch, *sides, channels), tf.float32, "image")
        with tempfile.TemporaryDirectory() as scratch:
            # Through a SavedModel, which keeps the signature's names; concrete functions lose them.
            archive = keras.export.ExportArchive()
            archive.add_endpoint("serving_default", serving_default, [image])
            write_archive(archive, Path(scratch))
            try:
                content = bytes(self._converter(scratch, network).convert())
            except ConverterError as error:
                raise ValueError(f"{path.name} cannot be made: {_reason(str(error))}") from None
        identity = network.written_identity
        write(path, with_metadata(content, identity, author=self.author, license=self.license))

    def _converter(self, saved_model: str, network: Exportable) -> Any:
        converter = tf.lite.TFLiteConverter.from_saved_model(
            saved_model, signature_keys=["serving_default"]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if self.quantization != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if self.quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if self.quantization == "int8":
            given = [] if self.calibration is None else self.calibration
            images = _calibration_images(given, network.input_shape)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = lambda: ([image[None]] for image in images)
            converter.inference_input_type = ENDS[self.ends]
            converter.inference_output_type = ENDS[self.ends]
        return converter

    def own_checks(
        self, path: Path, got: dict[str, Any], network: Exportable, samples: Samples
    ) -> list[Check]:
        about = got["about"]
        heaviest = network.model.count_params() * self.precision.bytes_a_weight * 1.1 + GRAPH_BYTES
        foreign = [op for op in about["operations"] if op.startswith("Flex") or op == "CUSTOM"]
        height, width, channels = network.input_shape
        sides = [-1, -1] if self.free_size else [height, width]
        shape = [self.batch or -1, *sides, channels]
        return [
            checks.equal(
                "signature", [about["inputs"], about["outputs"]], [["image"], [self.outputs]]
            ),
            checks.equal("input", [about["input_dtype"], about["input_shape"]], [self.ends, shape]),
            checks.equal("operations that a phone lacks", foreign, []),
            checks.at_most("bytes", path.stat().st_size, heaviest),
        ]


def _reason(message: str) -> str:
    """What of the converter's message, which prints the whole graph, says why."""
    lacking = re.search(r"^(?:TF Select|Custom) ops: (.+)$", message, re.MULTILINE)
    if lacking:
        return f"TFLite lacks operations that the network computes with: {lacking[1]}"
    return (message.strip().splitlines() or ["no reason given"])[0][:500]


def _check_calibration(images: Sequence[np.ndarray], shape: tuple[int, int, int]) -> None:
    """Raises ValueError if images are too few to calibrate with, or not fitted, or not 0..255."""
    if len(images) < FEWEST_IMAGES:
        raise ValueError(
            f'`quantization="int8"` needs at least {FEWEST_IMAGES} images as `calibration`, to '
            f'measure activations on; "dynamic" needs none. Received: {len(images)} images'
        )
    for image in images:
        if image.shape != shape or not (0 <= image.min() and image.max() <= 255):
            raise ValueError(
                f"`calibration` images should be {shape} in 0..255, fitted by the contract and "
                f"not scaled. Received: shape {image.shape}, values in [{image.min():g}, "
                f"{image.max():g}]"
            )


def _calibration_images(
    images: Sequence[np.ndarray], shape: tuple[int, int, int]
) -> list[np.ndarray]:
    """Images to measure the activations on, float32; they reach from 0 to 255 exactly.

    The input's integers are then the pixels' values themselves, which runtimes that give uint8
    images as they are take for granted.

    Raises:
        ValueError: they are too few, or no fitted images in 0..255.
    """
    _check_calibration(images, shape)
    first, *others = [np.asarray(image, np.float32) for image in images]
    first = first.copy()
    first[0, 0], first[-1, -1] = 0.0, 255.0
    return [first, *others]
