"""One way to ask a trained network: images in, probabilities out, whatever engine runs it."""

from __future__ import annotations

import functools
import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import buckets
from keras_inception.buckets import is_remote
from keras_inception.budget import LOADABLE
from keras_inception.contracts import KNOWN, Given
from keras_inception.identity import THRESHOLD, Identity
from keras_inception.preprocessing import Preprocessing
from keras_inception.runtime.engine import FILE_ENGINES, Engine, FileEngine, of_file, prepared

# Addresses of Hugging Face's repositories and their weights; Keras is not loaded to know one.
_HUB, _HUB_WEIGHTS = "hf://", "model.safetensors"
BATCH = 64  # images that an engine is given at once
_ROUNDING = 0.01  # of probabilities, by engines of few bits
TOP = 5  # best classes that are named of an image with one class


class Classifier:
    """A trained network with all that it takes to use it.

    `load_classifier` makes one of a run folder, a model or a file. Any number of threads may ask
    it at once. It can be pickled for other processes: that of an exported file opens the file anew
    there, that of a Keras model takes its weights along.

    Args:
        engine: What runs the network.
        identity: What the network is; its preprocessing and class names are used here.
        run: The folder of the run that trained the network, if there is one.
        source: The file, folder or name that it was made of, if it was made of one.

    Attributes:
        engine, identity, run, source: As given.

    Raises:
        ValueError: the identity has no contract, another size than the engine takes, or another
            number of class names or thresholds than the engine has outputs.
    """

    def __init__(
        self, engine: Engine, identity: Identity, run: Path | None = None, source: str = ""
    ) -> None:
        if identity.preprocessing is None:
            raise ValueError(
                "Nothing says how images are cropped, resized and scaled for this network. Give "
                f"its contract as `preprocessing`: {', '.join(KNOWN)}, a JSON file of its fields, "
                "or in Python a keras_inception.Preprocessing."
            )
        names = identity.class_names
        if names and len(names) != engine.classes:
            raise ValueError(
                f"There should be one class name for each of the network's {engine.classes} "
                f"outputs. Received: {len(names)} class names"
            )
        height, width = identity.preprocessing.size
        for have, want in zip(engine.input_shape, (height, width), strict=False):
            if have not in (None, want):
                raise ValueError(
                    f"The preprocessing's size should be the network's "
                    f"{engine.input_shape[0]} x {engine.input_shape[1]} pixels. "
                    f"Received: {height} x {width}"
                )
        # Refuses another number of means.
        identity.preprocessing.scale_and_offset(engine.input_shape[2])
        if identity.output == "sigmoid" and len(identity.thresholds) != engine.classes:
            if identity.thresholds:
                raise ValueError(
                    f"There should be one threshold for each of the network's {engine.classes} "
                    f"outputs. Received: {len(identity.thresholds)} thresholds"
                )
            logging.warning(
                "The network has a sigmoid for each of its %d classes, and nothing says from which "
                "probability a class is named: every one from %g. `thresholds` chooses others.",
                engine.classes,
                THRESHOLD,
            )
            identity = identity.replace(thresholds=(THRESHOLD,) * engine.classes)
        self.engine, self.identity, self.run, self.source = engine, identity, run, source

    @functools.cached_property
    def decoding(self) -> Any:
        """How image files become pixels, a `data.decode.Decoding`: as in the run, if there is one.

        It needs TensorFlow, which the other engines run without.

        Raises:
            ValueError: the run's config.json, or its record of the data, is damaged.
        """
        from keras_inception.data import decoding_of
        from keras_inception.data.decode import Decoding
        from keras_inception.runs import RunFolder

        return decoding_of(RunFolder(self.run)) if self.run else Decoding()

    @property
    def preprocessing(self) -> Preprocessing:
        """The contract of the network's input."""
        assert self.identity.preprocessing is not None
        return self.identity.preprocessing

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the outputs: "class 0" and so on where none are known."""
        known = self.identity.class_names
        return known or tuple(f"class {i}" for i in range(self.engine.classes))

    @property
    def thresholds(self) -> np.ndarray | None:
        """float32 (classes,): the probability from which each class is named.

        None of a network whose classes exclude each other: it names the best ones.
        """
        if self.identity.output == "softmax":
            return None
        return np.array(self.identity.thresholds, np.float32)

    def named(self, probabilities: np.ndarray, top: int | None = None) -> list[tuple[str, float]]:
        """The classes that the probabilities of one image name.

        Args:
            probabilities: float (classes,).
            top: How many at most: by default five, or of a network with thresholds all from theirs
                on, which may be none.

        Returns:
            (class name, probability) pairs, best first.
        """
        best = np.argsort(-probabilities, kind="stable")
        if self.thresholds is None:
            best = best[: TOP if top is None else top]
        else:
            best = best[np.float32(probabilities[best]) >= self.thresholds[best]][:top]
        return [(self.class_names[i], float(probabilities[i])) for i in best]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images that `predict` takes."""
        return (*self.preprocessing.size, self.engine.input_shape[2])

    def crop_and_resize(self, image: np.ndarray) -> np.ndarray:
        """Crops and resizes one image by the contract.

        Args:
            image: uint8 or float (any height, any width, channels) in 0..255.

        Returns:
            float32 of `input_shape`, still in 0..255.

        Raises:
            ValueError: the image has another rank or number of channels, or no pixels.
        """
        image = np.asarray(image)
        channels = self.input_shape[2]
        if image.ndim != 3 or image.shape[2] != channels or not image.size:
            raise ValueError(
                f"`image` should be (height, width, {channels}) with at least one pixel. "
                f"Received: shape {image.shape}"
            )
        return self.preprocessing.crop_and_resize(image)

    def predict(self, images: Any, batch_size: int = BATCH) -> np.ndarray:
        """The probabilities of images that were fitted to the network's size.

        Args:
            images: uint8 or float (batch, *input_shape), in 0..255 and not scaled; the batch may
                be empty.
            batch_size: How many images the engine is given at once.

        Returns:
            float32 (batch, classes).

        Raises:
            ValueError: the images have another rank, size or number of channels, or values that
                are not finite or outside 0..255, for which the engines themselves would crash or,
                worse, answer; or the answers are not finite, or the engine fails.
        """
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[1:] != self.input_shape:
            shape = ", ".join(map(str, self.input_shape))
            raise ValueError(
                f"`images` should be (batch, {shape}), which `crop_and_resize` makes of an image. "
                f"Received: shape {images.shape}"
            )
        if images.dtype != np.uint8 and images.dtype.kind not in "fiu":
            raise ValueError(f"`images` should hold numbers. Received: dtype {images.dtype}")
        if images.dtype != np.uint8 and images.size:
            low, high = float(images.min()), float(images.max())
            if not (0 <= low and high <= 255):  # NaN fails both
                raise ValueError(
                    "`images` should hold finite values in 0..255, not scaled: the network's "
                    f"contract does that. Received: values in [{low:g}, {high:g}]"
                )
            warn_of_floats(images)
        answers = [np.zeros((0, self.engine.classes), np.float32)]
        for first in range(0, len(images), batch_size):
            batch = self.preprocessing.scale(images[first : first + batch_size])
            answers.append(np.asarray(self.engine(batch), np.float32))
        found = np.concatenate(answers)
        if not np.isfinite(found).all():
            raise ValueError(
                f"{self!r} gives answers that are not finite numbers: its weights are damaged, or "
                "its layers overflow."
            )
        if found.size and not (found.min() >= -_ROUNDING and found.max() <= 1 + _ROUNDING):
            raise ValueError(
                f"{self!r} gives answers that are no probabilities: it ends in logits, which only "
                "a Keras model may. Write the file of a model that ends in a softmax or sigmoids. "
                f"Received: answers in [{found.min():g}, {found.max():g}]"
            )
        return found

    def classify(self, image: np.ndarray, top: int | None = None) -> list[tuple[str, float]]:
        """The classes of one image of any size.

        Args:
            image: uint8 or float (height, width, channels) in 0..255.
            top: How many at most; see `named`.

        Returns:
            (class name, probability) pairs, best first.
        """
        (probabilities,) = self.predict(self.crop_and_resize(image)[None])
        return self.named(probabilities, top)

    def __repr__(self) -> str:
        what = self.identity.variant or "a network"
        file = f" ({self.engine.path})" if isinstance(self.engine, FileEngine) else ""
        height, width, channels = self.input_shape
        return (
            f"<Classifier: {what} in {self.engine.name}{file}, {height} x {width} x {channels} -> "
            f"{self.engine.classes} classes>"
        )


