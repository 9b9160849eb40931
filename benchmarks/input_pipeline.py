"""Images a second of the input pipeline without the model.

    python benchmarks/input_pipeline.py --dataset=folder:PATH --augmentation inception crop

Compare what it prints with the images/s of train_tpu.py: the lower one is the bottleneck. For
run.py it writes JPEG images with as much detail as photographs have into TFRecord shards, and
compares the pipeline with tf.data by hand that does the same: crop while decoding, resize, mirror.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from timing import cores, rows

from keras_inception import Preprocessing
from keras_inception.data import Augmentation, open_source, train_batches
from keras_inception.data.pipeline import AUGMENTATIONS
from keras_inception.data.sources import shards
from keras_inception.data.transforms import MIXES

BATCH, SIDE = 64, 299
DRAINED = 12  # batches before the clock starts: more than a pipeline keeps while others are timed
PER_SECOND = 1000  # images a second of a device, for which the cores are computed


def write_shards(folder: Path, count: int, files: int) -> list[bytes]:
    """500 x 375 JPEG images with a photograph's share of detail, in TFRecord shards."""
    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(min(count, 80)):
        coarse = rng.uniform(0, 255, (1, 24, 32, 3))
        smooth = tf.image.resize(coarse, (375, 500), "bicubic")[0]
        pixels = tf.cast(tf.clip_by_value(smooth + rng.normal(0, 9, smooth.shape), 0, 255), "uint8")
        encoded.append(tf.io.encode_jpeg(pixels, quality=92).numpy())
    for part, number in (("train", count), ("validation", 20)):
        writers = [
            tf.io.TFRecordWriter(str(folder / f"{part}-{i:05d}-of-{files:05d}"))
            for i in range(files)
        ]
        for i in range(number):
            features = {
                "image/encoded": tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[encoded[i % len(encoded)]])
                ),
                "image/class/label": tf.train.Feature(
                    int64_list=tf.train.Int64List(value=[1 + i % 2])
                ),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writers[i % files].write(example.SerializeToString())
        for writer in writers:
            writer.close()
    return encoded


def plainest(encoded: list[bytes]) -> Iterator[Any]:
    """Crop while decoding, resize, mirror: tf.data by hand, from memory."""

    def example(image: tf.Tensor) -> tf.Tensor:
        shape = tf.io.extract_jpeg_shape(image)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            shape,
            tf.zeros((1, 0, 4)),
            min_object_covered=0.0,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            use_image_if_no_bounding_boxes=True,
        )
        box = tf.stack([begin[0], begin[1], size[0], size[1]])
        pixels = tf.io.decode_and_crop_jpeg(image, box, channels=3)
        pixels = tf.image.resize(pixels, (SIDE, SIDE))
        return tf.image.random_flip_left_right(pixels) / 127.5 - 1.0

    data = tf.data.Dataset.from_tensor_slices(encoded).repeat()
    return iter(data.map(example, tf.data.AUTOTUNE).batch(BATCH).prefetch(2))


def forget(folder: Path) -> None:
    """Drops a folder's files from the page cache, where the system can."""
    if hasattr(os, "posix_fadvise"):
        for path in folder.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(quick: bool) -> list[dict[str, Any]]:
    contract = Preprocessing(size=(SIDE, SIDE))
    batches, first = (10, 2) if quick else (30, 6)
    with tempfile.TemporaryDirectory() as scratch, mock.patch.dict(os.environ, KERAS_HOME=scratch):
        folder = Path(scratch) / "set"
        folder.mkdir()
        encoded = write_shards(folder, 400 if quick else 2000, 4)
        source = open_source(f"tfrecord:{folder}")
        with mock.patch.object(shards, "SEQUENTIAL_BYTES", 0):
            in_order = open_source(f"tfrecord:{folder}")

        def taking(iterator: Iterator[Any]) -> Callable[[], float]:
            def call() -> float:
                for _ in range(DRAINED):
                    next(iterator)
                began = time.perf_counter()
                for _ in range(batches):
                    next(iterator)
                return time.perf_counter() - began

            return call

        def ours(opened: Any, augmentation: str) -> Iterator[Any]:
            how = Augmentation(augmentation)
            return iter(train_batches(opened, contract, batch_size=BATCH, seed=0, augmentation=how))

        calls = {
            "tf.data by hand: crop, resize, mirror": taking(plainest(encoded)),
            "crop": taking(ours(source, "crop")),
            "crop, from file to file": taking(ours(in_order, "crop")),
            "inception": taking(ours(source, "inception")),
        }
        found = rows(
            f"input at {SIDE} px, {cores()} cores",
            calls,
            rounds=3 if quick else 5,
            images=BATCH * batches,
            own_clock=True,
        )
        del calls  # and their iterators, which would fill their buffers while others are timed
        for row in found:
            row["images_per_second_per_core"] = row["images_per_second"] / cores()
            row["cores"] = PER_SECOND / row["images_per_second_per_core"]

        def from_the_beginning(opened: Any, cold: bool) -> Callable[[], None]:
            def call() -> None:
                if cold:
                    forget(folder)
                iterator = ours(opened, "none")
                for _ in range(first):
                    next(iterator)

            return call

        calls = {
            f"{order}, {'cold' if cold else 'warm'}": from_the_beginning(opened, cold)
            for cold in (False, True)
            for order, opened in (("at random", source), ("from file to file", in_order))
        }
        found += rows(
            f"the first {BATCH * first} images of an epoch",
            calls,
            rounds=3 if quick else 5,
            images=BATCH * first,
            warm_up=1,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="fashion_mnist_mini")
    parser.add_argument("--data_dir", default="")
    parser.add_argument("--image_size", type=int, default=SIDE)
    parser.add_argument("--batch_size", type=int, default=BATCH)
    parser.add_argument("--augmentation", nargs="*", default=AUGMENTATIONS, choices=AUGMENTATIONS)
    parser.add_argument("--mix", default="none", choices=MIXES)
    parser.add_argument("--seconds", type=float, default=5.0, help="to measure each")
    options = parser.parse_args()
    source = open_source(options.dataset, data_dir=options.data_dir)
    contract = Preprocessing(size=(options.image_size,) * 2)
    for augmentation in options.augmentation:
        batches = iter(
            train_batches(
                source,
                contract,
                batch_size=options.batch_size,
                seed=0,
                augmentation=Augmentation(augmentation, mix=options.mix),
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
            f"{rate / cores():.0f} a core ({cores()} cores)",
            flush=True,
        )


if __name__ == "__main__":
    main()
