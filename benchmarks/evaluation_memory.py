"""Peak memory of the whole command `keras-inception evaluate` on a data set of many classes.

    python benchmarks/evaluation_memory.py --folder scratch --classes 10000

In the folder it writes one image of each class to train on and one to test on, and a network with
as many outputs, which is small: what is measured is what the evaluation itself takes.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np


def write_images(folder: Path, classes: int) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in range(classes):
            place = folder / part / f"class {label:05d}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(place / "0.png")


def write_network(path: Path, classes: int) -> None:
    import keras

    from keras_inception import Preprocessing, save_model
    from keras_inception.identity import Identity, attach

    names = tuple(f"class {label:05d}" for label in range(classes))
    images = keras.Input((8, 8, 3))
    features = keras.layers.Flatten()(images)
    answers = keras.layers.Dense(classes, "softmax", name="predictions")(features)
    contract = Preprocessing(size=(8, 8))
    save_model(attach(keras.Model(images, answers), Identity("", (), contract, names)), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="an empty one")
    parser.add_argument("--classes", type=int, default=10_000)
    options = parser.parse_args()
    write_images(options.folder / "images", options.classes)
    write_network(options.folder / "network.keras", options.classes)
    command = [sys.executable, "-m", "keras_inception.cli", "evaluate", "network.keras"]
    command += ["--dataset", "folder:images", "--output", "measured"]
    subprocess.run(command, cwd=options.folder, check=True)
    # Kilobytes on Linux, bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    gigabytes = peak / (2**30 if sys.platform == "darwin" else 2**20)
    size = sum(f.stat().st_size for f in (options.folder / "measured").iterdir()) / 2**20
    print(f"{options.classes} classes: peak {gigabytes:.2f} GiB; results of {size:.1f} MiB")


if __name__ == "__main__":
    main()
