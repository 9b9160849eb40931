"""onnxruntime as the engine of .onnx files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import files
from keras_inception.budget import LARGEST_FILE, Budget, refusing
from keras_inception.identity import Identity
from keras_inception.runtime.engine import check_finite, image_shape, loading, one_of_each
from keras_inception.weights.readers.protobuf import Message

# Field numbers of onnx.proto: the graph, its arrays, and an array's type, name and values.
_GRAPH, _INITIALIZERS, _TYPE, _FLOATS, _NAME, _RAW = 7, 5, 2, 4, 8, 9
_DTYPES = {1: "<f4", 10: "<f2", 11: "<f8"}


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


def weights(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values of a file's weights; of single numbers, infinity may be a limit."""
    data = files.read(path, LARGEST_FILE)
    graph = Message(memoryview(data), Budget.of(len(data))).message(_GRAPH)
    for tensor in graph.messages(_INITIALIZERS):
        dtype = np.dtype(_DTYPES.get(tensor.number(_TYPE), "V1"))
        raw = b"".join(tensor.all(_RAW) or tensor.all(_FLOATS))
        if dtype.kind == "f" and len(raw) > dtype.itemsize:
            yield tensor.text(_NAME), np.frombuffer(raw, dtype)


class OnnxEngine:
    """Runs a .onnx file.

    Args:
        path: The file.
        threads: How many threads to compute with; None lets the runtime choose.

    Raises:
        ValueError: onnxruntime is missing, or the file cannot be opened, is no classifier or has
            weights that are not finite.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.session = session(path, threads)
        with refusing(path, ".onnx"):
            check_finite(str(path), weights(path))
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
