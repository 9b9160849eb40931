"""LiteRT as the engine of .tflite files, as phones run them, without Keras or TensorFlow."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import archives, files
from keras_inception.budget import Budget, refusing
from keras_inception.identity import Identity
from keras_inception.runtime.engine import image_shape, loading, one_of_each, softmax

# Members of the zip archive that ends a .tflite file with metadata.
LABELS, IDENTITY = "labels.txt", "identity.json"


class LiteRTEngine:
    """Runs a .tflite file's signature.

    Args:
        path: The file.
        threads: How many threads to compute with; None lets the runtime choose.

    Attributes:
        interpreter: The runtime's own object.
        runner: Its signature, called by names.

    Raises:
        ValueError: the file cannot be loaded, or has no signature of a classifier.
    """

    name = "LiteRT"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        with loading(path, "a .tflite file"):
            self.interpreter = interpreter(path, threads)
            self.runner = self.interpreter.get_signature_runner()
        (self._image, self._input), (self._answer, self._output) = one_of_each(
            path,
            list(self.runner.get_input_details().items()),
            list(self.runner.get_output_details().items()),
        )
        sides = [None if n == -1 else int(n) for n in self._input["shape_signature"]]
        self.input_shape = image_shape(path, sides)
        self._any_batch = sides[0] is None
        self.classes = int(self._output["shape"][-1])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        # A resize of a fixed input is not refused, and what it computes then is not the network.
        parts = [images] if self._any_batch else np.split(images, len(images))
        answers = [
            self.runner(**{self._image: _quantized(part, self._input)})[self._answer]
            for part in parts
        ]
        found = _dequantized(np.concatenate(answers), self._output)
        return softmax(found) if self._answer == "logits" else found


def interpreter(path: Path, threads: int | None = None) -> Any:
    """LiteRT's interpreter; TensorFlow's own, which announces its removal, where it is missing."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite import Interpreter
    return Interpreter(str(path), num_threads=threads)


def read(path: Path, threads: int | None = None) -> tuple[LiteRTEngine, Identity]:
    """The engine of a .tflite file, and the identity in its metadata."""
    said: dict[str, str] = {}
    names: tuple[str, ...] = ()
    with refusing(path, ".tflite"), files.opened(path) as file:
        if zipfile.is_zipfile(file):
            budget = Budget.of(path.stat().st_size)
            archive = archives.Zip(file, budget)
            if IDENTITY in archive.names:
                said = budget.json(archive.read(IDENTITY), f"its {IDENTITY}")
            if LABELS in archive.names:
                names = tuple(archive.read(LABELS).decode("utf-8").split("\n")[:-1])
        identity = Identity.from_metadata(said)
    return LiteRTEngine(path, threads), identity.replace(class_names=identity.class_names or names)


def _quantized(images: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Images as the input's integers, where it takes integers."""
    dtype = np.dtype(details["dtype"])
    scale, zero = details["quantization"]
    if dtype.kind == "f" or not scale:
        return images.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.round(images / scale + zero), limits.min, limits.max).astype(dtype)


def _dequantized(answers: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    scale, zero = details["quantization"]
    if answers.dtype.kind == "f" or not scale:
        return answers.astype(np.float32)
    return (answers.astype(np.float32) - zero) * np.float32(scale)
