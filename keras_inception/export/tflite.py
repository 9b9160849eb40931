"""TFLite files for phones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_inception.export.saved_model import check_labels, in_float32
from keras_inception.files import write
from keras_inception.preprocessing import Preprocessing

QUANTIZATIONS = ("none", "dynamic", "float16", "int8")


def export_tflite(
    model: keras.Model,
    path: str | Path,
    preprocessing: Preprocessing,
    labels: list[str],
    quantization: str = "none",
    representative: Iterable[np.ndarray] | None = None,
) -> Path:
    """Writes a .tflite file whose one signature takes an image in 0..255.

    serving_default: image float32 (1, height, width, channels) in 0..255 -> probabilities float32
    (1, classes). The scaling is in the graph; operations are TFLite's own.

    Args:
        model: Takes images scaled by `preprocessing`, returns probabilities.
        path: File to write.
        preprocessing: The contract.
        labels: Class names in the order of the outputs.
        quantization: "none" (float32), "dynamic" (int8 weights, activations quantised as they
            come: four times smaller, needs no data), "float16" (half the size, for GPUs) or "int8"
            (weights and activations; softmax then has steps of 1/256).
        representative: For "int8": at least 8 images, float32 (height, width, channels) in
            0..255, from the training part.

    Raises:
        ValueError: an argument is out of range.
    """
    if quantization not in QUANTIZATIONS:
        raise ValueError(
            f"`quantization` should be one of {', '.join(QUANTIZATIONS)}. "
            f"Received: quantization={quantization!r}"
        )
    images = [] if representative is None else [np.asarray(p, np.float32) for p in representative]
    if quantization == "int8" and len(images) < 8:
        raise ValueError(
            "int8 needs at least 8 `representative` images to measure activations on; "
            f'"dynamic" needs none. Received: {len(images)} images'
        )
    check_labels(model, labels)
    model = in_float32(model)
    shape = (1, *preprocessing.size, model.input_shape[-1])

    def serving_default(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": model(preprocessing.scale(image), training=False)}

    with tempfile.TemporaryDirectory() as scratch:
        # Through a SavedModel: it keeps the names of the signature; concrete functions lose them.
        archive = keras.export.ExportArchive()
        archive.add_endpoint(
            "serving_default", serving_default, [tf.TensorSpec(shape, tf.float32, "image")]
        )
        archive.write_out(scratch, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            scratch, signature_keys=["serving_default"]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if quantization != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantization == "int8":
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = lambda: ([p[None]] for p in images)
        content = converter.convert()
    write(Path(path), content)
    return Path(path)
