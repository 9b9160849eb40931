"""The package's face: names that exist, and an import that costs nothing."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import keras_inception


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_import_loads_no_heavy_module():
    """Milliseconds, because neither Keras nor TensorFlow nor even numpy is loaded."""
    code = "import sys, keras_inception; keras_inception.__version__; print(*sys.modules)"
    loaded = set(run_python(code).split())
    assert "keras_inception" in loaded
    assert not loaded & {"keras", "tensorflow", "numpy", "matplotlib", "absl"}


def test_import_costs_under_50_ms():
    """The best of five processes, so that another process's load does not decide."""
    code = (
        "import time; start = time.perf_counter(); import keras_inception; "
        "print(time.perf_counter() - start)"
    )
    assert min(float(run_python(code)) for _ in range(5)) < 0.05


@pytest.mark.parametrize("name", [n for n in keras_inception.__all__ if n != "__version__"])
def test_every_public_name_is_documented(name):
    public = getattr(keras_inception, name)
    assert name in dir(keras_inception)
    if callable(public):
        assert inspect.getdoc(public), f"keras_inception.{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="InceptionV5"):
        keras_inception.InceptionV5  # noqa: B018
