"""SavedModel for servers: TF Serving, or `tf.saved_model.load` without Keras."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_inception import data
from keras_inception.data.decode import decode_request
from keras_inception.data.decoding import MAX_REQUEST_PIXELS, Decoding
from keras_inception.exporting import checks, fresh
from keras_inception.exporting.checks import Check
from keras_inception.exporting.exportable import Exportable, write_archive
from keras_inception.exporting.samples import Samples
from keras_inception.exporting.targets import Target
from keras_inception.runtime.saved_model import IDENTITY

TOP_K = 5
SIGNATURES = ("classify_bytes", "classify_bytes_marked", "features", "image", "serving_default")


@dataclasses.dataclass(frozen=True, eq=False)
class SavedModel(Target):
    """A SavedModel that takes images, not scaled arrays.

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
        max_pixels: Larger images are refused by their headers, before they are decoded.
        decoding: How files become pixels: by default as the data set of `export` says, or
            `Decoding()`.
    """

    _: dataclasses.KW_ONLY
    max_pixels: int = MAX_REQUEST_PIXELS
    decoding: Decoding | None = None

    format = "saved_model"
    holds = ("saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra")

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise ValueError(
                f"`max_pixels` should be at least 1. Received: max_pixels={self.max_pixels}"
            )

    def with_data(self, source: data.Source | None, network: Exportable, count: int) -> SavedModel:
        if source is None or self.decoding is not None:
            return self
        return dataclasses.replace(self, decoding=source.decoding)

    def make(self, network: Exportable, path: Path) -> None:
        decoding = dataclasses.replace(self.decoding or Decoding(), max_pixels=self.max_pixels)
        write_archive(_Signatures(network, decoding).archive(), path)
        (path / IDENTITY).parent.mkdir()
        said = json.dumps(network.written_identity.to_metadata(), ensure_ascii=False)
        (path / IDENTITY).write_text(said, encoding="utf-8")

    def own_checks(
        self, path: Path, got: dict[str, Any], network: Exportable, samples: Samples
    ) -> list[Check]:
        about, fitted = got["about"], network.preprocessing.crop_and_resize(samples.pixels)
        want = network.probabilities(tf.constant(fitted[None])).numpy()
        signatures = [s for s in SIGNATURES if s != "features" or network.has_features]
        best = network.class_names[int(want[0].argmax())]
        limits = self.precision
        valid, refused = got["marked_valid"].tolist(), len(got["refused"])
        return [
            checks.equal("signatures", about["signatures"], signatures),
            # A counter or two besides the weights; twice the weights would be keras#23553.
            checks.at_most("stored floats", about["floats"], network.model.count_params() + 100),
            *checks.agreement("image", got["raw"], want, limits.largest, limits.mean),
            checks.equal("classify_bytes: best class", str(got["best_classes"][0, 0]), best),
            checks.equal("classify_bytes_marked: valid", valid, [True, False]),
            checks.equal("answers to empty batches", int(got["empty"].sum()), 0),
            checks.equal("bad requests refused", refused, fresh.BAD_REQUESTS),
        ]


class _Signatures:
    """The functions that a SavedModel holds; public methods are its signatures, by their names."""

    def __init__(self, network: Exportable, decoding: Decoding) -> None:
        self._network, self._decoding = network, decoding
        self._shape = network.input_shape
        self._classes = tf.constant(network.class_names)

    def archive(self) -> keras.export.ExportArchive:
        """The signatures, not written yet."""
        height, width, channels = self._shape
        fitted = tf.TensorSpec((None, height, width, channels), tf.float32, "image")
        pixels = tf.TensorSpec((None, None, None, channels), tf.uint8, "image")
        encoded = tf.TensorSpec((None,), tf.string, "image_bytes")
        # Endpoints only: ExportArchive.track would store every weight twice (keras#23553).
        archive = keras.export.ExportArchive()
        archive.add_endpoint("serving_default", self.serving_default, [fitted])
        if self._network.has_features:
            archive.add_endpoint("features", self.features, [fitted])
        archive.add_endpoint("image", self.image, [pixels])
        archive.add_endpoint("classify_bytes", self.classify_bytes, [encoded])
        archive.add_endpoint("classify_bytes_marked", self.classify_bytes_marked, [encoded])
        return archive

    def serving_default(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": self._answered(self._network.probabilities, self._checked(image))}

    def features(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"features": self._answered(self._network.features, self._checked(image))}

    def image(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        image = tf.ensure_shape(image, (None, None, None, self._shape[2]))
        some = tf.logical_or(tf.equal(tf.shape(image)[0], 0), tf.size(image) > 0)
        check = tf.debugging.Assert(some, ["Images without pixels; their shape:", tf.shape(image)])
        with tf.control_dependencies([check]):
            fitted = tf.map_fn(self._fitted, image, fn_output_signature=tf.TensorSpec(self._shape))
        return {"probabilities": self._answered(self._network.probabilities, fitted)}

    def classify_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        fitted, valid = self._decoded(tf.ensure_shape(image_bytes, (None,)))
        bad = tf.reshape(tf.where(~valid), [-1])
        message = "Images that cannot be decoded, by their places in the batch, from 0:"
        check = tf.debugging.Assert(tf.reduce_all(valid), [message, bad], summarize=16)
        with tf.control_dependencies([check]):
            return self._best(tf.identity(fitted))

    def classify_bytes_marked(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        fitted, valid = self._decoded(tf.ensure_shape(image_bytes, (None,)))
        answers, row = self._best(fitted), valid[:, None]
        return {
            "scores": tf.where(row, answers["scores"], 0.0),
            "classes": tf.where(row, answers["classes"], ""),
            "indices": tf.where(row, answers["indices"], -1),
            "valid": valid,
        }

    def _checked(self, image: tf.Tensor) -> tf.Tensor:
        # An operation of the graph: callers are not held to the signature's shape by TensorFlow,
        # and a convolution of another rank ends the process.
        return tf.ensure_shape(image, (None, *self._shape))

    def _answered(self, compute: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tf.Tensor:
        """An empty batch is computed as one black image: oneDNN's convolutions of none fail."""
        batch = tf.shape(images)[0]
        spare = tf.zeros([tf.cast(batch < 1, tf.int32), *self._shape])
        return compute(tf.concat([images, spare], 0))[:batch]

    def _fitted(self, pixels: tf.Tensor) -> tf.Tensor:
        """(height, width, channels) in 0..255 of an image of any size."""
        return tf.ensure_shape(self._network.preprocessing.crop_and_resize(pixels), self._shape)

    def _decoded(self, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(batch, height, width, channels) in 0..255, and which images could be decoded.

        A data set of the graph, since only that can go on after an error.
        """

        def pixels(place: tf.Tensor, content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return place, self._fitted(decode_request(self._decoding, content, self._shape[2]))

        batch = tf.shape(encoded)[0]
        images = (
            tf.data.Dataset.from_tensor_slices((tf.range(batch), encoded))
            .map(pixels)  # one at a time: memory
            .ignore_errors()
        )
        last = (batch, tf.zeros(self._shape))  # there is always one element
        places, rows = (
            images.concatenate(tf.data.Dataset.from_tensors(last))
            .batch(tf.cast(batch, tf.int64) + 1)
            .get_single_element()
        )
        fitted = tf.scatter_nd(places[:, None], rows, [batch + 1, *self._shape])
        marks = tf.scatter_nd(places[:, None], tf.ones_like(places), [batch + 1])
        return fitted[:-1], marks[:-1] > 0

    def _best(self, fitted: tf.Tensor) -> dict[str, tf.Tensor]:
        top = min(TOP_K, len(self._network.class_names))
        scores, indices = tf.math.top_k(self._answered(self._network.probabilities, fitted), top)
        return {
            "scores": scores,
            "classes": tf.gather(self._classes, indices),
            "indices": indices,
        }
