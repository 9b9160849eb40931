"""A run's quickest exact form: its float32 .tflite, which the export held to the Keras model."""

from __future__ import annotations

import hashlib
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from keras_inception import buckets, files
from keras_inception.budget import LARGEST_FILE
from keras_inception.runs import EXPORTS, RunFolder

NAME = EXPORTS["tflite:float32"]
# The export refuses a float32 file whose probabilities differ by more.
LARGEST_DIFFERENCE = 1e-4


def exact_file(source: Any) -> Path | None:
    """The .tflite file that answers as a run's Keras model does, without Keras and TensorFlow.

    Args:
        source: What `load_classifier` takes.

    Returns:
        None if it is no run folder, if LiteRT is not installed, or unless export.json says that
        this very file was held to `LARGEST_DIFFERENCE`, and is younger than the Keras model.
    """
    if not isinstance(source, str | os.PathLike) or find_spec("ai_edge_litert") is None:
        return None
    path = Path(buckets.local(source))
    if not (path / "config.json").is_file():
        return None
    run = RunFolder(path)
    try:
        record = json.loads(files.read(run.export_path))
        row, file = record["files"][NAME], run.inside(NAME)
        is_exact = "unfinished" not in record and row["quantization"] == "float32"
        is_exact = is_exact and row["largest_difference"] <= LARGEST_DIFFERENCE
        if not is_exact or run.model_path.stat().st_mtime > run.export_path.stat().st_mtime:
            return None
        digest = hashlib.sha256(files.read(file, LARGEST_FILE)).hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the Keras model is there in any case
    return file if digest == row["sha256"] else None
