"""The variants by name. Knowing the names needs no Keras; building one does."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any

from keras_inception.catalog import get_weights, list_weights
from keras_inception.models.figures import figures_of

if TYPE_CHECKING:
    import keras

    from keras_inception.preprocessing import Preprocessing

# Builder -> the module of this package that draws it; the order is the family's history.
_MODULES = {
    "InceptionV1": "inception_v1",
    "BNInception": "bn_inception",
    "InceptionV2": "inception_v2",
    "InceptionV3": "inception_v3",
    "InceptionV4": "inception_v4",
    "InceptionResNetV1": "inception_resnet",
    "InceptionResNetV2": "inception_resnet",
}


def list_models() -> list[str]:
    """The names that `get_model` and `--model` take, oldest variant first."""
    return list(_MODULES)


def get_model(name: str, /, **arguments: Any) -> keras.Model:
    """Builds a variant by name: `get_model("InceptionV3", weights=None, classes=5)`.

    Args:
        name: One of `list_models()`.
        **arguments: The builder's own.

    Raises:
        ValueError: the name is unknown, or the builder refuses an argument.
    """
    return builder_of(name)(**arguments)


def builder_of(name: str) -> Any:
    """A variant's builder. Raises ValueError if there is no variant of that name."""
    return getattr(_module(name), name)


def default_preprocessing(name: str) -> Preprocessing:
    """The contract that a variant's published weights were trained with, by its name."""
    return _module(name).PREPROCESSING


def check_name(name: str) -> None:
    """Raises ValueError if there is no variant of that name."""
    if name not in _MODULES:
        close = difflib.get_close_matches(name, _MODULES, n=1, cutoff=0.4)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"Unknown model; the variants are {', '.join(_MODULES)}.{hint} Received: {name!r}"
        )


def comparison_table() -> list[dict[str, Any]]:
    """What the variants cost, as measured from built models: one row a variant, oldest first.

    Returns:
        Rows of "variant", "parameters" (trainable, without auxiliary heads and BatchNorm's gammas,
        1000 classes), "multiply_adds" (of one image), "size" ((height, width) in pixels), and
        "weights" (the record that "imagenet" stands for, or None).
    """
    rows = []
    for name in list_models():
        figures = figures_of(name, {})
        assert figures is not None  # python tools/figures.py
        rows.append(
            {
                "variant": name,
                "parameters": figures.total("parameters"),
                "multiply_adds": figures.total("multiply_adds"),
                "size": figures.input_shape[:2],
                "weights": get_weights("imagenet", name) if list_weights(name) else None,
            }
        )
    return rows


def _module(name: str) -> Any:
    check_name(name)
    return importlib.import_module(f"keras_inception.models.{_MODULES[name]}")
