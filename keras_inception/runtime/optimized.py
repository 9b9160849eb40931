"""Folders that `optimize` wrote: a network's files, and which engine is to run them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from keras_inception import files
from keras_inception.budget import refusing
from keras_inception.identity import Identity
from keras_inception.runtime.engine import FILE_ENGINES, Engine, of_file

RECORD = "optimize.json"  # what was chosen, and what was measured
FILES = {  # by the engine that runs them
    "keras": "model.keras",
    "tensorflow": "model.keras",
    "litert": "model.tflite",
    "onnx": "model.onnx",
    "openvino": "model.xml",
}


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def opened(
    folder: Path,
    engine: str,
    precision: str = "float32",
    frozen: bool = False,
    threads: int | None = None,
) -> tuple[Engine, Identity]:
    """The engine of a folder's file, and the identity in it.

    Args:
        folder: It holds the engine's file of `FILES`.
        engine: "keras", "tensorflow", "litert", "onnx" or "openvino".
        precision: Of the features: "float32" or "bfloat16"; that of a .tflite file is in the file.
        frozen: See `TensorFlowEngine`.
        threads: How many threads LiteRT, onnxruntime or OpenVINO compute with; None: LiteRT takes
            all processors, the others choose.

    Raises:
        ValueError: the file cannot be loaded, or the engine is unknown.
    """
    if engine not in FILES:
        raise ValueError(f"{folder} names an engine that is not known here: {engine!r}.")
    path = folder / FILES[engine]
    if path.suffix in FILE_ENGINES:
        threads = threads or (processors() if engine == "litert" else None)
        return of_file(path, threads, precision)
    from keras_inception.runtime import keras as keras_engine

    found, identity = keras_engine.of_file(path)
    if engine == "keras":
        return found, identity
    from keras_inception.models.fusion import fuse
    from keras_inception.runtime.tensorflow import TensorFlowEngine

    model = found.model if precision == "float32" else fuse(found.model, precision)
    return TensorFlowEngine(model, frozen, identity.output), identity


def read(folder: Path, threads: int | None = None) -> tuple[Engine, Identity]:
    """The engine that `optimize` chose, and the network's identity.

    Raises:
        ValueError: the record is damaged, or the engine cannot load its file.
    """
    path = folder / RECORD
    with refusing(path):
        chosen = json.loads(files.read(path))["chosen"]
        choice = str(chosen["engine"]), str(chosen["precision"]), bool(chosen["frozen"])
    return opened(folder, *choice, threads)
