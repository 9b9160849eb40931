"""Do residual connections accelerate training? (1602.07261's main claim, at the size of a laptop)

    python benchmarks/residual_acceleration.py --output docs/residual_acceleration

InceptionV4 and InceptionResNetV2 with a fraction of their filters learn the demo's images from
random weights: the same data in the same order, the same optimizer and number of steps, several
seeds. Writes OUTPUT.csv and OUTPUT.png, and prints a table; whatever comes out is the result.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import keras_inception
from keras_inception.data import Augmentation, evaluation_batches, open_source, train_batches

VARIANTS = ("InceptionV4", "InceptionResNetV2")


def narrow(variant: str, fraction: float, size: int, classes: int) -> keras.Model:
    """A variant with `fraction` of the filters of every convolution, the residuals' included."""

    def fewer(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, keras.layers.Conv2D):
            config["filters"] = round(config["filters"] * fraction)
        return type(layer).from_config(config)

    whole = keras_inception.get_model(
        variant,
        weights=None,
        input_shape=(size, size, 3),
        classes=classes,
        classifier_activation=None,
        bn_momentum=0.9,
    )
    return keras.models.clone_model(whole, clone_function=fewer)


def learn(model: keras.Model, options: argparse.Namespace, seed: int) -> list[tuple[int, float]]:
    """Trains; returns (steps, accuracy on the validation part) every --every steps."""
    source = open_source("fashion_mnist_mini", validation_fraction=0.1)
    contract = keras_inception.Preprocessing(size=(options.image_size,) * 2)
    batches = train_batches(
        source,
        contract,
        batch_size=options.batch_size,
        seed=seed,
        augmentation=Augmentation("flip"),
    )
    held_out = evaluation_batches(source, "validation", contract, batch_size=100)
    warm_up = keras.optimizers.schedules.CosineDecay(
        0.0, options.steps, warmup_target=options.learning_rate, warmup_steps=options.steps // 10
    )
    model.compile(
        keras.optimizers.RMSprop(warm_up, rho=0.9, momentum=0.9, epsilon=1.0, global_clipnorm=2.0)
        if options.optimizer == "rmsprop"
        else keras.optimizers.AdamW(warm_up, weight_decay=0.02, global_clipnorm=2.0),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
    )
    pairs = batches.map(lambda batch: (batch["image"], batch["label"])).as_numpy_iterator()
    curve = []
    for step in range(1, options.steps + 1):
        model.train_on_batch(*next(pairs))
        if step % options.every == 0:
            right = total = 0.0
            for batch in held_out.as_numpy_iterator():
                best = model.predict_on_batch(batch["image"]).argmax(-1)
                right += float(np.sum((best == batch["label"]) * batch["weight"]))
                total += float(np.sum(batch["weight"]))
            curve.append((step, right / total))
    return curve


def draw(rows: list[dict], path: Path, title: str) -> None:
    """Every seed a thin line, the mean of a variant a thick one."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for variant, color in zip(VARIANTS, ("tab:blue", "tab:orange"), strict=True):
        curves: dict[int, list[float]] = {}
        for row in rows:
            if row["variant"] == variant:
                curves.setdefault(row["seed"], []).append(row["accuracy"])
        steps = sorted({row["step"] for row in rows})
        for curve in curves.values():
            axes.plot(steps, curve, color=color, linewidth=0.7, alpha=0.6)
        axes.plot(steps, np.mean(list(curves.values()), 0), color=color, linewidth=2, label=variant)
    axes.set(xlabel="steps", ylabel="validation accuracy", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="residual_acceleration", help="path without suffix")
    parser.add_argument("--fraction", type=float, default=0.25, help="of the filters")
    parser.add_argument("--image_size", type=int, default=75)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every", type=int, default=30, help="steps between two evaluations")
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--optimizer", default="adamw", choices=("adamw", "rmsprop"))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict] = []
    for seed in range(options.seeds):
        for variant in VARIANTS:
            keras.backend.clear_session()
            keras.utils.set_random_seed(seed)
            model = narrow(variant, options.fraction, options.image_size, 10)
            begun = time.perf_counter()
            curve = learn(model, options, seed)
            rate = options.steps * options.batch_size / (time.perf_counter() - begun)
            millions = sum(keras_inception.multiply_adds(model).values()) / 1e6
            print(
                f"{variant} seed {seed}: {model.count_params():,} parameters, {millions:.0f} "
                f"million multiply-adds, {rate:.0f} images/s; accuracy "
                + " ".join(f"{accuracy:.3f}" for _, accuracy in curve),
                flush=True,
            )
            rows += [
                {"variant": variant, "seed": seed, "step": step, "accuracy": accuracy}
                for step, accuracy in curve
            ]
    output = Path(options.output)
    with open(output.with_suffix(".csv"), "w", newline="") as file:
        writer = csv.DictWriter(file, ["variant", "seed", "step", "accuracy"])
        writer.writeheader()
        writer.writerows(rows)
    title = f"{options.fraction:g} of the filters, {options.image_size} px, {options.seeds} seeds"
    draw(rows, output.with_suffix(".png"), title)
    print("| steps | " + " | ".join(VARIANTS) + " |\n| ---: | ---: | ---: |")
    for step in sorted({row["step"] for row in rows}):
        cells = []
        for variant in VARIANTS:
            here = [r["accuracy"] for r in rows if (r["variant"], r["step"]) == (variant, step)]
            cells.append(f"{np.mean(here):.1%} ({min(here):.1%} to {max(here):.1%})")
        print(f"| {step} | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    main()
