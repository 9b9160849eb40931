"""What runs a network, and what all engines share: one message for whatever goes wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np


class Engine(Protocol):
    """What runs a network: Keras, a SavedModel, LiteRT, onnxruntime, OpenVINO.

    Attributes:
        name: Name of the engine, for messages.
        input_shape: (height, width, channels); height and width are None where they are free.
        classes: Number of outputs.
    """

    name: str
    input_shape: tuple[int | None, int | None, int]
    classes: int

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The probabilities (batch, classes) of float32 images, at least one, of `input_shape`."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (batch, classes) of logits (batch, classes)."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@contextlib.contextmanager
def loading(path: Path, what: str, extra: str = "", line: int = 0) -> Iterator[None]:
    """Turns the errors of a runtime that opens a file into one line.

    Args:
        path: The file.
        what: What it should be, such as "a .onnx file".
        extra: The package's optional extra that installs the runtime.
        line: Which line of the runtime's message says why.

    Raises:
        ValueError: the runtime is missing, or cannot open the file.
    """
    try:
        yield
    except ImportError as error:
        raise ValueError(
            f"{path} needs the package {error.name}: pip install 'keras-inception[{extra}]'"
        ) from error
    except Exception as error:  # the runtimes' own classes have no public base
        reason = (str(error).strip().splitlines() or ["no reason given"])[line]
        raise ValueError(f"{path} cannot be loaded as {what}: {reason}") from error


def one_of_each(path: Path, inputs: list, outputs: list) -> tuple:
    """The one input and the one output of a classifier.

    Raises:
        ValueError: there are several.
    """
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"{path}: a classifier has one input and one output. "
            f"Received: {len(inputs)} inputs, {len(outputs)} outputs"
        )
    return inputs[0], outputs[0]


def image_shape(path: Path, sides: list) -> tuple[int | None, int | None, int]:
    """(height, width, channels) of a classifier's input; None where a side is free.

    Args:
        path: The file.
        sides: Of the whole input, the batch's included; what is no number is free.

    Raises:
        ValueError: the input is no batch of images, or its channels are free.
    """
    numbers = [n if isinstance(n, int) else None for n in sides]
    if len(numbers) != 4 or numbers[3] is None:
        raise ValueError(
            f"{path}: a classifier's input has 4 dimensions and a number of channels. "
            f"Received: {sides}"
        )
    return numbers[1], numbers[2], numbers[3]


def check_finite(what: str, weights: Iterable[tuple[str, np.ndarray]]) -> None:
    """Answers do not show it everywhere: oneDNN's convolution with bias and ReLU makes NaN 0.

    Args:
        what: What the weights are of, as the message's subject.
        weights: Names and arrays.

    Raises:
        ValueError: some hold NaN or infinity.
    """
    count, broken = 0, []
    for name, array in weights:
        count += 1
        if "float" in array.dtype.name and not np.isfinite(array).all():
            broken.append(name)
    if broken:
        raise ValueError(
            f"{what} cannot be used: {len(broken)} of its {count} weights hold numbers that are "
            f"not finite, the first one is {broken[0]}."
        )
