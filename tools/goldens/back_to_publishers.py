"""Files of `convert_weights` in the publishers' own code: the largest difference of the logits.

pip install torch torchvision timm keras-inception
KERAS_BACKEND=torch python tools/goldens/back_to_publishers.py

Each network gets seeded weights, gammas included, is written and loaded strictly, and both sides
see the same images. On Keras' torch backend, since torch and TensorFlow in one process were seen to
crash. TF-Slim's code needs TensorFlow 1's layers; tests read its checkpoints back.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors.torch
import timm
import torch
import torchvision

import keras_inception

CLASSES = 7
TORCH_V3 = {"bn_scale": True, "avg_pool_counts_padding": True}
TORCH_V1 = {"bn_scale": True, "symmetric_padding": True, "adaptive_aux_pool": True}
# (library, our variant, its arguments, what builds theirs)
CASES: list[tuple[str, str, dict[str, Any], Any]] = [
    ("timm", "InceptionV3", TORCH_V3, "inception_v3"),
    ("timm", "InceptionV4", {}, "inception_v4"),
    ("timm", "InceptionResNetV2", {"bn_scale": True}, "inception_resnet_v2"),
    ("torchvision", "InceptionV1", TORCH_V1, torchvision.models.googlenet),
    ("torchvision", "InceptionV3", TORCH_V3, torchvision.models.inception_v3),
    ("keras", "InceptionV3", {"bn_scale": True}, keras.applications.InceptionV3),
    ("keras", "InceptionResNetV2", {}, keras.applications.InceptionResNetV2),
]


def seeded(model: keras.Model) -> keras.Model:
    """The model with random values in every variable, of sizes that keep the logits near 1."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if len(variable.shape) > 1:
            fan_in = np.prod(variable.shape[:-1])
            variable.assign(rng.normal(size=variable.shape) * np.sqrt(1 / fan_in))
        elif variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.7, 1.3, variable.shape))
        else:
            variable.assign(rng.normal(size=variable.shape) * 0.1)
    return model


def theirs(library: str, build: Any, path: Path, images: np.ndarray) -> np.ndarray:
    """The logits of a publisher's own network with a file's weights."""
    if library == "keras":
        peer = build(weights=None, classes=CLASSES, classifier_activation=None)
        peer.load_weights(path)
        return keras.ops.convert_to_numpy(peer(images, training=False))
    if library == "timm":
        module = timm.create_model(build, pretrained=False, num_classes=CLASSES)
    else:
        options = {"aux_logits": True, "transform_input": False, "init_weights": False}
        module = build(weights=None, num_classes=CLASSES, **options)
    module.load_state_dict(safetensors.torch.load_file(path), strict=True)
    with torch.no_grad():
        return module.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


def published() -> float:
    """The same of a folder that `publish` wrote, which timm opens by itself."""
    model = seeded(keras_inception.InceptionV3(weights=None, classes=3, **TORCH_V3))
    images = np.random.default_rng(1).integers(0, 256, (2, 299, 299, 3)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        keras_inception.publish(model, folder)
        ours = keras_inception.load_classifier(folder).predict(images)
        peer = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        contract = timm.data.resolve_model_data_config(peer)
    mean, std = (255 * np.float32(contract[name]) for name in ("mean", "std"))
    scaled = ((images - mean) / std).transpose(0, 3, 1, 2)
    with torch.no_grad():
        theirs = torch.softmax(peer(torch.from_numpy(scaled.copy())), -1).numpy()
    difference = float(np.abs(theirs - ours).max())
    print(f"timm, of publish's folder: {difference:.1e} of probabilities", flush=True)
    return difference


def main() -> None:
    """Prints a row a network."""
    worst = 0.0
    for library, variant, arguments, build in CASES:
        size = 224 if variant == "InceptionV1" else 299
        images = np.random.default_rng(1).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
        model = seeded(
            keras_inception.get_model(
                variant,
                weights=None,
                classes=CLASSES,
                classifier_activation=None,
                aux_logits=library == "torchvision",
                input_shape=(size, size, 3),
                **arguments,
            )
        )
        got = model(images, training=False)
        got = keras.ops.convert_to_numpy(got["predictions"] if isinstance(got, dict) else got)
        with tempfile.TemporaryDirectory() as folder:
            ending = ".weights.h5" if library == "keras" else ".safetensors"
            path = keras_inception.convert_weights(model, Path(folder, f"a{ending}"), library)
            difference = np.abs(theirs(library, build, path, images) - got).max()
        spread = got.max() - got.min()
        print(
            f"{library:12} {variant:18} {difference:.1e} of logits that span {spread:.2f}",
            flush=True,
        )
        worst = max(worst, difference)
    worst = max(worst, published())
    sys.exit(bool(worst > 1e-5))


if __name__ == "__main__":
    main()