def warn_of_floats(images: np.ndarray) -> None:
    """Warns of floats up to 1, which are taken for nearly black images."""
    if images.dtype.kind == "f" and images.size and 0 < images.max() <= 1:
        warnings.warn(
            "Images of floats should have values in 0..255. These have none above "
            f"{images.max():g} and count as nearly black: multiply images in 0..1 by 255.",
            stacklevel=3,
        )


def load_classifier(
    source: Any,
    *,
    preprocessing: Given | None = None,
    class_names: Sequence[str] | None = None,
    thresholds: float | Sequence[float] | None = None,
    threads: int | None = None,
) -> Classifier:
    """A classifier of whatever holds a trained network.

    Args:
        source: A run folder; a `.keras` or legacy `.h5` file of a whole model, ours or another
            tool's; a weights file in any known format; the name of published weights, such as
            "inception_v3.keras"; a repository of Hugging Face, hf://owner/name[@revision], or a
            folder that `publish` wrote; a built `keras.Model`; a SavedModel folder; a `.tflite` or
            `.onnx` file; an OpenVINO `.xml` file or its folder; a folder that `optimize` wrote; or
            a `Classifier`.
        preprocessing: The contract of the network's input, where `source` does not hold it, or to
            use another one, which a warning says: a `Preprocessing`; the name of a usual one,
            "inception" (-1..1), "torch", "caffe" (B, G, R minus ImageNet's means) or "raw"
            (0..255), which but "torch" bring the whole image to the network's size; or the path of
            a JSON file of a contract's fields.
        class_names: Names of the classes in the order of the outputs, likewise.
        thresholds: Of a network with a sigmoid for each class, the probability from which each
            class is named, or one for all. Given, the outputs of a file that does not say what they
            are count as sigmoids.
        threads: How many threads LiteRT, onnxruntime or OpenVINO compute with; None lets them
            choose.

    Returns:
        The classifier.

    Raises:
        ValueError: the source is none of these, holds no contract and `preprocessing` is not
            given, or scales images by itself, and otherwise.
    """
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    if isinstance(source, Classifier):
        engine, run, name = source.engine, source.run, source.source
        identity = prepared(source.identity, preprocessing, engine, name or repr(source))
    else:
        engine, identity = _open(source, threads, preprocessing)
        run = _run_of(source)
    if class_names is not None:
        identity = identity.replace(class_names=tuple(class_names))
    if thresholds is not None:
        identity = _with_thresholds(identity, thresholds, engine)
    try:
        return Classifier(engine, identity, run, name)
    except ValueError as error:
        if name:
            raise ValueError(f"{name}: {error}") from error
        raise


