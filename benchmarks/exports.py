"""Sizes and latencies of exports, beside keras.applications' InceptionV3 exported the plain way.

    python benchmarks/exports.py --size 299 --rounds 15

All networks have random weights, which changes neither size nor time. The plain way is
`model.export(folder)` and `tf.lite.TFLiteConverter.from_keras_model(model).convert()`. Latencies
are medians of one image, of calls of all files that take turns in one process: .tflite files in
LiteRT with one thread and with two, SavedModels in TensorFlow with its own choice of threads.
--int16x8 also measures the plain network with 16-bit activations and 8-bit weights, which this
package does not export. With --folder the exports are kept, and those of an earlier call are
measured again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from timing import rows

import keras_inception
from keras_inception.exporting import TFLite
from keras_inception.runtime.litert import interpreter


def bytes_of(path: Path) -> int:
    """The size of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def export_plainly(size: int, folder: Path, int16x8: bool) -> None:
    """Writes keras.applications' network, with the defaults of Keras and TensorFlow."""
    model = keras.applications.InceptionV3(weights=None, input_shape=(size, size, 3))
    model.export(folder / "saved_model", verbose=False)
    content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    (folder / "model.tflite").write_bytes(content)
    if int16x8:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        images = np.random.default_rng(0).uniform(-1, 1, (2, 1, size, size, 3))
        converter.representative_dataset = lambda: ([image.astype(np.float32)] for image in images)
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        (folder / "int16x8.tflite").write_bytes(converter.convert())


def export_ours(size: int, folder: Path) -> None:
    """Writes the same architecture by this package, in all its forms for servers and phones."""
    model = keras_inception.InceptionV3(weights=None, input_shape=(size, size, 3))
    # An int8 softmax would make the even probabilities of random weights 0.
    int8 = TFLite("int8", outputs="logits")
    targets = ["saved_model", "tflite", "tflite:float16", "tflite:dynamic", int8]
    few: dict[str, Any] = {"num_images": 4, "num_calibration": 8, "latency": False}
    keras_inception.export(model, folder, targets, dataset="fake", **few)


def tflite_call(file: Path, threads: int) -> Callable[[], object]:
    """A function that classifies one image in LiteRT."""
    one = interpreter(file.read_bytes(), threads)
    one.allocate_tensors()
    details = one.get_input_details()[0]
    one.set_tensor(details["index"], np.zeros(details["shape"], np.float32))
    return one.invoke


def saved_model_call(folder: Path, size: int) -> Callable[[], object]:
    """A function that classifies one image in TensorFlow."""
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    image = tf.zeros((1, size, size, 3))
    return lambda: (loaded, next(iter(signature(**{name: image}).values())).numpy())


def operations(file: Path) -> int:
    """How many operations a file's graph has."""
    one = interpreter(file.read_bytes(), 1)
    return sum(op["op_name"] != "DELEGATE" for op in one._get_ops_details())


def measure(quick: bool) -> list[dict[str, Any]]:
    """Latencies of the .tflite files with 1 and 2 threads: see run.py."""
    size, rounds = (149, 5) if quick else (299, 15)
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        ours, plain = Path(scratch) / "ours", Path(scratch) / "plain"
        plain.mkdir()
        export_plainly(size, plain, int16x8=False)
        export_ours(size, ours)
        files = {"keras.applications converted plainly": plain / "model.tflite"}
        files |= {f"keras_inception {file.name}": file for file in sorted(ours.glob("*.tflite"))}
        for threads in (1, 2):
            calls = {name: tflite_call(file, threads) for name, file in files.items()}
            case = f"LiteRT, InceptionV3 at {size} px, {threads} thread{'s' * (threads > 1)}"
            measured = rows(case, calls, rounds=rounds, images=1)
            for row, file in zip(measured, files.values(), strict=True):
                row |= {"operations": operations(file), "megabytes": bytes_of(file) / 1e6}
            found += measured
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=299, help="pixels of a side [299]")
    parser.add_argument("--rounds", type=int, default=15, help="calls of each file [15]")
    parser.add_argument("--int16x8", action="store_true", help="with 16-bit activations, too")
    parser.add_argument("--folder", metavar="DIR", help="where the exports are kept [nowhere]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(options.folder or scratch) / "keras.applications"
        ours = plain.with_name("keras_inception")
        if not ours.exists():
            plain.mkdir(parents=True)
            export_plainly(options.size, plain, options.int16x8)
            export_ours(options.size, ours)
        found = {f"{f.name} {p.name}": p for f in (plain, ours) for p in sorted(f.iterdir())}
        tflite = {name: path for name, path in found.items() if path.suffix == ".tflite"}
        servers = {name: path for name, path in found.items() if path.is_dir()}
        times: dict[str, list[str]] = {name: [] for name in (*tflite, *servers)}
        for calls in (
            {name: tflite_call(path, 1) for name, path in tflite.items()},
            {name: tflite_call(path, 2) for name, path in tflite.items()},
            {name: saved_model_call(path, options.size) for name, path in servers.items()},
        ):
            for row in rows("", calls, rounds=options.rounds, images=1, warm_up=3):
                times[row["name"]].append(f"{row['milliseconds']:.1f}")
        print("| file | MB | ms |\n| --- | ---: | ---: |")
        for name, taken in times.items():
            print(f"| {name} | {bytes_of(found[name]) / 1e6:.1f} | {' / '.join(taken)} |")


if __name__ == "__main__":
    main()
