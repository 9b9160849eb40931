"""The builders' docstrings: what all of them share is written once and added to each."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

_SECTIONS = ("Args", "Returns", "Raises", "Reference")

# Argument -> its description. `{size}` is the variant's own input size.
ARGUMENTS = {
    "include_top": "Whether the network ends with the classifier.",
    "weights": (
        'What to load: None (random weights), "imagenet" (the published file that this version '
        "pins), the name or tag of published weights (`list_weights`), a `Weights` record, or the "
        "path of a weights file."
    ),
    "input_tensor": "A Keras tensor to build the network on, instead of a new input.",
    "input_shape": (
        "(height, width, channels) of the images, without the batch. The default is the size of "
        "the weights' preprocessing, {size} for most, with 3 channels; without top it is "
        "(None, None, 3). Any number of channels works."
    ),
    "pooling": 'Without top: None (the last feature map, 4-D), "avg" or "max" (2-D).',
    "classes": "Number of classes of the classifier. The default is the weights' own number.",
    "classifier_activation": (
        "Activation of the classifier; None gives logits. Weights of your own bring theirs."
    ),
    "name": "Name of the model. Layer names do not depend on it.",
    "dropout": "Share of the pooled features that training drops.",
    "include_preprocessing": (
        "If True, the model accepts raw images (0-255, uint8 or float) and scales them by its "
        "weights' contract, or by the `Preprocessing` given. If False, scale them first with "
        "`model.preprocessing.scale`."
    ),
    "width_multiplier": (
        "Share of every convolution's filters, of which at least 16 remain (TF-Slim's "
        "`depth_multiplier`). Published weights have all filters, 1.0."
    ),
    "batch_norm": (
        "Whether every convolution is followed by BatchNorm. If False, convolutions have biases "
        "instead."
    ),
    "symmetric_padding": (
        "Whether padded convolutions with stride 2 pad the same number of pixels on every side, "
        "as torch and Caffe do."
    ),
    "avg_pool_counts_padding": (
        "Whether the padded average pools divide by 9 at the border too, as torch's, Caffe's and "
        "tf2cv's do, instead of by the number of real pixels."
    ),
    "residual_scale": (
        "Factor of the residuals: one number for all blocks, or one each for block35, block17 "
        "and block8."
    ),
    "bn_scale": "Whether BatchNorm has a gamma.",
    "bn_epsilon": "What BatchNorm adds to the variance.",
    "bn_momentum": "Share of its moving statistics that BatchNorm keeps at each training step.",
}
RETURNS = (
    "A functional Keras model from images (batch, height, width, channels) to float32 "
    "probabilities (batch, classes). Without top it gives the features, in the dtype of the "
    "policy; with auxiliary heads a dict of outputs. `model.identity` says what was built and "
    "`model.preprocessing` how its images are prepared."
)
RAISES = (
    "ValueError: an argument is out of range, the images are too small, or the weights do not "
    "belong to this network."
)


def documented(function: Callable[..., Any], size: tuple[int, int]) -> str:
    """A builder's whole docstring: its own, with the shared sections and arguments filled in.

    Args:
        function: The builder. Its docstring describes the arguments that only it has, or has with
            another meaning.
        size: (height, width) of the variant's images.

    Raises:
        ValueError: an argument is described nowhere.
    """
    head, sections = _sections(inspect.getdoc(function) or "")
    own = _entries(sections.get("Args", []))
    lines = []
    for name in inspect.signature(function).parameters:
        if name in own:
            text = own[name]
        elif name in ARGUMENTS:
            text = ARGUMENTS[name].replace("{size}", f"{size[0]} x {size[1]}")
        else:
            raise ValueError(f"{function.__name__} does not describe its argument {name}.")
        lines += _wrapped(f"{name}: {text}", hanging=4)
    parts = [head, "Args:", *lines, "", "Returns:", *_wrapped(RETURNS), ""]
    parts += ["Raises:", *_wrapped(RAISES, hanging=4), ""]
    parts += ["Reference:", *sections.get("Reference", [])]
    return "\n".join(parts)


def _sections(text: str) -> tuple[str, dict[str, list[str]]]:
    """What stands before a docstring's first section, and the lines of each section."""
    head: list[str] = []
    sections: dict[str, list[str]] = {}
    lines = head
    for line in text.splitlines():
        if line.rstrip(":") in _SECTIONS and line.endswith(":"):
            lines = sections.setdefault(line.rstrip(":"), [])
        else:
            lines.append(line)
    return "\n".join(head), sections


def _entries(lines: Iterable[str]) -> dict[str, str]:
    """The arguments that an Args section describes, each on one line."""
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        start = re.match(r" {4}(\w+): (.*)", line)
        if start:
            name, found[start[1]] = start[1], start[2]
        elif line.strip() and name:
            found[name] += f" {line.strip()}"
    return found


def _wrapped(text: str, hanging: int = 0) -> list[str]:
    """A paragraph as lines of at most 92 columns, indented by 4."""
    lines, line = [], "   "
    for word in text.split():
        if len(line) + 1 + len(word) > 92:
            lines.append(line)
            line = " " * (3 + hanging)
        line += f" {word}"
    return [*lines, line]
