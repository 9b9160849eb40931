"""What the demo's accuracy is worth: against a small Inception on the same images.

    python benchmarks/small_inception.py --run runs/fashion_mnist_mini-InceptionV1 --seeds 3

The small one is what people write for 28 px images: no stride in the stem, five of Table 1's
blocks at a quarter of their width with the paper's 5 x 5 branch, BatchNorm, Adam with warm-up and
cosine, no augmentation. It learns from the demo's whole training part and is tested on the images
that the run was tested on; the differences are paired, image by image.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers

from keras_inception import Preprocessing
from keras_inception.data import Augmentation, evaluation_batches, open_source, train_batches
from keras_inception.models.inception_v1 import TABLE_1
from keras_inception.runs import RunFolder

BLOCKS = ("3a", "3b", "pool", "4a", "4e", "pool", "5a")


def conv(x: keras.KerasTensor, filters: int, kernel: int) -> keras.KerasTensor:
    x = layers.Conv2D(filters, kernel, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def small_inception(size: int, classes: int, width: float) -> keras.Model:
    x = inputs = keras.Input((size, size, 1))
    for filters, kernel in ((64, 3), (64, 1), (192, 3)):
        x = conv(x, int(filters * width), kernel)
    for row in BLOCKS:
        if row == "pool":
            x = layers.MaxPooling2D(3, 2, padding="same")(x)
            continue
        n1x1, reduce3x3, n3x3, reduce5x5, n5x5, projection = (int(n * width) for n in TABLE_1[row])
        pooled = layers.MaxPooling2D(3, 1, padding="same")(x)
        branches = (
            conv(x, n1x1, 1),
            conv(conv(x, reduce3x3, 1), n3x3, 3),
            conv(conv(x, reduce5x5, 1), n5x5, 5),
            conv(pooled, projection, 1),
        )
        x = layers.Concatenate()(branches)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(classes)(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, help="run folder of an evaluated demo")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--image_size", type=int, default=28)
    parser.add_argument("--width", type=float, default=0.25, help="share of Table 1's filters")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--augmentation", default="none", choices=("none", "flip"))
    options = parser.parse_args()
    answers = np.load(RunFolder(options.run).predictions_path)
    run_right = answers["rank"][:, 0] == 0
    source = open_source("fashion_mnist_mini", validation_fraction=0.0)
    contract = Preprocessing(size=(options.image_size,) * 2, crop_fraction=1.0)
    held_out = evaluation_batches(source, "test", contract, batch_size=100, channels=1)
    steps = options.epochs * (source.num_examples("train") // options.batch_size)
    print(f"{options.run}: {run_right.mean():.2%} of {len(run_right)} test images")
    for seed in range(options.seeds):
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        model = small_inception(options.image_size, len(source.class_names), options.width)
        warm_up = steps // options.epochs // 2
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, steps - warm_up, warmup_target=2e-3, warmup_steps=warm_up
        )
        model.compile(
            keras.optimizers.Adam(rate),
            keras.losses.CategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        batches = train_batches(
            source,
            contract,
            batch_size=options.batch_size,
            seed=seed,
            augmentation=Augmentation(options.augmentation),
            channels=1,
        ).map(lambda batch: (batch["image"], batch["label"]))
        begun = time.perf_counter()
        history = model.fit(
            batches,
            epochs=options.epochs,
            steps_per_epoch=steps // options.epochs,
            shuffle=False,
            verbose=0,
        ).history
        seconds = time.perf_counter() - begun
        called = [
            model.predict_on_batch(batch["image"]).argmax(1)[batch["weight"].numpy() > 0]
            for batch in held_out
        ]
        labels = source.splits["test"].labels
        assert np.array_equal(labels, answers["labels"]), "not the same images"
        right = np.concatenate(called) == labels
        gain = run_right.astype(float) - right
        margin = 1.96 * gain.std(ddof=1) / np.sqrt(len(gain))
        print(
            f"small Inception, {model.count_params():,} parameters, seed {seed}: "
            f"{right.mean():.2%} after {seconds:.0f} s (training accuracy "
            f"{history['accuracy'][-1]:.1%}); the run is better by "
            f"{gain.mean():+.2%} (95 % interval {gain.mean() - margin:+.2%} to "
            f"{gain.mean() + margin:+.2%})",
            flush=True,
        )


if __name__ == "__main__":
    main()
