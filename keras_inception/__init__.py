"""The Inception family for Keras 3: architectures, published weights, training and export.

Importing the package costs milliseconds: each public name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

# Public name -> module that defines it. This table is the public API.
_PUBLIC = {
    "BNInception": "keras_inception.models.bn_inception",
    "Classifier": "keras_inception.runtime",
    "InceptionResNetV1": "keras_inception.models.inception_resnet",
    "InceptionResNetV2": "keras_inception.models.inception_resnet",
    "InceptionV1": "keras_inception.models.inception_v1",
    "InceptionV2": "keras_inception.models.inception_v2",
    "InceptionV3": "keras_inception.models.inception_v3",
    "InceptionV4": "keras_inception.models.inception_v4",
    "Preprocessing": "keras_inception.preprocessing",
    "Recipe": "keras_inception.recipes",
    "Run": "keras_inception.complete_run",
    "SaveModel": "keras_inception.fitting",
    "Weights": "keras_inception.catalog",
    "comparison_table": "keras_inception.models.registry",
    "convert_weights": "keras_inception.models.publishers",
    "decode_predictions": "keras_inception.models.imagenet",
    "default_preprocessing": "keras_inception.models.registry",
    "diagram": "keras_inception.drawing.diagram",
    "endpoints": "keras_inception.models.measure",
    "explain": "keras_inception.explaining.explain",
    "export": "keras_inception.exporting.run",
    "evaluate": "keras_inception.evaluation.protocol",
    "feature_pyramid": "keras_inception.models.measure",
    "freeze_backbone": "keras_inception.models.surgery",
    "fuse": "keras_inception.models.fusion",
    "get_model": "keras_inception.models.registry",
    "head_labels": "keras_inception.fitting",
    "get_weights": "keras_inception.catalog",
    "imagenet_classes": "keras_inception.models.imagenet",
    "inspect": "keras_inception.data.inspected",
    "list_models": "keras_inception.models.registry",
    "list_weights": "keras_inception.catalog",
    "load_classifier": "keras_inception.runtime",
    "load_model": "keras_inception.models.saving",
    "load_weights": "keras_inception.models.saving",
    "load_run": "keras_inception.complete_run",
    "losses": "keras_inception.fitting",
    "multiply_adds": "keras_inception.models.measure",
    "optimize": "keras_inception.exporting.fastest",
    "optimizer": "keras_inception.fitting",
    "predict": "keras_inception.runtime.predict",
    "replace_head": "keras_inception.models.surgery",
    "save_model": "keras_inception.models.saving",
    "save_weights": "keras_inception.weights",
    "smallest_input": "keras_inception.models.measure",
    "summary_by_block": "keras_inception.models.measure",
    "to_inference": "keras_inception.models.surgery",
    "train": "keras_inception.complete_run",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        try:
            return getattr(importlib.import_module(_PUBLIC[name]), name)
        except ModuleNotFoundError as error:
            if error.name != "tensorflow":
                raise
            raise ImportError(
                f"`keras_inception.{name}` needs TensorFlow: pip install 'keras-inception[cpu]'"
            ) from error
    raise AttributeError(f"module 'keras_inception' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
