"""All that an exported file has to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.exporting import checks, fresh
from keras_inception.exporting.checks import Check, agreement, at_most, equal
from keras_inception.exporting.networks import Network
from keras_inception.exporting.samples import Samples
from keras_inception.exporting.saved_model import SIGNATURES
from keras_inception.exporting.targets import FLOAT32, GRAPH_BYTES, Settings, Target
from keras_inception.preprocessing import Preprocessing


def keras_probabilities(network: Network, images: np.ndarray) -> np.ndarray:
    parts = [images[i : i + 64] for i in range(0, len(images), 64)]
    return np.concatenate([network.probabilities(tf.constant(p)).numpy() for p in parts])


def compare(
    target: Target,
    path: Path,
    network: Network,
    samples: Samples,
    want: np.ndarray,
    settings: Settings,
) -> tuple[list[Check], np.ndarray]:
    """All checks of one file, and its probabilities."""
    got = checks.answers_of(path / target.runs, samples.images, samples.encoded, samples.pixels)
    about, limits = got["about"], target.limits
    identity = network.written_identity
    assert identity.preprocessing is not None
    made = [
        equal("labels in the file", about["labels"] == network.labels, True),
        equal(
            "contract in the file",
            Preprocessing.from_dict(about["preprocessing"]) == identity.preprocessing,
            True,
        ),
    ]
    if target.format == "saved_model":
        made += _check_saved_model(got, network, samples)
    elif target.format in ("tflite", "web"):
        made += _check_tflite(path / target.runs, about, network, settings, target)
    where = about.get("runtime", about["engine"])
    found = got["probabilities"]
    return made + agreement(where, found, want, limits.largest, limits.mean), found


def _check_saved_model(got: dict[str, Any], network: Network, samples: Samples) -> list[Check]:
    about, fitted = got["about"], network.preprocessing.crop_and_resize(samples.pixels)
    want = network.probabilities(tf.constant(fitted[None])).numpy()
    signatures = [s for s in SIGNATURES if s != "features" or network.has_features]
    return [
        equal("signatures", about["signatures"], signatures),
        # A counter or two besides the weights; twice the weights would be keras#23553.
        at_most("stored floats", about["floats"], network.model.count_params() + 100),
        *agreement("image", got["raw"], want, FLOAT32.largest, FLOAT32.mean),
        equal(
            "classify_bytes: best class",
            str(got["best_classes"][0, 0]),
            network.labels[int(want[0].argmax())],
        ),
        equal("classify_bytes_marked: valid", got["marked_valid"].tolist(), [True, False]),
        equal("answers to empty batches", int(got["empty"].sum()), 0),
        equal("bad requests refused", len(got["refused"]), fresh.BAD_REQUESTS),
    ]


def _check_tflite(
    path: Path, about: dict[str, Any], network: Network, settings: Settings, target: Target
) -> list[Check]:
    heaviest = network.model.count_params() * target.bytes_a_weight * 1.1 + GRAPH_BYTES
    foreign = [op for op in about["operations"] if op.startswith("Flex") or op == "CUSTOM"]
    dtype = settings.ends if target.quantization == "int8" else "float32"
    return [
        equal("signature", [about["inputs"], about["outputs"]], [["image"], [settings.outputs]]),
        equal(
            "input",
            [about["input_dtype"], about["input_shape"]],
            [dtype, [1, *network.input_shape]],
        ),
        equal("operations that a phone lacks", foreign, []),
        at_most("bytes", size(path), heaviest),
    ]


def files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in files(path))
