"""The wheel works in an empty environment outside the checkout; the sdist holds what it needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import keras_inception

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def call(*command: object, cwd: Path) -> str:
    """Runs a command without the checkout on its path; returns what it printed."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout[-3000:]
    return ended.stdout


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """A folder outside the checkout with an empty environment in it."""
    folder = tmp_path_factory.mktemp("outside")
    call(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def built(empty) -> Path:
    """The folder with the wheel and the sdist."""
    tools = empty / "tools"
    call(sys.executable, "-m", "venv", tools, cwd=empty)
    call(tools / "bin/pip", "install", "--quiet", "build", "twine", cwd=empty)
    call(tools / "bin/python", "-m", "build", "--outdir", empty / "dist", ROOT, cwd=empty)
    files = sorted((empty / "dist").iterdir())
    call(tools / "bin/twine", "check", "--strict", *files, cwd=empty)
    return empty / "dist"


def test_files_in_the_wheel_and_the_sdist(built):
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    assert keras_inception.__version__ in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "keras_inception"
    }
    for needed in ("py.typed", "__init__.pyi", "data/fashion_mnist_mini/LICENSE"):
        assert f"keras_inception/{needed}" in names
    prefix = f"keras_inception-{keras_inception.__version__}"
    packed = tarfile.open(sdist).getnames()
    for needed in (
        "tests/test_wheel.py",
        "notebooks/quickstart.ipynb",
        "docs/models.md",
        "mkdocs.yml",
        "tools/notebooks.py",
        "CITATION.cff",
        "train_tpu.py",
    ):
        assert f"{prefix}/{needed}" in packed


def test_the_demo_trains_from_the_wheel_alone(built, empty):
    (wheel,) = built.glob("*.whl")
    call(empty / "venv/bin/pip", "install", "--quiet", f"{wheel}[cpu,litert]", cwd=empty)
    where = call(
        empty / "venv/bin/python", "-c", "import keras_inception as k; print(k.__file__)", cwd=empty
    )
    assert str(empty / "venv") in where
    printed = call(
        empty / "venv/bin/keras-inception",
        "train",
        "--epochs=1",
        "--image_size=32",
        "--width_multiplier=0.125",
        "--aux_weight=0",
        "--run_dir=run",
        cwd=empty,
    )
    assert "Report: run/report.html" in printed
    for name in ("model.keras", "model.tflite", "model_int8.tflite", "saved_model", "report.html"):
        assert (empty / "run" / name).exists()


def test_a_small_installation_asks_a_tflite_file(built, empty, finished_run):
    """Neither Keras nor TensorFlow is there; the answer is that of this environment."""
    (wheel,) = built.glob("*.whl")
    call(sys.executable, "-m", "venv", empty / "small", cwd=empty)
    call(empty / "small/bin/pip", "install", "--quiet", f"{wheel}[litert]", cwd=empty)
    installed = call(empty / "small/bin/pip", "list", cwd=empty)
    assert "ai-edge-litert" in installed
    assert not re.search(
        "^(keras|tensorflow|tensorflow-cpu|h5py|scipy|matplotlib) ", installed, re.M
    )
    Image.new("RGB", (50, 40), (200, 100, 0)).save(empty / "a.png")
    command = empty / "small/bin/keras-inception"
    asked = ["predict", "a.png", "--format=csv", "--model"]
    for model in (finished_run.path, finished_run.path / "model.tflite"):
        printed = call(command, *asked, model, cwd=empty)
        (want,) = keras_inception.predict(finished_run.model_path, empty / "a.png", top=1)
        ((name, probability),) = want.top
        row = next(line for line in printed.splitlines() if line.startswith("a.png,1,"))
        assert row.split(",")[2] == name
        assert abs(float(row.split(",")[3]) - probability) < 1e-4
    ended = subprocess.run([command, *asked, "inception_v3.keras"], cwd=empty, capture_output=True)
    assert ended.returncode == 2 and b"pip install 'keras-inception[cpu]'" in ended.stderr
