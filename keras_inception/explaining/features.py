"""Images as the vectors that a network classifies: for search, and for distances of sets."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_inception.bar import Bar
from keras_inception.data.stream import stream
from keras_inception.explaining.inside import Inside
from keras_inception.preprocessing import Preprocessing
from keras_inception.runtime.predict import image_list, pixels

BATCH = 32
# How the three programs that compute Frechet Inception distances resize an image to 299 x 299 and
# scale it; their distances of the same images differ by whole points.
RESIZES = ("tf1", "clean", "pytorch")
SIDE = 299


def features(
    model: Any,
    images: Any,
    *,
    layer: str | None = None,
    batch_size: int = BATCH,
    verbose: int = 1,
) -> np.ndarray:
    """What a network's classifier sees of images: its pooled last map.

    Args:
        model: What `load_classifier` takes, as long as Keras runs it.
        images: What `predict` takes: a path, a folder, a pattern, arrays, or a list.
        layer: Another layer; a map is averaged over its places.
        batch_size: Images computed at once.
        verbose: 1 shows the progress, 2 in lines, 0 nothing.

    Returns:
        float32 (images, channels of the layer), cropped and scaled by the network's contract. An
        image that cannot be read is named in a warning, and its row is NaN.

    Raises:
        ValueError: there is no such layer, or no image can be read.
    """
    network = Inside.open(model)
    inside = keras.Model(network.model.inputs[0], _pooled(network, layer))
    scale = network.classifier.preprocessing.scale
    return through(inside, image_list(images), network.fitted, scale, batch_size, verbose)[0]


def fid_features(
    images: Any,
    *,
    resize: str = "tf1",
    model: keras.Model | None = None,
    batch_size: int = BATCH,
    verbose: int = 1,
) -> np.ndarray:
    """The features that the Frechet Inception distance is defined by.

    Args:
        images: What `predict` takes.
        resize: "tf1", the original: TensorFlow 1's bilinear without half-pixel centers, as TTUR
            and torch-fidelity have it; "clean": Pillow's bicubic with antialiasing, as clean-fid;
            "pytorch": bilinear with half-pixel centers, as pytorch-fid.
        model: `InceptionV3(weights="fid", classes=1008)`; None builds that (a download of 91 MiB,
            once).
        batch_size: Images computed at once.
        verbose: 1 shows the progress, 2 in lines, 0 nothing.

    Returns:
        float32 (images, 2048), of the images that can be read; the others are named in a warning
        and left out.

    Raises:
        ValueError: there is no such resize, no image can be read, or the model is another.
    """
    if resize not in RESIZES:
        raise ValueError(
            f"`resize` should be one of {', '.join(RESIZES)}. Received: resize={resize!r}"
        )
    if model is None:
        from keras_inception.models.inception_v3 import InceptionV3

        model = InceptionV3(weights="fid", classes=1008)
    _top(model)
    inside = keras.Model(model.input, model.get_layer("avg_pool").output)
    mean, std = (127.5, 127.5) if resize == "pytorch" else (128.0, 128.0)
    contract = Preprocessing(size=(SIDE, SIDE), mean=mean, std=std)

    def look(image: Any) -> np.ndarray:
        return resized(pixels(image), resize)

    listed = image_list(images)
    found, readable = through(inside, listed, look, contract.scale, batch_size, verbose)
    return found[readable]


def fid_logits(features: np.ndarray, model: keras.Model) -> np.ndarray:
    """What the Inception score is computed of: all 1008 logits, without their bias.

    Args:
        features: float32 (images, 2048), of `fid_features`.
        model: `InceptionV3(weights="fid", classes=1008)`.

    Returns:
        float32 (images, 1008).

    Raises:
        ValueError: the model is another.
    """
    return features @ keras.ops.convert_to_numpy(_top(model).kernel)


def _top(model: keras.Model) -> keras.layers.Dense:
    last = model.layers[-1]
    if not isinstance(last, keras.layers.Dense) or tuple(last.kernel.shape) != (2048, 1008):
        raise ValueError(
            'The distance is defined by `InceptionV3(weights="fid", classes=1008)`. '
            f"Received: {model.name} with the output {model.output_shape}"
        )
    return last


def resized(image: np.ndarray, resize: str, side: int = SIDE) -> np.ndarray:
    """An image as one of the three programs resizes it.

    Args:
        image: uint8 (height, width, 3).
        resize: One of `RESIZES`.
        side: Pixels of the result's sides.

    Returns:
        float32 (side, side, 3) in 0..255.
    """
    if resize == "clean":
        from PIL import Image

        planes = [
            Image.fromarray(np.float32(plane)).resize((side, side), Image.Resampling.BICUBIC)
            for plane in np.moveaxis(image, -1, 0)
        ]
        return np.clip(np.stack([np.asarray(plane) for plane in planes], -1), 0, 255)
    half = 0.5 if resize == "pytorch" else 0.0
    rows, columns = (_bilinear(length, side, half) for length in image.shape[:2])
    return np.float32(columns @ np.tensordot(rows, np.float32(image), axes=1))


def _bilinear(source: int, target: int, half: float) -> np.ndarray:
    """float32 (target, source): weights without antialiasing.

    Args:
        half: Where a pixel's center is: 0 (TensorFlow 1) or 0.5.
    """
    at = np.clip((np.arange(target) + half) * (source / target) - half, 0, source - 1)
    below = np.floor(at).astype(int)
    above = np.minimum(below + 1, source - 1)
    weights = np.zeros((target, source), np.float32)
    np.add.at(weights, (np.arange(target), below), 1 - (at - below))
    np.add.at(weights, (np.arange(target), above), at - below)
    return weights


def nearest(query: np.ndarray, others: np.ndarray, count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """The nearest neighbors in feature space, by the angle between features.

    Args:
        query: float (queries, channels), of `features`.
        others: float (images, channels), of the same network; rows of NaN are left out.
        count: How many neighbors, at most.

    Returns:
        int64 (queries, count), numbers of the images, nearest first; float32 (queries, count),
        their cosine similarity.

    Raises:
        ValueError: the features differ in their channels, or a query's are not finite.
    """
    query, others = np.atleast_2d(query), np.atleast_2d(others)
    if query.shape[1] != others.shape[1]:
        raise ValueError(
            "Both should be features of one network. "
            f"Received: {query.shape[1]} and {others.shape[1]} channels"
        )
    if not np.isfinite(query).all():
        raise ValueError("The query's features are not finite: its image could not be read.")
    known = np.flatnonzero(np.isfinite(others).all(1))
    similarity = _unit(query) @ _unit(others[known]).T
    best = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
    return known[best], np.take_along_axis(similarity, best, 1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)


def pooled_network(model: Any) -> tuple[keras.Model, Preprocessing]:
    """The network from scaled images to `features`, and the contract of its images.

    Args:
        model: What `features` takes.
    """
    network = Inside.open(model)
    inside = keras.Model(network.model.inputs[0], _pooled(network, None))
    return inside, network.classifier.preprocessing


def _pooled(network: Inside, layer: str | None) -> Any:
    """The symbolic features: the classifier's input, or a layer averaged over its places."""
    if layer is None:
        tensor = network.model.outputs[0]
        step, node, _ = tensor._keras_history
        while isinstance(step, keras.layers.Softmax | keras.layers.Activation):
            (tensor,) = step._inbound_nodes[node].input_tensors
            step, node, _ = tensor._keras_history
        if not isinstance(step, keras.layers.Dense):
            raise ValueError(
                f"{network.model.name} does not end in a Dense layer; name the features' `layer`."
            )
        (tensor,) = step._inbound_nodes[node].input_tensors
    else:
        tensor = network.output_of(layer)
    if len(tensor.shape) == 4:
        tensor = keras.layers.GlobalAveragePooling2D()(tensor)
    return tensor


