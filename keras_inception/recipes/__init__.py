"""Recipes: everything that decides what a run computes, as data. TensorFlow is not needed here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from keras_inception import files
from keras_inception.recipes.recipe import AUGMENTATIONS, MIXES, POLICIES, Recipe

__all__ = ["AUGMENTATIONS", "MIXES", "POLICIES", "RECIPES", "Named", "Recipe", "load", "named"]

_LARGEST_CONFIG = 1_000_000  # bytes; a run writes about two thousand

# The TPU reference: tensorflow/tpu models/experimental/inception/inception_v3.py, which reports
# 78.1 % top-1 for it; its learning rate is given per 256 images, as ours.
_TPU_REFERENCE = Recipe(
    image_size=299,
    aux_weight=0.4,
    weight_decay=4e-5,
    crop_fraction=0.875,
    augmentation="inception",
    epochs=170,
    batch_size=1024,
    optimizer="rmsprop",
    learning_rate=0.165,
    schedule="exponential",
    decay_epochs=3.0,
    warmup_epochs=0.0,
    clip_norm=0.0,
    ema=0.995,
    bn_momentum=0.996,
    dataset="tfds:imagenet2012",
    validation_fraction=0.0,
    views="center",
)

_TPU_4 = _TPU_REFERENCE.replace(
    learning_rate=0.15,
    decay_epochs=2.0,
    batch_size=256,
    epochs=160,
    warmup_epochs=2.0,
    bn_momentum=0.995,
    clip_norm=2.0,
    ema=0.9999,
)

_FINETUNE = _TPU_REFERENCE.replace(
    weights="imagenet",
    model="InceptionV3",
    dataset="fashion_mnist_mini",
    validation_fraction=0.1,
    freeze="norms",
    learning_rate=0.0008,
    schedule="constant",
    epochs=4,
    batch_size=32,
    aux_weight=0.0,
    augmentation="crop",
    clip_norm=2.0,
    ema=0.0,
    label_smoothing=0.0,
    keep="best",
)


class Named(NamedTuple):
    """What a recipe's name stands for; the source says what of it is ours."""

    recipe: Recipe
    source: str


RECIPES: dict[str, Named] = {
    # Its moving averages are right: a momentum of 0.9, and an average of the weights behind them.
    "demo": Named(
        Recipe(image_size=72, width_multiplier=0.5, aux_weight=0.3, precise_bn=0),
        "ours: minutes on a CPU; chosen on Fashion-MNIST images that the demo set lacks",
    ),
    "inception_v1": Named(
        _TPU_REFERENCE.replace(
            model="InceptionV1",
            image_size=224,
            dropout=0.4,
            aux_weight=0.3,
            optimizer="sgd",
            learning_rate=0.01,
            batch_size=256,
            epochs=90,
            decay_rate=0.96,
            decay_epochs=8.0,
            label_smoothing=0.0,
            ema=0.9999,
        ),
        "1409.4842 section 6: SGD with momentum 0.9, -4 % every 8 epochs, heads at "
        "0.3, dropout 0.4, Polyak average; the paper gives no rate, 0.01 is ours",
    ),
    "bn_inception": Named(
        _TPU_REFERENCE.replace(model="BNInception", image_size=224, aux_weight=0.0, epochs=160),
        "tensorflow/tpu inception_v2.py: as v3's, 160 epochs, no auxiliary head",
    ),
    "inception_v3": Named(
        _TPU_REFERENCE.replace(model="InceptionV3"),
        "tensorflow/tpu inception_v3.py, which reports 78.1 % top-1; 1512.00567 "
        "section 8 clips at 2.0, the script does not",
    ),
    "inception_v4": Named(
        _TPU_4.replace(model="InceptionV4"),
        "tensorflow/tpu inception_v4.py and 1602.07261 section 4: 0.15 per 256, -6 % "
        "every 2 epochs, clipping at 2.0; the script's 16 epochs are a demonstration, 160 is ours",
    ),
    "inception_resnet_v1": Named(
        _TPU_4.replace(model="InceptionResNetV1", aux_weight=0.0),
        "as inception_v4 (1602.07261 gives both the same), no auxiliary head",
    ),
    "inception_resnet_v2": Named(
        _TPU_4.replace(model="InceptionResNetV2"),
        "as inception_v4 (1602.07261 gives both the same)",
    ),
    "probe": Named(
        _FINETUNE.replace(probe=True, epochs=0, crop_fraction=1.0),
        "multinomial logistic regression on the pooled features, each image once; as "
        "TensorFlow's retrain.py and MediaPipe Model Maker train a classifier; the whole image "
        "is ours",
    ),
    "finetune": Named(
        _FINETUNE.replace(
            probe=True,
            crop_fraction=1.0,
            min_steps=600,
            batch_size=16,
            optimizer="adamw",
            learning_rate=0.0024,
            schedule="cosine",
            warmup_epochs=1.0,
            augmentation="flip",
            keep="last",
        ),
        "ours: the probe's classifier, then all layers (2202.10054) for 4 epochs and at "
        "least 600 steps with AdamW at 1.5e-4 a batch of 16 after an epoch of warm-up; the whole "
        "image; the last epoch's weights; BatchNorm keeps its statistics (keras-team/keras#9214)",
    ),
    "finetune_slim": Named(
        _FINETUNE.replace(head_epochs=2, head_learning_rate=0.08),
        "TF-Slim's finetune_inception_v3_on_flowers.sh: heads at 0.01 a batch of 32, "
        "then all layers at 1e-4; BatchNorm keeps its statistics (keras-team/keras#9214)",
    ),
    "modern": Named(
        Recipe(
            model="InceptionV3",
            image_size=299,
            dataset="tfds:imagenet2012",
            validation_fraction=0.01,
            crop_fraction=0.875,
            views="center",
            augmentation="randaugment",
            mix="either",
            epochs=300,
            batch_size=1024,
            optimizer="adamw",
            learning_rate=0.001 * 256 / 1024,
            weight_decay=0.05,
            warmup_epochs=5.0,
            clip_norm=1.0,
            ema=0.9999,
            bn_momentum=0.99,
        ),
        "ours, after what people do today; no paper trained an Inception with it",
    ),
}


def named(name: str) -> Recipe:
    """A recipe by name. Raises ValueError naming the known ones."""
    if name not in RECIPES:
        raise ValueError(f"Unknown recipe; there are {', '.join(RECIPES)}. Received: {name!r}")
    return RECIPES[name].recipe


def load(path: str | Path, *, check: bool = True) -> Recipe:
    """The recipe in a run folder's config.json.

    Args:
        path: The file.
        check: Whether its values have to be usable.

    Raises:
        ValueError: there is no such file, or it holds no recipe that can be used.
    """
    try:
        content = json.loads(files.read(path, _LARGEST_CONFIG))
        fields = content.get("recipe") if isinstance(content, dict) else None
        if not isinstance(fields, dict):
            raise ValueError("it holds no recipe")
        recipe = Recipe.from_dict(fields)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not the config.json of a run: {error}") from error
    try:
        if check:
            recipe.check()
    except ValueError as error:
        raise ValueError(f"The recipe in {path} cannot be used: {error}") from error
    return recipe
