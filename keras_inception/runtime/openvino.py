"""OpenVINO as the engine of .xml files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from keras_inception import files
from keras_inception.runtime.engine import Ends, FileEngine, check_finite

# Where a file's run-time information holds what the network is, as JSON.
IDENTITY = ["keras_inception", "identity"]
_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVINOEngine(FileEngine):
    """Runs an OpenVINO model on the CPU: a .xml file, beside which the .bin file lies.

    Its weights have to be finite.
    """

    name, kind, extra = "OpenVINO", "an OpenVINO model", "openvino"

    def _open(self) -> Ends:
        import openvino

        files.regular(self.path.with_suffix(".bin"))
        # The runtime's own default may be either.
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _HINTS[self.precision]}
        if self.threads:
            settings["INFERENCE_NUM_THREADS"] = self.threads
        core = openvino.Core()
        self.model = core.read_model(str(self.path))
        self.compiled = core.compile_model(self.model, "CPU", settings)
        check_finite(_weights(self.model))
        inputs, outputs = (
            [[n.get_length() if n.is_static else None for n in one.partial_shape] for one in ends]
            for ends in (self.model.inputs, self.model.outputs)
        )
        return inputs, outputs

    def _said(self) -> Mapping[str, str]:
        if not self.model.has_rt_info(IDENTITY):
            return {}
        return json.loads(self.model.get_rt_info(IDENTITY).value)

    def _new_request(self) -> Any:
        return self.compiled.create_infer_request()

    def _answers(self, request: Any, images: np.ndarray) -> np.ndarray:
        return np.array(request.infer([images])[0])


def _weights(model: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values of the constants; of single numbers, infinity may be a limit."""
    for operation in model.get_ops():
        if operation.get_type_name() != "Constant" or operation.get_output_size() != 1:
            continue
        if operation.get_element_type().is_real() and math.prod(operation.shape) > 1:
            yield operation.get_friendly_name(), operation.get_data(dtype=np.float32)
