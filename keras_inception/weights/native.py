"""The native weights file: arrays by "layer/variable" name.

It is safetensors: a JSON header, then the arrays' bytes. Its metadata say which builder, with which
arguments, made the model, and the preprocessing contract that it was trained with. Keras' own
.weights.h5 is keyed by class and order instead, and was seen to load an auxiliary head's kernel
into another layer without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inception.identity import Identity, identity_of
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights.readers import safetensors


def variables(model: keras.Model) -> dict[str, Any]:
    """A model's weights by "layer/variable", such as "stem_0_conv/kernel"."""
    return {f"{layer.name}/{w.name}": w for layer in model.layers for w in layer.weights}


def save_weights(
    model: keras.Model,
    path: str | Path,
    *,
    variant: str = "",
    builder_arguments: dict[str, Any] | None = None,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] = (),
) -> Path:
    """Writes a model's weights as a native file, which a builder's `weights=` takes.

    Args:
        model: A model of this package, or any flat functional model.
        path: The file to write; it ends in .safetensors.
        variant: Name of the builder; by default the one that built the model.
        builder_arguments: The builder's arguments that the weights need; by default those that the
            model was built with.
        preprocessing: The contract; by default the model's.
        class_names: Names of the classes, in the order of the outputs; by default the model's.

    Returns:
        The path.

    Raises:
        ValueError: the path has another ending.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"Native weights end in .safetensors. Received: {path}")
    known = identity_of(model) or Identity("", preprocessing=getattr(model, "preprocessing", None))
    contract = preprocessing or known.preprocessing
    identity = Identity.create(
        variant or known.variant,
        known.arguments if builder_arguments is None else builder_arguments,
        # The file holds the features only.
        contract.replace(inside_model=False) if contract else None,
        class_names or known.class_names,
    )
    metadata = {"format": safetensors.NATIVE, **identity.to_metadata()}
    arrays = {
        name: np.ascontiguousarray(keras.ops.convert_to_numpy(v), "<f4")
        for name, v in variables(model).items()
    }
    safetensors.write(path, arrays, metadata)
    return path
