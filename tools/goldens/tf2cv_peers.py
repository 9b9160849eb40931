"""Goldens of tf2cv, by the names of its .h5 files.

pip install tensorflow-cpu tf_keras tf2cv h5py numpy requests
python tools/goldens/tf2cv_peers.py tests/goldens --check
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib import import_module, metadata
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import record
import rule

NETWORKS = ("bninception", "inceptionv3", "inceptionv4", "inceptionresnetv1", "inceptionresnetv2")
KINDS = {
    "bias": "bias",
    "gamma": "bn_gamma",
    "beta": "bn_beta",
    "moving_mean": "bn_mean",
    "moving_variance": "bn_var",
}


def names(group: h5py.Group) -> list[str]:
    """weight_names, which Keras splits into weight_names0, weight_names1, ... when it is long."""
    keys = sorted(
        (k for k in group.attrs if k.startswith("weight_names")), key=lambda k: (len(k), k)
    )
    return [n.decode() if isinstance(n, bytes) else n for k in keys for n in group.attrs[k]]


def compute(name: str) -> tuple[dict, dict]:
    network = name.removeprefix("tf2cv_")
    size = 224 if network == "bninception" else 299
    build = getattr(import_module(f"tf2cv.models.{network}"), network)
    net = build(pretrained=False, data_format="channels_last")
    net.build(input_shape=(1, size, size, 3))
    spec = {
        "peer": name,
        "source": f"tf2cv=={metadata.version('tf2cv')} models/{network}.py",
        "preprocess": record.IMAGENET,
        "classes": 1000,
        "input_size": size,
        "arrays": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/weights.h5"
        net.save_weights(path)
        with h5py.File(path, "r+") as file:
            for group in file.attrs["layer_names"]:
                group = group.decode() if isinstance(group, bytes) else group
                for weight in names(file[group]):
                    data = file[group][weight]
                    last = weight.split("/")[-1].split(":")[0]
                    kind, axes = KINDS.get(last), "-"
                    if kind is None:
                        conv = data.ndim == 4
                        kind, axes = ("conv_kernel", "HWIO") if conv else ("dense_kernel", "IO")
                    row = [f"{group}/{weight}", list(data.shape), kind, axes]
                    spec["arrays"].append(row)
                    data[...] = rule.array_for(*row)
        net.load_weights(path)
    x = record.images(spec)
    pooled = np.asarray(net.features(x, training=False)).reshape(2, -1)
    return spec, {"logits": np.asarray(net(x, training=False)), "pooled": pooled}


if __name__ == "__main__":
    record.run({f"tf2cv_{network}": compute for network in NETWORKS})
