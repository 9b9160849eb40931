"""OpenVINO as the engine of .xml files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import files
from keras_inception.identity import Identity
from keras_inception.runtime.engine import check_finite, image_shape, loading, one_of_each

# Where a file's run-time information holds what the network is, as JSON.
IDENTITY = ["keras_inception", "identity"]


def compiled(path: Path, threads: int | None = None, precision: str = "float32") -> tuple[Any, Any]:
    """OpenVINO's model of a file, and the same compiled for the CPU.

    Args:
        path: The .xml file.
        threads: How many threads to compute with; None lets the runtime choose.
        precision: "float32" or "bfloat16"; the runtime's own default may be either.

    Raises:
        ValueError: OpenVINO is missing, or cannot open the file.
    """
    files.regular(path.with_suffix(".bin"))
    with loading(path, "an OpenVINO model", "openvino", line=-1):
        import openvino

        hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
        settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": hint}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        model = core.read_model(str(path))
        return model, core.compile_model(model, "CPU", settings)


class OpenVINOEngine:
    """Runs an OpenVINO model.

    Args:
        path: The .xml file; the .bin file lies beside it.
        threads: How many threads to compute with; None lets the runtime choose.
        precision: "float32" or "bfloat16".

    Raises:
        ValueError: OpenVINO is missing, or the file cannot be opened, is no classifier or has
            weights that are not finite.
    """

    name = "OpenVINO"

    def __init__(self, path: Path, threads: int | None = None, precision: str = "float32") -> None:
        self.model, self._compiled = compiled(path, threads, precision)
        check_finite(str(path), _weights(self.model))
        image, answer = one_of_each(path, self.model.inputs, self.model.outputs)
        sides = [n.get_length() if n.is_static else None for n in image.partial_shape]
        self.input_shape = image_shape(path, sides)
        self.classes = int(answer.partial_shape[1].get_length())

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self._compiled(images)[0])


def _weights(model: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values of the constants; of single numbers, infinity may be a limit."""
    for operation in model.get_ops():
        if operation.get_type_name() != "Constant" or operation.get_output_size() != 1:
            continue
        if operation.get_element_type().is_real() and math.prod(operation.shape) > 1:
            yield operation.get_friendly_name(), operation.get_data(dtype=np.float32)


def read(
    path: Path, threads: int | None = None, precision: str = "float32"
) -> tuple[OpenVINOEngine, Identity]:
    """The engine of an OpenVINO model, and the identity in its run-time information."""
    engine = OpenVINOEngine(path, threads, precision)
    said = {}
    if engine.model.has_rt_info(IDENTITY):
        said = json.loads(engine.model.get_rt_info(IDENTITY).value)
    return engine, Identity.from_metadata(said)
