"""onnxruntime as the engine of .onnx files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from keras_inception import files
from keras_inception.budget import LARGEST_FILE, Budget
from keras_inception.protobuf import Message
from keras_inception.runtime.engine import Ends, FileEngine, check_finite

# Field numbers of onnx.proto: the graph, its arrays, and an array's type, name and values.
_GRAPH, _INITIALIZERS, _TYPE, _FLOATS, _NAME, _RAW = 7, 5, 2, 4, 8, 9
_DTYPES = {1: "<f4", 10: "<f2", 11: "<f8"}


class OnnxEngine(FileEngine):
    """Runs a .onnx file on the CPU. Its weights have to be finite."""

    name, kind, extra = "onnxruntime", "a .onnx file", "onnx"

    def _open(self) -> Ends:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads or 0
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(str(self.path), options, providers=providers)
        check_finite(weights(self.path))
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        self._image = inputs[0].name if inputs else ""
        return [image.shape for image in inputs], [answer.shape for answer in outputs]

    def _said(self) -> Mapping[str, str]:
        return self.session.get_modelmeta().custom_metadata_map

    def _answers(self, request: None, images: np.ndarray) -> np.ndarray:
        (answers,) = self.session.run(None, {self._image: images})
        return answers


def weights(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values of a file's weights; of single numbers, infinity may be a limit."""
    data = files.read(path, LARGEST_FILE)
    graph = Message(memoryview(data), Budget.of(len(data))).message(_GRAPH)
    for tensor in graph.messages(_INITIALIZERS):
        dtype = np.dtype(_DTYPES.get(tensor.number(_TYPE), "V1"))
        raw = b"".join(tensor.all(_RAW) or tensor.all(_FLOATS))
        if dtype.kind == "f" and len(raw) > dtype.itemsize:
            yield tensor.text(_NAME), np.frombuffer(raw, dtype)
