"""Runs an exported file as its user would: in a process of its own, without Keras.

    python -m keras_inception.exporting.fresh answers FILE INPUTS.npz OUTPUTS.npz
    python -m keras_inception.exporting.fresh latency THREADS INPUTS.npz OUTPUTS.npz FILE...

INPUTS.npz holds "images", float32 (n, height, width, channels) in 0..255, and for a SavedModel
"encoded", the bytes of one image file, and "pixels", the same image as uint8. OUTPUTS.npz receives
the answers and what the file says of itself.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS, WARM_UP = 15, 3  # calls of each file when its latency is measured


def answers(path: Path, given: dict[str, np.ndarray]) -> dict[str, Any]:
    """A file's probabilities, and what stands in it."""
    from keras_inception.runtime import load_classifier

    classifier = load_classifier(path)
    found: dict[str, Any] = {"probabilities": classifier.predict(given["images"])}
    about = {
        "class_names": list(classifier.class_names),
        "preprocessing": classifier.preprocessing.to_dict(),
        "thresholds": list(classifier.identity.thresholds),
        "engine": classifier.engine.name,
    }
    if path.suffix == ".tflite":
        about |= _about_tflite(classifier.engine)
    elif (path / "saved_model.pb").exists():
        found |= _answers_of_signatures(classifier.engine, **given)
        about |= _about_saved_model(path, classifier.engine)
    return found | {"about": about}


def latency(paths: list[Path], images: np.ndarray, threads: int) -> dict[str, Any]:
    """Milliseconds of one image in each file: the median of calls that take turns."""
    from keras_inception.runtime import load_classifier

    classifiers = [load_classifier(path, threads=threads) for path in paths]
    seconds: list[list[float]] = [[] for _ in paths]
    for _ in range(WARM_UP + ROUNDS):
        for classifier, taken in zip(classifiers, seconds, strict=True):
            began = time.perf_counter()
            classifier.predict(images[:1])
            taken.append(time.perf_counter() - began)
    medians = [float(np.median(taken[WARM_UP:])) * 1000 for taken in seconds]
    return {"about": {str(path): round(ms, 3) for path, ms in zip(paths, medians, strict=True)}}


def _about_tflite(engine: Any) -> dict[str, Any]:
    (image,) = engine.runner.get_input_details().values()
    return {
        "inputs": sorted(engine.runner.get_input_details()),
        "outputs": sorted(engine.runner.get_output_details()),
        "input_shape": [int(n) for n in image["shape_signature"]],
        "input_dtype": np.dtype(image["dtype"]).name,
        "operations": sorted({op["op_name"] for op in engine.interpreter._get_ops_details()}),
        "runtime": type(engine.interpreter).__module__.partition(".")[0],
    }


def _about_saved_model(path: Path, engine: Any) -> dict[str, Any]:
    import tensorflow as tf

    variables = f"{path}/variables/variables"
    types = tf.train.load_checkpoint(variables).get_variable_to_dtype_map()
    floats = [
        int(np.prod(shape))
        for name, shape in tf.train.list_variables(variables)
        if types[name].is_floating
    ]
    return {"signatures": sorted(engine.loaded.signatures), "floats": sum(floats)}


def _answers_of_signatures(
    engine: Any, images: np.ndarray, encoded: np.ndarray, pixels: np.ndarray
) -> dict[str, Any]:
    """Answers to a file's bytes and pixels, and which bad requests were refused."""
    import tensorflow as tf

    signatures = engine.loaded.signatures
    two = tf.constant([encoded.tobytes(), b"no image"])
    best = signatures["classify_bytes"](image_bytes=two[:1])
    marked = signatures["classify_bytes_marked"](image_bytes=two)
    nothing = {
        "classify_bytes": {"image_bytes": two[:0]},
        "classify_bytes_marked": {"image_bytes": two[:0]},
        "features": {"image": tf.constant(images[:0])},
        "image": {"image": tf.constant(pixels[None][:0])},
        "serving_default": {"image": tf.constant(images[:0])},
    }
    empty = [
        len(answer) for name in signatures for answer in signatures[name](**nothing[name]).values()
    ]
    return {
        "raw": signatures["image"](image=tf.constant(pixels[None]))["probabilities"],
        "best_indices": best["indices"],
        "best_classes": np.char.decode(best["classes"].numpy().astype(bytes), "utf-8"),
        "marked_valid": marked["valid"],
        "empty": np.array(empty),
        "refused": np.array(_refused(signatures, images.shape[1:], two)),
    }


def _refused(signatures: Any, shape: tuple[int, ...], two: Any) -> list[str]:
    """Names of the bad requests that were answered with an error instead of a crash or a guess."""
    import tensorflow as tf

    height, width, channels = shape
    requests = {
        "rank 3": ("serving_default", {"image": tf.zeros(shape)}),
        "rank 2": ("serving_default", {"image": tf.zeros(shape[:2])}),
        "rank 0": ("serving_default", {"image": tf.zeros(())}),
        "rank 5": ("serving_default", {"image": tf.zeros((1, 1, *shape))}),
        "size": ("serving_default", {"image": tf.zeros((1, height + 7, width, channels))}),
        "channels": ("serving_default", {"image": tf.zeros((1, height, width, channels + 1))}),
        "image of rank 3": ("image", {"image": tf.zeros(shape, tf.uint8)}),
        "image without pixels": ("image", {"image": tf.zeros((1, 0, 9, channels), tf.uint8)}),
        "a file that is no image": ("classify_bytes", {"image_bytes": two}),
        "bytes of rank 0": ("classify_bytes", {"image_bytes": two[0]}),
    }
    refused = []
    for name, (signature, request) in requests.items():
        try:
            signatures[signature](**request)
        except (tf.errors.InvalidArgumentError, ValueError, TypeError):
            refused.append(name)
    return refused


BAD_REQUESTS = 10  # how many `_refused` makes


def main(argv: list[str]) -> None:
    kind, first, inputs, outputs, *rest = argv[1:]
    sys.modules["keras"] = None  # type: ignore[assignment]  # importing it fails from here on
    files = [Path(name) for name in rest] if kind == "latency" else [Path(first)]
    tflite = any(file.suffix == ".tflite" for file in files)
    saved_model = any((file / "saved_model.pb").exists() for file in files)
    if not saved_model and (not tflite or importlib.util.find_spec("ai_edge_litert")):
        sys.modules["tensorflow"] = None  # type: ignore[assignment]  # as on a phone
    with np.load(inputs) as arrays:
        given = dict(arrays)
    if kind == "latency":
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = first
        found = latency(files, given["images"], int(first))
    else:
        found = answers(files[0], given)
    about = json.dumps(found.pop("about", None))
    arrays_out: dict[str, Any] = {k: np.asarray(v) for k, v in found.items()}
    np.savez(outputs, about=np.array(about), **arrays_out)


if __name__ == "__main__":
    main(sys.argv)
