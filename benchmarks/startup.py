"""Start-up: importing, --help, building and loading: see run.py."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from timing import rows


def measure(quick: bool) -> list[dict[str, Any]]:
    python = [sys.executable, "-c"]
    processes = {
        "python alone": [*python, ""],
        "import keras_inception": [*python, "import keras_inception"],
        "keras-inception --help": [
            *python,
            "import sys; sys.argv[1:] = ['--help']; import keras_inception.cli as c; c.run()",
        ],
    }
    calls = {
        name: lambda line=line: subprocess.run(line, capture_output=True, check=True)
        for name, line in processes.items()
    }
    found = rows(
        "start of a process", calls, rounds=5 if quick else 11, images=1, hopeless=math.inf
    )
    return found + _loading(3 if quick else 5)


def _loading(rounds: int) -> list[dict[str, Any]]:
    import keras_inception

    build = keras_inception.InceptionResNetV2
    with tempfile.TemporaryDirectory() as scratch:
        path = keras_inception.save_weights(build(weights=None), Path(scratch) / "w.safetensors")
        calls = {
            "random weights": lambda: build(weights=None),
            "native weights": lambda: build(weights=path),
            "reading the file alone": lambda: np.fromfile(path, np.uint8).sum(),
        }
        return rows("building Inception-ResNet v2", calls, rounds=rounds, images=1, warm_up=1)