def _with_thresholds(
    identity: Identity, thresholds: float | Sequence[float], engine: Engine
) -> Identity:
    """The identity with thresholds of the caller's. Raises ValueError if they do not fit."""
    given = np.asarray(thresholds, np.float64)
    shares = np.broadcast_to(given, (engine.classes,)) if given.ndim == 0 else given
    if (
        getattr(engine, "output", "sigmoid") != "sigmoid"
        or identity.variant
        and (identity.output == "softmax")
    ):
        raise ValueError(
            "`thresholds` belong to a network with a sigmoid for each class; the classes of this "
            "one exclude each other. Leave them out."
        )
    if shares.shape != (engine.classes,) or not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(
            f"`thresholds` should be a number from 0 to 1, or one for each of the {engine.classes} "
            f"classes. Received: {given.shape} from {given.min():g} to {given.max():g}"
        )
    return identity.replace(output="sigmoid", thresholds=tuple(shares.tolist()))


def _open(source: Any, threads: int | None, given: Given | None) -> tuple[Engine, Identity]:
    """The engine of a source, and what the source says of its network, with the contract given."""
    if not isinstance(source, str | os.PathLike):
        from keras_inception.runtime import keras as keras_engine

        model, identity = keras_engine.of_model(source)
        return model, prepared(identity, given, model, f"The model {source.name!r}")
    if os.fspath(source).startswith(_HUB) or _is_published(source):
        from keras_inception.runtime import keras as keras_engine

        return keras_engine.of_weights(source, given)
    path = Path(buckets.local(source))
    if is_remote(source) and not path.exists():
        raise ValueError(f"{source} is neither a run folder nor a model's file or folder.")
    found: tuple[Engine, Identity] | None = None
    if path.is_dir():
        found = _of_folder(path, threads)
    elif path.suffix in FILE_ENGINES and path.is_file():
        found = of_file(path, threads)
    elif path.suffix == ".keras" and path.is_file():
        from keras_inception.runtime import keras as keras_engine

        found = keras_engine.of_file(path)
    if found is None:  # weights, which may be changed for the contract
        from keras_inception.runtime import keras as keras_engine

        is_h5 = path.suffix in (".h5", ".hdf5") and path.is_file()
        read = keras_engine.of_h5 if is_h5 else keras_engine.of_weights
        return read(path, given)
    engine, identity = found
    return engine, prepared(identity, given, engine, os.fspath(source))


