"""onnxruntime as the engine of .onnx files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_inception.identity import Identity


class OnnxEngine:
    """Runs a .onnx file on the CPU.

    Args:
        path: The file.
        threads: How many threads to compute with; None lets the runtime choose.

    Raises:
        ValueError: onnxruntime is missing, or the file cannot be loaded or is no classifier.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError(
                f"{path} needs the package onnxruntime: pip install 'keras-inception[onnx]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own classes have no public base
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise ValueError(f"{path} cannot be loaded as a .onnx file: {reason}") from error
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
            raise ValueError(f"{path}: a classifier has one input, an image, and one output.")
        self._image = inputs[0].name
        height, width, channels = (n if isinstance(n, int) else None for n in inputs[0].shape[1:])
        if channels is None:
            raise ValueError(f"{path} does not say how many channels an image has.")
        self.input_shape = (height, width, channels)
        self.classes = int(outputs[0].shape[-1])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        (answers,) = self.session.run(None, {self._image: images})
        return answers


def read(path: Path, threads: int | None = None) -> tuple[OnnxEngine, Identity]:
    """The engine of a .onnx file, and the identity in its metadata."""
    engine = OnnxEngine(path, threads)
    return engine, Identity.from_metadata(engine.session.get_modelmeta().custom_metadata_map)
