"""onnxruntime as the engine of .onnx files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.identity import Identity
from keras_inception.runtime.engine import image_shape, loading, one_of_each


def session(path: Path, threads: int | None = None) -> Any:
    """onnxruntime's object of a file, on the CPU.

    Raises:
        ValueError: onnxruntime is missing, or cannot open the file.
    """
    with loading(path, "a .onnx file", "onnx"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class OnnxEngine:
    """Runs a .onnx file.

    Args:
        path: The file.
        threads: How many threads to compute with; None lets the runtime choose.

    Raises:
        ValueError: onnxruntime is missing, or the file cannot be opened or is no classifier.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.session = session(path, threads)
        image, answer = one_of_each(path, self.session.get_inputs(), self.session.get_outputs())
        self._image = image.name
        self.input_shape = image_shape(path, image.shape)
        self.classes = int(answer.shape[-1])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        (answers,) = self.session.run(None, {self._image: images})
        return answers


def read(path: Path, threads: int | None = None) -> tuple[OnnxEngine, Identity]:
    """The engine of a .onnx file, and the identity in its metadata."""
    engine = OnnxEngine(path, threads)
    return engine, Identity.from_metadata(engine.session.get_modelmeta().custom_metadata_map)
