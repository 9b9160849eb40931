"""OpenVINO as the engine of .xml files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from keras_inception.identity import Identity

# Where a file's run-time information holds what the network is, as JSON.
IDENTITY = ["keras_inception", "identity"]


class OpenVINOEngine:
    """Runs an OpenVINO model on the CPU, in float32: its own default may be bfloat16.

    Args:
        path: The .xml file; the .bin file lies beside it.
        threads: How many threads to compute with; None lets the runtime choose.

    Raises:
        ValueError: OpenVINO is missing, or the file cannot be loaded or is no classifier.
    """

    name = "OpenVINO"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ValueError(
                f"{path} needs the package openvino: pip install 'keras-inception[openvino]'"
            ) from error
        settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            core = openvino.Core()
            self.model = core.read_model(str(path))
            self._compiled = core.compile_model(self.model, "CPU", settings)
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
            raise ValueError(f"{path} cannot be loaded as an OpenVINO model: {reason}") from error
        if len(self.model.inputs) != 1 or len(self.model.outputs) != 1:
            raise ValueError(f"{path}: a classifier has one input, an image, and one output.")
        shape, answer = self.model.inputs[0].partial_shape, self.model.outputs[0].partial_shape
        height, width, channels = (shape[i].get_length() for i in (1, 2, 3))
        self.input_shape = (height, width, channels)
        self.classes = int(answer[1].get_length())

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self._compiled(images)[0])


def read(path: Path, threads: int | None = None) -> tuple[OpenVINOEngine, Identity]:
    """The engine of an OpenVINO model, and the identity in its run-time information."""
    engine = OpenVINOEngine(path, threads)
    said = {}
    if engine.model.has_rt_info(IDENTITY):
        said = json.loads(engine.model.get_rt_info(IDENTITY).value)
    return engine, Identity.from_metadata(said)
