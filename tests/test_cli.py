"""keras-inception, as installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from keras_inception import list_models
from keras_inception.cli import run


def test_models_prints_a_row_a_variant(capsys):
    run(["models"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == list_models()
    # Keras' documentation and the literature: 23.8 million and 5.7 billion for v3.
    (v3,) = [line for line in lines if "InceptionV3" in line]
    assert "23,817,352" in v3 and "5.71 billion" in v3


@pytest.mark.parametrize("arguments", [[], ["model"], ["models", "--fast"]])
def test_a_wrong_call_is_one_line(arguments):
    command = [sys.executable, "-m", "keras_inception.cli", *arguments]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].startswith("keras-inception: ")
