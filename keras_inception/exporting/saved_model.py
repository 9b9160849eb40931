"""SavedModel for servers: TF Serving, or `tf.saved_model.load` without Keras."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_inception.data.decode import MAX_REQUEST_PIXELS, Decoding
from keras_inception.exporting.networks import Network, network_of, write_archive
from keras_inception.preprocessing import Preprocessing
from keras_inception.runtime.saved_model import IDENTITY

TOP_K = 5
SIGNATURES = ("classify_bytes", "classify_bytes_marked", "features", "image", "serving_default")


def export_saved_model(
    model: Any,
    path: str | Path,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
    *,
    decoding: Decoding | None = None,
    max_pixels: int = MAX_REQUEST_PIXELS,
) -> Path:
    """Writes a SavedModel that takes images, not scaled arrays.

    Signatures; each refuses a request of another rank, size or number of channels with an error,
    and answers an empty batch with an empty batch:
        serving_default: image float32 (batch, height, width, channels) in 0..255, of the model's
            size -> probabilities float32 (batch, classes).
        features: the same image -> features float32 (batch, features), what the classifier's last
            layer takes; left out where that is no Dense layer.
        image: image uint8 (batch, any height, any width, channels) -> probabilities; crops,
            resizes and scales by the contract.
        classify_bytes: image_bytes string (batch,), what `data.decode.Decoding.decode_request`
            takes, such as JPEG and PNG -> scores float32, classes string (UTF-8) and indices
            int32, each (batch, min(5, classes)), best first. An image that cannot be decoded or
            has too many pixels is an error that names its place in the batch.
        classify_bytes_marked: the same, and valid bool (batch,). The rows of images that cannot be
            decoded hold empty classes, indices of -1 and scores of 0.

    The folder also holds what the network is (assets.extra/identity.json), so that
    `keras_inception.load_classifier` needs nothing else.

    Args:
        model: A `keras.Model`, or what else `keras_inception.load_classifier` makes a Keras model
            of.
        path: Folder to write; replaced if it exists.
        preprocessing: The contract, by default the model's own.
        labels: Class names in the order of the outputs, by default the model's own.
        decoding: How files become pixels, by default `Decoding()`; a data set's is
            `source.decoding`.
        max_pixels: Larger images are refused by their headers, before they are decoded.

    Raises:
        ValueError: the model is no classifier, or contract or labels do not fit it.
        OSError: the folder cannot be written; an earlier one is as it was.
    """
    path = Path(path)
    network = network_of(model, preprocessing, labels)
    decoding = dataclasses.replace(decoding or Decoding(), max_pixels=max_pixels)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".saved_model", dir=path.parent) as scratch:
        written = Path(scratch) / "model"
        write_archive(_archive(network, decoding), written, path)
        (written / IDENTITY).parent.mkdir()
        said = json.dumps(network.written_identity.to_metadata(), ensure_ascii=False)
        (written / IDENTITY).write_text(said, encoding="utf-8")
        shutil.rmtree(path, ignore_errors=True)
        written.rename(path)
    return path


def _archive(network: Network, decoding: Decoding) -> keras.export.ExportArchive:
    """The signatures, not written yet."""
    contract, (height, width, channels) = network.preprocessing, network.input_shape
    classes = tf.constant(network.labels)
    top = min(TOP_K, len(network.labels))

    def checked(image: tf.Tensor) -> tf.Tensor:
        # An operation of the graph: callers are not held to the signature's shape by TensorFlow,
        # and a convolution of another rank ends the process.
        return tf.ensure_shape(image, (None, height, width, channels))

    def answered(compute: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tf.Tensor:
        """An empty batch is computed as one black image: oneDNN's convolutions of none fail."""
        batch = tf.shape(images)[0]
        spare = tf.zeros([tf.cast(batch < 1, tf.int32), height, width, channels])
        return compute(tf.concat([images, spare], 0))[:batch]

    def serving_default(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": answered(network.probabilities, checked(image))}

    def features(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"features": answered(network.features, checked(image))}

    def fit(pixels: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(contract.crop_and_resize(pixels), (height, width, channels))

    def image(image: tf.Tensor) -> dict[str, tf.Tensor]:
        image = tf.ensure_shape(image, (None, None, None, channels))
        some = tf.logical_or(tf.equal(tf.shape(image)[0], 0), tf.size(image) > 0)
        check = tf.debugging.Assert(some, ["Images without pixels; their shape:", tf.shape(image)])
        with tf.control_dependencies([check]):
            fitted = tf.map_fn(
                fit, image, fn_output_signature=tf.TensorSpec((height, width, channels))
            )
        return {"probabilities": answered(network.probabilities, fitted)}

    def fitted_files(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(batch, height, width, channels) in 0..255, and which images could be decoded.

        A data set of the graph, since only that can go on after an error.
        """
        batch = tf.shape(encoded)[0]
        images = (
            tf.data.Dataset.from_tensor_slices((tf.range(batch), encoded))
            .map(
                lambda i, one: (i, fit(decoding.decode_request(one, channels)))
            )  # one at a time: memory
            .ignore_errors()
        )
        last = (batch, tf.zeros((height, width, channels)))  # there is always one element
        places, pixels = (
            images.concatenate(tf.data.Dataset.from_tensors(last))
            .batch(tf.cast(batch, tf.int64) + 1)
            .get_single_element()
        )
        rows = tf.scatter_nd(places[:, None], pixels, [batch + 1, height, width, channels])
        marks = tf.scatter_nd(places[:, None], tf.ones_like(places), [batch + 1])
        return rows[:-1], marks[:-1] > 0

    def best(fitted: tf.Tensor) -> dict[str, tf.Tensor]:
        scores, indices = tf.math.top_k(answered(network.probabilities, fitted), top)
        return {"scores": scores, "classes": tf.gather(classes, indices), "indices": indices}

    def classify_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        fitted, valid = fitted_files(tf.ensure_shape(image_bytes, (None,)))
        bad = tf.reshape(tf.where(~valid), [-1])
        message = "Images that cannot be decoded, by their places in the batch, from 0:"
        check = tf.debugging.Assert(tf.reduce_all(valid), [message, bad], summarize=16)
        with tf.control_dependencies([check]):
            return best(tf.identity(fitted))

    def classify_bytes_marked(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        fitted, valid = fitted_files(tf.ensure_shape(image_bytes, (None,)))
        answers, row = best(fitted), valid[:, None]
        return {
            "scores": tf.where(row, answers["scores"], 0.0),
            "classes": tf.where(row, answers["classes"], ""),
            "indices": tf.where(row, answers["indices"], -1),
            "valid": valid,
        }

    fitted = tf.TensorSpec((None, height, width, channels), tf.float32, "image")
    pixels = tf.TensorSpec((None, None, None, channels), tf.uint8, "image")
    encoded = tf.TensorSpec((None,), tf.string, "image_bytes")
    # Endpoints only: ExportArchive.track would store every weight twice (keras#23553).
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serving_default", serving_default, [fitted])
    if network.has_features:
        archive.add_endpoint("features", features, [fitted])
    archive.add_endpoint("image", image, [pixels])
    archive.add_endpoint("classify_bytes", classify_bytes, [encoded])
    archive.add_endpoint("classify_bytes_marked", classify_bytes_marked, [encoded])
    return archive
