"""Holds an exported file against the Keras model that it was made from."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


class ExportCheckError(Exception):
    """An exported file does not do what the model does; the message names check and limit."""


_SUSPECTS = (
    "a contract (`preprocessing`) that is not the network's, such as another scaling; of eight "
    "bits, a network that is unsure of its answers, `calibration` images that are too few or "
    "unlike those that are classified, or small probabilities, which an int8 softmax makes 0 "
    '(`outputs="logits"` leaves it out)'
)


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


def same_answers(got: np.ndarray, want: np.ndarray, thresholds: np.ndarray | None) -> np.ndarray:
    """bool (images,): where two classifiers name the same best class, or all the same classes.

    Args:
        got, want: float (images, classes).
        thresholds: float (classes,), from which each class is named; None: the best one is.
    """
    if thresholds is None:
        return got.argmax(-1) == want.argmax(-1)
    return ((got >= thresholds) == (want >= thresholds)).all(-1)


def moved(difference: np.ndarray, thresholds: np.ndarray | None) -> float:
    """The mean over the images of the probability mass that moved.

    That is half the sum of an image's differences; where each class is a yes or no of its own, the
    mean of the classes' differences.
    """
    if thresholds is None:
        return float(difference.sum(-1).mean() / 2)
    return float(difference.mean())


def agreement(
    name: str,
    got: np.ndarray,
    want: np.ndarray,
    largest: float | None,
    mean: float,
    thresholds: np.ndarray | None = None,
) -> list[Check]:
    """Checks probabilities against the Keras model's.

    Args:
        name: What is compared, for the messages.
        got, want: float (images, classes).
        largest: Limit of the largest difference of a probability; None only reports it.
        mean: Limit of the mean over the images of the probability mass that moved; see `moved`.
        thresholds: From which each class is named; None: the best one is.

    Top-1 agreement alone hides errors, since wrongly scaled images often keep their class. It is
    reported but not enforced.
    """
    if got.shape != want.shape:
        return [equal(f"{name}: shape", list(got.shape), list(want.shape))]
    difference = np.abs(got - want)
    same = float(same_answers(got, want, thresholds).mean())
    most = float(difference.max())
    title = f"{name}: largest difference of a probability"
    return [
        Check(title, most, None, bool(np.isfinite(most)))
        if largest is None
        else at_most(title, most, largest),
        at_most(f"{name}: mean probability moved", moved(difference, thresholds), mean),
        Check(f"{name}: share of same answers", same, None, True),
    ]


def answers_of(
    path: Path, images: np.ndarray, encoded: bytes = b"", pixels: np.ndarray | None = None
) -> dict[str, Any]:
    """An exported file's answers in a process of its own (see `fresh.answers`).

    Args:
        path: What was exported.
        images: float32 (n, height, width, channels) in 0..255.
        encoded, pixels: For a SavedModel: an image file's bytes, and that image as uint8 (height,
            width, channels).

    Returns:
        The arrays of its answers, and "about".

    Raises:
        ExportCheckError: the file cannot be loaded or run.
    """
    inputs = {"images": images, "encoded": np.frombuffer(encoded, np.uint8)}
    if pixels is not None:
        inputs["pixels"] = pixels
    return _run_fresh(["answers", str(path)], [], inputs, path.name)


def latencies_of(paths: list[Path], images: np.ndarray, threads: int) -> dict[str, float]:
    """Milliseconds of one image by path, measured in turns in one process.

    Raises:
        ExportCheckError: a file cannot be loaded or run.
    """
    names = ", ".join(path.name for path in paths)
    files = [str(path) for path in paths]
    return _run_fresh(["latency", str(threads)], files, {"images": images}, names)["about"]


def _run_fresh(
    arguments: list[str], files: list[str], given: dict[str, np.ndarray], what: str
) -> dict[str, Any]:
    """The arrays that `fresh` leaves, and "about"."""
    with tempfile.TemporaryDirectory() as scratch:
        inputs, outputs = Path(scratch) / "inputs.npz", Path(scratch) / "outputs.npz"
        np.savez(inputs, **given)  # type: ignore[arg-type]
        command = [sys.executable, "-m", "keras_inception.exporting.fresh", *arguments]
        command += [str(inputs), str(outputs), *files]
        # As TensorFlow is by itself, and not with the kernels that training chose.
        clean = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
        process = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", env=clean
        )
        if process.returncode:
            last = (process.stderr.strip().splitlines() or ["no message"])[-1]
            raise ExportCheckError(f"{what} does not run in a fresh process: {last}")
        with np.load(outputs) as arrays:
            answers: dict[str, Any] = dict(arrays)
    answers["about"] = json.loads(str(answers["about"]))
    return answers


def require(checks: list[Check], what: str) -> None:
    """Raises ExportCheckError naming what was exported and the checks that failed."""
    failed = [check for check in checks if not check.passed]
    if failed:
        listed = "; ".join(str(check).removeprefix("FAILED ") for check in failed)
        raise ExportCheckError(
            f"{what} failed its checks and was not kept: {listed}. Usual reasons: {_SUSPECTS}"
        )
