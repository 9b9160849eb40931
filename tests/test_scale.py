"""The snippets of docs/scale.md for Ray Data and Apache Beam, each in a process of its own."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_inception

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
READ = {
    "ray": """
import pyarrow.parquet
rows = pyarrow.parquet.read_table("answers").to_pylist()
said = [row["label"] or row["error"] for row in rows]
""",
    "apache_beam": """
import glob
lines = [line for path in glob.glob("answers*.tsv") for line in open(path)]
said = [line.rstrip().split("\\t")[1] for line in lines]
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("package", READ)
def test_a_folder_is_classified(package, tmp_path):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}")
    model = keras_inception.InceptionV1(
        weights=None, input_shape=(32, 32, 3), classes=2, width_multiplier=0.125
    )
    names = ["cat", "dog"]
    keras_inception.export(
        model, tmp_path, ["tflite"], class_names=names, num_images=2, latency=False, verbose=0
    )
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(20):
        pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "photos" / "20.png").write_bytes(b"no image")
    (code,) = (
        text
        for text in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
        if f"import {package}" in text
    )
    program = f"{code}\n{READ[package]}\nprint(len(said), *sorted(set(said)))"
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    last = found.stdout.splitlines()[-1:]
    assert last and last[0].startswith("21 "), found.stderr[-3000:]
    assert set(last[0].split()) & set(names) and "image" in last[0]
