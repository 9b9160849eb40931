"""Start-up: commands, and building and loading: see run.py."""

from __future__ import annotations

import functools
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from timing import rows

COMMAND = "import sys; from keras_inception import cli; cli.run(sys.argv[1:])"
# What one writes without this package to ask a .tflite file.
BARE = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
runner = Interpreter(model_path=sys.argv[1]).get_signature_runner()
((name, details),) = runner.get_input_details().items()
_, height, width, _ = details["shape"]
image = Image.open(sys.argv[2]).convert("RGB").resize((width, height))
(answers,) = runner(**{name: np.float32(image)[None]}).values()
print(answers.argmax())
"""
TABLES = ("weights", "models", "recipes", "info InceptionV4", "--help", "train --help")


def measure(quick: bool) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as scratch:
        photo, model, run = _made(Path(scratch))
        ask = f"predict {photo} --model"
        found = _started(
            "start of what prints tables",
            {"python -c pass": ["pass"], **{line: [COMMAND, *line.split()] for line in TABLES}},
            quick,
        )
        found += _started(
            "start and one image, InceptionV3 at 299 px",
            {
                "LiteRT, Pillow and numpy by hand": [BARE, str(model), str(photo)],
                "predict --model model.tflite": [COMMAND, *f"{ask} {model}".split()],
            },
            quick,
        )
        found += _started(
            "start with TensorFlow, a run of `train --dataset=fake`",
            {
                "import tensorflow": ["import tensorflow"],
                "import keras": ["import keras"],
                "predict --model RUN": [COMMAND, *f"{ask} {run}".split()],
                "predict --model RUN/model.keras": [COMMAND, *f"{ask} {run}/model.keras".split()],
                "info RUN": [COMMAND, "info", str(run)],
            },
            quick,
        )
    return found + _loading(3 if quick else 5)


def _started(case: str, programs: dict[str, list[str]], quick: bool) -> list[dict[str, Any]]:
    """Times processes from start to end, in turns."""

    def started(program: list[str]) -> None:
        ended = subprocess.run([sys.executable, "-c", *program], capture_output=True, text=True)
        assert not ended.returncode, ended.stderr

    calls = {name: functools.partial(started, program) for name, program in programs.items()}
    rounds = 3 if quick else 7
    return rows(case, calls, rounds=rounds, images=1, warm_up=1, hopeless=math.inf)


def _made(folder: Path) -> tuple[Path, Path, Path]:
    """A photograph, a .tflite file of InceptionV3, and a run folder."""
    from PIL import Image

    import keras_inception
    from keras_inception.exporting import TFLite

    photo, run = folder / "photo.jpg", folder / "run"
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(noise).resize((640, 480)).save(photo)
    model = TFLite().write(keras_inception.InceptionV3(weights=None), folder / "model.tflite")
    flags = f"train --dataset=fake --epochs=1 --verbose=0 --run_dir={run}"
    trained = [sys.executable, "-c", COMMAND, *flags.split()]
    subprocess.run(trained, check=True, capture_output=True)
    return photo, model, run


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
