"""Whole commands, killed at seeded moments: the earlier files whole or the new ones, never neither.

test_kill.py ends them before every single step of the file system; this holds the commands to it.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from keras_inception import InceptionV1, load_classifier, save_model
from keras_inception.data import open_source
from keras_inception.evaluation import results
from keras_inception.recipes import Recipe

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
import page_runs  # noqa: E402

KILLS = 6
CLI = "from keras_inception.cli import run; run()"
SAVE = """
from keras_inception import load_model, save_model
model = load_model("run/model.keras")
for _ in range(40):
    save_model(model, "run/model.keras")
"""
COMMANDS = {
    "export": [CLI, "export", "run", "--quantization", "float32", "--num_images", "8"],
    "evaluate": [CLI, "evaluate", "run"],
    "report": [CLI, "report", "run", "--no_images"],
    "optimize": [CLI, "optimize", "run", "--output", "fast"],
    "publish": [CLI, "publish", "small.keras", "--output", "published", "--license", "MIT"],
    "save_model": [SAVE],
}


def started(folder: Path, name: str) -> subprocess.Popen:
    command = [sys.executable, "-c", *COMMANDS[name]]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finished(folder: Path, name: str) -> float:
    """Lets a command end; the seconds that it takes."""
    begun = time.monotonic()
    process = started(folder, name)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors[-1000:]
    return time.monotonic() - begun


def look(folder: Path, images: np.ndarray) -> list[np.ndarray]:
    """What all files answer; raises what a user would see."""
    run = folder / "run"
    places = [run / "model.keras", run / "saved_model", run / "model.tflite"]
    places += [folder / "fast", folder / "published"]
    assert json.loads((run / "export.json").read_text())["files"]
    assert (run / "report.html").read_text("utf-8").rstrip().endswith("</html>")
    assert results.read(run)["results"]
    try:
        assert len(results.read_predictions(run)["labels"])
    except ValueError as error:
        assert "Evaluate again" in str(error)
    return [load_classifier(place).predict(images) for place in places]


@pytest.mark.slow
def test_killed_commands(tmp_path):
    source = open_source("fake", validation_fraction=Recipe().validation_fraction)
    page_runs.made_run(tmp_path / "run", 4, source)
    small = InceptionV1(weights=None, classes=4, input_shape=(32, 40, 3), width_multiplier=0.25)
    save_model(small, tmp_path / "small.keras")
    seconds = {name: finished(tmp_path, name) for name in COMMANDS}
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 40, 3)).astype(np.uint8)
    want = look(tmp_path, images)
    for name, whole in seconds.items():
        rng = random.Random(name)
        for _ in range(KILLS):
            process = started(tmp_path, name)
            with_time = whole * rng.uniform(0.3, 1)
            try:
                process.communicate(timeout=with_time)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            for found, before in zip(look(tmp_path, images), want, strict=True):
                np.testing.assert_allclose(found, before, atol=1e-3)
        finished(tmp_path, name)
    left = [p.name for folder in (tmp_path, tmp_path / "run") for p in folder.glob(".*")]
    assert [name for name in left if "unfinished" in name or "export" in name] == []
