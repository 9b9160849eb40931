"""LiteRT as the engine of .tflite files, as phones run them, without Keras or TensorFlow."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.identity import Identity

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
        try:
            self.interpreter = interpreter(path, threads)
            self.runner = self.interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise ValueError(f"{path} cannot be loaded as a .tflite file: {reason}") from error
        inputs, outputs = self.runner.get_input_details(), self.runner.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                f"{path}: a classifier's signature has one input and one output. "
                f"Received: {sorted(inputs)} -> {sorted(outputs)}"
            )
        ((self._image, self._input),) = inputs.items()
        ((self._answer, self._output),) = outputs.items()
        batch, height, width, channels = map(int, self._input["shape_signature"])
        free = {-1: None}
        self.input_shape = (free.get(height, height), free.get(width, width), channels)
        self.classes = int(self._output["shape"][-1])
        self._any_batch = batch == -1

    def __call__(self, images: np.ndarray) -> np.ndarray:
        # A resize of a fixed input is not refused, and what it computes then is not the network.
        parts = [images] if self._any_batch else np.split(images, len(images))
        answers = [
            self.runner(**{self._image: _quantized(part, self._input)})[self._answer]
            for part in parts
        ]
        probabilities = _dequantized(np.concatenate(answers), self._output)
        if self._answer != "logits":
            return probabilities
        powers = np.exp(probabilities - probabilities.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)


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
    labels: tuple[str, ...] = ()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if IDENTITY in members:
                said = json.loads(archive.read(IDENTITY))
            if LABELS in members:
                labels = tuple(archive.read(LABELS).decode("utf-8").split("\n")[:-1])
    identity = Identity.from_metadata(said)
    return LiteRTEngine(path, threads), identity.replace(class_names=identity.class_names or labels)


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
