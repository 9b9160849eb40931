"""What runs a network, and what the engines of files share: any threads, pickling, one error."""

from __future__ import annotations

import abc
import contextlib
import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from keras_inception.budget import Refused
from keras_inception.contracts import Given, chosen
from keras_inception.identity import Identity
from keras_inception.messages import printable

LONGEST_REASON = 500
# Shapes of a file's inputs and of its outputs; whatever is no number in them is free.
Ends = tuple[Iterable[Sequence[Any]], Iterable[Sequence[Any]]]
# Modules and classes of the engines that run files, by the files' endings.
FILE_ENGINES = {
    ".tflite": ("litert", "LiteRTEngine"),
    ".onnx": ("onnx", "OnnxEngine"),
    ".xml": ("openvino", "OpenVINOEngine"),
}


class Engine(Protocol):
    """What runs a network: Keras, a SavedModel, LiteRT, onnxruntime, OpenVINO.

    Any number of threads may call one at once, and it can be pickled for other processes.

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


class FileEngine(abc.ABC):
    """Runs a file. Pickled it is the file's path, which the other process opens anew.

    Args:
        path: The file or folder.
        threads: How many threads a call computes with; None lets the runtime choose.
        precision: Of the features: "float32", or "bfloat16" where the runtime knows it.

    Attributes:
        identity: What the file says of its network.

    Raises:
        ValueError: the runtime is missing, or the file cannot be opened or is no classifier.
    """

    name: str
    kind: str  # of file, such as "a .tflite file"
    extra: str  # the optional extra that installs the runtime

    def __init__(self, path: Path, threads: int | None = None, precision: str = "float32") -> None:
        self.path, self.threads, self.precision = path, threads, precision
        self._idle: list[Any] = []
        with self._one_error("loaded"):
            images, answers = self._open()
            self._batch, self.input_shape, self.classes = _shapes([*images], [*answers])
            self.identity = Identity.from_metadata(self._said())

    def __reduce__(self) -> tuple:
        return type(self), (self.path.absolute(), self.threads, self.precision)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        # A runtime may resize a fixed batch, and what it computes then need not be the network.
        size = self._batch or len(images)
        given = np.concatenate([images, images[-1:].repeat(-len(images) % size, 0)])
        with self._one_error("run"), self._request() as request:
            parts = [self._answers(request, part) for part in np.split(given, len(given) // size)]
            answers = np.concatenate(parts)
            if answers.shape != (len(given), self.classes):
                raise ValueError(f"{len(given)} images get answers of shape {answers.shape}")
        return answers[: len(images)]

    @abc.abstractmethod
    def _open(self) -> Ends:
        """Opens the file."""

    @abc.abstractmethod
    def _said(self) -> Mapping[str, str]:
        """What the file says of its network, as `Identity.to_metadata` writes it."""

    @abc.abstractmethod
    def _answers(self, request: Any, images: np.ndarray) -> np.ndarray:
        """The probabilities of a batch."""

    def _new_request(self) -> Any:  # noqa: B027
        """An object of the runtime's that answers one call at a time, where there is one."""

    @contextlib.contextmanager
    def _request(self) -> Iterator[Any]:
        """An idle request, or a new one: as many as threads ask at once."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._new_request()
        yield request
        self._idle.append(request)  # one that failed is not asked again

    @contextlib.contextmanager
    def _one_error(self, what: str) -> Iterator[None]:
        """Turns whatever a runtime raises into one ValueError of a line that names the file."""
        try:
            yield
        except ImportError as error:
            raise ValueError(
                f"{self.path} needs the package {error.name}: "
                f"pip install 'keras-inception[{self.extra}]'"
            ) from error
        except Exception as error:  # the runtimes' own classes have no public base
            reason = " ".join(str(error).split()) or "no reason given"
            if isinstance(error, LookupError | TypeError | AttributeError | RecursionError):
                reason = f"{type(error).__name__}: {reason}"
            said = f"{self.path} cannot be {what} as {self.kind}: "
            raise Refused(printable(said + reason, len(said) + LONGEST_REASON)) from error


def of_file(path: Path, *options: Any) -> tuple[Engine, Identity]:
    """The engine of a file with one of `FILE_ENGINES`' endings, and the identity in the file."""
    module, name = FILE_ENGINES[path.suffix]
    kind = getattr(importlib.import_module(f"keras_inception.runtime.{module}"), name)
    engine = kind(path, *options)
    return engine, engine.identity


def prepared(identity: Identity, given: Given | None, engine: Engine, source: str) -> Identity:
    """An identity with the contract that a caller gives for an engine's network, if one is given.

    Raises:
        ValueError: see `contracts.chosen`.
    """
    if given is None:
        return identity
    height, width = engine.input_shape[:2]
    size = (height, width) if height and width else None
    return identity.replace(preprocessing=chosen(given, identity.preprocessing, size, source))


def probabilities(logits: np.ndarray, output: str = "softmax") -> np.ndarray:
    """Probabilities (batch, classes) of logits (batch, classes), by an `Identity.output`."""
    if output == "sigmoid":
        return 1 / (1 + np.exp(-logits.clip(-80, 80)))
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _shapes(
    images: list[Sequence[Any]], answers: list[Sequence[Any]]
) -> tuple[int | None, tuple[int | None, int | None, int], int]:
    """A classifier's batch, (height, width, channels) and number of classes; None where it is free.

    Raises:
        ValueError: it has several inputs or outputs, or they are no images and no classes.
    """
    if len(images) != 1 or len(answers) != 1:
        raise ValueError(
            "a classifier has one input and one output. "
            f"Received: {len(images)} inputs, {len(answers)} outputs"
        )
    image, answer = (
        [int(n) if isinstance(n, int | np.integer) and n >= 0 else None for n in shape]
        for shape in (images[0], answers[0])
    )
    batch, height, width, channels = image if len(image) == 4 else [None] * 4
    classes = answer[1] if len(answer) == 2 else None
    if not channels or not classes:
        raise ValueError(
            "a classifier takes images (batch, height, width, channels), channels last, and "
            f"returns (batch, classes). Received: {tuple(image)} -> {tuple(answer)}"
        )
    return batch, (height, width, channels), classes


def check_finite(weights: Iterable[tuple[str, np.ndarray]], what: str = "") -> None:
    """Answers do not show it everywhere: oneDNN's convolution with bias and ReLU makes NaN 0.

    Args:
        weights: Names and arrays.
        what: How the message begins.

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
            f"{what}{len(broken)} of its {count} weights hold numbers that are not finite, the "
            f"first one is {broken[0]}."
        )
