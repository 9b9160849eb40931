"""Run folders made from arrays, with as many classes as asked, and names that mean harm."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np

from keras_inception.data.splits import Source, array_split
from keras_inception.evaluation import results
from keras_inception.evaluation.metrics import KEPT_ROWS, Predictions, summarize_predictions
from keras_inception.identity import Identity, attach
from keras_inception.models.saving import save_model
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder
from keras_inception.training.stages import begin

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "{{ 7 * 7 }}",
    "قطة صغيرة",
    "a_name_without_a_space_that_is_wider_than_the_screen_of_a_phone_" + "x" * 60,
    "猫",
)
CONTRACT = Preprocessing(size=(32, 40), crop_fraction=0.875)


def made_run(folder: Path, classes: int, source: Source | None = None) -> tuple[RunFolder, Source]:
    """A finished run that was never trained, and its data set.

    Args:
        folder: Where.
        classes: How many.
        source: A data set of as many classes; by default one is made, of two test images a class,
            but at least 120.
    """
    rng = np.random.default_rng(classes)
    if source is None:
        names = (*HOSTILE, *(f"class {i}" for i in range(len(HOSTILE), classes)))[:classes]
        source = _source(names, max(120, 2 * classes), rng)
    names = source.class_names
    recipe = Recipe(
        dataset=source.name,
        image_size=32,
        aux_weight=0.3,
        mix="mixup",
        epochs=12,
        views="mirror",
    )
    run = RunFolder(folder)
    begin(run, recipe, source, CONTRACT)
    run.write_history(_history(12))
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((*CONTRACT.size, 3))])
    model.add(keras.layers.Conv2D(8, 5, 2, activation="relu"))
    model.add(keras.layers.GlobalAveragePooling2D())
    model.add(keras.layers.Dense(classes, "softmax"))
    save_model(attach(model, Identity("", (), CONTRACT, names)), run.model_path)
    labels = source.splits["test"].labels
    logits = rng.normal(size=(len(labels), classes)) * 1.6
    logits[np.arange(len(labels)), labels] += rng.choice([0.5, 9.0], len(labels), p=[0.25, 0.75])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    predictions = Predictions.of(probabilities, labels)
    measured = summarize_predictions(predictions, names) | {"single_view_accuracy": 0.7}
    run.write_json(results.RESULT, {"crops": "mirror", "results": [measured]})
    kept = {k: getattr(predictions, k)[:, None] for k in KEPT_ROWS}
    kept |= {"labels": labels, "index": np.arange(len(labels)), "answers": np.array(names)}
    np.savez(run.path / results.PREDICTIONS, **kept)
    run.write_json("export.json", _exports(list(names)))
    return run, source


def _source(names: tuple[str, ...], images: int, rng: np.random.Generator) -> Source:
    counts = {"train": images + len(names), "validation": len(names), "test": images}
    rows, columns = np.mgrid[:44, :60]
    discs = [np.hypot(rows - 22, columns - 20 - place) < 13 for place in range(20)]
    splits = {}
    for part, count in counts.items():
        labels = np.arange(count) % len(names)
        pixels = rng.integers(0, 90, (count, 44, 60, 3))
        for image, label in zip(pixels, labels, strict=True):
            color = np.array([label * 37 % 166, label * 91 % 166, label * 13 % 166])
            image[discs[label % 20]] += color
        split = array_split(pixels.astype(np.uint8), labels, part)
        splits[part] = dataclasses.replace(split, name=lambda i, p=part: f"{p}/<i>{i}</i>.png")
    duplicates = {"test in train": {"count": 2, "examples": [["<u>a</u>", "b"]]}}
    provenance = {"folder": "/photos/<b>mine</b>", "seed": 0, "duplicates": duplicates}
    unreadable = ("broken/<s>1</s>.jpg (cannot be decoded)",)
    return Source("folder:/photos/<b>mine</b>", names, splits, provenance, unreadable)


def _history(epochs: int) -> list[dict[str, float]]:
    at = np.arange(1, epochs + 1)
    return [
        {
            "epoch": int(e),
            "step": int(e) * 89,
            "learning_rate": 0.001 * (1 - e / epochs),
            "loss": round(float(0.95 + 1.9 * np.exp(-e / 3)), 6),
            "accuracy": round(float(0.97 - 0.6 * np.exp(-e / 3)), 6),
            "validation_loss": round(float(0.35 + 1.1 * np.exp(-e / 2) + 0.01 * e), 6),
            "validation_accuracy": round(float(0.92 - 0.5 * np.exp(-e / 2)), 6),
            "images_per_second": 310.5,
        }
        for e in at
    ]


def _exports(labels: list[str]) -> dict:
    check = {"name": "class names in the file", "measured": True, "limit": True, "passed": True}
    moved = {"name": "largest difference", "measured": 1.4e-6, "limit": 1e-4, "passed": True}
    rows = {}
    for name, size, moves in (
        ("saved_model", 7.2e6, 0.0),
        ("model.tflite", 5.7e6, 1e-6),
        ("model_int8.tflite", 1.5e6, 0.03),
    ):
        rows[name] = {
            "bytes": int(size),
            "sha256": "0" * 64,
            "checks": [check, moved],
            "largest_difference": moves,
            "mean_moved": moves / 8,
            "same_answers": 1 - moves,
            "accuracy": 0.9,
            "accuracy_interval": [0.85, 0.94],
            "latency_ms": {"1": 9.8, "2": 5.6},
        }
    kept = {"accuracy": 0.9, "accuracy_interval": [0.85, 0.94]}
    return {
        "images": 128,
        "origin": "test images of <b>mine</b>",
        "class_names": labels,
        "keras": kept,
        "files": rows,
    }
