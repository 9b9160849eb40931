"""The builders' docstrings: what all of them share is written once and added to each."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

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


# A builder's own description, its own arguments and the paper: what its docstring holds.
_OWN = re.compile(r"(.*)\nArgs:\n(.*)\n\n(Reference:.*)", re.DOTALL)
_ENTRY = re.compile(r"^ {4}(\w+): .*(?:\n {8}.*)*", re.MULTILINE)


def documented(function: Callable[..., Any], size: tuple[int, int]) -> str:
    """A builder's whole docstring: its own, with the shared sections and arguments filled in.

    Args:
        function: The builder. Its docstring describes the arguments that only it has, or has with
            another meaning.
        size: (height, width) of the variant's images.

    Raises:
        ValueError: an argument is described nowhere.
    """
    parts = _OWN.fullmatch(inspect.getdoc(function) or "")
    assert parts, f"{function.__name__} should have the sections Args and Reference"
    described = {entry[1]: entry[0] for entry in _ENTRY.finditer(parts[2])}
    for name, text in ARGUMENTS.items():
        text = text.replace("{size}", f"{size[0]} x {size[1]}")
        described.setdefault(name, _entry(f"{name}: {text}"))
    names = inspect.signature(function).parameters
    missing = [name for name in names if name not in described]
    if missing:
        raise ValueError(f"{function.__name__} does not describe its argument {missing[0]}.")
    lines = [parts[1], "Args:", *(described[name] for name in names), ""]
    lines += ["Returns:", textwrap.indent(textwrap.fill(RETURNS, 88), "    "), ""]
    return "\n".join([*lines, "Raises:", _entry(RAISES), "", parts[3]])


def _entry(text: str) -> str:
    """An entry of a section: lines of at most 92 columns, those after the first indented more."""
    return textwrap.fill(text, 92, initial_indent=" " * 4, subsequent_indent=" " * 8)
