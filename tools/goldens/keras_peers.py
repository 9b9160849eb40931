"""Goldens of keras.applications.

pip install keras tensorflow-cpu numpy
python tools/goldens/keras_peers.py tests/goldens --check
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

sys.path.insert(0, str(Path(__file__).parent))
import record
import rule

PEERS = {
    "keras_InceptionV3": keras.applications.InceptionV3,
    "keras_InceptionResNetV2": keras.applications.InceptionResNetV2,
}
KINDS = {
    "bias": "bias",
    "beta": "bn_beta",
    "moving_mean": "bn_mean",
    "moving_variance": "bn_var",
}


def compute(name: str) -> tuple[dict, dict]:
    keras.backend.clear_session()  # automatic names count from 0
    model = PEERS[name](weights=None, classifier_activation=None)
    spec = {
        "peer": name,
        "source": f"keras=={keras.__version__}",
        "preprocess": record.PLUS_MINUS_ONE,
        "classes": 1000,
        "input_size": 299,
        "arrays": [],
    }
    for layer in model.layers:
        values = []
        for weight in layer.weights:
            kind, axes = KINDS.get(weight.name), "-"
            if kind is None:
                dense = len(weight.shape) == 2
                kind, axes = ("dense_kernel", "IO") if dense else ("conv_kernel", "HWIO")
            row = [f"{layer.name}/{weight.name}", list(weight.shape), kind, axes]
            spec["arrays"].append(row)
            values.append(rule.array_for(*row))
        layer.set_weights(values)
    features = keras.Model(model.input, [model.get_layer("avg_pool").output, model.output])
    pooled, logits = features(record.images(spec), training=False)
    return spec, {"logits": logits, "pooled": pooled}


if __name__ == "__main__":
    record.run(dict.fromkeys(PEERS, compute))
