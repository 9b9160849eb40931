"""A run's exports: written, checked in fresh processes, and only then kept."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception.data import evaluation_batches, open_run
from keras_inception.export.checks import (
    Check,
    agreement,
    at_most,
    equal,
    require,
    run_fresh,
)
from keras_inception.export.saved_model import export_saved_model
from keras_inception.export.tflite import export_tflite
from keras_inception.preprocessing import Preprocessing
from keras_inception.runs import RunFolder

IMAGES = 64  # held-out images that an export is compared on
# Limits of `checks.agreement`. Quantised weights cost an uncertain network more than a sure one;
# images in a wrong scale move 5 times what DYNAMIC allows (tests/export).
FLOAT32 = (1e-4, 1e-4)
DYNAMIC = (0.3, 0.05)
GRAPH_BYTES = 500_000  # what a file may hold besides weights


def export_run(run_dir: str | Path) -> dict[str, Any]:
    """Exports a finished run and checks what was exported.

    Adds saved_model/, model.tflite (float32), model_int8.tflite (dynamic range) and export.json.

    Args:
        run_dir: The run folder.

    Returns:
        What export.json holds: per file its size, sha256 and checks.

    Raises:
        ExportCheckError: a file differs from the Keras model; it is removed.
        ValueError: the folder holds no finished run.
    """
    run = RunFolder(run_dir)
    model, contract, labels = run.load_model(), run.preprocessing, run.labels
    images = _held_out(run, contract)
    encoded = _one_file(run)
    want = model(contract.scale(images), training=False).numpy()
    print(f"Exports, compared with the Keras model on {len(images)} test images:", flush=True)
    result: dict[str, Any] = {
        "images": len(images),
        "labels": labels,
        "preprocessing": contract.to_dict(),
    }

    path = export_saved_model(model, run.path / "saved_model", contract, labels)
    checks = _check_saved_model(path, model, contract, labels, images, encoded, want)
    result["saved_model"] = _settle(path, checks)

    for name, quantization, limits in (
        ("model.tflite", "none", FLOAT32),
        ("model_int8.tflite", "dynamic", DYNAMIC),
    ):
        path = export_tflite(model, run.path / name, contract, labels, quantization)
        checks = _check_tflite(path, model, images, encoded, want, limits)
        result[name] = _settle(path, checks) | {"quantization": quantization}
    run.write_json("export.json", result)
    return result


def _held_out(run: RunFolder, contract: Preprocessing) -> np.ndarray:
    """Test images at even distances, so of many classes; cropped and resized, in 0..255."""
    unscaled = contract.replace(mean=0.0, std=1.0)
    source = open_run(run)
    test = source.splits["test"]
    spread = np.unique(np.linspace(0, len(test) - 1, IMAGES).astype(int))
    some = dataclasses.replace(source, splits={"test": test.subset(spread)})
    batches = evaluation_batches(some, "test", unscaled, batch_size=IMAGES)
    first = next(iter(batches))
    return first["image"].numpy()[first["weight"].numpy() > 0]


def _one_file(run: RunFolder) -> bytes:
    """A test image as a file's bytes, as it would come from a camera or a form."""
    return open_run(run).splits["test"].file(0)


def _check_saved_model(
    path: Path,
    model: keras.Model,
    contract: Preprocessing,
    labels: list[str],
    images: np.ndarray,
    encoded: bytes,
    want: np.ndarray,
) -> list[Check]:
    got = run_fresh("saved_model", path, images, encoded)
    about = got["about"]
    pixels = tf.io.decode_image(encoded, channels=images.shape[-1], expand_animations=False)
    raw = contract.scale(contract.fit(pixels.numpy()))
    raw_want = model(raw[None], training=False).numpy()
    best = int(raw_want[0].argmax())
    return [
        equal("signatures", about["signatures"], ["classify_bytes", "image", "serving_default"]),
        # A counter or two besides the weights; twice the weights would be keras#23553.
        at_most("stored floats", about["floats"], model.count_params() + 100),
        *agreement("serving_default", got["probabilities"], want, FLOAT32),
        *agreement("image, from a file", got["raw"], raw_want, FLOAT32),
        equal("classify_bytes: best class", str(got["best_classes"][0, 0]), labels[best]),
    ]


def _check_tflite(
    path: Path,
    model: keras.Model,
    images: np.ndarray,
    encoded: bytes,
    want: np.ndarray,
    limits: tuple[float, float],
) -> list[Check]:
    got = run_fresh("tflite", path, images, encoded)
    about = got["about"]
    foreign = [op for op in about["operations"] if op.startswith("Flex") or op == "CUSTOM"]
    bytes_a_weight = 4 if limits is FLOAT32 else 1
    return [
        equal("signature", [about["inputs"], about["outputs"]], [["image"], ["probabilities"]]),
        equal(
            "input",
            [about["input_dtype"], about["input_shape"]],
            ["float32", [1, *images.shape[1:]]],
        ),
        equal("operations that a phone lacks", foreign, []),
        at_most(
            "bytes", path.stat().st_size, model.count_params() * bytes_a_weight * 1.1 + GRAPH_BYTES
        ),
        *agreement(f"in {about['runtime']}", got["probabilities"], want, limits),
    ]


def _settle(path: Path, checks: list[Check]) -> dict[str, Any]:
    """Prints the checks; keeps the export if all passed, removes it and raises otherwise."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    size = sum(p.stat().st_size for p in files)
    print(f"  {path.name} ({size / 1e6:.1f} MB)", flush=True)
    for check in checks:
        print(f"    {check}", flush=True)
    try:
        require(checks, path.name)
    except Exception:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return {
        "bytes": size,
        "sha256": digest.hexdigest(),
        "checks": [
            {"name": c.name, "measured": c.measured, "limit": c.limit, "passed": c.passed}
            for c in checks
        ],
    }