def _of_folder(path: Path, threads: int | None) -> tuple[Engine, Identity] | None:
    """The engine of a folder, and what it says of its network; None of one with weights."""
    if (path / "saved_model.pb").exists():
        from keras_inception.runtime.saved_model import SavedModelEngine

        try:
            engine = SavedModelEngine(path)
        except ValueError as error:
            if "'serving_default'" not in str(error):
                raise
            return None  # of TF-Hub: it cannot be asked, and its variables may be known weights
        return engine, engine.identity
    if (path / "optimize.json").exists():
        from keras_inception.runtime import optimized

        return optimized.read(path, threads)
    if (path / "model.xml").exists():
        return of_file(path / "model.xml", threads)
    if (path / _HUB_WEIGHTS).exists():
        return None
    if not (path / "config.json").exists():
        raise ValueError(
            f"{path} is neither a run folder, which has a config.json, nor a SavedModel, which has "
            f"a saved_model.pb, nor a folder of `optimize`, which has an optimize.json. {LOADABLE}"
        )
    from keras_inception.runtime import keras as keras_engine

    return keras_engine.of_run(path)


def _is_published(source: Any) -> bool:
    """Whether a source is the name of published weights; Keras is not loaded to know a file."""
    files = ("", ".tflite", ".onnx", ".xml")
    if not isinstance(source, str) or os.sep in source or Path(source).suffix in files:
        return False
    from keras_inception.catalog import is_published

    return is_published(source)


def _run_of(source: Any) -> Path | None:
    """The run folder that a source is, or lies in."""
    if not isinstance(source, str | os.PathLike) or _is_published(source):
        return None
    path = Path(buckets.local(source))
    folder = path if path.is_dir() else path.parent
    is_run = (folder / "config.json").exists() and (folder / "labels.txt").exists()
    return folder if is_run and not (folder / _HUB_WEIGHTS).exists() else None
