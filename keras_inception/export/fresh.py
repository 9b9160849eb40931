"""Runs an exported file as its user would: in a process without Keras and without our models.

    python -m keras_inception.export.fresh saved_model FOLDER INPUTS.npz OUTPUTS.npz
    python -m keras_inception.export.fresh tflite      FILE   INPUTS.npz OUTPUTS.npz

INPUTS.npz holds "images", float32 (n, height, width, channels) in 0..255, and "encoded", the
bytes of one image file. OUTPUTS.npz receives the answers and what the file says of itself.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np


def run_saved_model(path: str, images: np.ndarray, encoded: bytes) -> dict[str, Any]:
    """Every signature's answers, and the number of floats that are stored."""
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    signatures = loaded.signatures
    pixels = tf.io.decode_image(encoded, channels=images.shape[-1], expand_animations=False)
    best = signatures["classify_bytes"](image_bytes=tf.constant([encoded]))
    variables = tf.train.list_variables(f"{path}/variables/variables")
    reader = tf.train.load_checkpoint(f"{path}/variables/variables")
    floats = {
        name: int(np.prod(shape))
        for name, shape in variables
        if reader.get_variable_to_dtype_map()[name].is_floating
    }
    return {
        "probabilities": signatures["serving_default"](image=tf.constant(images))["probabilities"],
        "raw": signatures["image"](image=pixels[None])["probabilities"],
        "best_indices": best["indices"],
        "best_classes": best["classes"].numpy().astype(str),
        "about": {"signatures": sorted(signatures), "floats": sum(floats.values())},
    }


def run_tflite(path: str, images: np.ndarray, encoded: bytes) -> dict[str, Any]:
    """The signature's answers, an image at a time, and the operations of the graph."""
    del encoded
    interpreter = _interpreter(path)
    runner = interpreter.get_signature_runner("serving_default")
    answers = [runner(image=image[None])["probabilities"][0] for image in images]
    (image,) = runner.get_input_details().values()
    return {
        "probabilities": np.stack(answers),
        "about": {
            "signatures": sorted(interpreter.get_signature_list()),
            "inputs": sorted(runner.get_input_details()),
            "outputs": sorted(runner.get_output_details()),
            "input_shape": [int(n) for n in image["shape"]],
            "input_dtype": np.dtype(image["dtype"]).name,
            "operations": sorted({op["op_name"] for op in interpreter._get_ops_details()}),
            "runtime": type(interpreter).__module__.partition(".")[0],
        },
    }


def _interpreter(path: str) -> Any:
    """LiteRT's; TensorFlow's own, which announces its removal, where that is missing."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite import Interpreter
    return Interpreter(path)


def main(argv: list[str]) -> None:
    kind, path, inputs, outputs = argv[1:]
    sys.modules["keras"] = None  # type: ignore[assignment]  # importing it fails from here on
    with np.load(inputs) as arrays:
        images, encoded = arrays["images"], arrays["encoded"].tobytes()
    run = run_saved_model if kind == "saved_model" else run_tflite
    answers = run(path, images, encoded)
    about = json.dumps(answers.pop("about"))
    found: dict[str, Any] = {k: np.asarray(v) for k, v in answers.items()}
    np.savez(outputs, about=np.array(about), **found)


if __name__ == "__main__":
    main(sys.argv)
