"""TFLite files for phones."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import ConverterError

from keras_inception.exporting.metadata import with_metadata
from keras_inception.exporting.networks import Function, network_of, write_archive
from keras_inception.files import write
from keras_inception.preprocessing import Preprocessing

QUANTIZATIONS = ("float32", "float16", "dynamic", "int8")
ENDS = {"float32": tf.float32, "uint8": tf.uint8, "int8": tf.int8}
OUTPUTS = ("probabilities", "logits")
FEWEST_IMAGES = 8  # to calibrate with


def export_tflite(
    model: Any,
    path: str | Path,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
    quantization: str = "float32",
    representative: Iterable[np.ndarray] | None = None,
    *,
    ends: str = "float32",
    outputs: str = "probabilities",
    batch: int | None = 1,
    free_size: bool = False,
    author: str = "",
    license: str = "",
) -> Path:
    """Writes a .tflite file whose one signature takes an image in 0..255.

    serving_default: image (batch, height, width, channels) in 0..255 -> probabilities or logits
    (batch, classes). The scaling is in the graph; operations are TFLite's own. The file holds
    normalization, labels and descriptions as TFLite metadata, so that MediaPipe Tasks load it as
    it is, and what the network is, so that `keras_inception.load_classifier` does.

    Args:
        model: A `keras.Model`, or what else `keras_inception.load_classifier` makes a Keras model
            of.
        path: File to write.
        preprocessing: The contract, by default the model's own.
        labels: Class names in the order of the outputs, by default the model's own.
        quantization: "float32"; "float16" (weights; half the size, for GPUs); "dynamic" (int8
            weights, activations quantised as they come: a quarter of the size, needs no data); or
            "int8" (weights and activations).
        representative: For "int8": at least 8 images, float32 (height, width, channels) in
            0..255, from the training part and fitted by the contract.
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
        ValueError: an argument is out of range, or the model is no classifier.
    """
    check_form(quantization, ends, outputs)
    if batch is not None and batch < 1:
        raise ValueError(f"`batch` should be at least 1, or None. Received: batch={batch}")
    network = network_of(model, preprocessing, labels)
    height, width, channels = network.input_shape
    if free_size:
        if None not in network.model.inputs[0].shape[1:3]:
            raise ValueError(
                "`free_size=True` needs a model of free size: build it with "
                f"`input_shape=(None, None, {channels})`. Received: one of {height} x {width}"
            )
        if quantization == "int8":
            raise ValueError(
                '`free_size=True` and `quantization="int8"` do not go together: activations are '
                "measured at one size."
            )
    images = [] if representative is None else [np.asarray(p, np.float32) for p in representative]
    if quantization == "int8":
        images = calibration_images(images, network.input_shape)

    def serving_default(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {outputs: getattr(network, outputs)(image)}

    sides = (None, None) if free_size else (height, width)
    image = tf.TensorSpec((batch, *sides, channels), tf.float32, "image")
    content = converted(serving_default, image, Path(path), quantization, images, ends)
    identity = network.written_identity
    content = with_metadata(content, identity, author=author, license=license)
    write(Path(path), content)
    return Path(path)


def converted(
    function: Function,
    image: tf.TensorSpec,
    what: Path,
    quantization: str = "float32",
    images: Sequence[np.ndarray] = (),
    ends: str = "float32",
) -> bytes:
    """A .tflite file, without metadata, of a function.

    Args:
        function: From an image to named tensors.
        image: The image.
        what: The file that is made, for messages.
        quantization, ends: As of `export_tflite`.
        images: What "int8" measures the activations on.

    Raises:
        ValueError: the function does what TFLite's own operations cannot.
        OSError: the temporary folder is full.
    """
    with tempfile.TemporaryDirectory() as scratch:
        # Through a SavedModel: it keeps the names of the signature; concrete functions lose them.
        archive = keras.export.ExportArchive()
        archive.add_endpoint("serving_default", function, [image])
        write_archive(archive, Path(scratch), what)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            scratch, signature_keys=["serving_default"]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if quantization != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantization == "int8":
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = lambda: ([p[None]] for p in images)
            converter.inference_input_type = ENDS[ends]
            converter.inference_output_type = ENDS[ends]
        try:
            return bytes(converter.convert())
        except ConverterError as error:
            raise ValueError(f"{what.name} cannot be made: {_reason(str(error))}") from None


def check_form(quantization: str, ends: str, outputs: str) -> None:
    """Raises ValueError if these arguments of `export_tflite` are unknown or do not go together."""
    for name, value, known in (
        ("quantization", quantization, QUANTIZATIONS),
        ("ends", ends, tuple(ENDS)),
        ("outputs", outputs, OUTPUTS),
    ):
        if value not in known:
            raise ValueError(
                f"`{name}` should be one of {', '.join(known)}. Received: {name}={value!r}"
            )
    if ends != "float32" and quantization != "int8":
        raise ValueError(
            f'`ends="{ends}"` needs `quantization="int8"`; the other files compute in float32. '
            f"Received: quantization={quantization!r}"
        )


def _reason(message: str) -> str:
    """What of the converter's message, which prints the whole graph, says why."""
    lacking = re.search(r"^(?:TF Select|Custom) ops: (.+)$", message, re.MULTILINE)
    if lacking:
        return f"TFLite lacks operations that the network computes with: {lacking[1]}"
    return (message.strip().splitlines() or ["no reason given"])[0][:500]


def calibration_images(images: list[np.ndarray], shape: tuple[int, int, int]) -> list[np.ndarray]:
    """Images to measure the activations on; they reach from 0 to 255 exactly.

    The input's integers are then the pixels' values themselves, which runtimes that give uint8
    images as they are take for granted.

    Raises:
        ValueError: they are too few, or no fitted images in 0..255.
    """
    if len(images) < FEWEST_IMAGES:
        raise ValueError(
            f'"int8" needs at least {FEWEST_IMAGES} `representative` images to measure activations '
            f'on; "dynamic" needs none. Received: {len(images)} images'
        )
    for image in images:
        if image.shape != shape or not (0 <= image.min() and image.max() <= 255):
            raise ValueError(
                f"`representative` images should be {shape} in 0..255, fitted by the contract and "
                f"not scaled. Received: shape {image.shape}, values in [{image.min():g}, "
                f"{image.max():g}]"
            )
    first = images[0].copy()
    first[0, 0], first[-1, -1] = 0.0, 255.0
    return [first, *images[1:]]
