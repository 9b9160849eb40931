"""Inference of keras.applications and of this package on every engine: see run.py."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from timing import InAProcess, cores, randomise, rows

import keras_inception
from keras_inception.exporting import fastest
from keras_inception.runtime import litert, load_classifier, openvino

# (variant, keras.applications' name or none, batch): the second half is left out by --quick.
CASES = (
    ("InceptionV3", "InceptionV3", 1),
    ("InceptionV3", "InceptionV3", 16),
    ("InceptionV1", None, 1),
)
QUICK = 1
TIMM = {"InceptionV3": "inception_v3", "InceptionV4": "inception_v4"}


def by_hand(candidate: fastest.Candidate, folder: Path) -> Callable[[np.ndarray], Any] | None:
    """An engine's own call on the same file, without this package around it."""
    if candidate.engine == "openvino":
        path = folder / candidate.folder / "model.xml"
        return openvino.OpenVINOEngine(path, None, candidate.precision).compiled
    if candidate.engine != "litert":
        return None
    path = folder / candidate.folder / "model.tflite"
    one = litert.interpreter(path.read_bytes(), cores())
    one.allocate_tensors()
    index = one.get_input_details()[0]["index"]

    def invoke(images: np.ndarray) -> None:
        for image in images:
            one.set_tensor(index, image[None])
            one.invoke()

    return invoke


def measure(quick: bool) -> list[dict[str, Any]]:
    found = []
    for variant, peer, batch in CASES[: QUICK if quick else None]:
        found += of_case(variant, peer, batch, rounds=5)
    return found


def of_case(variant: str, peer: str | None, batch: int, rounds: int) -> list[dict[str, Any]]:
    """One network at one batch, on everything that is there."""
    keras.utils.set_random_seed(0)
    ours = randomise(getattr(keras_inception, variant)(weights=None))
    classifier = load_classifier(ours)
    side = classifier.input_shape[0]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, side, side, 3)).astype(np.float32)
    scaled = classifier.preprocessing.scale(images)
    calls: dict[str, Callable[[], Any]] = {}
    words: dict[str, str] = {}
    if peer:
        for method in ("predict", "predict_on_batch"):
            calls[f"keras.applications.{peer} {method}"] = InAProcess(
                "inference", "of_keras", peer, method, batch, as_commands=False
            )
    calls[f"{variant} predict"] = lambda: ours.predict(scaled, verbose=0)
    fused = load_classifier(keras_inception.fuse(ours))
    kept = Path(tempfile.mkdtemp())
    for candidate in fastest.CANDIDATES:
        name = candidate.name
        if candidate.missing:
            words[name] = candidate.missing
            continue
        made = candidate.make(fused, kept / candidate.folder)
        calls[name] = lambda made=made: made.predict(images)
        hand = by_hand(candidate, kept)
        if hand is not None:
            calls[f"{name}, by hand"] = lambda hand=hand: hand(images)
    chosen = fastest.optimize(ours, kept / "auto", images, batch_size=batch, verbose=0)
    calls["optimize"] = lambda: chosen.predict(images)
    words["optimize"] = f"chose {chosen.engine.name}"
    if variant not in TIMM:
        words["timm"] = f"it has no {variant}"
    elif not importlib.util.find_spec("timm"):
        words["timm"] = "not installed"
    else:
        calls["timm"] = _timm(variant, side, batch)
    case = f"{variant} at {side} px, {batch} image{'s' * (batch > 1)} a call"
    return rows(case, calls, rounds=rounds, images=batch, words=words)


def of_keras(name: str, method: str, batch: int) -> Callable[[], Any]:
    """keras.applications' network, as TensorFlow is by itself."""
    model = randomise(getattr(keras.applications, name)(weights=None))
    shape = (batch, *model.input_shape[1:])
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    settings = {"verbose": 0} if method == "predict" else {}
    return lambda: getattr(model, method)(images, **settings)


def _timm(variant: str, side: int, batch: int) -> Callable[[], Any]:
    import timm
    import torch

    model = timm.create_model(TIMM[variant], pretrained=False).eval()
    model = model.to(memory_format=torch.channels_last)
    images = torch.rand(batch, 3, side, side).to(memory_format=torch.channels_last)

    def call() -> None:
        with torch.inference_mode():
            model(images)

    return call
