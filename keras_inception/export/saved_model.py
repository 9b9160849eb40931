"""SavedModel for servers: TF Serving, or `tf.saved_model.load` without Keras."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from keras_inception.preprocessing import Preprocessing

TOP_K = 5


def export_saved_model(
    model: keras.Model, path: str | Path, preprocessing: Preprocessing, labels: list[str]
) -> Path:
    """Writes a SavedModel that takes images, not scaled arrays.

    Signatures:
        serving_default: image float32 (batch, height, width, channels) in 0..255, of the model's
            size -> probabilities float32 (batch, classes).
        image: image uint8 (batch, any height, any width, channels) -> probabilities; crops,
            resizes and scales by the contract.
        classify_bytes: image_bytes string (batch,), JPEG or PNG -> scores float32, classes string
            and indices int32, each (batch, min(5, classes)), best first.

    Args:
        model: Takes images scaled by `preprocessing`, returns probabilities.
        path: Folder to write; replaced if it exists.
        preprocessing: The contract.
        labels: Class names in the order of the outputs.

    Raises:
        ValueError: the labels do not fit the model.
    """
    path = Path(path)
    check_labels(model, labels)
    model = in_float32(model)
    channels = model.input_shape[-1]
    size = preprocessing.size

    def classify(images: tf.Tensor) -> tf.Tensor:
        return model(preprocessing.scale(images), training=False)

    def fit(pixels: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(preprocessing.fit(pixels), (*size, channels))

    def fit_bytes(encoded: tf.Tensor) -> tf.Tensor:
        pixels = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
        return fit(tf.ensure_shape(pixels, (None, None, channels)))

    def serving_default(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": classify(image)}

    def image(image: tf.Tensor) -> dict[str, tf.Tensor]:
        fitted = tf.map_fn(fit, image, fn_output_signature=tf.TensorSpec((*size, channels)))
        return {"probabilities": classify(fitted)}

    def classify_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        fitted = tf.map_fn(
            fit_bytes, image_bytes, fn_output_signature=tf.TensorSpec((*size, channels))
        )
        scores, indices = tf.math.top_k(classify(fitted), min(TOP_K, len(labels)))
        return {
            "scores": scores,
            "classes": tf.gather(tf.constant(labels), indices),
            "indices": indices,
        }

    # Endpoints only: ExportArchive.track would store every weight twice (keras#23553).
    archive = keras.export.ExportArchive()
    archive.add_endpoint(
        "serving_default",
        serving_default,
        [tf.TensorSpec((None, *size, channels), tf.float32, "image")],
    )
    archive.add_endpoint(
        "image", image, [tf.TensorSpec((None, None, None, channels), tf.uint8, "image")]
    )
    archive.add_endpoint(
        "classify_bytes", classify_bytes, [tf.TensorSpec((None,), tf.string, "image_bytes")]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".saved_model", dir=path.parent) as scratch:
        archive.write_out(str(Path(scratch) / "model"), verbose=False)
        shutil.rmtree(path, ignore_errors=True)
        (Path(scratch) / "model").rename(path)
    return path


def check_labels(model: keras.Model, labels: list[str]) -> None:
    """Raises ValueError unless there is one label for each output of a one-headed classifier."""
    if isinstance(model.output, dict | list):
        raise ValueError(
            "Only a model with one output is exported; keras_inception.to_inference removes "
            f"auxiliary heads. Received: outputs {list(model.output)}"
        )
    if model.output_shape[-1] != len(labels):
        raise ValueError(
            f"There should be one label for each of the model's {model.output_shape[-1]} outputs. "
            f"Received: {len(labels)} labels"
        )


def in_float32(model: keras.Model) -> keras.Model:
    """The model, rebuilt if it computes in 16 bits: TFLite has no kernels for its layers then."""
    policies = {layer.dtype_policy.compute_dtype for layer in model.layers}
    if policies == {"float32"}:
        return model
    config = model.get_config()
    for layer in config["layers"]:
        layer["config"]["dtype"] = "float32"
    rebuilt = type(model).from_config(config)
    rebuilt.set_weights(model.get_weights())
    return rebuilt
