"""onnxruntime as the engine of .onnx files."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keras_inception.runtime.engine import Ends, FileEngine


class OnnxEngine(FileEngine):
    """Runs a .onnx file on the CPU."""

    name, kind, extra = "onnxruntime", "a .onnx file", "onnx"

    def _open(self) -> Ends:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads or 0
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(str(self.path), options, providers=providers)
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        self._image = inputs[0].name if inputs else ""
        return [image.shape for image in inputs], [answer.shape for answer in outputs]

    def _said(self) -> Mapping[str, str]:
        return self.session.get_modelmeta().custom_metadata_map

    def _answers(self, request: None, images: np.ndarray) -> np.ndarray:
        (answers,) = self.session.run(None, {self._image: images})
        return answers
