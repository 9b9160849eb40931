"""Images a second of the input pipeline without the model.

    python benchmarks/input_pipeline.py --dataset=folder:PATH --augmentation inception crop

Hold what it prints against the images/s of train_tpu.py: the lower one is the bottleneck.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_inception import Preprocessing
from keras_inception.data import open_source, train_batches
from keras_inception.data.pipeline import AUGMENTATIONS
from keras_inception.data.transforms import MIXES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="fashion_mnist_mini")
    parser.add_argument("--data_dir", default="")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--augmentation", nargs="*", default=AUGMENTATIONS, choices=AUGMENTATIONS)
    parser.add_argument("--mix", default="none", choices=MIXES)
    parser.add_argument("--seconds", type=float, default=5.0, help="to measure each")
    options = parser.parse_args()
    source = open_source(options.dataset, data_dir=options.data_dir)
    contract = Preprocessing(size=(options.image_size,) * 2)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for augmentation in options.augmentation:
        batches = iter(
            train_batches(
                source,
                contract,
                batch_size=options.batch_size,
                seed=0,
                augmentation=augmentation,
                mix=options.mix,
            )
        )
        for _ in range(3):  # tracing, and the buffers that are filled before the clock starts
            next(batches)
        begun, count = time.perf_counter(), 0
        while time.perf_counter() - begun < options.seconds:
            next(batches)
            count += options.batch_size
        rate = count / (time.perf_counter() - begun)
        print(
            f"{options.dataset}, {options.image_size} px, {augmentation}: {rate:.0f} images/s, "
            f"{rate / cores:.0f} a core ({cores} cores)",
            flush=True,
        )


if __name__ == "__main__":
    main()
