"""Sizes and latencies of exports, beside keras.applications' InceptionV3 exported the plain way.

    python benchmarks/exports.py --size 299 --rounds 15

Both networks have random weights, which changes neither size nor time. The plain way is
`model.export(folder)` and `tf.lite.TFLiteConverter.from_keras_model(model).convert()`. Latencies
are medians of one image in LiteRT, of calls of all files that take turns in one process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_inception
from keras_inception.runtime.litert import interpreter


def bytes_of(path: Path) -> int:
    """The size of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def export_plainly(size: int, folder: Path) -> list[Path]:
    """keras.applications' network, with the defaults of Keras and TensorFlow."""
    model = keras.applications.InceptionV3(weights=None, input_shape=(size, size, 3))
    model.export(folder / "plain_saved_model", verbose=False)
    file = folder / "plain.tflite"
    file.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return [folder / "plain_saved_model", file]


def export_ours(size: int, folder: Path) -> list[Path]:
    """The same architecture by this package, in three forms."""
    model = keras_inception.InceptionV3(weights=None, input_shape=(size, size, 3))
    quantize = ["float32", "float16", "dynamic"]
    made = keras_inception.export(model, quantize=quantize, output=folder, images=4, latency=False)
    return [folder / name for name in made["files"]]


def latencies(files: list[Path], rounds: int, threads: int) -> list[float]:
    """Median milliseconds of one image in each file."""
    interpreters = [interpreter(file, threads) for file in files]
    taken: list[list[float]] = [[] for _ in files]
    for one in interpreters:
        one.allocate_tensors()
    for _ in range(rounds + 3):
        for one, times in zip(interpreters, taken, strict=True):
            details = one.get_input_details()[0]
            one.set_tensor(details["index"], np.zeros(details["shape"], np.float32))
            began = time.perf_counter()
            one.invoke()
            times.append(1000 * (time.perf_counter() - began))
    return [float(np.median(times[3:])) for times in taken]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=299, help="pixels of a side [299]")
    parser.add_argument("--rounds", type=int, default=15, help="calls of each file [15]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        ours, plain = Path(scratch) / "ours", Path(scratch)
        files = export_plainly(options.size, plain) + export_ours(options.size, ours)
        tflite = [file for file in files if file.suffix == ".tflite"]
        one, two = (latencies(tflite, options.rounds, threads) for threads in (1, 2))
        times = {file: f"{a:.1f} / {b:.1f}" for file, a, b in zip(tflite, one, two, strict=True)}
        print("| file | MB | ms, 1 / 2 threads |\n| --- | ---: | ---: |")
        for file in files:
            who = "keras.applications" if file.name.startswith("plain") else "keras_inception"
            name = file.name.removeprefix("plain_").removeprefix("plain")
            print(f"| {who} {name} | {bytes_of(file) / 1e6:.1f} | {times.get(file, '')} |")


if __name__ == "__main__":
    main()
