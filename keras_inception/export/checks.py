"""Holds an exported file against the Keras model that it was made from."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


class ExportCheckError(Exception):
    """An exported file does not do what the model does; the message names check and limit."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One comparison: what was measured, and the limit to keep; None if it is only reported."""

    name: str
    measured: Any
    limit: Any
    passed: bool

    def __str__(self) -> str:
        def short(value: Any) -> str:
            return f"{value:.3g}" if isinstance(value, float) else str(value)

        mark = "ok" if self.passed else "FAILED"
        shown = f"{mark:6} {self.name}: {short(self.measured)}"
        if self.limit is None or (self.passed and self.limit == self.measured):
            return shown
        return f"{shown} (limit {short(self.limit)})"


def at_most(name: str, measured: float, limit: float) -> Check:
    """Passes when measured <= limit; not when it is NaN."""
    return Check(name, float(measured), limit, bool(measured <= limit))


def equal(name: str, measured: Any, expected: Any) -> Check:
    return Check(name, measured, expected, measured == expected)


def agreement(
    name: str, got: np.ndarray, want: np.ndarray, limits: tuple[float, float]
) -> list[Check]:
    """Checks probabilities against the Keras model's.

    Args:
        name: What is compared, for the messages.
        got, want: float (images, classes).
        limits: Of the largest difference of a probability, and of the mean over the images of
            the probability mass that moved (half the sum of an image's differences).

    Agreement of the answers alone would be blind: images in a wrong scale often keep theirs. It
    is reported, not judged.
    """
    if got.shape != want.shape:
        return [equal(f"{name}: shape", list(got.shape), list(want.shape))]
    difference = np.abs(got - want)
    same = float((got.argmax(-1) == want.argmax(-1)).mean())
    return [
        at_most(f"{name}: largest difference of a probability", difference.max(), limits[0]),
        at_most(f"{name}: mean probability moved", difference.sum(-1).mean() / 2, limits[1]),
        Check(f"{name}: share of same answers", same, None, True),
    ]


def run_fresh(kind: str, path: Path, images: np.ndarray, encoded: bytes) -> dict[str, Any]:
    """Runs an exported file in a process of its own (see `fresh`).

    Args:
        kind: "saved_model" or "tflite".
        path: What was exported.
        images: float32 (n, height, width, channels) in 0..255.
        encoded: Bytes of one JPEG or PNG file.

    Returns:
        The arrays of its answers, and "about".

    Raises:
        ExportCheckError: the file cannot be loaded or run.
    """
    with tempfile.TemporaryDirectory() as scratch:
        inputs, outputs = Path(scratch) / "inputs.npz", Path(scratch) / "outputs.npz"
        np.savez(inputs, images=images, encoded=np.frombuffer(encoded, np.uint8))
        command = [sys.executable, "-m", "keras_inception.export.fresh"]
        command += [kind, str(path), str(inputs), str(outputs)]
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode:
            last = (process.stderr.strip().splitlines() or ["no message"])[-1]
            raise ExportCheckError(f"{path.name} does not run in a fresh process: {last}")
        with np.load(outputs) as arrays:
            answers: dict[str, Any] = dict(arrays)
    answers["about"] = json.loads(str(answers["about"]))
    return answers


def require(checks: list[Check], what: str) -> None:
    """Raises ExportCheckError naming the checks that failed."""
    failed = [check for check in checks if not check.passed]
    if failed:
        listed = "; ".join(str(check).removeprefix("FAILED ") for check in failed)
        raise ExportCheckError(f"{what} failed its checks and was removed: {listed}")
