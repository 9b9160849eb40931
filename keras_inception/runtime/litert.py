"""LiteRT as the engine of .tflite files, as phones run them, without Keras or TensorFlow."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_inception import archives, files
from keras_inception.budget import LARGEST_FILE, Budget
from keras_inception.runtime.engine import Ends, FileEngine, probabilities

# Members of the zip archive that ends a .tflite file with metadata.
LABELS, IDENTITY = "labels.txt", "identity.json"


class LiteRTEngine(FileEngine):
    """Runs a .tflite file's signature, in an interpreter for each thread that asks at once.

    Attributes:
        interpreter: The runtime's own object; the others are like it.
        runner: Its signature, called by names.
    """

    name, kind, extra = "LiteRT", "a .tflite file", "litert"

    def _open(self) -> Ends:
        # Kept, since what is at the path later may be another network.
        self._content = files.read(self.path, LARGEST_FILE)
        self._metadata = _metadata(self._content)
        self.interpreter = interpreter(self._content, self.threads)
        self.runner = self.interpreter.get_signature_runner()
        self._idle.append(self.runner)
        inputs, outputs = self.runner.get_input_details(), self.runner.get_output_details()
        self._ends = [*inputs.items(), *outputs.items()]
        image, answer = ([one["shape_signature"] for one in e.values()] for e in (inputs, outputs))
        return image, answer

    def _said(self) -> Mapping[str, str]:
        return self._metadata

    def _new_request(self) -> Any:
        return interpreter(self._content, self.threads).get_signature_runner()

    def _answers(self, request: Any, images: np.ndarray) -> np.ndarray:
        (image, taken), (answer, given) = self._ends
        found = _dequantized(request(**{image: _quantized(images, taken)})[answer], given)
        return probabilities(found, self.identity.output) if answer == "logits" else found


def interpreter(content: bytes, threads: int | None = None) -> Any:
    """LiteRT's interpreter; TensorFlow's own, which announces its removal, where it is missing.

    Args:
        content: Of a .tflite file.
        threads: How many threads to compute with; None lets the runtime choose.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite import Interpreter
    return Interpreter(model_content=content, num_threads=threads)


def _metadata(content: bytes) -> dict[str, str]:
    """What the archive at a file's end says of the network."""
    if not zipfile.is_zipfile(file := io.BytesIO(content)):
        return {}
    budget = Budget.of(len(content))
    archive, said = archives.Zip(file, budget), {}
    if IDENTITY in archive.names:
        said = budget.json(archive.read(IDENTITY), f"its {IDENTITY}")
    if LABELS in archive.names and said.get("class_names", "[]") == "[]":
        names = archive.read(LABELS).decode("utf-8").split("\n")[:-1]
        said["class_names"] = json.dumps(names)
    return said


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
