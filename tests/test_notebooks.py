"""The notebooks run, with their cell of parameters made small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SMALL = {
    "train_and_export.ipynb": (
        'DATASET, WEIGHTS, MODEL = "fake", "", "InceptionV1"\n'
        'IMAGE_SIZE, EPOCHS, RUN = 65, 2, "run"\n'
    )
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")))
def test_a_notebook_runs(name, tmp_path):
    cells = json.loads((NOTEBOOKS / name).read_text())["cells"]
    assert not any(cell.get("outputs") for cell in cells)
    sources = [
        SMALL[name] if "parameters" in cell["metadata"].get("tags", ()) else "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "code"
    ]
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join(sources)],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "Report: run/report.html" in ended.stdout
    assert ended.stdout.count("; really ") == 5
