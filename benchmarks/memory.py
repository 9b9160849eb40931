"""Peak memory of inference, each in a process of its own: see run.py.

python benchmarks/memory.py NAME BATCH
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

BASE = "keras.applications predict"
NAMES = (BASE, "keras", "tensorflow float32", "tensorflow float32 frozen", "litert float32")
NAMES += ("litert int8", "openvino float32")


def measure(quick: bool) -> list[dict[str, Any]]:
    batch = 1 if quick else 16
    found: list[dict[str, Any]] = []
    for name in (BASE, "tensorflow float32", "litert int8") if quick else NAMES:
        ran = subprocess.run(
            [sys.executable, __file__, name, str(batch)], capture_output=True, text=True
        )
        row: dict[str, Any] = {
            "case": f"peak memory, InceptionV3 at 299 px, {batch} images a call",
            "name": name,
            "word": "",
        }
        last = (ran.stdout.strip().splitlines() or [""])[-1]
        if ran.returncode or not last.replace(".", "").isdigit():
            row["word"] = last or (ran.stderr.strip().splitlines() or ["failed"])[-1][:150]
        else:
            row["megabytes"] = float(last)
            if name != BASE and "megabytes" in found[0]:
                row["ratio"] = row["megabytes"] / found[0]["megabytes"]
        found.append(row)
    return found


def one(name: str, batch: int) -> None:
    """Runs one configuration and prints its peak."""
    import tempfile
    from pathlib import Path

    import numpy as np
    from timing import peak_megabytes, randomise

    images = np.random.default_rng(0).integers(0, 256, (batch, 299, 299, 3)).astype(np.float32)
    if name == BASE:
        import keras

        model = randomise(keras.applications.InceptionV3(weights=None))
        scaled = images / np.float32(127.5) - 1
        for _ in range(3):
            model.predict(scaled, verbose=0)
        print(f"{peak_megabytes():.0f}")
        return
    import keras_inception
    from keras_inception.exporting import fastest
    from keras_inception.runtime import load_classifier

    model = randomise(keras_inception.InceptionV3(weights=None))
    classifier = load_classifier(model)
    if name != "keras":
        (candidate,) = (c for c in fastest.CANDIDATES if c.name == name)
        if candidate.missing:
            print(candidate.missing)
            sys.exit(1)
        fused = load_classifier(keras_inception.fuse(model))
        del model, classifier
        classifier = candidate.make(fused, Path(tempfile.mkdtemp(), candidate.folder))
    for _ in range(3):
        classifier.predict(images)
    print(f"{peak_megabytes():.0f}")


if __name__ == "__main__":
    one(sys.argv[1], int(sys.argv[2]))