def through(
    inside: keras.Model,
    listed: Sequence[Any],
    look: Callable[[Any], np.ndarray],
    scale: Callable[[np.ndarray], np.ndarray],
    batch_size: int,
    verbose: int,
) -> tuple[np.ndarray, np.ndarray]:
    """What a model makes of images, batch by batch.

    Args:
        inside: From scaled images to vectors.
        listed: The images, in any form.
        look: Makes float (height, width, channels) in 0..255 of each.
        scale: The contract's.
        batch_size: Images computed at once.
        verbose: 1 shows the progress, 0 nothing.

    Returns:
        float32 (images, channels), whose rows are NaN of images that cannot be read, which are
        named; and the numbers of the others.
    """
    found, pending, numbers, progress = [], [], [], Bar(verbose)
    for number, (image, seen) in enumerate(stream(listed, look), start=1):
        if not isinstance(seen, Exception):
            pending.append(seen)
            numbers.append(number - 1)
        else:
            name = image if isinstance(image, str | os.PathLike) else f"image {number - 1}"
            logging.warning("%s cannot be read and is left out: %s", name, seen)
        if pending and (len(pending) == batch_size or number == len(listed)):
            answers = inside.predict_on_batch(scale(np.stack(pending)))
            found.append(np.asarray(answers, np.float32))
            pending = []
            progress(number, len(listed))
    if not found:
        raise ValueError(f"None of the {len(listed)} images can be read.")
    rows = np.full((len(listed), found[0].shape[1]), np.nan, np.float32)
    rows[numbers] = np.concatenate(found)
    return rows, np.array(numbers)
