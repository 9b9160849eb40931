"""TensorFlow checkpoints, V1 (one file) and V2 (a prefix), through TensorFlow's own reader."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

# The last eight bytes of a table file: of a V1 checkpoint and of a V2 checkpoint's index.
_TABLE_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_VARIABLES = {
    "weights": "kernel",
    "biases": "bias",
    "depthwise_weights": "depthwise_kernel",
    "pointwise_weights": "pointwise_kernel",
}
_OURS = {*_VARIABLES.values(), "gamma", "beta", "moving_mean", "moving_variance"}


def is_prefix(path: str | os.PathLike) -> bool:
    """Whether a path is the prefix of a V2 checkpoint, such as model.ckpt-1000."""
    return os.path.isfile(f"{os.fspath(path)}.index")


def is_file(path: str | os.PathLike) -> bool:
    """Whether a file is a V1 checkpoint, or the index of a V2 checkpoint."""
    if os.path.getsize(path) < 48:
        return False
    with open(path, "rb") as file:
        file.seek(-8, os.SEEK_END)
        return file.read() == _TABLE_MAGIC


def read(path: str | os.PathLike) -> dict[str, dict[str, np.ndarray]]:
    """The weights of a TF1 checkpoint, by their variable scopes.

    Left out are the steps' counter, optimizers' slots and moving averages of weights: whatever is
    no variable of a convolution, a dense layer or BatchNorm.

    Raises:
        ValueError: the checkpoint is damaged.
        ImportError: TensorFlow is not installed.
    """
    path = Path(path)
    if path.name.endswith(".index") and not path.name.startswith("."):
        path = path.with_suffix("")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            f"{path} is a TensorFlow checkpoint, which only TensorFlow reads: "
            "pip install tensorflow-cpu. `keras-inception convert` then makes a file for any "
            "backend."
        ) from error
    layers: dict[str, dict[str, np.ndarray]] = {}
    try:
        reader = tf.train.load_checkpoint(os.fspath(path))
        for name in reader.get_variable_to_shape_map():
            owner, _, variable = name.rpartition("/")
            variable = _VARIABLES.get(variable, variable)
            if variable in _OURS:
                layers.setdefault(owner, {})[variable] = reader.get_tensor(name)
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is a damaged TensorFlow checkpoint: {reason}") from error
    return layers
